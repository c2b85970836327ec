//! Markers: user properties that count only on the very object they were set on.
//!
//! User properties are inherited by children and snapshots and copied by send,
//! by some clones, and by people. A marker therefore begins with the guid of
//! its object; the same text on any other object means nothing.

use std::collections::BTreeMap;

use crate::survey::trial;
use crate::zfs::{Guid, PREFIX};

/// The text of a marker on the object with that guid; `None` where there is
/// none or it belongs to another object.
#[must_use]
pub fn read<'a>(marks: &'a BTreeMap<String, String>, key: &str, own: Guid) -> Option<&'a str> {
    let value = marks.get(key)?;
    let (guid, text) = value.split_once(' ').unwrap_or((value, ""));
    // As a text: `parse` also takes "+17" and "017", which nobody here wrote.
    (guid == own.to_string()).then_some(text)
}

/// The marks that hold what this program never writes: characters that are none
/// of a line of text, or on their own object no number or record where one belongs.
/// Somebody else wrote them. A record that cannot be read stops changes, and is
/// told by itself; a description may be anything.
pub fn not_understood(
    marks: &BTreeMap<String, String>,
    own: Guid,
) -> impl Iterator<Item = (&str, &str)> {
    marks
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .filter(|(key, _)| *key != "description")
        .filter(move |(key, value)| {
            let number = matches!(*key, "confirmed" | "failback" | "schema");
            let text = read(marks, key, own);
            value.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER)
                || (number && text.is_some_and(|text| text.parse::<u64>().is_err()))
                || text.is_some_and(|text| trial::is_damaged(key, text))
        })
}

/// The property names of other tools that say which boot environment something
/// is, or what state it is in: never true of a clone.
///
/// Sources: illumos `libbe_priv.h`, zsys `properties.go`, kamacite beadm.
const FOREIGN_IDENTITY: [&str; 6] = [
    "org.opensolaris.libbe:",
    "com.ubuntu.zsys:last-",
    "com.ubuntu.zsys:bootfs",
    "ca.kamacite:",
    "org.zfsbootmenu:active",
    "com.oracle.libbe:",
];

/// Whether a user property is an identity or a state and stays where it is.
#[must_use]
pub fn is_identity(property: &str) -> bool {
    property.starts_with(PREFIX)
        || FOREIGN_IDENTITY
            .iter()
            .any(|prefix| property.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_counts_only_with_its_own_guid() {
        let marks = BTreeMap::from([("pinned".to_owned(), "17 yes".to_owned())]);
        assert_eq!(read(&marks, "pinned", Guid(17)), Some("yes"));
        assert_eq!(read(&marks, "pinned", Guid(18)), None);
        assert_eq!(read(&marks, "op", Guid(17)), None);
        for other in ["+17 yes", "017 yes", "17\tyes", ""] {
            let marks = BTreeMap::from([("pinned".to_owned(), other.to_owned())]);
            assert_eq!(read(&marks, "pinned", Guid(17)), None, "{other:?}");
        }
    }

    #[test]
    fn what_this_program_never_writes_is_told_apart() {
        for (key, value, understood) in [
            ("failback", "17 123", true),
            ("failback", "17 soon", false),
            // Another object's, which means nothing here.
            ("failback", "18 soon", true),
            ("pinned", "17", true),
            ("pinned", "18 a\tb", false),
            ("op", "17 {}\n", false),
            ("confirmed", "17 \u{fffd}", false),
            ("schema", "17 one", false),
            ("trial", "17 yes", false),
            ("trial", "18 yes", true),
            // A newer program's.
            ("trial", r#"17 {"version":2}"#, true),
            ("fell-back", r#"17 {"version":1}"#, false),
            ("exclude", "perhaps", true),
            ("description", "a\tb\n", true),
        ] {
            let marks = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let found: Vec<_> = not_understood(&marks, Guid(17)).collect();
            assert_eq!(found.is_empty(), understood, "{key}={value:?}");
        }
    }
}
