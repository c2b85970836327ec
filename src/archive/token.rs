//! What `zfs receive -s` leaves of a stream that broke off, as the property
//! `receive_resume_token` says it (`get_receive_resume_token_impl` in OpenZFS's
//! `dsl_dataset.c`): `1-CHECKSUM-LENGTH-LIST`, the list packed, deflated by zlib, in
//! hexadecimal.

use std::io::Read as _;

use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};

use super::fletcher::Fletcher4;
use super::native::{self, Packed};
use super::nvlist::{List, Value};
use super::record::hexadecimal;
use super::{Error, Result};
use crate::zfs::{Guid, SnapshotName};

/// `ZFS_SEND_RESUME_TOKEN_VERSION`.
const VERSION: &str = "1";

/// The longest list; one has a name and ten numbers.
const MAX_LIST: usize = 64 << 10;

/// How far a stream has been received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The snapshot it is of.
    pub name: SnapshotName,
    /// Its guid.
    pub guid: Guid,
    /// The guid of the snapshot it is the difference to.
    pub base: Option<Guid>,
    /// The object that was received last.
    pub object: u64,
    /// Where in it the last block begins that was received, which is sent again.
    pub offset: u64,
    /// Bytes of the stream until there.
    pub bytes: u64,
    /// The stream has blocks above 128 KiB (`largeblockok`).
    pub large: bool,
    /// It has embedded blocks (`embedok`).
    pub embedded: bool,
    /// Its blocks are compressed (`compressok`).
    pub compressed: bool,
    /// It is as it lay on disk, encrypted (`rawok`).
    pub raw: bool,
    /// Something was left out of it on purpose (zfs-redact(8)).
    pub redacted: bool,
}

impl Token {
    /// Reads one.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::damaged(format!("the token of what was received {why}"));
        let mut parts = text.split('-');
        let (Some(VERSION), Some(checksum), Some(length), Some(packed), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(wrong("is of a form that is not known"));
        };
        let packed = bytes(packed).ok_or_else(|| wrong("is not in hexadecimal"))?;
        // `fletcher_4_native_varsize`: of whole words.
        let mut sum = Fletcher4::default();
        sum.push(&packed);
        if u64::from_str_radix(checksum, 16) != Ok(sum.sums()[0]) {
            return Err(wrong("has another checksum than it says"));
        }
        let length = usize::from_str_radix(length, 16).ok();
        let length = length.filter(|length| *length <= MAX_LIST);
        let length = length.ok_or_else(|| wrong("says it is longer than any"))?;
        let mut list = Vec::new();
        ZlibDecoder::new(packed.as_slice())
            .take(length as u64 + 1)
            .read_to_end(&mut list)
            .map_err(|error| wrong(&format!("does not unpack: {error}")))?;
        if list.len() != length {
            return Err(wrong("has another length than it says"));
        }
        Self::of(&native::parse(&list)?).ok_or_else(|| wrong("does not say enough"))
    }

    fn of(list: &List) -> Option<Self> {
        let number = |name| match list.get(name)? {
            Value::Number(number) => Some(*number),
            _ => None,
        };
        let said = |name| list.get(name).is_some();
        Some(Self {
            name: list.text("toname")?.parse().ok()?,
            guid: Guid(number("toguid")?),
            base: number("fromguid").filter(|guid| *guid != 0).map(Guid),
            object: number("object")?,
            offset: number("offset")?,
            bytes: number("bytes")?,
            large: said("largeblockok"),
            embedded: said("embedok"),
            compressed: said("compressok"),
            raw: said("rawok"),
            redacted: said("redact_snaps") || said("book_redact_snaps"),
        })
    }

    /// As the simulated machine says it, in the kernel's order. Of one that is redacted
    /// there is none.
    #[must_use]
    pub fn text(&self) -> String {
        let mut pairs = Vec::new();
        if let Some(base) = self.base {
            pairs.push(("fromguid", Packed::Number(base.0)));
        }
        pairs.extend([
            ("object", Packed::Number(self.object)),
            ("offset", Packed::Number(self.offset)),
            ("bytes", Packed::Number(self.bytes)),
            ("toguid", Packed::Number(self.guid.0)),
            ("toname", Packed::Text(self.name.as_str())),
        ]);
        let flags = [
            (self.large, "largeblockok"),
            (self.embedded, "embedok"),
            (self.compressed, "compressok"),
            (self.raw, "rawok"),
        ];
        let flags = flags.iter().filter(|(said, _)| *said);
        pairs.extend(flags.map(|(_, name)| (*name, Packed::Said)));
        let list = native::pack(&pairs);
        let mut packed = Vec::new();
        // What is read from memory and written there has no errors.
        let _ = ZlibEncoder::new(list.as_slice(), Compression::new(6)).read_to_end(&mut packed);
        let mut sum = Fletcher4::default();
        sum.push(&packed);
        format!(
            "{VERSION}-{:x}-{:x}-{}",
            sum.sums()[0],
            list.len(),
            hexadecimal(&packed)
        )
    }
}

/// Bytes of hexadecimal digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().as_chunks::<2>().0.iter();
    pairs
        .map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Token;
    use crate::zfs::Guid;

    /// Of a receive that broke off on OpenZFS 2.3.
    const REAL: &str = "1-a8abfedde-b8-789c636064000310a500c4ec50360710e72765a52697303030419460caa7a515a796806474e0f26c48f2499525a9c520b69a1e56fd25f9e9a599290c0cfabf63bbf45789f06b20c97382e5f31273538174625eb67e467e6eaa435a694e0ec42d00ba8d1640";

    #[test]
    fn a_real_one_is_read() {
        let token = Token::parse(REAL).unwrap();
        assert_eq!(
            token,
            Token {
                name: "tank/home@full".parse().unwrap(),
                guid: Guid(1_086_680_531_264_731_951),
                base: None,
                object: 2,
                offset: 2_883_584,
                bytes: 3_024_392,
                large: false,
                embedded: false,
                compressed: false,
                raw: false,
                redacted: false,
            }
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let token = Token {
            name: "p/ROOT/x@s".parse().unwrap(),
            guid: Guid(u64::MAX),
            base: Some(Guid(3)),
            object: 128,
            offset: 1 << 40,
            bytes: 12345,
            large: true,
            embedded: true,
            compressed: true,
            raw: true,
            redacted: false,
        };
        assert_eq!(Token::parse(&token.text()).unwrap(), token);
    }

    #[test]
    fn what_is_none_is_refused_and_says_why() {
        let (head, tail) = REAL.rsplit_once('-').unwrap();
        for (text, why) in [
            (String::new(), "is of a form that is not known"),
            ("-".to_owned(), "is of a form that is not known"),
            ("1-0-0".to_owned(), "is of a form that is not known"),
            (REAL.replacen('1', "2", 1), "is of a form that is not known"),
            (format!("{REAL}-"), "is of a form that is not known"),
            ("1-0-0-0".to_owned(), "is not in hexadecimal"),
            ("1-0-0-zz".to_owned(), "is not in hexadecimal"),
            ("1-0-0-éé".to_owned(), "is not in hexadecimal"),
            (
                format!("{head}-{}", &tail[2..]),
                "has another checksum than it says",
            ),
            (
                REAL.replacen("a8", "a9", 1),
                "has another checksum than it says",
            ),
            (
                REAL.replacen("-b8-", "-b7-", 1),
                "has another length than it says",
            ),
            (
                REAL.replacen("-b8-", "-b9-", 1),
                "has another length than it says",
            ),
            (
                REAL.replacen("-b8-", "-fffffff-", 1),
                "says it is longer than any",
            ),
            (
                "1-0-0-".to_owned(),
                "does not unpack: incomplete deflate stream",
            ),
        ] {
            let error = Token::parse(&text).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("it is damaged: the token of what was received {why}"),
                "{text}"
            );
        }
    }
}
