//! Logs, of which what was added is carried, and once.
//!
//! What was added to the source is what its base does not have. Where it does not begin
//! with its base any more, it was turned over, and all of it is new; unless it is the
//! beginning of its base, or the base's end, to which more may have come: then it was
//! shortened.
//!
//! What the target got since its own base may be the very same lines already, from an
//! attempt that did not get to its end: those are not added again. Lines that both
//! sides wrote themselves, to the letter and in the same order, cannot be told from those:
//! they are there once.

use super::content::Contents;

/// It is no text: it has a NUL in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary;

/// The target with what the source has more at its end than its base had.
///
/// # Errors
/// Where one of them is no text.
pub fn append(contents: &Contents<'_>) -> Result<Vec<u8>, Binary> {
    settled(appended, contents)
}

/// A target that was turned over can look, with what was added, as its base did, and the next
/// time as if nothing had been: where lines repeat so, they are rather there twice.
fn settled(
    make: fn(&Contents<'_>) -> Result<Vec<u8>, Binary>,
    contents: &Contents<'_>,
) -> Result<Vec<u8>, Binary> {
    let made = make(contents)?;
    make(&Contents {
        target: &made,
        ..*contents
    })
}

fn appended(contents: &Contents<'_>) -> Result<Vec<u8>, Binary> {
    let Contents { source, target, .. } = *contents;
    if let Some(bytes) = unchanged(contents)? {
        return Ok(bytes);
    }
    let added = Added::since(contents.base_source.unwrap_or_default(), source);
    // Since the target's base, from the line on that was not ended then.
    let got = match contents.base_target {
        Some(base) if target.starts_with(base) => rest(target, line_start(base)),
        _ => target,
    };
    let (whole, begun) = match added.carried_whole(got) {
        // All but a last line that was not ended then.
        Some(lines) => (added.after(lines), true),
        None => (added, false),
    };
    if whole.bytes.is_empty() {
        return Ok(target.to_vec());
    }
    let there = if begun { 0 } else { whole.begun_in(got) };
    let more = rest(whole.bytes, there);
    let gap: &[u8] = match target.last() {
        Some(last) if there == 0 && *last != b'\n' => b"\n",
        _ => b"",
    };
    Ok([target, gap, more].concat())
}

/// The target with what the source has more at its beginning than its base had.
///
/// # Errors
/// Where one of them is no text.
pub fn prepend(contents: &Contents<'_>) -> Result<Vec<u8>, Binary> {
    settled(prepended, contents)
}

fn prepended(contents: &Contents<'_>) -> Result<Vec<u8>, Binary> {
    let Contents { source, target, .. } = *contents;
    if let Some(bytes) = unchanged(contents)? {
        return Ok(bytes);
    }
    let base = contents.base_source.unwrap_or_default();
    // What comes first in the base comes last in the source, if that was not shortened.
    let old = overlaps(source, base)
        .find(|old| at_line_start(source, source.len() - old))
        .unwrap_or(0);
    let added = source.get(..source.len() - old).unwrap_or_default();
    let got = match contents.base_target {
        Some(base) if target.ends_with(base) => {
            target.get(..target.len() - base.len()).unwrap_or_default()
        }
        _ => target,
    };
    if added.is_empty() || contains_lines(got, added).is_some() {
        return Ok(target.to_vec());
    }
    // Of what was added, the end was carried before, and is what the target begins with.
    let there = overlaps(added, got)
        .find(|there| {
            at_line_start(added, added.len() - there)
                && got.get(..*there).is_some_and(|got| got.ends_with(b"\n"))
        })
        .unwrap_or(0);
    let more = added.get(..added.len() - there).unwrap_or_default();
    let gap: &[u8] = match more.last() {
        Some(last) if *last != b'\n' && !target.is_empty() => b"\n",
        _ => b"",
    };
    Ok([more, gap, target].concat())
}

/// The target's where there is nothing to add.
fn unchanged(contents: &Contents<'_>) -> Result<Option<Vec<u8>>, Binary> {
    let Contents { source, target, .. } = *contents;
    if source.contains(&0) || target.contains(&0) {
        return Err(Binary);
    }
    let same = contents.base_source == Some(source) || source == target;
    Ok(same.then(|| target.to_vec()))
}

/// What was added at the end of a log: whole lines, but for the last one.
#[derive(Debug, Clone, Copy)]
struct Added<'a> {
    bytes: &'a [u8],
    /// How much of the first line was there before, without its end.
    fragment: usize,
}

impl<'a> Added<'a> {
    fn since(base: &[u8], source: &'a [u8]) -> Self {
        if base.starts_with(source) {
            return Self::all(b"");
        }
        if source.starts_with(base) {
            let start = line_start(base);
            return Self {
                bytes: rest(source, start),
                fragment: base.len() - start,
            };
        }
        // Shortened from the front: a single line may be the same by chance.
        let old = overlaps(base, source).find(|old| {
            let lines = source.get(..*old).unwrap_or_default();
            at_line_start(base, base.len() - old)
                && (*old == source.len() || lines.iter().filter(|byte| **byte == b'\n').count() > 1)
        });
        let Some(old) = old else {
            return Self::all(source);
        };
        let lines = source.get(..old).unwrap_or_default();
        let start = line_start(lines);
        if old == source.len() {
            return Self::all(b"");
        }
        Self {
            bytes: rest(source, start),
            fragment: old - start,
        }
    }

    fn all(bytes: &'a [u8]) -> Self {
        Self { bytes, fragment: 0 }
    }

    /// How many of the whole lines, if any, `got` has: all or none.
    fn carried_whole(&self, got: &[u8]) -> Option<Carried> {
        let whole = line_start(self.bytes);
        let lines = self.bytes.get(..whole).unwrap_or_default();
        let last = rest(self.bytes, whole);
        let is_last = |line: &[u8]| line == last;
        if lines.is_empty() {
            let there = !last.is_empty() && lines_of(got).any(is_last);
            return there.then_some(Carried { whole, last: true });
        }
        let next = rest(got, contains_lines(got, lines)?);
        Some(Carried {
            whole,
            last: last.is_empty() || lines_of(next).any(is_last),
        })
    }

    fn after(&self, carried: Carried) -> Self {
        if carried.last {
            Self::all(b"")
        } else {
            Self::all(rest(self.bytes, carried.whole))
        }
    }

    /// How much of it `got` ends with: whole lines, or the very fragment there was.
    fn begun_in(&self, got: &[u8]) -> usize {
        overlaps(got, self.bytes)
            .find(|there| {
                let lines = self.bytes.get(..*there).unwrap_or_default();
                at_line_start(got, got.len() - there)
                    && (lines.contains(&b'\n') || *there == self.fragment)
            })
            .unwrap_or(0)
    }
}

/// What was carried before.
#[derive(Debug, Clone, Copy)]
struct Carried {
    /// Bytes of whole lines.
    whole: usize,
    /// The last line, too.
    last: bool,
}

fn rest(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}

/// Where the last line begins; the end, where that line is ended.
fn line_start(bytes: &[u8]) -> usize {
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    end.map_or(0, |end| end + 1)
}

fn at_line_start(bytes: &[u8], at: usize) -> bool {
    at == 0 || bytes.get(at - 1) == Some(&b'\n')
}

/// For each beginning of `bytes`, how long the longest shorter one is that it ends with
/// (Knuth, Morris and Pratt): what is searched may be long, and chosen to be slow.
fn borders(bytes: &[u8]) -> Vec<usize> {
    let mut borders: Vec<usize> = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        let length = match at {
            0 => 0,
            _ => extended(bytes, &borders, borders.last().copied().unwrap_or(0), *byte),
        };
        borders.push(length);
    }
    borders
}

/// How much of `wanted` matches after one more byte, if `matched` did before it.
fn extended(wanted: &[u8], borders: &[usize], mut matched: usize, byte: u8) -> usize {
    loop {
        if wanted.get(matched) == Some(&byte) {
            return matched + 1;
        }
        match matched.checked_sub(1) {
            None => return 0,
            Some(last) => matched = borders.get(last).copied().unwrap_or(0),
        }
    }
}

/// The lengths of what `before` ends with and `after` begins with, the longest first.
fn overlaps(before: &[u8], after: &[u8]) -> impl Iterator<Item = usize> {
    let borders = borders(after);
    let mut matched = 0;
    for byte in before {
        matched = extended(after, &borders, matched, *byte);
    }
    std::iter::successors(Some(matched), move |length| {
        borders.get(length.checked_sub(1)?).copied()
    })
    .filter(|length| *length > 0)
}

/// Where `lines` end in `bytes`, if they begin a line there and end one.
fn contains_lines(bytes: &[u8], lines: &[u8]) -> Option<usize> {
    let borders = borders(lines);
    let mut matched = 0;
    for (at, byte) in bytes.iter().enumerate() {
        matched = extended(lines, &borders, matched, *byte);
        let end = at + 1;
        if matched == lines.len()
            && at_line_start(bytes, end - matched)
            && (lines.ends_with(b"\n") || bytes.get(end).is_none_or(|next| *next == b'\n'))
        {
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the same base on both sides; `""` is none.
    fn appended(base: &str, source: &str, target: &str) -> String {
        made(append, base, source, target)
    }

    fn made(
        make: fn(&Contents<'_>) -> Result<Vec<u8>, Binary>,
        base: &str,
        source: &str,
        target: &str,
    ) -> String {
        let contents = |target| Contents {
            base_source: Some(base.as_bytes()),
            source: source.as_bytes(),
            base_target: Some(base.as_bytes()),
            target,
        };
        let made = make(&contents(target.as_bytes())).unwrap();
        let again = make(&contents(&made)).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&again),
            String::from_utf8_lossy(&made),
            "the second time"
        );
        String::from_utf8(made).unwrap()
    }

    #[test]
    fn what_was_added_to_the_source_comes_behind_what_the_target_has() {
        for (base, source, target, result) in [
            ("1\n", "1\n2\n", "1\n", "1\n2\n"),
            ("1\n", "1\n2\n3\n", "1\nown\n", "1\nown\n2\n3\n"),
            ("", "1\n", "own\n", "own\n1\n"),
            ("1\n", "1\n", "1\nown\n", "1\nown\n"),
            ("1\n", "1\n2\n", "", "2\n"),
        ] {
            assert_eq!(appended(base, source, target), result);
        }
    }

    #[test]
    fn of_a_log_that_was_turned_over_all_is_new_and_of_a_shortened_one_nothing() {
        for (base, source, target, result) in [
            // Turned over: longer and shorter than before.
            ("1\n2\n", "3\n4\n5\n", "1\n2\n", "1\n2\n3\n4\n5\n"),
            ("1\n2\n", "3\n", "1\n2\nown\n", "1\n2\nown\n3\n"),
            // One line may be the same by chance.
            ("1\n-\n", "-\n3\n", "1\n-\n", "1\n-\n-\n3\n"),
            // Turned over in the target.
            ("1\n2\n", "1\n2\n3\n", "own\n", "own\n3\n"),
            ("1\n", "1\n1\n", "", "1\n1\n"),
            // Emptied, cut off, shortened from the front, that and added to.
            ("1\n2\n", "", "1\n2\n", "1\n2\n"),
            ("1\n2\n", "1\n", "1\n2\n", "1\n2\n"),
            ("1\n2\n3\n", "3\n", "1\n2\n3\n", "1\n2\n3\n"),
            ("1\n2\n3\n", "2\n3\n4\n", "1\n2\n3\n", "1\n2\n3\n4\n"),
        ] {
            assert_eq!(
                appended(base, source, target),
                result,
                "{base:?} {source:?}"
            );
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_carried_as_it_is_and_ended_later() {
        for (base, source, target, result) in [
            ("1\n", "1\n2", "1\n", "1\n2"),
            ("1\n", "1\n2\n3", "1\nown", "1\nown\n2\n3"),
            // It was carried; now it has more, or its end.
            ("1\n2", "1\n2 and\n3\n", "1\n2", "1\n2 and\n3\n"),
            ("1\n2", "1\n2\n", "1\n2", "1\n2\n"),
            // The target wrote its own behind it meanwhile: the line comes whole.
            ("1\n2", "1\n2 and\n", "1\n2own\n", "1\n2own\n2 and\n"),
        ] {
            assert_eq!(
                appended(base, source, target),
                result,
                "{base:?} {source:?}"
            );
        }
    }

    #[test]
    fn what_an_earlier_attempt_carried_is_not_carried_again() {
        for (base, source, target, result) in [
            (
                "1\n",
                "1\n2\n3\n",
                "1\nown\n2\n3\nmore\n",
                "1\nown\n2\n3\nmore\n",
            ),
            // The source got more since that attempt.
            ("1\n", "1\n2\n3\n4\n", "1\nown\n2\n3\n", "1\nown\n2\n3\n4\n"),
            ("1\n", "1\n2\n3 and\n", "1\n2\n3", "1\n2\n3 and\n"),
        ] {
            assert_eq!(
                appended(base, source, target),
                result,
                "{base:?} {source:?}"
            );
        }
    }

    #[test]
    fn what_was_added_in_front_comes_in_front() {
        for (base, source, target, result) in [
            ("1\n", "2\n1\n", "1\n", "2\n1\n"),
            ("1\n", "3\n2\n1\n", "own\n1\n", "3\n2\nown\n1\n"),
            // Shortened at the end, as such logs are; and that alone.
            ("2\n1\n", "3\n2\n", "2\n1\n", "3\n2\n1\n"),
            ("2\n1\n", "2\n", "2\n1\n", "2\n1\n"),
            // The source got more since an earlier attempt.
            ("1\n", "4\n3\n2\n1\n", "3\n2\nown\n1\n", "4\n3\n2\nown\n1\n"),
            ("", "2", "own\n", "2\nown\n"),
        ] {
            assert_eq!(
                made(prepend, base, source, target),
                result,
                "{base:?} {source:?}"
            );
        }
    }

    #[test]
    fn a_binary_log_is_refused() {
        let contents = Contents {
            base_source: None,
            source: b"LPKSHHRH\0",
            base_target: None,
            target: b"",
        };
        assert_eq!(append(&contents), Err(Binary));
        assert_eq!(prepend(&contents), Err(Binary));
    }
}
