//! Readers of what `zfs` and `zpool` print with `-Hp`: pure, total functions.
//!
//! Tab-separated text and not JSON, on every release: OpenZFS before 2.3,
//! illumos and FreeBSD 13 have no JSON; where there is, characters beyond the
//! Basic Multilingual Plane are missing from it, and in a wrong locale it is
//! cut short with exit status 0.
//!
//! No release escapes anything in this text (`print_dataset` and
//! `zprop_print_one_property` print a value as it is), so a value may hold tabs,
//! newlines, and lines made to look like records. Each record therefore ends
//! with a column it began with: what does not begin and end alike is an error
//! and never another answer.
//!
//! - [`pools`], [`tree`], [`properties`], [`settable`]: the listings
//! - [`user_properties`], [`clones`], [`marks`], [`outcome`]: what channel programs
//!   return
//! - [`holds`], [`send_size`]: about one snapshot
//! - [`used_by`]: what datasets' space is for
//! - [`changes`]: what is different since a snapshot

mod changes;
mod pools;
mod program;
mod properties;
mod snapshot;
mod space;
mod tree;

pub use self::changes::changes;
pub use self::pools::{POOL_COLUMNS, active_features, data_errors, pools, usable_features};
pub use self::program::{Outcome, clones, marks, outcome, user_properties};
pub use self::properties::{PROPERTY_COLUMNS, effective, properties, settable};
pub use self::snapshot::{holds, send_size};
pub use self::space::{USED_BY_COLUMNS, used_by};
pub use self::tree::{Listing, MARKS, OPTIONAL_COLUMNS, tree, tree_columns, unknown_column};

/// What could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of its output is not understood ({why}): {text:?}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// What was missing.
    pub why: String,
    /// The line, at most 200 characters of it.
    pub text: String,
}

fn fail(line: usize, why: impl ToString, text: &str) -> ParseError {
    ParseError {
        line,
        why: why.to_string(),
        text: text.chars().take(200).collect(),
    }
}

/// A whole number as ZFS prints it: digits and nothing else (`str::parse` also
/// takes a `+`).
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// A record: the number of its first line, and its text without the last newline.
type Record<'a> = (usize, &'a str);

/// Gathers the lines of records whose values hold newlines. `end` says of the
/// first line of a record how its last one ends, and nothing of another line.
///
/// A value with a line in it that looks like a first one is refused: whether
/// such a line is part of a value or a record cannot be known, and whoever may
/// set a property could else add records, or hide those that follow.
fn records(
    text: &str,
    end: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Record<'_>>, ParseError> {
    let mut records: Vec<Record<'_>> = Vec::new();
    let body = text.strip_suffix('\n').unwrap_or(text);
    if text.is_empty() {
        return Ok(records);
    }
    // Of the last record: where it begins, and how it ends.
    let mut last: Option<(usize, String)> = None;
    let mut at = 0;
    for (index, line) in body.split('\n').enumerate() {
        let after = at + line.len();
        let closed = match (&last, records.last()) {
            (Some((_, end)), Some((_, record))) => record.ends_with(end.as_str()),
            _ => true,
        };
        match (end(line), &last, records.last_mut()) {
            (Some(end), _, _) if closed => {
                records.push((index + 1, line));
                last = Some((at, end));
            }
            (Some(_), _, Some((first, record))) => {
                let why = "it does not end as it began before a line that looks like another one";
                return Err(fail(*first, why, record));
            }
            (None, Some((begin, _)), Some((_, record))) => {
                *record = body.get(*begin..after).unwrap_or_default();
            }
            _ => return Err(fail(index + 1, "a name expected", line)),
        }
        at = after + 1;
    }
    match (&last, records.last()) {
        (Some((_, end)), Some((first, record))) if !record.ends_with(end.as_str()) => {
            Err(fail(*first, "it does not end as it began", record))
        }
        _ => Ok(records),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_only_and_fits_64_bits() {
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        for text in [
            "18446744073709551616",
            "+1",
            "-1",
            "",
            " 1",
            "1 ",
            "1.0",
            "٣",
        ] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn rubbish_is_an_error_and_never_an_empty_list() {
        for text in ["rubbish\n", "a\tb\n", "{\"datasets\":{}}\n", "\n\n", "\n"] {
            assert!(tree(text, &[]).is_err(), "{text:?}");
            assert!(pools(text).is_err(), "{text:?}");
            assert!(properties(text).is_err(), "{text:?}");
        }
        assert_eq!(tree("", &[]).unwrap(), Listing::default());
        assert!(properties("").unwrap().is_empty());
        assert!(pools("").unwrap().is_empty());
    }
}
