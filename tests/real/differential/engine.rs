//! Histories of calls of the engine.

use std::fmt::Write as _;

use super::operation::Op;
use super::tally::Tally;
use super::{difference, generate, shrink};
use crate::ran::long;

/// How many histories there are, and in the long run.
const HISTORIES: [u64; 2] = [10, 300];

/// How many operations each has.
const OPERATIONS: usize = 40;

/// How many of those that come out differently are made shorter.
const SHORTENED: usize = 1;

/// The history as lines of a regression test.
fn written(ops: &[Op]) -> String {
    ops.iter().fold(String::new(), |mut text, op| {
        let _ = writeln!(text, "    {}", serde_json::to_string(op).unwrap());
        text
    })
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn histories_of_engine_calls_come_out_the_same_on_both_sides() {
    let count = HISTORIES[usize::from(long())];
    let mut report = String::new();
    let mut failed = 0;
    let mut tally = Tally::default();
    for seed in 0..count {
        let history = generate::history(seed, OPERATIONS);
        let found = difference::counted(&history, &mut tally);
        tally.history(!found.is_empty());
        let Some(first) = found.first() else { continue };
        failed += 1;
        let _ = writeln!(report, "seed {seed}:");
        for difference in &found {
            let _ = write!(report, "operation {}: {difference}", difference.at);
        }
        if failed <= SHORTENED {
            let begun = &history[..=first.at];
            let ops = shrink::shortest(begun, |ops| !difference::of(ops).is_empty());
            let _ = writeln!(report, "the shortest:\n{}", written(&ops));
        }
    }
    tally.print("engine calls");
    assert!(
        failed == 0,
        "{failed} histories come out differently\n{report}"
    );
}
