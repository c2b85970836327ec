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
//!   or 1,000 with `BEADM_RS_LONG=1`; the seeds are fixed.
//!
//! With a pool for `/boot`, and of a copy to another pool, the ordinary run has
//! the instants at which a step begins and ends and some random ones; with
//! `BEADM_RS_LONG=1` there too it is every write.
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

use crate::crash_examine::{Examination, Instants, whole};
use crate::crash_replay::Replay;
use crate::machine::Machine;
use crate::picture::Picture;
use crate::ran::{long, sh};
use crate::recorded::RecordedDisk;
use crate::replay::Log;

/// One command of a life, with what was there before and after it.
pub struct Chapter {
    pub command: String,
    pub operation: String,
    pub steps: Vec<String>,
    pub commit: String,
    pub before: Picture,
    pub after: Picture,
}

/// A machine, and the commands given to it while its disk was recorded.
struct Life {
    machine: Machine,
    disk: RecordedDisk,
    chapters: Vec<Chapter>,
    /// What is there now, where it is known.
    now: Option<Picture>,
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

    /// Cuts the power after these writes, and at so many random instants.
    fn examine(self, name: &str, instants: Instants, random: usize) {
        let pools = self.machine.pools();
        for pool in &pools {
            sh("zpool", &["export", pool]);
        }
        let (directory, log) = self.disk.end();
        let log = Log::open(&log);
        let replay = Replay::new(&log, directory.path(), pools.len());
        let copy = directory.path().join("copy");
        let mut examination = Examination::new(&self.machine, copy, instants);
        examination.all(replay, &self.chapters, random);
        let remark = format!(
            "{} entries in the log, {} states opened",
            log.entries.len(),
            examination.opened
        );
        examination.table.tell(name, &remark);
    }
}

/// After which writes, and how many random instants, in the tests that are whole
/// only with `BEADM_RS_LONG=1`.
fn shorter(random: usize) -> (Instants, usize) {
    if long() {
        (Instants::Writes, 10 * random)
    } else {
        (Instants::Steps, random / 5)
    }
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
    // In several pools what boots next cannot be rolled back, in one it can.
    let mut last: [&[&str]; 2] = [&["rollback", "-y", "newer@a"], &["failback"]];
    if life.machine.boot_pool.is_some() {
        last.reverse();
    }
    for arguments in last {
        life.command(arguments);
    }
    life.meanwhile(|machine| machine.clone_of("newer", "newest"));
    life.command(&["destroy", "-y", "newer"]);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_power_is_cut_at_every_write() {
    let mut life = Life::new(false, false);
    live(&mut life);
    life.command(&["create", "-e", "old@early", "again"]);
    let random = if long() { 1000 } else { 60 };
    life.examine("crash", Instants::Writes, random);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_power_is_cut_in_every_step_on_two_pools() {
    let mut life = Life::new(true, false);
    live(&mut life);
    let (instants, random) = shorter(50);
    life.examine("crash-boot", instants, random);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_power_is_cut_in_every_step_of_a_copy() {
    let mut life = Life::new(false, true);
    let other = life.machine.name("").replace('/', "x");
    life.command(&["create", "-e", "old", "-p", &other, "copy"]);
    let (instants, random) = shorter(40);
    life.examine("crash-copy", instants, random);
}
