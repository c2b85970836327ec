//! Properties of the merge of text.

use std::collections::BTreeMap;

use beadm_rs::sync::content::Contents;
use beadm_rs::sync::text::{Failure, has_markers, marked, merge};
use proptest::prelude::*;

use super::{config, edited, edits};

fn contents<'a>(base: &'a str, source: &'a str, target: &'a str) -> Contents<'a> {
    Contents {
        base_source: Some(base.as_bytes()),
        source: source.as_bytes(),
        base_target: Some(base.as_bytes()),
        target: target.as_bytes(),
    }
}

const LINES: &str = "a b c d e f g h i j k l m n o p   ";

/// A base and two texts made of it. Few different lines, so that they are confused where
/// they can be.
fn three() -> impl Strategy<Value = [String; 3]> {
    let line = || prop::sample::select(LINES.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let end = || prop::bool::weighted(0.8);
    (
        prop::collection::vec(line(), 0..14),
        [edits(line()), edits(line())],
        [end(), end(), end()],
    )
        .prop_map(|(base, edits, ends)| {
            let text = |lines: &[String], ended: bool| {
                let mut text = lines.join("\n");
                if ended && !lines.is_empty() {
                    text.push('\n');
                }
                text
            };
            let [one, other] = edits.map(|edits| edited(&base, &edits, |_, new| new.clone()));
            [
                text(&base, ends[0]),
                text(&one, ends[1]),
                text(&other, ends[2]),
            ]
        })
}

fn counts(text: &str) -> BTreeMap<&str, i64> {
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_line_a_side_added_is_there_and_none_that_neither_did([base, source, target] in three()) {
        let Ok(merged) = merge(&contents(&base, &source, &target)) else { return Ok(()) };
        let merged = String::from_utf8(merged).unwrap();
        let [base, source, target, merged] =
            [&base, &source, &target, &merged].map(|text| counts(text));
        let of = |counts: &BTreeMap<&str, i64>, line: &str| counts.get(line).copied().unwrap_or(0);
        for line in source.keys().chain(target.keys()) {
            if of(&base, line) == 0 {
                let most = of(&source, line).max(of(&target, line));
                prop_assert!(of(&merged, line) >= most, "{line:?} was added, and is not there");
            }
        }
        for line in merged.keys() {
            prop_assert!(of(&source, line) + of(&target, line) > 0, "{line:?} is nobody's");
        }
    }

    #[test]
    fn it_does_not_matter_which_side_is_which([base, source, target] in three()) {
        let one = merge(&contents(&base, &source, &target)).ok();
        let other = merge(&contents(&base, &target, &source)).ok();
        prop_assert_eq!(one, other);
    }

    #[test]
    fn merging_the_result_again_changes_nothing([base, source, target] in three()) {
        let Ok(merged) = merge(&contents(&base, &source, &target)) else { return Ok(()) };
        let merged = String::from_utf8(merged).unwrap();
        let again = merge(&contents(&base, &source, &merged));
        prop_assert_eq!(again.map(|bytes| String::from_utf8(bytes).unwrap()), Ok(merged));
    }

    #[test]
    fn one_side_s_changes_alone_make_it_that_side([base, source, target] in three()) {
        for (contents, result) in [
            (contents(&base, &source, &base), &source),
            (contents(&base, &base, &target), &target),
            (contents(&base, &source, &source), &source),
        ] {
            prop_assert_eq!(merge(&contents), Ok(result.as_bytes().to_vec()));
        }
    }

    #[test]
    fn markers_are_in_what_is_to_be_resolved_and_nowhere_else([base, source, target] in three()) {
        let contents = contents(&base, &source, &target);
        let marked = marked(&contents, "source", "target").unwrap();
        match merge(&contents) {
            Ok(merged) => prop_assert!(!has_markers(&merged) && !has_markers(&marked)),
            Err(Failure::Ambiguous) => prop_assert!(!has_markers(&marked)),
            Err(Failure::Conflicts(hunks)) => {
                prop_assert!(has_markers(&marked));
                // Both sides' lines are in it.
                for hunk in hunks {
                    for side in [hunk.base, hunk.source, hunk.target] {
                        let text = String::from_utf8(marked.clone()).unwrap();
                        prop_assert!(text.contains(std::str::from_utf8(&side).unwrap()));
                    }
                }
            }
            Err(failure) => prop_assert!(false, "{failure:?}"),
        }
    }
}
