//! Lists of names and values as the kernel packs them for itself (`NV_ENCODE_NATIVE`,
//! `nvs_native_nvlist` and `nvpair_t` in OpenZFS's `nvpair.c` and `nvpair.h`): what
//! follows a stream's first record, and what is in a token of `zfs receive -s`.

use super::nvlist::{List, Value};
use super::{Error, Result};

/// `nvs_header_t` of a little-endian machine, the version, and `NV_UNIQUE_NAME`.
const HEAD: [u8; 12] = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

/// Where the pairs begin.
const PAIRS: usize = HEAD.len();

/// Bytes of a pair before its name (`nvpair_t`).
const PAIR: usize = 16;

const BOOLEAN: u32 = 1;
const UINT64: u32 = 8;
const STRING: u32 = 9;

/// What is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packed<'a> {
    /// `DATA_TYPE_UINT64`.
    Number(u64),
    /// `DATA_TYPE_STRING`.
    Text(&'a str),
    /// `DATA_TYPE_BOOLEAN`: it is there, and that is all.
    Said,
}

/// A list of these.
#[must_use]
pub fn pack(pairs: &[(&str, Packed<'_>)]) -> Vec<u8> {
    let mut packed = HEAD.to_vec();
    packed.extend(pairs.iter().flat_map(|(name, value)| pair(name, *value)));
    packed.extend([0; 4]);
    packed
}

fn pair(name: &str, value: Packed<'_>) -> Vec<u8> {
    let (kind, elements, value) = match value {
        Packed::Number(number) => (UINT64, 1_u32, number.to_le_bytes().to_vec()),
        Packed::Text(text) => (STRING, 1, [text.as_bytes(), &[0]].concat()),
        Packed::Said => (BOOLEAN, 0, Vec::new()),
    };
    let place = (PAIR + name.len() + 1).next_multiple_of(8);
    let size = place + value.len().next_multiple_of(8);
    let mut pair = Vec::with_capacity(size);
    pair.extend(u32::try_from(size).unwrap_or_default().to_le_bytes());
    let name_size = u16::try_from(name.len() + 1).unwrap_or_default();
    pair.extend(name_size.to_le_bytes());
    pair.extend([0; 2]);
    pair.extend(elements.to_le_bytes());
    pair.extend(kind.to_le_bytes());
    pair.extend(name.as_bytes());
    pair.resize(place, 0);
    pair.extend(value);
    pair.resize(size, 0);
    pair
}

/// A list with pairs added before its own, which stay as they are.
///
/// # Errors
/// Where it is none.
pub fn with(list: &[u8], pairs: &[(&str, Packed<'_>)]) -> Result<Vec<u8>> {
    if list.is_empty() {
        return Ok(pack(pairs));
    }
    parse(list)?;
    let (head, own) = list.split_at_checked(PAIRS).ok_or_else(short)?;
    let added = pairs.iter().flat_map(|(name, value)| pair(name, *value));
    let added: Vec<u8> = added.collect();
    Ok([head, &added, own].concat())
}

fn short() -> Error {
    Error::damaged("a list of ZFS's own is cut off")
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().ok_or_else(short)
}

/// Reads one, as far as numbers, texts and what is only there.
///
/// # Errors
/// Where it is none, or of a machine with the other order of bytes.
pub fn parse(bytes: &[u8]) -> Result<List> {
    let head = bytes.get(..PAIRS).ok_or_else(short)?;
    if head.get(..2) != HEAD.get(..2) {
        return Err(Error::refused(
            "a list of ZFS's own is packed in a way that is not known",
        ));
    }
    let mut rest = bytes.get(PAIRS..).unwrap_or_default();
    let mut pairs = Vec::new();
    loop {
        let size = u32::from_le_bytes(number(rest, 0)?) as usize;
        if size == 0 {
            return Ok(List(pairs));
        }
        let (pair, others) = rest.split_at_checked(size).ok_or_else(short)?;
        let name_size = usize::from(u16::from_le_bytes(number(pair, 4)?));
        let kind = u32::from_le_bytes(number(pair, 12)?);
        let place = (PAIR + name_size).next_multiple_of(8);
        let name = text(pair.get(PAIR..PAIR + name_size).ok_or_else(short)?)?;
        let value = match kind {
            UINT64 => Value::Number(u64::from_le_bytes(number(pair, place)?)),
            STRING => Value::Text(text(pair.get(place..).ok_or_else(short)?)?),
            _ => Value::Other,
        };
        pairs.push((name, value));
        rest = others;
    }
}

/// What is before the zero.
fn text(bytes: &[u8]) -> Result<String> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or_else(short)?;
    let text = bytes.get(..end).unwrap_or_default().to_vec();
    String::from_utf8(text).map_err(|_| Error::refused("a list of ZFS's own is not text"))
}

#[cfg(test)]
mod tests {
    use super::super::nvlist::{List, Value};
    use super::{Packed, pack, parse, with};

    /// What OpenZFS 2.3 put after the first record of a stream that goes on.
    const REAL: &[u8] = b"\x00\x01\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\
        \x28\x00\x00\x00\x0e\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x00\
        resume_object\x00\x00\x00\x8c\x00\x00\x00\x00\x00\x00\x00\
        \x28\x00\x00\x00\x0e\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x00\
        resume_offset\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00";

    const POINT: [(&str, Packed<'_>); 2] = [
        ("resume_object", Packed::Number(140)),
        ("resume_offset", Packed::Number(1 << 20)),
    ];

    #[test]
    fn lists_are_packed_as_the_kernel_packs_them() {
        assert_eq!(pack(&POINT), REAL);
        assert_eq!(with(&[], &POINT).unwrap(), REAL);
    }

    #[test]
    fn pairs_are_added_before_those_that_are_there() {
        let own = [("own", Packed::Text("text of it")), ("said", Packed::Said)];
        let both = [POINT, own].concat();
        assert_eq!(with(&pack(&own), &POINT).unwrap(), pack(&both));
        let named = |name: &str, value| (name.to_owned(), value);
        assert_eq!(
            parse(&pack(&both)).unwrap(),
            List(vec![
                named("resume_object", Value::Number(140)),
                named("resume_offset", Value::Number(1 << 20)),
                named("own", Value::Text("text of it".to_owned())),
                named("said", Value::Other),
            ])
        );
    }

    #[test]
    fn cut_off_anywhere_it_is_refused() {
        let whole = pack(&[POINT[0], ("name", Packed::Text("x"))]);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "{length}");
        }
        let mut other = whole.clone();
        other[1] = 0;
        assert_eq!(
            parse(&other).unwrap_err().to_string(),
            "a list of ZFS's own is packed in a way that is not known"
        );
    }
}
