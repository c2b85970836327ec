//! Text, merged line by line.
//!
//! Three-way, with the source's base as the ancestor: what changed in the source since is
//! changed in the target, whether or not both were the same then. Changes that touch each
//! other conflict, as with diff3(1) and git-merge-file(1).

use std::ops::Range;

use similar::{
    Algorithm, ConflictStyle, DiffTag, MergeResolution, TextMerge, TextMergeConfig,
    capture_diff_slices,
};

use super::content::Contents;

/// A place where both sides changed the same lines differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// The line of the target it begins at, from 1.
    pub line: usize,
    /// What was there.
    pub base: Vec<u8>,
    /// What the source has there.
    pub source: Vec<u8>,
    /// What the target has there.
    pub target: Vec<u8>,
}

/// Why texts are not merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// One of them is no text: it has a NUL in it.
    Binary,
    /// One of them has more lines than [`MOST`].
    Long,
    /// Lines repeat so that it cannot be told which of them were changed: the result would
    /// be another one if it was merged again.
    Ambiguous,
    /// Both sides changed the same lines differently.
    Conflicts(Vec<Hunk>),
}

/// More lines are not compared: the time it takes grows faster than their number, and
/// whoever writes a file chooses it (measured: a second for this many, 1,000 different ones
/// in random order).
pub const MOST: usize = 100_000;

type Merge<'a> = TextMerge<'a, 'a, 'a, [u8]>;

/// The target is "ours": what neither side changed is taken from there.
fn compared<'a>(base: &'a [u8], source: &'a [u8], target: &'a [u8]) -> Result<Merge<'a>, Failure> {
    let texts = [base, source, target];
    if texts.iter().any(|text| text.contains(&0)) {
        return Err(Failure::Binary);
    }
    // A carriage return alone ends a line, too, for who compares.
    let long = |text: &&[u8]| {
        let ends = text.iter().filter(|byte| matches!(byte, b'\n' | b'\r'));
        ends.count() > MOST
    };
    if texts.iter().any(long) {
        return Err(Failure::Long);
    }
    Ok(TextMergeConfig::new().merge_lines(base, target, source))
}

fn lines<'m>(range: Range<usize>, line: impl Fn(usize) -> Option<&'m [u8]>) -> Vec<u8> {
    range.filter_map(line).flatten().copied().collect()
}

/// Merges. The result never has markers in it.
///
/// # Errors
/// Where it is no text, too long or ambiguous, or the changes do not go together.
pub fn merge(contents: &Contents<'_>) -> Result<Vec<u8>, Failure> {
    if let Some(bytes) = contents.of_one_side() {
        return Ok(bytes.to_vec());
    }
    let base = contents.base_source.unwrap_or_default();
    let (source, target) = (contents.source, contents.target);
    let merged = three_way(base, source, target)?;
    for side in [source, target] {
        if merged != side && three_way(base, side, &merged).as_ref() != Ok(&merged) {
            return Err(Failure::Ambiguous);
        }
    }
    Ok(merged)
}

fn three_way(base: &[u8], source: &[u8], target: &[u8]) -> Result<Vec<u8>, Failure> {
    let merge = compared(base, source, target)?;
    let hunks: Vec<Hunk> = merge
        .conflicts()
        .map(|region| Hunk {
            line: region.ours_range().start + 1,
            base: lines(region.base_range(), |at| merge.base_line(at)),
            source: lines(region.theirs_range(), |at| merge.theirs_line(at)),
            target: lines(region.ours_range(), |at| merge.ours_line(at)),
        })
        .collect();
    if !hunks.is_empty() {
        return Err(Failure::Conflicts(hunks));
    }
    let merged = merge.regions().iter().flat_map(|region| {
        if region.resolution() == MergeResolution::Theirs {
            lines(region.theirs_range(), |at| merge.theirs_line(at))
        } else {
            lines(region.ours_range(), |at| merge.ours_line(at))
        }
    });
    Ok(merged.collect())
}

/// The text for somebody to resolve: with both sides' lines, and those there were, between
/// markers where [`merge`] finds a conflict, as `diff3 -m` and git write them. `source` and
/// `target` name the sides. `None` where it is no text or too long.
#[must_use]
pub fn marked(contents: &Contents<'_>, source: &str, target: &str) -> Option<Vec<u8>> {
    let base = contents.base_source.unwrap_or_default();
    let mut merge = compared(base, contents.source, contents.target).ok()?;
    merge
        .conflict_style(ConflictStyle::Diff3)
        .labels("before", target, source);
    let mut text = Vec::new();
    merge.to_writer(&mut text).ok()?;
    Some(text)
}

/// The same of two texts of which nobody knows what was there before: both sides' lines
/// stand between markers wherever they differ. `names` are those of the two.
#[must_use]
pub fn both(mine: &[u8], other: &[u8], names: [&str; 2]) -> Option<Vec<u8>> {
    // Fails where they are no texts, or too long.
    compared(b"", other, mine).ok()?;
    let [own, theirs] = [mine, other]
        .map(|text| -> Vec<&[u8]> { text.split_inclusive(|byte| *byte == b'\n').collect() });
    let side = |text: &mut Vec<u8>, lines: Option<&[&[u8]]>, marker: &str| {
        let lines = lines.unwrap_or_default().concat();
        text.extend(&lines);
        if lines.last().is_some_and(|last| *last != b'\n') {
            text.push(b'\n');
        }
        text.extend(marker.as_bytes());
    };
    let mut text = Vec::new();
    let [mine, other] = names;
    for change in capture_diff_slices(Algorithm::Myers, &own, &theirs) {
        let (kind, ours, others) = change.as_tag_tuple();
        if kind == DiffTag::Equal {
            text.extend(own.get(ours).unwrap_or_default().concat());
            continue;
        }
        text.extend(format!("<<<<<<< {mine}\n").as_bytes());
        side(&mut text, own.get(ours), "=======\n");
        side(&mut text, theirs.get(others), &format!(">>>>>>> {other}\n"));
    }
    Some(text)
}

/// Whether a marker of [`marked`] is left in a text. A line of equals signs alone is none:
/// headings are underlined so.
#[must_use]
pub fn has_markers(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').any(|line| {
        [b"<<<<<<< ", b"||||||| ", b">>>>>>> "]
            .iter()
            .any(|marker| line.starts_with(*marker))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents<'a>(base: &'a str, source: &'a str, target: &'a str) -> Contents<'a> {
        Contents {
            base_source: Some(base.as_bytes()),
            source: source.as_bytes(),
            base_target: Some(base.as_bytes()),
            target: target.as_bytes(),
        }
    }

    #[test]
    fn changes_of_different_lines_are_both_there() {
        for (base, source, target, merged) in [
            (
                "1\n2\n3\n4\n",
                "1\nII\n3\n4\n",
                "1\n2\n3\nIV\n",
                "1\nII\n3\nIV\n",
            ),
            ("1\n2\n3\n", "1\n3\n", "1\n2\n3\n4\n", "1\n3\n4\n"),
            ("1\n2\n3", "0\n1\n2\n3", "1\n2\n3\n4", "0\n1\n2\n3\n4"),
            ("1\n2\n3\n", "1\n2\n3", "0\n1\n2\n3\n", "0\n1\n2\n3"),
            (
                "1\r\n2\r\n3\r\n",
                "I\r\n2\r\n3\r\n",
                "1\r\n2\r\nIII\r\n",
                "I\r\n2\r\nIII\r\n",
            ),
        ] {
            assert_eq!(
                merge(&contents(base, source, target)).as_deref(),
                Ok(merged.as_bytes()),
                "{base:?} {source:?} {target:?}"
            );
        }
    }

    #[test]
    fn what_does_not_go_together_is_shown_with_both_sides() {
        let contents = contents("1\n2\n3", "1\ntwo\n3", "0\n1\nII\n3");
        assert_eq!(
            merge(&contents),
            Err(Failure::Conflicts(vec![Hunk {
                line: 3,
                base: b"2\n".to_vec(),
                source: b"two\n".to_vec(),
                target: b"II\n".to_vec(),
            }]))
        );
        let text = marked(&contents, "new", "running").unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "0\n1\n<<<<<<< running\nII\n||||||| before\n2\n=======\ntwo\n>>>>>>> new\n3"
        );
    }

    #[test]
    fn without_a_base_all_that_differs_is_between_markers() {
        let text = both(b"0\n1\nII\n3", b"1\ntwo\n3", ["running", "new"]).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "<<<<<<< running\n0\n=======\n>>>>>>> new\n1\n\
             <<<<<<< running\nII\n=======\ntwo\n>>>>>>> new\n3"
        );
        assert_eq!(both(b"same\n", b"same\n", ["a", "b"]).unwrap(), b"same\n");
        assert_eq!(both(b"a\0", b"b", ["a", "b"]), None);
    }

    #[test]
    fn markers_are_found_wherever_one_is_left() {
        assert!(has_markers(b"a\n<<<<<<< x\nb"));
        assert!(has_markers(b">>>>>>> x"));
        assert!(!has_markers(b"heading\n=======\n <<<<<<< x"));
    }

    #[test]
    fn what_is_no_text_or_too_long_is_not_merged() {
        let contents = contents("a", "b\0", "c");
        assert_eq!(merge(&contents), Err(Failure::Binary));
        assert_eq!(marked(&contents, "new", "running"), None);
        let long = "1\n2\r".repeat(MOST / 2 + 1);
        let contents = self::contents("a", &long, "c");
        assert_eq!(merge(&contents), Err(Failure::Long));
    }
}
