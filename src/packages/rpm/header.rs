//! An rpm header as the database keeps it: an index of tags and the values
//! they point to, big-endian (rpm's `docs/manual/hregions.md`).

use super::Package;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCHITECTURE: u32 = 1022;

/// `RPM_INT32_TYPE`.
const INT32: u32 = 4;

/// `RPM_STRING_TYPE`.
const STRING: u32 = 6;

/// Why a header is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends before it should.
    #[error("a header is cut short")]
    Short,
    /// A package without it is none.
    #[error("a header has no {0}")]
    Missing(&'static str),
}

fn number(bytes: &[u8], at: usize) -> Result<u32, Error> {
    let field = bytes
        .get(at..at.saturating_add(4))
        .and_then(|field| field.try_into().ok())
        .ok_or(Error::Short)?;
    Ok(u32::from_be_bytes(field))
}

fn index(bytes: &[u8], at: usize) -> Result<usize, Error> {
    usize::try_from(number(bytes, at)?).map_err(|_| Error::Short)
}

/// The package a header describes.
///
/// # Errors
/// Where it is cut short, or has no name, version or release.
pub fn parse(blob: &[u8]) -> Result<Package, Error> {
    let entries = index(blob, 0)?;
    let length = index(blob, 4)?;
    let begin = entries
        .checked_mul(16)
        .and_then(|size| size.checked_add(8))
        .ok_or(Error::Short)?;
    let end = begin.checked_add(length).ok_or(Error::Short)?;
    let data = blob.get(begin..end).ok_or(Error::Short)?;
    let find = |tag: u32, kind: u32| -> Result<Option<&[u8]>, Error> {
        for entry in 0..entries {
            let at = 8 + entry * 16;
            if number(blob, at)? == tag && number(blob, at + 4)? == kind {
                return data
                    .get(index(blob, at + 8)?..)
                    .map(Some)
                    .ok_or(Error::Short);
            }
        }
        Ok(None)
    };
    let text = |tag| -> Result<Option<String>, Error> {
        Ok(find(tag, STRING)?.map(|value| {
            let end = value.iter().position(|byte| *byte == 0);
            let value = value.get(..end.unwrap_or(value.len())).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        }))
    };
    let version = text(VERSION)?.ok_or(Error::Missing("version"))?;
    let release = text(RELEASE)?.ok_or(Error::Missing("release"))?;
    let epoch = match find(EPOCH, INT32)? {
        Some(value) => format!("{}:", number(value, 0)?),
        None => String::new(),
    };
    Ok(Package {
        name: text(NAME)?.ok_or(Error::Missing("name"))?,
        architecture: text(ARCHITECTURE)?.unwrap_or_default(),
        version: format!("{epoch}{version}-{release}"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_without_a_name_is_refused_by_name() {
        let mut blob = Vec::new();
        for word in [2_u32, 4, VERSION, STRING, 0, 1, RELEASE, STRING, 2, 1] {
            blob.extend(word.to_be_bytes());
        }
        blob.extend(b"1\x002\x00");
        assert_eq!(parse(&blob), Err(Error::Missing("name")));
        blob[8..12].copy_from_slice(&NAME.to_be_bytes());
        assert_eq!(parse(&blob), Err(Error::Missing("version")));
        assert_eq!(parse(&blob[..20]), Err(Error::Short));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(blob in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&blob);
        }
    }
}
