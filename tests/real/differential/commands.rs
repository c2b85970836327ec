//! Histories of commands of the program, with a user's own doings between them.
//!
//! The program runs as from a rescue system: on neither side is a boot
//! environment the running one.

use std::fmt::Write as _;

use beadm_rs::zfs::sim::Sim;
use beadm_rs::zfs::{DatasetName, Setting, Zfs as _};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::difference::lines;
use super::generate::Dice;
use super::operation::{Op, Sync};
use super::picture::{self, Picture};
use super::side::{DIRECTORIES, POOLS, Side, mount_directory};
use super::{redact, shrink};
use crate::ran::{Ran, long, program};

/// How many histories there are, and in the long run.
const HISTORIES: [u64; 2] = [4, 40];

/// How many commands and doings each has.
const EVENTS: usize = 40;

/// How many of those that come out differently are made shorter.
const SHORTENED: usize = 0;

/// A command line, or something a user does beside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Event {
    Run(Vec<String>),
    Beside(Op),
}

/// Both machines.
struct Machines {
    simulated: Side,
    real: Side,
    scratch: tempfile::TempDir,
}

/// What a command came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    exit: i32,
    stdout: String,
    stderr: String,
}

const FSTAB: &str = "\
da/ROOT/old / zfs defaults 0 0
da/ROOT/old/srv /srv zfs defaults 0 0
db/BOOT/old /boot zfs defaults 0 0
da/home /home zfs defaults 0 0
";

fn dataset(name: &str) -> DatasetName {
    name.parse().unwrap()
}

/// An environment with children of every kind, in one pool or with `/boot` in
/// the other one, which has a beroot too.
fn install(side: &Side, boot_pool: bool) {
    let make = |name: &str, pairs: &[(&str, &str)]| {
        let settings: Vec<Setting> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        side.zfs().create(&dataset(name), &settings).unwrap();
    };
    let container = [("canmount", "off"), ("mountpoint", "none")];
    let noauto = ("canmount", "noauto");
    make("da/ROOT", &container);
    make("da/ROOT/old", &[noauto, ("mountpoint", "/")]);
    make("da/ROOT/old/usr", &[("canmount", "off")]);
    make("da/ROOT/old/usr/local", &[noauto, ("compression", "zstd")]);
    make("da/ROOT/old/srv", &[noauto, ("mountpoint", "legacy")]);
    make("da/home", &[noauto, ("mountpoint", "/home")]);
    make("db/ROOT", &container);
    if boot_pool {
        make("db/BOOT", &container);
        make("db/BOOT/old", &[noauto, ("mountpoint", "/boot")]);
    }
    side.platform()
        .with_files(&dataset("da/ROOT/old"), true, &mut |root| {
            root.create_dir_all("etc")?;
            root.create_dir_all("usr/local")?;
            root.create_dir_all("srv")?;
            root.create_dir_all("boot")?;
            root.write("etc/fstab", FSTAB)
        })
        .unwrap();
    let pool = "da".parse().unwrap();
    side.zfs()
        .set_bootfs(&pool, Some(&dataset("da/ROOT/old")))
        .unwrap();
}

impl Machines {
    fn new(boot_pool: bool) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(scratch.path()).unwrap();
        for number in 0..DIRECTORIES {
            std::fs::create_dir_all(directory.join("at").join(number.to_string())).unwrap();
        }
        let machines = Self {
            simulated: Side::simulated_in(&directory.join("machine")),
            real: Side::real(),
            scratch,
        };
        install(&machines.simulated, boot_pool);
        install(&machines.real, boot_pool);
        machines
    }

    /// Where the simulated machine is.
    fn directory(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.scratch.path())
            .unwrap()
            .join("machine")
    }

    fn simulated(&self, arguments: &[String]) -> Ran {
        let directory = self.directory();
        let mut all = vec!["--sim".to_owned(), directory.to_string()];
        // A directory of its own to mount on.
        all.extend(arguments.iter().map(|argument| {
            match argument.strip_prefix(mount_directory(0).parent().unwrap().as_str()) {
                Some(below) => format!("{}/at{below}", self.scratch.path().display()),
                None => argument.clone(),
            }
        }));
        run(&all)
    }
}

fn run(arguments: &[String]) -> Ran {
    let mut command = std::process::Command::new(program());
    command.args(["-r", "da/ROOT"]).args(arguments);
    Ran::of(command.stdin(std::process::Stdio::null()).output().unwrap())
}

/// What differs in every run and between the sides: guids, times, operations,
/// where things are.
fn redactions(machines: &Machines) -> redact::Redactions {
    let mut redactions = redact::Redactions::default();
    let here = format!("{}/at", machines.scratch.path().display());
    redactions.directory(&here, "AT");
    let there = mount_directory(0);
    redactions.directory(there.parent().unwrap().as_str(), "AT");
    redactions
}

fn outcome(machines: &Machines, ran: &Ran) -> Outcome {
    let mut redactions = redactions(machines);
    Outcome {
        exit: ran.exit,
        stdout: redactions.apply(&ran.stdout),
        stderr: redactions.apply(&ran.stderr),
    }
}

/// The picture of a side, and every fstab.
fn shown(machines: &Machines, side: &Side) -> Picture {
    let mut redactions = redactions(machines);
    let mut lines = picture::take(side.zfs(), side.platform(), &POOLS);
    let datasets = side.zfs().tree(&[dataset("da/ROOT")], false).unwrap();
    for environment in datasets.iter().filter(|d| d.name.depth() == 2) {
        let mut fstab = String::new();
        let read = side
            .platform()
            .with_files(&environment.name, false, &mut |root| {
                fstab = root.read_to_string("etc/fstab")?;
                Ok(())
            });
        lines.push(format!(
            "{} fstab {:?} {fstab}",
            environment.name,
            read.is_ok()
        ));
    }
    lines.iter().map(|line| redactions.apply(line)).collect()
}

/// The first disagreement about a history, and which event showed it.
fn difference(events: &[Event], boot_pool: bool) -> Option<(usize, String)> {
    let machines = Machines::new(boot_pool);
    for (at, event) in events.iter().enumerate() {
        let (one, other) = match event {
            Event::Run(arguments) => {
                let (simulated, real) = (machines.simulated(arguments), run(arguments));
                let one = outcome(&machines, &simulated);
                let other = outcome(&machines, &real);
                (format!("{one:#?}"), format!("{other:#?}"))
            }
            Event::Beside(op) if op.is_covered(&machines.simulated) => {
                let (one, other) = (op.on(&machines.simulated), op.on(&machines.real));
                if one == other {
                    (String::new(), String::new())
                } else {
                    (one.to_string(), other.to_string())
                }
            }
            Event::Beside(_) => continue,
        };
        if one != other {
            let event = serde_json::to_string(event).unwrap();
            let text = format!("{event}\n  simulator: {one}\n  real ZFS:  {other}\n");
            return Some((at, text));
        }
        if at + 1 == events.len() || at % 10 == 9 {
            let one = shown(&machines, &machines.simulated);
            let other = shown(&machines, &machines.real);
            if one != other {
                let text = format!("what is there afterwards\n{}", lines(&one, &other));
                return Some((at, text));
            }
        }
    }
    None
}

/// Names of environments: '-' and '.' sort before '/'.
const NAMES: [&str; 5] = ["old-1", "old.new", "ol", "b", "a"];

/// What there is to choose from.
struct Choice<'a> {
    dice: &'a mut Dice,
    environments: Vec<String>,
    /// `BE@SNAP`.
    snapshots: Vec<String>,
    /// Every dataset.
    datasets: Vec<String>,
}

impl<'a> Choice<'a> {
    fn of(dice: &'a mut Dice, sim: &Sim) -> Self {
        let all = sim.tree(&POOLS.map(dataset), true).unwrap();
        let mut choice = Self {
            dice,
            environments: Vec::new(),
            snapshots: Vec::new(),
            datasets: Vec::new(),
        };
        for found in &all {
            choice.datasets.push(found.name.to_string());
            let beroot = found
                .name
                .parent()
                .is_some_and(|up| up == dataset("da/ROOT"));
            if beroot {
                choice.environments.push(found.name.leaf().to_owned());
                for snapshot in &found.snapshots {
                    let (be, snap) = (found.name.leaf(), snapshot.name.component());
                    choice.snapshots.push(format!("{be}@{snap}"));
                }
            }
        }
        choice
    }

    fn new_name(&mut self) -> String {
        (*self.dice.of(&NAMES)).to_owned()
    }

    fn environment(&mut self) -> String {
        if self.environments.is_empty() || self.dice.one_in(12) {
            return self.new_name();
        }
        self.dice.of(&self.environments).clone()
    }

    fn snapshot(&mut self) -> String {
        if self.snapshots.is_empty() || self.dice.one_in(12) {
            return format!("{}@none", self.environment());
        }
        self.dice.of(&self.snapshots).clone()
    }

    fn event(&mut self) -> Event {
        match self.dice.below(20) {
            0..15 => {
                let mut arguments = self.command();
                if self.dice.one_in(9) {
                    arguments.insert(0, "-n".to_owned());
                }
                Event::Run(arguments)
            }
            _ => Event::Beside(self.beside()),
        }
    }

    fn command(&mut self) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut say = |words: &[&str]| arguments.extend(words.iter().map(|w| (*w).to_owned()));
        match self.dice.below(24) {
            0..7 => {
                let from = if self.dice.one_in(3) {
                    self.snapshot()
                } else {
                    self.environment()
                };
                say(&["create", "-e", &from]);
                match self.dice.below(9) {
                    0 => say(&["--shallow"]),
                    1 => say(&["-p", "db"]),
                    2 => say(&["-a"]),
                    3 => say(&["-d", "ü 'note'"]),
                    4 => {
                        let (name, value) = super::settings::any(self.dice);
                        say(&["-o", &format!("{name}={value}")]);
                    }
                    _ => {}
                }
                say(&[&self.new_name()]);
            }
            7 => say(&["create", "--empty", &self.new_name()]),
            8..11 => say(&["activate", &self.environment()]),
            11 => say(&["failback"]),
            12..15 => {
                say(&["-y", "destroy", &self.environment()]);
                match self.dice.below(6) {
                    0 => say(&["-F"]),
                    1 => say(&["--keep-origin"]),
                    _ => {}
                }
            }
            15 => say(&["-y", "destroy", &self.snapshot()]),
            16 => say(&["rename", &self.environment(), &self.new_name()]),
            17 => say(&[
                "snapshot",
                &format!("{}@{}", self.environment(), self.new_name()),
            ]),
            18 => say(&["snapshot", &self.environment()]),
            19 => say(&["-y", "rollback", &self.snapshot()]),
            20 => {
                let verb = *self.dice.of(&["pin", "pin", "unpin"]);
                say(&[verb, &self.environment()]);
            }
            21 => say(&["describe", &self.environment(), "a note"]),
            22 => {
                let number = self.dice.below(DIRECTORIES.into());
                let directory = mount_directory(u8::try_from(number).unwrap());
                say(&["mount", &self.environment(), directory.as_str()]);
            }
            _ => say(&["unmount", &self.environment()]),
        }
        arguments
    }

    fn beside(&mut self) -> Op {
        let name = self.dice.of(&self.datasets).clone();
        let snapshot = format!("{name}@{}", self.dice.of(&["s", "t"]));
        let pool = name.split('/').next().unwrap().to_owned();
        match self.dice.below(6) {
            0 | 1 => Op::Transact(pool, vec![Sync::Snapshot(snapshot)]),
            2 => Op::Hold(snapshot, !self.dice.one_in(3)),
            3 => {
                let parent = self.dice.of(&self.datasets).clone();
                let settings = vec![("canmount".to_owned(), "noauto".to_owned())];
                Op::Clone(snapshot, format!("{parent}/user"), settings)
            }
            4 => Op::Transact(pool, vec![Sync::Promote(name, true)]),
            _ => Op::Write(name, 0, 64),
        }
    }
}

/// The history of a seed.
fn history(seed: u64, boot_pool: bool) -> Vec<Event> {
    let scratch = tempfile::tempdir().unwrap();
    let directory = Utf8Path::from_path(scratch.path()).unwrap().join("machine");
    let side = Side::simulated_in(&directory);
    install(&side, boot_pool);
    let Side::Simulated(sim) = &side else {
        unreachable!("it was made a simulator")
    };
    let mut dice = Dice::new(seed);
    std::iter::repeat_with(|| {
        let event = Choice::of(&mut dice, sim).event();
        match &event {
            Event::Run(arguments) => {
                let mut all = vec!["--sim".to_owned(), directory.to_string()];
                all.extend(arguments.iter().cloned());
                run(&all);
            }
            Event::Beside(op) => {
                if op.is_covered(&side) {
                    op.on(&side);
                }
            }
        }
        event
    })
    .take(EVENTS)
    .collect()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn histories_of_commands_come_out_the_same_on_both_sides() {
    let count = HISTORIES[usize::from(long())];
    let mut report = String::new();
    let mut failed = 0;
    for seed in 0..count {
        let boot_pool = seed % 2 == 1;
        let events = history(seed, boot_pool);
        let Some((at, text)) = difference(&events, boot_pool) else {
            continue;
        };
        failed += 1;
        let _ = writeln!(report, "seed {seed}: {text}");
        if failed <= SHORTENED {
            let ops = shrink::shortest(&events[..=at], |ops| difference(ops, boot_pool).is_some());
            for event in &ops {
                let _ = writeln!(report, "    {}", serde_json::to_string(event).unwrap());
            }
        }
    }
    assert!(
        failed == 0,
        "{failed} histories come out differently\n{report}"
    );
}
