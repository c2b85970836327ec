//! The identity of an environment, as `list -H` tells it.

use std::fmt::Write as _;

use crate::zfs::Guid;

/// A UUID of an environment: the guids of its pool and of its root dataset, eight bytes each, as
/// version 8 of RFC 9562 with what that wants in its six bits. So nothing has to be stored, and it
/// is as lasting as these: the same after a rename, another one after a receive.
pub(super) fn of(pool: Guid, dataset: Guid) -> String {
    let mut bytes = [0; 16];
    let (upper, lower) = bytes.split_at_mut(8);
    upper.copy_from_slice(&pool.0.to_be_bytes());
    lower.copy_from_slice(&dataset.0.to_be_bytes());
    let mut text = String::new();
    for (place, byte) in bytes.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let byte = match place {
            6 => byte & 0x0f | 0x80,
            8 => byte & 0x3f | 0x80,
            _ => byte,
        };
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_of_two_guids_and_says_so() {
        assert_eq!(
            of(Guid(0x0011_2233_4455_6677), Guid(0xffee_ddcc_bbaa_9988)),
            "00112233-4455-8677-bfee-ddccbbaa9988"
        );
        assert_ne!(of(Guid(1), Guid(2)), of(Guid(1), Guid(3)));
    }
}
