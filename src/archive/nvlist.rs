//! Lists of names and values; and those that `zfs send -R` begins with: XDR (RFC 4506) as
//! libnvpair packs it (`nvpair.c`, `nvs_xdr_nvlist`).

use super::{Error, Result};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `DATA_TYPE_UINT64`.
    Number(u64),
    /// `DATA_TYPE_STRING`.
    Text(String),
    /// `DATA_TYPE_NVLIST`.
    List(List),
    /// Anything else.
    Other,
}

/// Names with their values, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List(pub Vec<(String, Value)>);

impl List {
    /// What a name stands for.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let mut pairs = self.0.iter();
        pairs
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    }

    /// The text of that name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The list of that name.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<&Self> {
        match self.get(name)? {
            Value::List(list) => Some(list),
            _ => None,
        }
    }
}

/// How deep lists may lie in lists; those of a stream are four deep.
const MAX_DEPTH: u32 = 16;

const UINT64: u32 = 8;
const STRING: u32 = 9;
const NVLIST: u32 = 19;

/// `NV_ENCODE_XDR`.
const XDR: u8 = 1;

struct Cursor<'a>(&'a [u8]);

fn short() -> Error {
    Error::damaged("the list at the beginning of the stream is cut off")
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?.first_chunk().ok_or_else(short)?;
        Ok(u32::from_be_bytes(*bytes))
    }

    fn length(&mut self) -> Result<usize> {
        usize::try_from(self.u32()?).map_err(|_| short())
    }

    fn text(&mut self) -> Result<String> {
        let length = self.length()?;
        let padded = length.checked_next_multiple_of(4).ok_or_else(short)?;
        let bytes = self.take(padded)?.get(..length).unwrap_or_default();
        let text = String::from_utf8(bytes.to_vec());
        text.map_err(|_| Error::refused("the list at the beginning of the stream is not text"))
    }
}

/// Reads a packed list.
///
/// # Errors
/// Where it is none.
pub fn parse(bytes: &[u8]) -> Result<List> {
    let mut cursor = Cursor(bytes);
    let head = cursor.take(4)?;
    if head.first() != Some(&XDR) {
        return Err(Error::refused(
            "the list at the beginning of the stream is packed in a way that is not known",
        ));
    }
    list(&mut cursor, 0)
}

fn list(cursor: &mut Cursor<'_>, depth: u32) -> Result<List> {
    if depth > MAX_DEPTH {
        return Err(Error::refused(
            "the list at the beginning of the stream is too deep",
        ));
    }
    // The version and the flags.
    cursor.take(8)?;
    let mut pairs = Vec::new();
    loop {
        let encoded = cursor.length()?;
        let decoded = cursor.u32()?;
        if encoded == 0 && decoded == 0 {
            return Ok(List(pairs));
        }
        let mut pair = Cursor(cursor.take(encoded.checked_sub(8).ok_or_else(short)?)?);
        let name = pair.text()?;
        let kind = pair.u32()?;
        pair.u32()?;
        let value = match kind {
            UINT64 => {
                let bytes = pair.take(8)?.first_chunk().ok_or_else(short)?;
                Value::Number(u64::from_be_bytes(*bytes))
            }
            STRING => Value::Text(pair.text()?),
            NVLIST => Value::List(list(&mut pair, depth + 1)?),
            _ => Value::Other,
        };
        pairs.push((name, value));
    }
}
