//! What fields a record has, and how one field is made of both sides'.

use super::{Format, lock};

/// What is in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the record is known by.
    Key,
    /// Anything.
    Plain,
    /// A hash, perhaps locked.
    Password,
    /// When the password was changed last, in days since 1970.
    Changed,
    /// When the account ends, in days since 1970.
    Expiry,
    /// Names with commas between them.
    List,
}

/// A field.
pub(super) type Field = (&'static str, Kind);

impl Format {
    /// The fields of a record.
    pub(super) fn fields(self) -> &'static [Field] {
        match self {
            Self::Passwd => &[
                ("name", Kind::Key),
                ("password", Kind::Password),
                ("uid", Kind::Plain),
                ("gid", Kind::Plain),
                ("comment", Kind::Plain),
                ("home directory", Kind::Plain),
                ("shell", Kind::Plain),
            ],
            Self::Shadow => &[
                ("name", Kind::Key),
                ("password", Kind::Password),
                ("date of the last password change", Kind::Changed),
                ("minimum password age", Kind::Plain),
                ("maximum password age", Kind::Plain),
                ("password warning period", Kind::Plain),
                ("password inactivity period", Kind::Plain),
                ("account expiration date", Kind::Expiry),
                ("reserved field", Kind::Plain),
            ],
            Self::Group => &[
                ("name", Kind::Key),
                ("password", Kind::Password),
                ("gid", Kind::Plain),
                ("list of members", Kind::List),
            ],
            Self::Gshadow => &[
                ("name", Kind::Key),
                ("password", Kind::Password),
                ("list of administrators", Kind::List),
                ("list of members", Kind::List),
            ],
            Self::Subuid | Self::Subgid => &[
                ("name", Kind::Key),
                ("first number", Kind::Key),
                ("count", Kind::Plain),
            ],
        }
    }
}

/// One field on the four sides; a base is `None` where the record was not there.
#[derive(Clone, Copy)]
pub(super) struct Four<'a> {
    pub base_source: Option<&'a [u8]>,
    pub source: &'a [u8],
    pub base_target: Option<&'a [u8]>,
    pub target: &'a [u8],
}

/// What the target's field becomes; `None` for a conflict.
pub(super) fn merge(kind: Kind, four: &Four<'_>) -> Option<Vec<u8>> {
    if four.source == four.target || four.base_source == Some(four.source) {
        return Some(four.target.to_vec());
    }
    let unchanged = four.base_target == Some(four.target);
    if unchanged && four.base_source == four.base_target {
        return Some(four.source.to_vec());
    }
    if kind == Kind::List {
        return list(four);
    }
    if kind == Kind::Password
        && let Some(base_source) = four.base_source
        && let Some(base_target) = four.base_target
    {
        return lock::merge(base_source, four.source, base_target, four.target);
    }
    // A record that one side just made says nothing about what the other one's has to be.
    if four.base_source.is_some() && unchanged {
        return Some(four.source.to_vec());
    }
    match kind {
        Kind::Changed => later(four.source, four.target),
        Kind::Expiry => [four.source, four.target]
            .into_iter()
            .find(|date| lock::ends(date))
            .map(<[u8]>::to_vec),
        _ => None,
    }
}

/// Both passwords were changed; if that goes together, the later day is when. Day 0 is
/// none: it says that the password has to be changed (shadow(5)).
fn later(source: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let day = |field: &[u8]| {
        let text = std::str::from_utf8(field).ok()?;
        text.parse::<u32>().ok().filter(|day| *day > 0)
    };
    let later = if day(source)? > day(target)? {
        source
    } else {
        target
    };
    Some(later.to_vec())
}

fn elements(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field
        .split(|byte| *byte == b',')
        .filter(|name| !name.is_empty())
}

/// The target's names without those the source removed, with those it added behind. `None`
/// where the source added what the target removed.
fn list(four: &Four<'_>) -> Option<Vec<u8>> {
    use std::collections::HashSet;
    let set =
        |field: &'_ [u8]| -> HashSet<Vec<u8>> { elements(field).map(<[u8]>::to_vec).collect() };
    let before = set(four.base_source.unwrap_or_default());
    let source = set(four.source);
    let target = set(four.target);
    let mut added: Vec<&[u8]> = Vec::new();
    let mut seen = HashSet::new();
    for name in elements(four.source) {
        if !before.contains(name) && !target.contains(name) && seen.insert(name) {
            added.push(name);
        }
    }
    let removed = |name: &[u8]| before.contains(name) && !source.contains(name);
    if added.is_empty() && !elements(four.target).any(removed) {
        return Some(four.target.to_vec());
    }
    let known = set(four.base_target.unwrap_or_default());
    if added.iter().any(|name| known.contains(*name)) {
        return None;
    }
    let kept = elements(four.target).filter(|name| !removed(name));
    Some(kept.chain(added).collect::<Vec<_>>().join(&b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(kind: Kind, four: [&str; 4]) -> Option<String> {
        let [base_source, source, base_target, target] = four.map(str::as_bytes);
        let four = Four {
            base_source: Some(base_source),
            source,
            base_target: Some(base_target),
            target,
        };
        merge(kind, &four).map(|field| String::from_utf8(field).unwrap())
    }

    #[test]
    fn members_that_either_side_added_are_there_and_those_it_removed_are_not() {
        for (four, result) in [
            (["a,b", "a,b,c", "a,b", "b,d"], Some("b,d,c")),
            (["a,b", "b", "a,b", "a,b,c"], Some("b,c")),
            (["", "x,x", "", "y"], Some("y,x")),
            (["a", "", "a", "a"], Some("")),
            // Nothing to do leaves even an odd list as it is.
            (["a,b", "a", "a,b", ",a,,a"], Some(",a,,a")),
            // The target removed whom the source added.
            (["", "a", "a", ""], None),
        ] {
            assert_eq!(merged(Kind::List, four).as_deref(), result, "{four:?}");
        }
    }

    #[test]
    fn the_later_day_of_a_password_change_holds_and_an_end_of_the_account() {
        for (kind, four, result) in [
            (Kind::Changed, ["1", "3", "1", "2"], Some("3")),
            (Kind::Changed, ["1", "2", "1", "20"], Some("20")),
            (Kind::Changed, ["1", "0", "1", "20"], None),
            (Kind::Changed, ["1", "", "1", "20"], None),
            (Kind::Expiry, ["", "1", "", "20000"], Some("1")),
            (Kind::Expiry, ["", "20000", "", "0"], Some("0")),
            (Kind::Expiry, ["", "20000", "", "30000"], None),
            (Kind::Expiry, ["1", "", "1", "1"], Some("")),
        ] {
            assert_eq!(merged(kind, four).as_deref(), result, "{four:?}");
        }
    }
}
