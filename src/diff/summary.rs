//! Changes of files counted by the directory they are in, and paths as they are
//! printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::walk::{Change, Kind};

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Only on the second side.
    pub added: u64,
    /// Only on the first side.
    pub removed: u64,
    /// On both and different.
    pub changed: u64,
}

impl Counts {
    fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Added => self.added += 1,
            Kind::Removed => self.removed += 1,
            Kind::Changed => self.changed += 1,
        }
    }
}

/// All changes counted.
#[must_use]
pub fn total(changes: &[Change]) -> Counts {
    let mut counts = Counts::default();
    for change in changes {
        counts.count(change.change);
    }
    counts
}

/// Changes counted by top directory; what lies in `/` itself counts there.
#[must_use]
pub fn by_directory(changes: &[Change]) -> BTreeMap<String, Counts> {
    let mut directories: BTreeMap<String, Counts> = BTreeMap::new();
    for change in changes {
        let mut components = change.path.split(|byte| *byte == b'/');
        let first = components.next().unwrap_or_default();
        let top = match components.next() {
            Some(_) => format!("/{}", escaped(first)),
            None if change.is_directory() && !first.is_empty() => format!("/{}", escaped(first)),
            None => "/".to_owned(),
        };
        directories.entry(top).or_default().count(change.change);
    }
    directories
}

/// A path in one line of UTF-8: control characters, backslashes and bytes that
/// are not UTF-8 as `\` and three octal digits, as in mountinfo.
#[must_use]
pub fn escaped(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    let _ = write!(text, "\\{byte:03o}");
                }
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\{byte:03o}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_line_of_utf8_and_tell_each_other_apart() {
        for (path, text) in [
            (&b"etc/a b"[..], "etc/a b"),
            (b"a\tb\nc\\d", "a\\011b\\012c\\134d"),
            ("ü".as_bytes(), "ü"),
            (b"\xff\xc3", "\\377\\303"),
            ("\u{85}".as_bytes(), "\\302\\205"),
        ] {
            assert_eq!(escaped(path), text);
        }
    }
}
