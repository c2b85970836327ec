//! Histories of commands of the program, with a user's own doings between them.
//!
//! The program runs as from a rescue system: on neither side is a boot
//! environment the running one.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use beadm_rs::zfs::{DatasetName, Setting, Zfs};
use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use super::difference::lines;
use super::generate::Dice;
use super::operation::{Op, Sync};
use super::picture::{self, Picture, Shown};
use super::side::{DIRECTORIES, POOLS, Side};
use super::tally::Tally;
use super::{redact, shrink};
use crate::ran::{Ran, long, program};

/// How many histories there are, and in the long run: one command is several
/// processes of ZFS, so that thirty would not fit the time of the lab.
const HISTORIES: [u64; 2] = [2, 20];

/// How many commands and doings each has.
const EVENTS: usize = 40;

/// How many events there are between two pictures.
const BETWEEN_PICTURES: usize = 20;

/// How many of those that come out differently are made shorter, and in the
/// long run: played again up to twenty times, a minute each under emulation.
const SHORTENED: [usize; 2] = [0, 1];

/// A command line, or something a user does beside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Event {
    Run(Vec<String>),
    Beside(Op),
}

/// One machine, and where it is mounted and kept.
struct Machine {
    side: Side,
    scratch: tempfile::TempDir,
}

/// What a command came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    exit: i32,
    stdout: String,
    stderr: String,
}

/// What an event came to.
struct Happened {
    /// All of it that is the same on every machine.
    told: String,
    /// In the machine's own words.
    words: String,
    /// For counting.
    class: String,
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

impl Machine {
    fn simulated(boot_pool: bool) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(scratch.path()).unwrap();
        let side = Side::simulated_in(&directory.join("machine"));
        Self { side, scratch }.installed(boot_pool)
    }

    fn real(boot_pool: bool) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let side = Side::real();
        Self { side, scratch }.installed(boot_pool)
    }

    fn installed(self, boot_pool: bool) -> Self {
        for number in 0..DIRECTORIES {
            std::fs::create_dir(self.directory().join(number.to_string())).unwrap();
        }
        install(&self.side, boot_pool);
        self
    }

    fn directory(&self) -> &Utf8Path {
        Utf8Path::from_path(self.scratch.path()).unwrap()
    }

    /// Runs the program on it: what it came to.
    fn run(&self, arguments: &[String]) -> Outcome {
        let mut command = Command::new(program());
        command.args(["-r", "da/ROOT"]);
        if matches!(self.side, Side::Simulated(_)) {
            command.args(["--sim", self.directory().join("machine").as_str()]);
        }
        command.args(arguments.iter().map(|argument| self.meant(argument)));
        let ran = Ran::of(command.stdin(Stdio::null()).output().unwrap());
        let mut redactions = self.redactions();
        Outcome {
            exit: ran.exit,
            stdout: redactions.apply(&ran.stdout),
            stderr: redactions.apply(&ran.stderr),
        }
    }

    /// An argument in which `BE@#2` is the third snapshot of that environment,
    /// and `AT` the machine's directory.
    fn meant(&self, argument: &str) -> String {
        if let Some(number) = argument.strip_prefix("AT/") {
            return self.directory().join(number).into_string();
        }
        let Some((be, index)) = argument.split_once("@#") else {
            return argument.to_owned();
        };
        let root = dataset("da/ROOT").child(be).unwrap();
        let found = self.side.zfs().tree(&[root], true).unwrap();
        let snapshots = found.first().map(|dataset| &dataset.snapshots);
        let index: usize = index.parse().unwrap();
        let snapshot = snapshots.and_then(|all| all.get(index));
        let component = snapshot.map_or("none", |snapshot| snapshot.name.component());
        format!("{be}@{component}")
    }

    /// What differs in every run: guids, times, operations, where things are.
    fn redactions(&self) -> redact::Redactions {
        let mut redactions = redact::Redactions::default();
        redactions.directory(self.directory().as_str(), "AT");
        redactions
    }

    /// The picture of its pools, and every fstab.
    fn shown(&self, properties: bool) -> Picture {
        let shown = Shown {
            ages: false,
            properties,
        };
        let (zfs, platform) = (self.side.zfs(), self.side.platform());
        let mut lines = picture::take(zfs, platform, &POOLS, shown);
        let datasets = zfs.tree(&[dataset("da/ROOT")], false).unwrap();
        for environment in datasets.iter().filter(|d| d.name.depth() == 2) {
            let mut fstab = None;
            let read = platform.with_files(&environment.name, false, &mut |root| {
                fstab = Some(root.read_to_string("etc/fstab")?);
                Ok(())
            });
            lines.push(format!(
                "{} fstab {} {fstab:?}",
                environment.name,
                read.is_ok()
            ));
        }
        let mut redactions = self.redactions();
        lines.iter().map(|line| redactions.apply(line)).collect()
    }
}

impl Event {
    /// Lets it happen on a machine.
    fn on(&self, machine: &Machine) -> Happened {
        match self {
            Self::Run(arguments) => {
                let outcome = machine.run(arguments);
                let told = format!("{outcome:#?}");
                Happened {
                    words: told.clone(),
                    told,
                    class: format!("exit {}", outcome.exit),
                }
            }
            Self::Beside(op) => {
                let outcome = op.on(&machine.side);
                Happened {
                    told: outcome.told().to_owned(),
                    words: outcome.to_string(),
                    class: format!("{} by the user", outcome.class),
                }
            }
        }
    }
}

/// The first disagreement about a history, and which event showed it.
fn difference(events: &[Event], boot_pool: bool, tally: &mut Tally) -> Option<(usize, String)> {
    let (simulated, real) = (Machine::simulated(boot_pool), Machine::real(boot_pool));
    for (at, event) in events.iter().enumerate() {
        if matches!(event, Event::Beside(op) if !op.is_covered(&simulated.side)) {
            continue;
        }
        let (one, other) = (event.on(&simulated), event.on(&real));
        tally.count(&one.class);
        if one.told != other.told {
            let event = serde_json::to_string(event).unwrap();
            let text = format!(
                "event {at}: {event}\n  simulator: {}\n  real ZFS:  {}\n",
                one.words, other.words
            );
            return Some((at, text));
        }
        let last = at + 1 == events.len();
        if last || at % BETWEEN_PICTURES == BETWEEN_PICTURES - 1 {
            let (one, other) = (simulated.shown(last), real.shown(last));
            if one != other {
                let text = format!("after event {at}\n{}", lines(&one, &other));
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
    /// `BE@#0` and so on.
    snapshots: Vec<String>,
    /// Every dataset.
    datasets: Vec<String>,
}

impl<'a> Choice<'a> {
    fn of(dice: &'a mut Dice, zfs: &dyn Zfs) -> Self {
        let all = zfs.tree(&POOLS.map(dataset), true).unwrap();
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
                for index in 0..found.snapshots.len() {
                    let be = found.name.leaf();
                    choice.snapshots.push(format!("{be}@#{index}"));
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
            8..11 => say(&["activate", "--no-check", &self.environment()]),
            11 => say(&["failback", "--no-check"]),
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
                say(&["mount", &self.environment(), &format!("AT/{number}")]);
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

/// What every history begins with, so that there is something to choose from.
fn beginning() -> Vec<Event> {
    let lines: [&[&str]; 3] = [
        &["snapshot", "old"],
        &["create", "-e", "old", "a"],
        &["activate", "--no-check", "a"],
    ];
    let words = |line: &[&str]| line.iter().map(|word| (*word).to_owned()).collect();
    lines.map(|line| Event::Run(words(line))).to_vec()
}

/// The history of a seed.
fn history(seed: u64, boot_pool: bool) -> Vec<Event> {
    let machine = Machine::simulated(boot_pool);
    let mut dice = Dice::new(seed);
    let mut events = beginning();
    for event in &events {
        event.on(&machine);
    }
    while events.len() < EVENTS {
        let event = Choice::of(&mut dice, machine.side.zfs()).event();
        if !matches!(&event, Event::Beside(op) if !op.is_covered(&machine.side)) {
            event.on(&machine);
            events.push(event);
        }
    }
    events
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn histories_of_commands_come_out_the_same_on_both_sides() {
    let count = HISTORIES[usize::from(long())];
    let mut report = String::new();
    let mut failed = 0;
    let mut tally = Tally::default();
    for seed in 0..count {
        let boot_pool = seed % 2 == 1;
        let events = history(seed, boot_pool);
        let found = difference(&events, boot_pool, &mut tally);
        tally.history(found.is_some());
        let Some((at, text)) = found else { continue };
        failed += 1;
        let _ = writeln!(report, "seed {seed}: {text}");
        if failed <= SHORTENED[usize::from(long())] {
            let ops = shrink::shortest(&events[..=at], |ops| {
                difference(ops, boot_pool, &mut Tally::default()).is_some()
            });
            for event in &ops {
                let _ = writeln!(report, "    {}", serde_json::to_string(event).unwrap());
            }
        }
    }
    tally.print("commands");
    assert!(
        failed == 0,
        "{failed} histories come out differently\n{report}"
    );
}
