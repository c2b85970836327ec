//! `zfs holds` and `zfs send -nP`.

use super::{ParseError, fail, number};
use crate::zfs::SnapshotName;

/// Reads the estimate out of `zfs send -nP`: bytes.
///
/// # Errors
/// Where there is no line `size<TAB>BYTES`, or more than one.
pub fn send_size(text: &str) -> Result<u64, ParseError> {
    let mut sizes = text.lines().filter_map(|line| line.strip_prefix("size\t"));
    match (sizes.next().map(number), sizes.next()) {
        (Some(Some(size)), None) => Ok(size),
        _ => Err(fail(1, "one line 'size' with a number expected", text)),
    }
}

/// Reads `zfs holds -H` of one snapshot: its tags, which may hold tabs and
/// newlines. After them stands a time, in words that differ between releases.
///
/// # Errors
/// The first record that does not begin with the snapshot and end with a time.
pub fn holds(text: &str, snapshot: &SnapshotName) -> Result<Vec<String>, ParseError> {
    let begin = format!("{snapshot}\t");
    let mut tags: Vec<(usize, String)> = Vec::new();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    for (index, line) in text
        .strip_suffix('\n')
        .unwrap_or(text)
        .split('\n')
        .enumerate()
    {
        match (line.strip_prefix(&begin), tags.last_mut()) {
            (Some(rest), _) => tags.push((index + 1, rest.to_owned())),
            (None, Some((_, last))) => {
                last.push('\n');
                last.push_str(line);
            }
            (None, None) => return Err(fail(index + 1, "the snapshot expected", line)),
        }
    }
    tags.into_iter()
        .map(|(line, rest)| match rest.rsplit_once('\t') {
            Some((tag, time)) if time.ends_with(|c: char| c.is_ascii_digit()) => Ok(tag.to_owned()),
            _ => Err(fail(line, "a tag and a time expected", &rest)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_whole() {
        let snapshot = "p/a b@s".parse().unwrap();
        let text =
            "p/a b@s\tkeep\tSat Nov 21  9:00 2026\np/a b@s\tx\ty\nz\tSat Nov 21  9:00 2026\n";
        assert_eq!(holds(text, &snapshot).unwrap(), ["keep", "x\ty\nz"]);
        assert!(holds("", &snapshot).unwrap().is_empty());
        for text in [
            "p/b@s\tx\t2026\n",
            "p/a b@s\tx\n",
            "p/a b@s\tx\tnever\n",
            "\n",
        ] {
            assert!(holds(text, &snapshot).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_estimate_is_one_line_of_digits() {
        assert_eq!(send_size("full\tp/a@s\t12\nsize\t12\n"), Ok(12));
        for text in [
            "",
            "size\t\n",
            "size\t+1\n",
            "size\t1\nsize\t2\n",
            "size\t1 \n",
            "size\t18446744073709551616\n",
        ] {
            assert!(send_size(text).is_err(), "{text:?}");
        }
    }
}
