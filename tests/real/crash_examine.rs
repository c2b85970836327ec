//! States of the disk opened, looked at and recovered.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::crash::Chapter;
use crate::crash_replay::{Chance, Key, Replay};
use crate::crash_table::{Outcome, Table};
use crate::machine::Machine;
use crate::picture::{Picture, differences};
use crate::ran::{Ran, long, sh};
use crate::recorded::Attached;

/// The pools with what is in the environments' fstab.
pub fn whole(machine: &Machine) -> Picture {
    let mut picture = machine.picture();
    let below = machine.name("ROOT/");
    let environments: Vec<String> = picture
        .keys()
        .filter_map(|key| key.strip_prefix(&below))
        .filter(|name| !name.contains(['/', '@', ' ']))
        .map(str::to_owned)
        .collect();
    for name in environments {
        let fstab = machine.read(&name, "etc/fstab").unwrap_or_default();
        picture.insert(format!("fstab of {name}"), fstab);
    }
    picture
}

/// Without what [`whole`] adds.
fn pools_only(picture: &Picture) -> Picture {
    let mut picture = picture.clone();
    picture.retain(|key, _| !key.starts_with("fstab of "));
    picture
}

/// Where an instant is: which entry comes next, and in which step that is.
#[derive(Clone)]
struct Place {
    position: usize,
    step: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} in step {}", self.position, self.step)
    }
}

/// A state, with the instants that are in it.
struct State {
    outcome: Outcome,
    last: Place,
}

/// After which writes the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instants {
    /// Each.
    Writes,
    /// The last one of a command's beginning, of each step, and of its end.
    Steps,
}

/// The opening of one state after the other.
pub struct Examination<'a> {
    machine: &'a Machine,
    copy: PathBuf,
    instants: Instants,
    pub table: Table,
    pub opened: usize,
    /// Unfinished pictures of the chapter, and what became of them.
    unfinished: Vec<(Picture, Outcome)>,
}

impl<'a> Examination<'a> {
    /// Of a machine whose pools are exported, with a file for copies.
    pub fn new(machine: &'a Machine, copy: PathBuf, instants: Instants) -> Self {
        Self {
            machine,
            copy,
            instants,
            table: Table::default(),
            opened: 0,
            unfinished: Vec::new(),
        }
    }

    /// Cuts the power in all chapters.
    pub fn all(&mut self, mut replay: Replay<'_>, chapters: &[Chapter], random: usize) {
        let log = replay.log;
        let bounds: Vec<(usize, usize)> = (0..chapters.len())
            .map(|number| {
                (
                    log.mark(&format!("{number}:begins")),
                    log.mark(&format!("{number}:ends")),
                )
            })
            .collect();
        let writes: usize = bounds.iter().map(|(begin, end)| end - begin).sum();
        let mut chance = Chance(1);
        for (chapter, (begin, end)) in chapters.iter().zip(bounds) {
            while replay.position < begin {
                replay.advance();
            }
            // By its share of what was written in all chapters.
            let share = (random * (end - begin)).div_ceil(writes);
            let mut instants: Vec<usize> = (0..share)
                .map(|_| begin + usize::try_from(chance.next()).unwrap() % (end - begin))
                .collect();
            instants.sort_unstable();
            self.chapter(&mut replay, chapter, (begin, end), &instants, &mut chance);
        }
    }

    fn chapter(
        &mut self,
        replay: &mut Replay<'_>,
        chapter: &Chapter,
        (begin, end): (usize, usize),
        random: &[usize],
        chance: &mut Chance,
    ) {
        let entries = &replay.log.entries;
        let place_of = |text: String| {
            (begin..end)
                .find(|index| entries[*index].mark.as_deref() == Some(&text))
                .unwrap_or_else(|| panic!("{}: nothing was noted at {text}", chapter.command))
        };
        for step in &chapter.steps {
            for side in ["before", "after"] {
                place_of(format!("{}/{step}:{side}", chapter.operation));
            }
        }
        let commit =
            |side: &str| place_of(format!("{}/{}:{side}", chapter.operation, chapter.commit));
        let (uncommitted, committed) = (commit("before"), commit("after"));
        let mut step = "(before)".to_owned();
        let mut states: BTreeMap<Key, State> = BTreeMap::new();
        self.unfinished.clear();
        while replay.position <= end {
            let position = replay.position;
            let begun = entries[position]
                .mark
                .as_ref()
                .and_then(|mark| mark.strip_suffix(":before")?.split_once('/'));
            if let Some((_, name)) = begun {
                name.clone_into(&mut step);
            }
            let place = Place {
                position,
                step: step.clone(),
            };
            let mut instants = Vec::new();
            let ends = |mark: &String| !mark.ends_with(":before");
            if self.instants == Instants::Writes
                || entries[position].mark.as_ref().is_some_and(ends)
            {
                instants.push((None, replay.key()));
            }
            for _ in random.iter().filter(|instant| **instant == position) {
                let kept = replay.lost(chance);
                let key = replay.key_of(&kept);
                instants.push((Some(kept), key));
            }
            for (kept, key) in instants {
                let known = states.get(&key).map(|state| state.outcome);
                let outcome = known.unwrap_or_else(|| {
                    self.table.row(&chapter.command, &step).states += 1;
                    self.open(replay, kept.as_deref(), chapter, &place)
                });
                let told = || format!("{} at {place}, {kept:?}: {outcome:?}", chapter.command);
                assert!(
                    position > uncommitted || !outcome.is_forward(),
                    "{}",
                    told()
                );
                assert!(position <= committed || outcome.is_forward(), "{}", told());
                let row = self.table.row(&chapter.command, &step);
                *row.outcomes.entry(outcome).or_default() += 1;
                match kept {
                    None => row.writes += 1,
                    Some(_) => row.random += 1,
                }
                let last = place.clone();
                states.insert(key, State { outcome, last });
            }
            replay.advance();
            if long() {
                self.again(replay, chapter, &mut states);
            }
        }
    }

    /// Opens a state once more at its last instant: when the next one begins.
    fn again(&mut self, replay: &Replay<'_>, chapter: &Chapter, states: &mut BTreeMap<Key, State>) {
        // Two writes in a row that end it: the first of them is enough.
        let Some(state) = states.get(&replay.key()) else {
            return;
        };
        if !replay.ends_state() || state.last.position + 1 != replay.position {
            return;
        }
        let (outcome, place) = (state.outcome, state.last.clone());
        let again = self.open(replay, None, chapter, &place);
        assert_eq!(outcome, again, "{} at {place}, once more", chapter.command);
    }

    /// Opens the disk as it is, looks at it, and recovers.
    fn open(
        &mut self,
        replay: &Replay<'_>,
        kept: Option<&[(usize, u64)]>,
        chapter: &Chapter,
        place: &Place,
    ) -> Outcome {
        self.opened += 1;
        replay.copy(kept, &self.copy);
        let pools = self.machine.pools();
        let attached = Attached::new(&self.copy, pools.len());
        for (pool, device) in pools.iter().zip(&attached.parts) {
            let arguments = ["import", "-N", "-o", "cachefile=none", "-d", device, pool];
            sh("zpool", &arguments);
        }
        let outcome = self.recovered(chapter, place);
        for pool in &pools {
            sh("zpool", &["export", pool]);
        }
        outcome
    }

    fn recovered(&mut self, chapter: &Chapter, place: &Place) -> Outcome {
        let at = || format!("{} at {place}", chapter.command);
        let found = self.machine.picture();
        self.boots(&found, chapter, &at());
        let known = self.unfinished.iter().find(|(same, _)| *same == found);
        if let (Some((_, outcome)), false) = (known, long()) {
            return *outcome;
        }
        let list = self.machine.run(&["list"]).succeeds();
        let recovered = self.machine.run(&["recover"]).succeeds();
        let says = |ran: &Ran, text: &str| ran.stderr.contains(text);
        // On the beroot, or on the new root of a `create`.
        let is_intent = |(key, value): (&String, &String)| {
            key.ends_with(" org.beadm-rs:op") && !key.contains('@') && value.contains('{')
        };
        if found.iter().any(is_intent) {
            let said = format!("beadm-rs: {} ", chapter.said());
            assert!(says(&list, &said), "{}: {list:#?}", at());
            assert!(
                says(&list, "was interrupted; 'beadm-rs recover' completes it"),
                "{}: {list:#?}",
                at()
            );
            let end = whole(self.machine);
            let outcome = if differences(&chapter.before, &end).is_empty() {
                Outcome::TakenBack
            } else {
                let half = differences(&chapter.after, &end);
                assert!(half.is_empty(), "{}: half:\n{}", at(), half.join("\n"));
                Outcome::Completed
            };
            self.unfinished.push((found, outcome));
            return outcome;
        }
        assert_eq!(list.stderr, "", "{}", at());
        assert!(
            says(&recovered, "nothing was interrupted"),
            "{}: {recovered:#?}",
            at()
        );
        let outcome = if found == pools_only(&chapter.before) {
            Outcome::Old
        } else {
            Outcome::New
        };
        let (wanted, end) = match outcome {
            Outcome::Old => (pools_only(&chapter.before), found),
            _ => (chapter.after.clone(), whole(self.machine)),
        };
        let half = differences(&wanted, &end);
        assert!(half.is_empty(), "{}: half:\n{}", at(), half.join("\n"));
        outcome
    }

    /// Before anybody recovers anything, the machine boots the old environment
    /// or the new one, complete, and mounts nothing else.
    fn boots(&self, found: &Picture, chapter: &Chapter, at: &str) {
        let key = format!("bootfs of {}", self.machine.pool);
        let next = |picture: &Picture| {
            let root = picture[&key].clone();
            let boot = self.machine.boot_pool.as_ref().map(|pool| {
                let (_, name) = root.rsplit_once('/').unwrap();
                tree(picture, &format!("{pool}/BOOT/{name}"))
            });
            (tree(picture, &root), boot)
        };
        let (root, _) = next(found);
        let known = [&chapter.before, &chapter.after].map(next);
        let Some((_, boot)) = known.iter().find(|(known, _)| *known == root) else {
            panic!("{at}: what boots is neither the old nor the new one: {root:#?}");
        };
        if let (Some(boot), Some(pool)) = (boot, &self.machine.boot_pool) {
            // Its name follows that of the root; fstab knows it by the old one
            // until it is written anew.
            let below = format!("{pool}/BOOT/");
            let there = found
                .keys()
                .filter_map(|key| key.strip_prefix(&below))
                .filter(|name| !name.contains(['/', '@', ' ']))
                .any(|name| tree(found, &format!("{below}{name}")) == *boot);
            assert!(there, "{at}: its /boot is not there: {found:#?}");
        }
        for (name, columns) in found {
            if name.contains(['@', ' ']) {
                continue;
            }
            let columns: Vec<&str> = columns.split('\t').collect();
            let itself = columns[2] == "on" && columns[3].starts_with('/');
            assert!(!itself, "{at}: {name} mounts itself: {columns:?}");
        }
        let outside = |picture: &Picture| -> Picture {
            let inside = ["/ROOT", "/BOOT", " of "];
            let mut outside = picture.clone();
            outside.retain(|name, _| !inside.iter().any(|part| name.contains(part)));
            outside
        };
        assert!(outside(found).len() > 2, "{at}: nothing lies outside");
        assert_eq!(outside(found), outside(&chapter.before), "{at}");
    }
}

impl Chapter {
    /// How its intent is spoken of.
    fn said(&self) -> &str {
        match self.operation.as_str() {
            "failback" => "activate",
            operation => operation,
        }
    }
}

/// A tree's datasets by their names in it: guid, canmount, mountpoint.
fn tree(picture: &Picture, root: &str) -> BTreeMap<String, [String; 3]> {
    picture
        .iter()
        .filter(|(name, _)| !name.contains(['@', ' ']))
        .filter_map(|(name, columns)| {
            let below = name.strip_prefix(root)?;
            if !below.is_empty() && !below.starts_with('/') {
                return None;
            }
            let columns: Vec<&str> = columns.split('\t').collect();
            let kept = [0, 2, 3].map(|index| columns[index].to_owned());
            Some((below.to_owned(), kept))
        })
        .collect()
}
