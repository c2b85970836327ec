//! The pure core of synchronization: what is decided about a file, and what its contents
//! become, by examples and by properties over random histories of both sides.
//!
//! The histories are the same each time. `PROPTEST_CASES=1000000` makes more of them,
//! `PROPTEST_RNG_SEED=1` others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod decisions;
mod random_logs;
mod random_records;
mod random_text;
mod records;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// How many histories each property is tried on.
const CASES: u32 = 10_000;

fn config() -> ProptestConfig {
    let mut config = ProptestConfig {
        // What is found becomes an example.
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(20_261_122);
    }
    config
}

/// A change somebody makes to a list of lines.
#[derive(Debug, Clone)]
enum Edit<T> {
    Insert(usize, T),
    Delete(usize),
    Replace(usize, T),
    Swap(usize, usize),
}

fn edits<T: std::fmt::Debug + Clone + 'static>(
    line: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = Vec<Edit<T>>> {
    let place = || 0..12_usize;
    prop::collection::vec(
        prop_oneof![
            3 => (place(), line.clone()).prop_map(|(at, line)| Edit::Insert(at, line)),
            2 => place().prop_map(Edit::Delete),
            4 => (place(), line).prop_map(|(at, line)| Edit::Replace(at, line)),
            1 => (place(), place()).prop_map(|(one, other)| Edit::Swap(one, other)),
        ],
        0..5,
    )
}

/// The lines after the changes.
fn edited<T: Clone>(lines: &[T], edits: &[Edit<T>], replace: impl Fn(&T, &T) -> T) -> Vec<T> {
    let mut lines = lines.to_vec();
    for edit in edits {
        match edit {
            Edit::Insert(at, line) => lines.insert(at % (lines.len() + 1), line.clone()),
            _ if lines.is_empty() => {}
            Edit::Delete(at) => drop(lines.remove(at % lines.len())),
            Edit::Replace(at, line) => {
                let at = at % lines.len();
                lines[at] = replace(&lines[at], line);
            }
            Edit::Swap(one, other) => {
                let length = lines.len();
                lines.swap(one % length, other % length);
            }
        }
    }
    lines
}
