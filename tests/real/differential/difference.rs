//! Where two sides disagree about a history.

use std::fmt::{self, Write as _};

use super::operation::Op;
use super::picture::{self, Shown};
use super::side::{POOLS, Side};
use super::tally::Tally;

/// How many operations there are between two pictures.
const BETWEEN_PICTURES: usize = 20;

/// The first disagreement.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Which operation showed it.
    pub at: usize,
    text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Lines only one of two pictures has.
pub fn lines(simulated: &[String], real: &[String]) -> String {
    let mut text = String::new();
    for line in simulated.iter().filter(|line| !real.contains(line)) {
        let _ = writeln!(text, "  simulator: {line}");
    }
    for line in real.iter().filter(|line| !simulated.contains(line)) {
        let _ = writeln!(text, "  real ZFS:  {line}");
    }
    if text.is_empty() {
        let _ = writeln!(text, "  simulator, in this order: {simulated:#?}");
        let _ = writeln!(text, "  real ZFS: {real:#?}");
    }
    text
}

/// Plays a history on both sides. Where both refuse something for different
/// reasons it goes on; where one of them did something else it ends.
pub fn of(ops: &[Op]) -> Vec<Difference> {
    counted(ops, &mut Tally::default())
}

/// The same, and counts what the simulator did.
pub fn counted(ops: &[Op], tally: &mut Tally) -> Vec<Difference> {
    let (simulated, real) = (Side::simulated(), Side::real());
    let mut found = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        if !op.is_covered(&simulated) {
            continue;
        }
        let (one, other) = (op.on(&simulated), op.on(&real));
        tally.count(&one.class);
        if one != other {
            let op = serde_json::to_string(op).unwrap();
            found.push(Difference {
                at,
                text: format!("{op}\n  simulator: {one}\n  real ZFS:  {other}\n"),
            });
            if !(one.refused && other.refused) {
                return found;
            }
        }
        let last = at + 1 == ops.len();
        if last || at % BETWEEN_PICTURES == BETWEEN_PICTURES - 1 {
            let shown = Shown {
                ages: true,
                properties: last,
            };
            let [one, other] = [&simulated, &real]
                .map(|side| picture::take(side.zfs(), side.platform(), &POOLS, shown));
            if one != other {
                found.push(Difference {
                    at,
                    text: format!("what is there afterwards\n{}", lines(&one, &other)),
                });
                return found;
            }
        }
    }
    for side in [&simulated, &real] {
        picture::listings_agree(side.zfs(), &POOLS);
    }
    found
}
