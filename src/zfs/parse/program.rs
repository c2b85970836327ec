//! `zfs program -j`: what the channel programs of the engine return.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ParseError, fail};
use crate::zfs::{DatasetName, Property, SnapshotName, Source};

#[derive(Deserialize)]
struct Returned<T> {
    #[serde(rename = "return")]
    value: T,
}

/// The value a channel program returned.
fn returned<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, ParseError> {
    serde_json::from_str(text)
        .map(|returned: Returned<T>| returned.value)
        .map_err(|error| fail(1, error, text))
}

/// Reads what `user_properties.lua` returns.
///
/// # Errors
/// Where it is not of that shape, or a value is not UTF-8.
pub fn user_properties(text: &str) -> Result<BTreeMap<DatasetName, Vec<Property>>, ParseError> {
    let value: BTreeMap<DatasetName, BTreeMap<String, String>> = returned(text)?;
    value
        .into_iter()
        .map(|(dataset, properties)| {
            let properties = properties
                .into_iter()
                .map(|(name, encoded)| {
                    user_property(&name, &encoded)
                        .map_err(|why| fail(1, format!("{name} of {dataset} {why}"), &encoded))
                })
                .collect::<Result<_, _>>()?;
            Ok((dataset, properties))
        })
        .collect()
}

fn user_property(name: &str, encoded: &str) -> Result<Property, &'static str> {
    let broken = "is not written as a letter and hexadecimal digits";
    let (source, digits) = match (encoded.strip_prefix('l'), encoded.strip_prefix('r')) {
        (Some(digits), _) => (Source::Local, digits),
        (_, Some(digits)) => (Source::Received, digits),
        _ => return Err(broken),
    };
    let bytes = hexadecimal(digits).ok_or(broken)?;
    Ok(Property {
        name: name.to_owned(),
        source,
        value: String::from_utf8(bytes).map_err(|_| "is not UTF-8 text")?,
    })
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}

/// `%02x` writes small letters.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Reads what `clones.lua` returns.
///
/// # Errors
/// Where it is not of that shape.
pub fn clones(text: &str) -> Result<BTreeMap<SnapshotName, Vec<DatasetName>>, ParseError> {
    let value: BTreeMap<SnapshotName, BTreeMap<DatasetName, bool>> = returned(text)?;
    Ok(value
        .into_iter()
        .map(|(snapshot, clones)| (snapshot, clones.into_keys().collect()))
        .collect())
}

/// Reads what `marks.lua` returns: by object, its marks by key. What is no
/// UTF-8 in a value is replaced by U+FFFD.
///
/// # Errors
/// Where it is not of that shape.
pub fn marks(text: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>, ParseError> {
    let value: BTreeMap<String, BTreeMap<String, String>> = returned(text)?;
    value
        .into_iter()
        .map(|(object, marks)| {
            let marks = marks
                .into_iter()
                .map(|(key, encoded)| {
                    let bytes = hexadecimal(&encoded).ok_or_else(|| {
                        let why = format!("{key} of {object} is not written in hexadecimal");
                        fail(1, why, &encoded)
                    })?;
                    Ok((key, String::from_utf8_lossy(&bytes).into_owned()))
                })
                .collect::<Result<_, _>>()?;
            Ok((object, marks))
        })
        .collect()
}

/// What `program.lua` returns.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Outcome {
    /// The operation that failed, counted from 1; 0 where none did.
    pub failed: usize,
    /// Why it failed: an errno.
    pub errno: i32,
    /// The same in words, or the names of what is in the way; may be empty.
    pub why: String,
    /// How many operations were done.
    pub done: usize,
}

/// Reads what `program.lua` returns.
///
/// # Errors
/// Where it is not of that shape.
pub fn outcome(text: &str) -> Result<Outcome, ParseError> {
    returned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_properties_are_read_byte_for_byte() {
        let text = r#"{"return":{"p/a":{"a:b":"l7809790af09f9a80"},"p/a/b":{}}}"#;
        let read = user_properties(text).unwrap();
        let property = &read[&"p/a".parse().unwrap()][0];
        assert_eq!(property.value, "x\ty\n\u{1f680}");
        assert_eq!(property.source, Source::Local);
    }

    #[test]
    fn marks_are_read_byte_for_byte() {
        let text = r#"{"return":{"p/a@s":{"op":"31370978","pinned":"31ff"},"p/a":{}}}"#;
        let read = marks(text).unwrap();
        assert_eq!(read["p/a@s"]["op"], "17\tx");
        assert_eq!(read["p/a@s"]["pinned"], "1\u{fffd}");
        assert!(read["p/a"].is_empty());
        for encoded in ["1", "zz", "7A"] {
            let text = format!(r#"{{"return":{{"p/a":{{"op":"{encoded}"}}}}}}"#);
            let why = "op of p/a is not written in hexadecimal";
            assert_eq!(marks(&text).unwrap_err().why, why, "{encoded}");
        }
    }

    #[test]
    fn what_is_not_hexadecimal_is_an_error_and_no_other_value() {
        for (encoded, why) in [
            (
                "lzz",
                "a:b of p/a is not written as a letter and hexadecimal digits",
            ),
            (
                "l7",
                "a:b of p/a is not written as a letter and hexadecimal digits",
            ),
            (
                "l+7",
                "a:b of p/a is not written as a letter and hexadecimal digits",
            ),
            (
                "l7A",
                "a:b of p/a is not written as a letter and hexadecimal digits",
            ),
            (
                "",
                "a:b of p/a is not written as a letter and hexadecimal digits",
            ),
            (
                "x78",
                "a:b of p/a is not written as a letter and hexadecimal digits",
            ),
            ("lff", "a:b of p/a is not UTF-8 text"),
        ] {
            let text = format!(r#"{{"return":{{"p/a":{{"a:b":"{encoded}"}}}}}}"#);
            assert_eq!(user_properties(&text).unwrap_err().why, why, "{encoded:?}");
        }
        for text in [
            "",
            "{}",
            r#"{"return":{"p/a":[]}}"#,
            r#"{"return":{"p//a":{}}}"#,
        ] {
            assert!(user_properties(text).is_err(), "{text:?}");
        }
    }
}
