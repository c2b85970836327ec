//! The states a disk goes through, entry by entry of its log, and the random
//! ones beside them.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::disks::duplicate;
use crate::recorded::PART;
use crate::replay::{Labels, Log};

/// What a state of the disk is known by: per pool the transaction group it is
/// opened at, and which blocks of intent logs have been written since.
pub type Key = (Vec<Option<u64>>, Vec<(usize, u64)>);

/// The disk, written anew up to a position in the log.
pub struct Replay<'a> {
    pub log: &'a Log,
    /// How many entries are written.
    pub position: usize,
    /// With everything before the position.
    written: (PathBuf, File),
    written_labels: Labels,
    /// With everything before the last flush.
    durable: (PathBuf, File),
    durable_labels: Labels,
    /// Where the last flush is.
    epoch: usize,
    /// What the written pools are opened at, and since which entry.
    groups: Vec<Option<u64>>,
    landed: Vec<usize>,
    /// Entries with blocks of intent logs, and their pools.
    intent_log: Vec<(usize, usize)>,
}

impl<'a> Replay<'a> {
    /// The beginning, with its files in a directory.
    pub fn new(log: &'a Log, directory: &Path, pools: usize) -> Self {
        let disk = |name: &str| {
            let path = directory.join(name);
            let file = File::create_new(&path).unwrap();
            file.set_len(PART * pools as u64).unwrap();
            (path, file)
        };
        let labels = Labels::blank(pools, PART);
        Self {
            log,
            position: 0,
            written: disk("written"),
            written_labels: labels.clone(),
            durable: disk("durable"),
            durable_labels: labels,
            epoch: 0,
            groups: vec![None; pools],
            landed: vec![0; pools],
            intent_log: Vec::new(),
        }
    }

    /// Whether the next entry may begin another state.
    pub fn ends_state(&self) -> bool {
        let next = self.log.entries.get(self.position);
        next.and_then(|entry| entry.change.as_ref())
            .is_some_and(|change| change.intent_log || self.written_labels.touched_by(change))
    }

    /// A copy of the disk with everything before the position, or with these on
    /// top of what is durable.
    pub fn copy(&self, kept: Option<&[(usize, u64)]>, copy: &Path) {
        let Some(kept) = kept else {
            duplicate(&self.written.0, copy);
            return;
        };
        duplicate(&self.durable.0, copy);
        let mut file = File::options().write(true).open(copy).unwrap();
        for (index, sectors) in kept {
            self.log.apply(*index, *sectors, &mut file);
        }
    }

    /// Writes the next entry.
    pub fn advance(&mut self) {
        let index = self.position;
        let entry = &self.log.entries[index];
        if let Some(change) = &entry.change {
            self.log.apply(index, u64::MAX, &mut self.written.1);
            if change.intent_log {
                let pool = usize::try_from(change.at.start / PART).unwrap();
                self.intent_log.push((index, pool));
            }
            if self.written_labels.touched_by(change) {
                self.log.apply(index, u64::MAX, &mut self.written_labels);
                let groups = self.written_labels.groups();
                for (pool, group) in groups.iter().enumerate() {
                    if self.groups.get(pool) != Some(group) {
                        self.landed[pool] = index;
                    }
                }
                self.groups = groups;
            }
        }
        self.position += 1;
        if entry.flush {
            for index in self.epoch..self.position {
                self.log.apply(index, u64::MAX, &mut self.durable.1);
                self.log.apply(index, u64::MAX, &mut self.durable_labels);
            }
            self.epoch = self.position;
        }
    }

    /// The state with everything before the position.
    pub fn key(&self) -> Key {
        let since = self
            .intent_log
            .iter()
            .filter(|(index, pool)| *index > self.landed[*pool])
            .map(|(index, _)| (*index, u64::MAX))
            .collect();
        (self.groups.clone(), since)
    }

    /// Of what was not flushed, any part; of the write at the position, some
    /// sectors.
    pub fn lost(&self, chance: &mut Chance) -> Vec<(usize, u64)> {
        let mut kept: Vec<(usize, u64)> = (self.epoch..self.position)
            .filter(|_| chance.next().is_multiple_of(2))
            .map(|index| (index, u64::MAX))
            .collect();
        if let Some(change) = &self.log.entries[self.position].change {
            kept.push((self.position, chance.next() % (change.sectors() + 1)));
        }
        kept
    }

    /// The state with these on top of what is durable.
    pub fn key_of(&self, kept: &[(usize, u64)]) -> Key {
        let mut labels = self.durable_labels.clone();
        let mut since: Vec<(usize, u64)> = self
            .key()
            .1
            .into_iter()
            .filter(|(index, _)| *index < self.epoch)
            .collect();
        for (index, sectors) in kept {
            let Some(change) = &self.log.entries[*index].change else {
                continue;
            };
            self.log.apply(*index, *sectors, &mut labels);
            if change.intent_log {
                since.push((*index, *sectors));
            }
        }
        (labels.groups(), since)
    }
}

/// Numbers that are the same in every run: `SplitMix64`.
pub struct Chance(pub u64);

impl Chance {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
