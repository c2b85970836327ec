//! The order of versions, by each package system's own rules.
//!
//! Total: any two texts are ordered, also ones that no package system would
//! take, and no text makes them panic or loop.

use std::cmp::Ordering;

/// Splits off the bytes at the beginning that are of a kind.
fn split(text: &[u8], kind: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !kind(*byte));
    text.split_at(end.unwrap_or(text.len()))
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// Two numbers of any length.
fn numbers(one: &[u8], other: &[u8]) -> Ordering {
    let (_, one) = split(one, |byte| byte == b'0');
    let (_, other) = split(other, |byte| byte == b'0');
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// `epoch:rest`; no epoch is epoch nothing, which counts as 0.
fn epoch(text: &str) -> (&str, &str) {
    match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(is_digit) => (epoch, rest),
        _ => ("", text),
    }
}

/// dpkg's order (deb-version(7)): epoch, upstream version, revision; in each
/// `~` sorts before the end, the end before letters, letters before the rest.
#[must_use]
pub fn dpkg(one: &str, other: &str) -> Ordering {
    let parts = |text| {
        let (epoch, rest) = epoch(text);
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream, revision)
    };
    let (one, other) = (parts(one), parts(other));
    numbers(one.0.as_bytes(), other.0.as_bytes())
        .then_with(|| dpkg_part(one.1.as_bytes(), other.1.as_bytes()))
        .then_with(|| dpkg_part(one.2.as_bytes(), other.2.as_bytes()))
}

fn dpkg_weight(byte: Option<u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        Some(b'0'..=b'9') | None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(letter),
        Some(other) => i32::from(other) + 256,
    }
}

fn dpkg_part(mut one: &[u8], mut other: &[u8]) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let (left, after_left) = split(one, |byte| !is_digit(byte));
        let (right, after_right) = split(other, |byte| !is_digit(byte));
        for index in 0..left.len().max(right.len()) {
            let weight = |text: &[u8]| dpkg_weight(text.get(index).copied());
            match weight(left).cmp(&weight(right)) {
                Ordering::Equal => {}
                different => return different,
            }
        }
        let (left, after_left) = split(after_left, is_digit);
        let (right, after_right) = split(after_right, is_digit);
        match numbers(left, right) {
            Ordering::Equal => (one, other) = (after_left, after_right),
            different => return different,
        }
    }
    Ordering::Equal
}

/// rpm's order of `epoch:version-release` (rpm-version(7)).
#[must_use]
pub fn rpm(one: &str, other: &str) -> Ordering {
    let parts = |text| {
        let (epoch, rest) = epoch(text);
        let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, version, release)
    };
    let (one, other) = (parts(one), parts(other));
    numbers(one.0.as_bytes(), other.0.as_bytes())
        .then_with(|| rpm_part(one.1.as_bytes(), other.1.as_bytes()))
        .then_with(|| rpm_part(one.2.as_bytes(), other.2.as_bytes()))
}

/// rpm's `rpmvercmp`: segments of digits or letters; `~` sorts before the end,
/// `^` after the end and before anything else.
fn rpm_part<'a>(mut one: &'a [u8], mut other: &'a [u8]) -> Ordering {
    let separates = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'~' && byte != b'^';
    loop {
        one = split(one, separates).1;
        other = split(other, separates).1;
        match (one.first(), other.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                one = one.get(1..).unwrap_or_default();
                other = other.get(1..).unwrap_or_default();
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(b'^'), _) => return Ordering::Less,
            (_, Some(b'^')) => return Ordering::Greater,
            _ => {}
        }
        match segment(one, other) {
            Ok(rest) => (one, other) = rest,
            Err(different) => return different,
        }
    }
}

/// Compares one segment of digits or letters, of the kind `one` begins with;
/// what follows where they are equal.
fn segment<'a, 'b>(one: &'a [u8], other: &'b [u8]) -> Result<(&'a [u8], &'b [u8]), Ordering> {
    let numeric = one.first().is_some_and(u8::is_ascii_digit);
    let kind = |byte: u8| {
        if numeric {
            byte.is_ascii_digit()
        } else {
            byte.is_ascii_alphabetic()
        }
    };
    let (left, after_left) = split(one, kind);
    let (right, after_right) = split(other, kind);
    if right.is_empty() {
        // A number is newer than letters.
        return Err(if numeric {
            Ordering::Greater
        } else {
            Ordering::Less
        });
    }
    let order = if numeric {
        numbers(left, right)
    } else {
        left.cmp(right)
    };
    match order {
        Ordering::Equal => Ok((after_left, after_right)),
        different => Err(different),
    }
}

/// pacman's order of `epoch:version-release` (vercmp(8)): a release counts only
/// where both have one, and letters at the end make a version older.
#[must_use]
pub fn pacman(one: &str, other: &str) -> Ordering {
    let parts = |text| {
        let (epoch, rest) = epoch(text);
        match rest.rsplit_once('-') {
            Some((version, release)) => (epoch, version, Some(release)),
            None => (epoch, rest, None),
        }
    };
    let (one, other) = (parts(one), parts(other));
    numbers(one.0.as_bytes(), other.0.as_bytes())
        .then_with(|| pacman_part(one.1.as_bytes(), other.1.as_bytes()))
        .then_with(|| match (one.2, other.2) {
            (Some(one), Some(other)) => pacman_part(one.as_bytes(), other.as_bytes()),
            _ => Ordering::Equal,
        })
}

fn pacman_part<'a>(mut one: &'a [u8], mut other: &'a [u8]) -> Ordering {
    while !one.is_empty() && !other.is_empty() {
        let separates = |byte: u8| !byte.is_ascii_alphanumeric();
        let (left, after_left) = split(one, separates);
        let (right, after_right) = split(other, separates);
        (one, other) = (after_left, after_right);
        if one.is_empty() || other.is_empty() {
            break;
        }
        // More separators are newer.
        match left.len().cmp(&right.len()) {
            Ordering::Equal => {}
            different => return different,
        }
        match segment(one, other) {
            Ok(rest) => (one, other) = rest,
            Err(different) => return different,
        }
    }
    let letter = |text: &[u8]| text.first().is_some_and(u8::is_ascii_alphabetic);
    match (one.is_empty(), other.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) if !letter(other) => Ordering::Less,
        _ if letter(one) => Ordering::Less,
        _ => Ordering::Greater,
    }
}

/// The parts of an apk version, in the order they may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Token<'a> {
    /// The first number.
    First(&'a [u8]),
    /// A number after a dot.
    Number(&'a [u8]),
    /// One letter.
    Letter(u8),
    /// `_alpha` and the like, by its place in [`SUFFIXES`].
    Suffix(usize),
    /// The number after a suffix.
    SuffixNumber(&'a [u8]),
    /// `~` and a commit.
    Commit(&'a [u8]),
    /// `-r` and a number.
    Revision(&'a [u8]),
    /// Nothing more.
    End,
    /// What has no place there.
    Invalid,
}

/// apk's suffixes in their order; those before [`NO_SUFFIX`] come before the
/// release itself.
const SUFFIXES: [&[u8]; 9] = [
    b"alpha", b"beta", b"pre", b"rc", b"cvs", b"svn", b"git", b"hg", b"p",
];

/// Where the release without a suffix stands among [`SUFFIXES`].
const NO_SUFFIX: usize = 4;

impl<'a> Token<'a> {
    fn rank(self) -> u8 {
        match self {
            Self::First(_) => 0,
            Self::Number(_) => 1,
            Self::Letter(_) => 2,
            Self::Suffix(_) => 3,
            Self::SuffixNumber(_) => 4,
            Self::Commit(_) => 5,
            Self::Revision(_) => 6,
            Self::End => 7,
            Self::Invalid => 8,
        }
    }

    fn first(text: &'a [u8]) -> (Self, &'a [u8]) {
        match split(text, is_digit) {
            ([], rest) => (Self::Invalid, rest),
            (digits, rest) => (Self::First(digits), rest),
        }
    }

    fn next(self, text: &'a [u8]) -> (Self, &'a [u8]) {
        let Some((byte, after)) = text.split_first() else {
            return (Self::End, text);
        };
        let number = |text: &'a [u8], make: fn(&'a [u8]) -> Self| match split(text, is_digit) {
            ([], rest) => (Self::Invalid, rest),
            (digits, rest) => (make(digits), rest),
        };
        match byte {
            b'a'..=b'z' if self.rank() <= 1 => (Self::Letter(*byte), after),
            b'.' if self.rank() <= 1 => number(after, Self::Number),
            b'0'..=b'9' if self.rank() <= 1 => number(text, Self::Number),
            b'0'..=b'9' if self.rank() == 3 => number(text, Self::SuffixNumber),
            b'_' if self.rank() <= 4 => {
                let (name, rest) = split(after, |byte| byte.is_ascii_lowercase());
                match SUFFIXES.iter().position(|suffix| *suffix == name) {
                    Some(place) => (Self::Suffix(place), rest),
                    None => (Self::Invalid, rest),
                }
            }
            b'~' if self.rank() < 5 => match split(after, |byte| byte.is_ascii_hexdigit()) {
                ([], rest) => (Self::Invalid, rest),
                (commit, rest) => (Self::Commit(commit), rest),
            },
            b'-' if self.rank() < 6 => match after.strip_prefix(b"r") {
                Some(digits) => number(digits, Self::Revision),
                None => (Self::Invalid, after),
            },
            _ => (Self::Invalid, text),
        }
    }

    /// Two of the same kind.
    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            // As Gentoo's rules: fractions, where one begins with a zero.
            (Self::Number(one), Self::Number(other))
                if one.starts_with(b"0") || other.starts_with(b"0") =>
            {
                one.cmp(other)
            }
            (Self::First(one), Self::First(other))
            | (Self::Number(one), Self::Number(other))
            | (Self::SuffixNumber(one), Self::SuffixNumber(other))
            | (Self::Revision(one), Self::Revision(other)) => numbers(one, other),
            (Self::Letter(one), Self::Letter(other)) => one.cmp(&other),
            (Self::Suffix(one), Self::Suffix(other)) => one.cmp(&other),
            (Self::Commit(one), Self::Commit(other)) => one.cmp(other),
            _ => Ordering::Equal,
        }
    }
}

/// apk's order (apk-package(5)):
/// `number{.number}{letter}{_suffix{number}}{~commit}{-rnumber}`.
#[must_use]
pub fn apk(one: &str, other: &str) -> Ordering {
    let (mut left, mut after_left) = Token::first(one.as_bytes());
    let (mut right, mut after_right) = Token::first(other.as_bytes());
    while left.rank() == right.rank() && left.rank() < Token::End.rank() {
        match left.compare(right) {
            Ordering::Equal => {}
            different => return different,
        }
        (left, after_left) = left.next(after_left);
        (right, after_right) = right.next(after_right);
    }
    match (left, right) {
        (left, right) if left.rank() == right.rank() => Ordering::Equal,
        (Token::Suffix(place), _) if place < NO_SUFFIX => Ordering::Less,
        (_, Token::Suffix(place)) if place < NO_SUFFIX => Ordering::Greater,
        // What may come earlier in a version says more.
        (left, right) => right.rank().cmp(&left.rank()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Order = fn(&str, &str) -> Ordering;

    /// Each line `a < b` or `a = b`, both ways round.
    fn holds(order: Order, examples: &str) {
        for line in examples
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            for triple in words.windows(3).step_by(2) {
                let [one, sign, other] = triple else {
                    unreachable!()
                };
                let expected = match *sign {
                    "<" => Ordering::Less,
                    "=" => Ordering::Equal,
                    ">" => Ordering::Greater,
                    sign => unreachable!("{sign}"),
                };
                assert_eq!(order(one, other), expected, "{one} {sign} {other}");
                assert_eq!(order(other, one), expected.reverse(), "{other}, {one}");
            }
        }
    }

    #[test]
    fn dpkg_orders_as_deb_version_7_and_policy_5_6_12_say() {
        holds(
            dpkg,
            "
            1.0~~ < 1.0~~a < 1.0~ < 1.0 < 1.0a
            1.0~beta1~svn1245 < 1.0~beta1 < 1.0
            1.2.3-1~bpo12+1 < 1.2.3-1 < 1.2.3-1+b1 < 1.2.3-1+deb12u1
            9 < 10 < 1:1 < 1:2 < 2:0
            1.0 = 1.0-0 = 0:1.0
            1.0-1 < 1.0.1-1
            1.0 = 1.00 = 1.000
            1.0 < 1.0-1.1 < 1.0a < 1.0b < 1.0+
            6.1.0-9 < 6.1.0-10 < 6.1.0-10.1
            2.36-9+deb12u7 < 2.36-9+deb12u10
            1.0-1ubuntu1~22.04.1 < 1.0-1ubuntu1
            99999999999999999999 < 100000000000000000000
            ",
        );
    }

    #[test]
    fn rpm_orders_as_rpm_version_7_and_its_own_tests_say() {
        holds(
            rpm,
            "
            1.0 < 2.0 < 2.0.1 < 2.0.1a
            5.5p1 < 5.5p2 < 5.5p10 < 5.6p1 < 6.5p1
            10xyz < 10.1xyz
            xyz10 < xyz10.1
            xyz.4 < 2
            6.0 < 6.0.rc1
            10b2 > 10a1
            10a2 < 10b2
            1.0a < 1.0aa
            10.0001 = 10.1 < 10.0039
            4.999.9 < 5.0
            2.0 = 2_0
            1.0~rc1~git123 < 1.0~rc1 < 1.0~rc1^git1 < 1.0~rc2 < 1.0
            1.0 < 1.0^ < 1.0^git1 < 1.0^git2 < 1.01
            1.0^20160101 < 1.0^20160101^git1 < 1.0^20160102 < 1.0.1
            1.0^git1~pre < 1.0^git1
            1b.fc17 < 1.fc17 < 1g.fc17
            1.1.α = 1.1.β
            1.0-1 < 1.0-2 < 0:1.0-10 < 1:0.1-1
            5.14.0-70.el9 < 5.14.0-362.el9
            ",
        );
    }

    #[test]
    fn pacman_orders_as_vercmp_8_says() {
        holds(
            pacman,
            "
            1.0a < 1.0b < 1.0beta < 1.0p < 1.0pre < 1.0rc < 1.0 < 1.0.a < 1.0.1
            1 < 1.0 < 1.1 < 1.1.1 < 1.2 < 2.0 < 3.0.0
            1.5.0 = 1.5.0-1
            1.5.0-1 < 1.5.0-2 < 1.5.1-1
            1.5.0-1 = 1.5.0
            0:1.0 = 1.0 < 1:0.1
            1.0..2 > 1.0.2
            2.0a < 2.0.a
            1.1 < 1:1.0-1
            ",
        );
    }

    #[test]
    fn apk_orders_as_its_own_tests_say() {
        holds(
            apk,
            "
            2.34 > 0.1.0_alpha
            23_foo > 4_beta
            1.0 < 1.0bc
            0.1.0_alpha = 0.1.0_alpha < 0.1.0_alpha2 < 0.1.3_alpha
            1.0.4-r3 < 1.0.4-r4 < 1.6
            1.1_alpha1 < 1.1
            1.3_alpha < 1.3_alpha2 < 1.3_alpha8 < 1.3_beta1 < 1.3_pre1 < 1.3_rc1 < 1.3
            1.3 < 1.3_cvs1 < 1.3_svn1 < 1.3_git1 < 1.3_hg1 < 1.3_p1
            2.3.0b-r1 < 2.3.0b-r2
            0.12 < 0.12.3
            1.0 < 1.0a < 1.0.1
            1.2.9 < 1.2.10
            1.09 < 1.1
            1.0~1234 > 1.0~0123
            1.0_p1-r0 < 1.0_p1-r1 < 1.0_p2
            ",
        );
    }

    proptest! {
        /// An order that contradicts itself would name an upgrade a downgrade.
        #[test]
        fn every_order_is_the_same_from_both_sides_and_never_panics(
            one in "[0-9a-z.~^+:_-]{0,12}",
            other in "[0-9a-z.~^+:_-]{0,12}",
        ) {
            for order in [dpkg, rpm, apk] as [Order; 3] {
                prop_assert_eq!(order(&one, &other), order(&other, &one).reverse());
                prop_assert_eq!(order(&one, &one), Ordering::Equal);
            }
            // vercmp(8) is not so for letters against letters behind unequal
            // segments; equal texts are equal in it too.
            prop_assert_eq!(pacman(&one, &one), Ordering::Equal);
        }
    }
}
