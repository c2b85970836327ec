//! The power is cut at every write of every command: the pools are opened as
//! the disk has them then, and are the old state or the new one, at once or
//! after `recover`, and nothing half.
//!
//! The machine's pools lie on one disk whose every write is recorded
//! ([`crate::recorded`]), with a mark before and after each step of each plan
//! (the fail points, so that a new step is there by itself). Afterwards the
//! writes are done again one by one ([`crate::replay`]). There are two kinds of
//! instants:
//!
//! - after each write, in the order they reached the disk;
//! - at random: inside a write, cut at a sector, and of what was written since
//!   the last flush any part lost, as a disk may that has a cache. 200 of them,
//!   or 2,000 with `BEADM_RS_LONG=1`; the seeds are fixed.
//!
//! Thousands of instants, few different pools: ZFS opens the newest uberblock
//! whose checksum is right, whatever else is on the disk, and replays the intent
//! log. So instants with the same uberblocks (by transaction group) and the same
//! blocks of intent logs written since are one state. Each state is opened and
//! checked once, at its first instant, and with `BEADM_RS_LONG=1` once more at
//! its last, when most of what it may no longer need was written over. The
//! other instants are counted with it, and each is held to its own place: up to
//! the commit point nothing may be forward, past it everything must be.
//!
//! Where a state shows the same unfinished picture as one before it (the same
//! objects, origins and properties: many groups change nothing of that),
//! `recover` is run on the first of them only, since it knows no more than that;
//! with `BEADM_RS_LONG=1` on all.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;

use crate::crash_table::{Outcome, Table};
use crate::disks::duplicate;
use crate::machine::Machine;
use crate::picture::{Picture, differences};
use crate::ran::{Ran, long, sh};
use crate::recorded::{Attached, PART, RecordedDisk};
use crate::replay::{Labels, Log};

/// One command of a life, with what was there before and after it.
struct Chapter {
    command: String,
    operation: String,
    steps: Vec<String>,
    commit: String,
    before: Picture,
    after: Picture,
}

/// A machine, and the commands given to it while its disk was recorded.
struct Life {
    machine: Machine,
    disk: RecordedDisk,
    chapters: Vec<Chapter>,
    /// What is there now, where it is known.
    now: Option<Picture>,
}

/// What a state of the disk is known by: per pool the transaction group it is
/// opened at, and which blocks of intent logs have been written since.
type Key = (Vec<Option<u64>>, Vec<(usize, u64)>);

/// The pools with what is in the environments' fstab.
fn whole(machine: &Machine) -> Picture {
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

impl Life {
    /// A machine with `/boot` in a pool of its own or not, and an empty pool
    /// beside it or not.
    fn new(boot: bool, other: bool) -> Self {
        let disk = RecordedDisk::new(1 + usize::from(boot) + usize::from(other));
        let mut machine = Machine::on_device(&disk.part(0));
        if boot {
            machine.add_boot_pool_on(&disk.part(1));
        }
        if other {
            machine.pool_on("x", &disk.part(1));
        }
        let fstab = format!("{} /var zfs defaults 0 0\n", machine.name("ROOT/old/var"));
        machine.write("old", "etc/fstab", fstab);
        machine.run(&["snapshot", "old@early"]).succeeds();
        Self {
            machine,
            disk,
            chapters: Vec::new(),
            now: None,
        }
    }

    /// Something between the commands that is not under test.
    fn meanwhile(&mut self, work: impl FnOnce(&Machine)) {
        work(&self.machine);
        self.now = None;
    }

    /// A command under test.
    fn command(&mut self, arguments: &[&str]) {
        let machine = &self.machine;
        let before = self.now.take().unwrap_or_else(|| whole(machine));
        let mut dry = vec!["-n", "--json"];
        dry.extend(arguments);
        let plan = machine.run(&dry).succeeds().json(arguments[0])["plan"].clone();
        let steps = plan["steps"].as_array().unwrap();
        let name = |step: &serde_json::Value| step["name"].as_str().unwrap().to_owned();
        let commit = steps.iter().find(|step| step["commit"] == true).unwrap();
        let number = self.chapters.len();
        let action = format!("run:{}", self.disk.marker().display());
        self.disk.mark(&format!("{number}:begins"));
        machine.run_failing(arguments, "*", &action).succeeds();
        self.disk.mark(&format!("{number}:ends"));
        let after = whole(machine);
        let shown: Vec<&str> = arguments
            .iter()
            .map(|word| word.strip_prefix(machine.pool.as_str()).unwrap_or(word))
            .collect();
        self.chapters.push(Chapter {
            command: shown.join(" "),
            operation: plan["operation"].as_str().unwrap().to_owned(),
            steps: steps.iter().map(name).collect(),
            commit: name(commit),
            before,
            after: after.clone(),
        });
        self.now = Some(after);
    }

    /// Cuts the power everywhere.
    fn examine(self, name: &str, random: usize) {
        let pools = self.machine.pools();
        for pool in &pools {
            sh("zpool", &["export", pool]);
        }
        let (directory, log) = self.disk.end();
        let log = Log::open(&log);
        let disk = |name: &str| {
            let path = directory.path().join(name);
            let file = File::create_new(&path).unwrap();
            file.set_len(PART * pools.len() as u64).unwrap();
            (path, file)
        };
        let labels = Labels::blank(pools.len(), PART);
        let replay = Replay {
            written: disk("written"),
            written_labels: labels.clone(),
            durable: disk("durable"),
            durable_labels: labels,
            epoch: 0,
            landed: vec![0; pools.len()],
            intent_log: Vec::new(),
            groups: Vec::new(),
            position: 0,
            log: &log,
        };
        let mut examination = Examination {
            machine: &self.machine,
            copy: directory.path().join("copy"),
            table: Table::default(),
            opened: 0,
            unfinished: Vec::new(),
        };
        examination.all(replay, &self.chapters, random);
        let remark = format!(
            "{} writes and marks in the log, {} states opened",
            log.entries.len(),
            examination.opened
        );
        examination.table.tell(name, &remark);
    }
}

/// The disk, written anew up to a position in the log.
struct Replay<'a> {
    log: &'a Log,
    /// How many entries are written.
    position: usize,
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

impl Replay<'_> {
    fn advance(&mut self) {
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
    fn key(&self) -> Key {
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
    fn lost(&self, chance: &mut Chance) -> Vec<(usize, u64)> {
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
    fn key_of(&self, kept: &[(usize, u64)]) -> Key {
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
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
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

struct Examination<'a> {
    machine: &'a Machine,
    copy: PathBuf,
    table: Table,
    opened: usize,
    /// Unfinished pictures of the chapter, and what became of them.
    unfinished: Vec<(Picture, Outcome)>,
}

impl Examination<'_> {
    fn all(&mut self, mut replay: Replay<'_>, chapters: &[Chapter], random: usize) {
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
            let mut instants = vec![(None, replay.key())];
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
        let Some(next) = replay.log.entries.get(replay.position) else {
            return;
        };
        let ends = next
            .change
            .as_ref()
            .is_some_and(|change| change.intent_log || replay.written_labels.touched_by(change));
        // Two writes in a row that end it: the first of them is enough.
        let Some(state) = states.get(&replay.key()) else {
            return;
        };
        if !ends || state.last.position + 1 != replay.position {
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
        let base = if kept.is_some() {
            &replay.durable.0
        } else {
            &replay.written.0
        };
        duplicate(base, &self.copy);
        if let Some(kept) = kept {
            let mut copy = File::options().write(true).open(&self.copy).unwrap();
            for (index, sectors) in kept {
                replay.log.apply(*index, *sectors, &mut copy);
            }
        }
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
        let intent = format!("{} org.beadm-rs:op", self.machine.name("ROOT"));
        if found.contains_key(&intent) {
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
            let home = self.machine.name("home");
            let mut outside = picture.clone();
            outside.retain(|name, _| name.starts_with(&home));
            outside
        };
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

/// How many random instants there are in one of the two lives below.
fn random() -> usize {
    if long() { 1000 } else { 100 }
}

/// All that is done with environments, one after another.
fn live(life: &mut Life) {
    life.command(&["create", "-e", "old", "-d", "x", "new"]);
    life.command(&["activate", "new"]);
    life.command(&["rename", "new", "newer"]);
    life.meanwhile(|machine| {
        machine.run(&["snapshot", "newer@a"]).succeeds();
        machine.run(&["snapshot", "newer@b"]).succeeds();
    });
    life.command(&["rollback", "-y", "newer@a"]);
    life.command(&["failback"]);
    life.meanwhile(|machine| machine.clone_of("newer", "newest"));
    life.command(&["destroy", "-y", "newer"]);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_power_is_cut_at_every_write() {
    let mut life = Life::new(false, false);
    live(&mut life);
    life.command(&["create", "-e", "old@early", "again"]);
    life.examine("crash", random());
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_power_is_cut_at_every_write_to_two_pools() {
    let mut life = Life::new(true, false);
    live(&mut life);
    life.examine("crash-boot", random());
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_power_is_cut_at_every_write_of_a_copy() {
    let mut life = Life::new(false, true);
    let other = life.machine.name("").replace('/', "x");
    life.command(&["create", "-e", "old", "-p", &other, "copy"]);
    life.examine("crash-copy", random() / 10);
}
