//! Histories: each operation is chosen by what the simulator has at that
//! moment, so that most of them can be done.

use beadm_rs::zfs::{Dataset, DatasetName, Kind};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::operation::{Must, Op, Sync};
use super::settings;
use super::side::{DIRECTORIES, POOLS, Side};

/// What is thrown to choose.
pub struct Dice(TestRng);

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    /// A number below another.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.next_u32() as usize % bound.max(1)
    }

    /// Now and then.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Names in whose order '-' and '.' come before the '/' of a tree.
const NAMES: [&str; 5] = ["a", "b", "a-b", "a.c", "c"];

/// Names of snapshots: few, so that they meet.
const SNAPSHOTS: [&str; 4] = ["s", "t", "u", "v"];

/// Keys of marks.
const KEYS: [&str; 3] = ["op", "pinned", "failback"];

/// Texts of marks.
const TEXTS: [&str; 4] = ["x create", "y", "", "a b ü"];

/// The history of a seed.
pub fn history(seed: u64, length: usize) -> Vec<Op> {
    let mut dice = Dice::new(seed);
    let side = Side::simulated();
    let mut history = beginning();
    for op in &history {
        op.on(&side);
    }
    while history.len() < length {
        let roots = POOLS.map(|pool| pool.parse().unwrap());
        let datasets = side.zfs().tree(&roots, true).unwrap();
        let op = Choice {
            dice: &mut dice,
            datasets: &datasets,
        }
        .op();
        if op.is_covered(&side) {
            op.on(&side);
            history.push(op);
        }
    }
    history
}

/// What every history begins with, so that there is something to choose from.
fn beginning() -> Vec<Op> {
    let settings = vec![("canmount".to_owned(), "noauto".to_owned())];
    let snapshots = ["da/a@s", "da/a/b@s"].map(|name| Sync::Snapshot(name.to_owned()));
    vec![
        Op::Create("da/a".to_owned(), settings.clone()),
        Op::Create("da/a/b".to_owned(), settings.clone()),
        Op::Transact("da".to_owned(), snapshots.to_vec()),
        Op::Clone("da/a@s".to_owned(), "da/c".to_owned(), settings),
    ]
}

/// What there is to choose from.
struct Choice<'a> {
    dice: &'a mut Dice,
    datasets: &'a [Dataset],
}

impl Choice<'_> {
    fn op(&mut self) -> Op {
        match self.dice.below(100) {
            0..14 => Op::Create(self.new_name(), settings::of_something_new(self.dice)),
            14..28 => Op::Clone(
                self.snapshot(),
                self.new_name(),
                settings::of_something_new(self.dice),
            ),
            28..56 => self.transaction(),
            56..68 => {
                let count = 1 + self.dice.below(2);
                let name = self.dataset();
                Op::Set(name, settings::several(self.dice, count))
            }
            68..76 => Op::Rename(self.dataset(), self.new_name()),
            76..79 => {
                let to = (!self.dice.one_in(4)).then(|| self.dataset());
                Op::Bootfs(self.pool(), to)
            }
            79..83 => Op::Transfer(
                self.snapshot(),
                self.new_name(),
                settings::of_something_received(self.dice),
            ),
            83..84 => Op::TransferSize(self.snapshot()),
            84..85 => Op::Properties(self.dataset()),
            85..86 => Op::Holds(self.snapshot()),
            86..89 => Op::Hold(self.snapshot(), !self.dice.one_in(3)),
            89..90 => Op::Volume(self.new_name()),
            90..94 => {
                let number = self.dice.below(3);
                let kib = *self.dice.of(&[1024, 3072, 4096]);
                Op::Write(self.dataset(), u8::try_from(number).unwrap(), kib)
            }
            94..97 => {
                let (name, at) = (self.dataset(), self.directory());
                Op::Mount(name, at, self.dice.one_in(4))
            }
            _ => Op::Unmount(self.directory()),
        }
    }

    fn directory(&mut self) -> u8 {
        u8::try_from(self.dice.below(DIRECTORIES.into())).unwrap()
    }

    fn pool(&mut self) -> String {
        match self.dice.below(20) {
            0 => "nopool".to_owned(),
            1 | 2 => POOLS[1].to_owned(),
            _ => POOLS[0].to_owned(),
        }
    }

    /// One that is there, most often.
    fn dataset(&mut self) -> String {
        if self.dice.one_in(12) {
            return self.new_name();
        }
        let inner: Vec<&Dataset> = self
            .datasets
            .iter()
            .filter(|dataset| dataset.name.depth() > 0)
            .collect();
        if inner.is_empty() || self.dice.one_in(8) {
            return self.dice.of(self.datasets).name.to_string();
        }
        self.dice.of(&inner).name.to_string()
    }

    /// One that is not there and could be, most often.
    fn new_name(&mut self) -> String {
        if self.dice.one_in(30) {
            return (*self
                .dice
                .of(&["nopool/a", "da/none/a", "db/none", "da", "nopool"]))
            .to_owned();
        }
        if self.dice.one_in(12) {
            return self.dice.of(self.datasets).name.to_string();
        }
        let parents: Vec<&DatasetName> = self
            .datasets
            .iter()
            .filter(|d| d.name.depth() < 3 && (d.kind == Kind::Filesystem || self.dice.one_in(4)))
            .map(|dataset| &dataset.name)
            .collect();
        // Most of it happens in the first pool.
        let first: Vec<&DatasetName> = parents
            .iter()
            .copied()
            .filter(|name| name.pool().as_str() == POOLS[0])
            .collect();
        let from = if self.dice.one_in(8) {
            &parents
        } else {
            &first
        };
        let parent = *self.dice.of(from);
        format!("{parent}/{}", self.dice.of(&NAMES))
    }

    /// One that is there, most often.
    fn snapshot(&mut self) -> String {
        let all: Vec<String> = self
            .datasets
            .iter()
            .flat_map(|dataset| &dataset.snapshots)
            .map(|snapshot| snapshot.name.to_string())
            .collect();
        if all.is_empty() || self.dice.one_in(12) {
            return self.new_snapshot();
        }
        self.dice.of(&all).clone()
    }

    fn new_snapshot(&mut self) -> String {
        format!("{}@{}", self.dataset(), self.dice.of(&SNAPSHOTS))
    }

    /// A clone, where there is one.
    fn clone(&mut self) -> String {
        let clones: Vec<String> = self
            .datasets
            .iter()
            .filter(|dataset| dataset.origin.is_some())
            .map(|dataset| dataset.name.to_string())
            .collect();
        if clones.is_empty() || self.dice.one_in(8) {
            return self.dataset();
        }
        self.dice.of(&clones).clone()
    }

    fn key(&mut self) -> String {
        (*self.dice.of(&KEYS)).to_owned()
    }

    fn text(&mut self) -> String {
        if self.dice.one_in(30) {
            let length = *self.dice.of(&[8100, 8300]);
            return "t".repeat(length);
        }
        (*self.dice.of(&TEXTS)).to_owned()
    }

    fn object(&mut self) -> String {
        if self.dice.one_in(2) {
            self.snapshot()
        } else {
            self.dataset()
        }
    }

    fn must(&mut self) -> Must {
        match self.dice.below(20) {
            0 => Must::BeAnother,
            1 | 2 => Must::Origin(self.snapshot()),
            3 => Must::Mark(self.key(), self.text()),
            4 => Must::Setting(self.key(), self.text()),
            _ => Must::BeIt,
        }
    }

    fn transaction(&mut self) -> Op {
        let mut parts: Vec<Sync> = Vec::new();
        for _ in 0..=self.dice.below(4) {
            match self.dice.below(20) {
                0..8 => {
                    let name = self.new_snapshot();
                    parts.push(Sync::Snapshot(name.clone()));
                    if self.dice.one_in(2) {
                        parts.push(Sync::Mark(name, self.key(), self.text()));
                    }
                }
                8..10 => parts.push(Sync::Mark(self.object(), self.key(), self.text())),
                10 => parts.push(Sync::Unmark(self.object(), self.key())),
                11..14 => parts.push(Sync::Promote(self.clone(), !self.dice.one_in(4))),
                14..18 => parts.push(Sync::Destroy(
                    self.object(),
                    self.must(),
                    self.dice.one_in(4),
                )),
                _ => parts.push(Sync::Rollback(self.dataset(), self.must())),
            }
        }
        // A transaction is of one pool.
        let pool = parts[0].pool().to_owned();
        parts.retain(|part| part.pool() == pool);
        Op::Transact(pool, parts)
    }
}
