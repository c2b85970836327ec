//! The order in which systemd-boot shows entries, the first of which boots:
//! its `boot_entry_compare` and `config_select_default_entry`, and the order of
//! versions of the UAPI version format specification
//! (<https://uapi-group.org/specifications/specs/version_format_specification/>).

use std::cmp::Ordering;

use super::entry::Entry;

/// Compares two versions: `strverscmp_improved` of systemd.
pub(super) fn versions(one: &str, other: &str) -> Ordering {
    let valid = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '~' | '^');
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let (mut one, mut other) = (one.as_slice(), other.as_slice());
    fn drop_while(mut text: &[char], drop: impl Fn(&char) -> bool) -> &[char] {
        while let Some((first, rest)) = text.split_first() {
            if !drop(first) {
                break;
            }
            text = rest;
        }
        text
    }
    fn begun(text: &[char], is: impl Fn(&char) -> bool) -> (&[char], &[char]) {
        let end = text.iter().position(|c| !is(c)).unwrap_or(text.len());
        text.split_at_checked(end).unwrap_or((text, &[]))
    }
    loop {
        one = drop_while(one, |c| !valid(c));
        other = drop_while(other, |c| !valid(c));
        // What is in the one and not the other decides; in both it is passed.
        let mut decided = Ordering::Equal;
        for separator in ['~', '\0', '-', '^', '.'] {
            if separator == '\0' {
                if one.is_empty() || other.is_empty() {
                    return one.is_empty().cmp(&other.is_empty()).reverse();
                }
                continue;
            }
            let has = |text: &[char]| text.first() == Some(&separator);
            let (ours, theirs) = (has(one), has(other));
            decided = theirs.cmp(&ours);
            if decided.is_ne() {
                break;
            }
            if ours {
                one = one.get(1..).unwrap_or_default();
                other = other.get(1..).unwrap_or_default();
            }
        }
        if decided.is_ne() {
            return decided;
        }
        let is_digit = |text: &[char]| text.first().is_some_and(char::is_ascii_digit);
        let order = if is_digit(one) || is_digit(other) {
            // A number is newer than letters, and than none.
            let has = is_digit(one).cmp(&is_digit(other));
            let (ours, after) = begun(drop_while(one, |c| *c == '0'), char::is_ascii_digit);
            let (theirs, behind) = begun(drop_while(other, |c| *c == '0'), char::is_ascii_digit);
            (one, other) = (after, behind);
            has.then(ours.len().cmp(&theirs.len()))
                .then_with(|| ours.cmp(theirs))
        } else {
            let (ours, after) = begun(one, char::is_ascii_alphabetic);
            let (theirs, behind) = begun(other, char::is_ascii_alphabetic);
            (one, other) = (after, behind);
            ours.cmp(theirs)
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Which of two entries comes first.
pub(super) fn entries(one: &Entry, other: &Entry) -> Ordering {
    let folded = |entry: &Entry| entry.file.to_ascii_lowercase();
    let (ours, theirs) = (one.value("sort-key"), other.value("sort-key"));
    let version = |entry: &Entry| entry.value("version").unwrap_or_default().to_owned();
    let by_key = || match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours
            .cmp(theirs)
            .then_with(|| one.value("machine-id").cmp(&other.value("machine-id")))
            .then_with(|| versions(&version(other), &version(one))),
        _ => Ordering::Equal,
    };
    one.is_exhausted()
        .cmp(&other.is_exhausted())
        .then_with(|| ours.is_none().cmp(&theirs.is_none()))
        .then_with(by_key)
        .then_with(|| versions(&folded(other), &folded(one)))
}

/// Whether a name is like a pattern: `*`, `?`, `[a-z]`, and a backslash before
/// what is meant as it is.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_ascii_lowercase().chars().collect();
    let name: Vec<char> = name.to_ascii_lowercase().chars().collect();
    // What is left of the pattern after a star, and of the name where it began.
    let mut star: Option<(usize, usize)> = None;
    let (mut at, mut on) = (0, 0);
    while on < name.len() {
        let step = match (pattern.get(at), name.get(on)) {
            (Some('*'), _) => {
                star = Some((at + 1, on));
                at += 1;
                continue;
            }
            (Some('?'), Some(_)) => Some(1),
            (Some('\\'), Some(c)) => (pattern.get(at + 1) == Some(c)).then_some(2),
            (Some('['), Some(c)) => class(pattern.get(at + 1..).unwrap_or_default(), *c),
            (Some(is), Some(c)) => (is == c).then_some(1),
            _ => None,
        };
        match (step, star) {
            (Some(step), _) => {
                at += step;
                on += 1;
            }
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                at = after;
                on = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern
        .get(at..)
        .unwrap_or_default()
        .iter()
        .all(|c| *c == '*')
}

/// How long a class is, with its brackets, that has this character in it.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let end = pattern.iter().skip(1).position(|c| *c == ']')? + 1;
    let mut inside = pattern.get(..end)?;
    let mut has = false;
    while let Some((first, rest)) = inside.split_first() {
        inside = match rest {
            ['-', last, rest @ ..] => {
                has |= (*first..=*last).contains(&c);
                rest
            }
            _ => {
                has |= *first == c;
                rest
            }
        };
    }
    has.then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_as_the_specification_has_them() {
        // From the examples of the specification.
        let sorted = [
            "~1",
            "",
            "ab",
            "abb",
            "abc",
            "0001",
            "002",
            "12",
            "122",
            "122.9",
            "123~rc1",
            "123",
            "123-a",
            "123-a.1",
            "123-a1",
            "123-a1.1",
            "123-3",
            "123-3.1",
            "123^patch1",
            "123^1",
            "123.a-1",
            "123.1-1",
            "123a-1",
            "124",
        ];
        for (index, low) in sorted.iter().enumerate() {
            for high in sorted.iter().skip(index + 1) {
                assert_eq!(versions(low, high), Ordering::Less, "{low} {high}");
                assert_eq!(versions(high, low), Ordering::Greater, "{high} {low}");
            }
        }
        assert_eq!(versions("123.45", "123_45"), Ordering::Less);
        assert_eq!(versions("01", "1"), Ordering::Equal);
        assert_eq!(versions("10", "9"), Ordering::Greater);
        assert_eq!(versions("0", "a"), Ordering::Greater);
    }

    fn entry(file: &str, text: &str) -> Entry {
        Entry::parse(file, true, text).unwrap()
    }

    #[test]
    fn entries_are_ordered_as_systemd_boot_orders_them() {
        let sorted = [
            entry("beadm-rs-7-10.conf", "sort-key 0beadm-rs\nversion 10"),
            entry("beadm-rs-8-9+3.conf", "sort-key 0beadm-rs\nversion 9"),
            entry("z.conf", "sort-key debian"),
            entry("b.conf", "sort-key debian\nmachine-id 1\nversion 6.2"),
            entry("a.conf", "sort-key debian\nmachine-id 1\nversion 6.1"),
            entry("c-2.conf", "title c"),
            entry("c-1.conf", "title c"),
            entry("beadm-rs-8-11+0-3.conf", "sort-key 0beadm-rs\nversion 11"),
        ];
        for pair in sorted.windows(2) {
            let (one, other) = (&pair[0], &pair[1]);
            assert_eq!(
                entries(one, other),
                Ordering::Less,
                "{} {}",
                one.file,
                other.file
            );
            assert_eq!(entries(other, one), Ordering::Greater);
        }
    }

    #[test]
    fn patterns_are_shells() {
        for (pattern, name, is) in [
            ("beadm-rs-*", "beadm-rs-7-1.conf", true),
            ("BEADM*", "beadm-rs-7-1.conf", true),
            ("*", "", true),
            ("a?c.conf", "abc.conf", true),
            ("a[a-c]c", "abc", true),
            ("a[xy]c", "abc", false),
            ("a[", "a[", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*b*d", "abcd", true),
            ("*b*e", "abcd", false),
            ("debian.conf", "debian.conf", true),
            ("debian", "debian.conf", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn any_texts_have_an_order(a in ".{0,12}", b in ".{0,12}", c in ".{0,12}") {
            prop_assert_eq!(versions(&a, &b), versions(&b, &a).reverse());
            let _ = matches(&a, &b);
            let mut three = [&a, &b, &c];
            three.sort_by(|one, other| versions(one, other));
            prop_assert_ne!(versions(three[0], three[2]), Ordering::Greater);
        }
    }
}
