//! Stopped at every step of every plan, on either side of it: what is left is
//! the old state or the new one, never half, and `recover` needs no help.
//!
//! The steps are those of `--dry-run --json`, so that none can be forgotten.

use crate::disks::Saved;
use crate::machine::Machine;
use crate::picture::{Picture, assert_same, differences, normalised};
use crate::ran::{Ran, long, sh};

/// A step where the program can be stopped.
pub struct Place {
    name: String,
    commit: bool,
}

/// One command on one machine, stopped in many places.
pub struct Trial {
    pub machine: Machine,
    saved: Saved,
    pub arguments: Vec<String>,
    operation: String,
    places: Vec<Place>,
    pub before: Picture,
    /// What an uninterrupted run leaves, normalised.
    complete: Picture,
}

fn args(trial: &Trial) -> Vec<&str> {
    trial.arguments.iter().map(String::as_str).collect()
}

impl Trial {
    /// The machine as it is, and the command.
    pub fn new(machine: Machine, arguments: &[&str]) -> Self {
        let saved = machine.save();
        let before = machine.picture();
        let mut dry = vec!["-n", "--json"];
        dry.extend(arguments);
        let what = arguments[0];
        let plan = machine.run(&dry).succeeds().json(what)["plan"].clone();
        let places: Vec<Place> = plan["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| Place {
                name: step["name"].as_str().unwrap().to_owned(),
                commit: step["commit"] == true,
            })
            .collect();
        assert_eq!(places.iter().filter(|place| place.commit).count(), 1);
        machine.run(arguments).succeeds();
        let complete = normalised(&machine.picture(), &before);
        machine.restore(&saved);
        Self {
            saved,
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            operation: plan["operation"].as_str().unwrap().to_owned(),
            places,
            before,
            complete,
            machine,
        }
    }

    /// Every place, whether what was done there is past the commit point, and
    /// whether it was recorded by then.
    pub fn stops(&self) -> Vec<(String, bool)> {
        let commit = self.places.iter().position(|place| place.commit).unwrap();
        let mut stops: Vec<(String, bool)> = Vec::new();
        for (index, place) in self.places.iter().enumerate() {
            for (side, committed) in [("before", index > commit), ("after", index >= commit)] {
                let name = format!("{}/{}:{side}", self.operation, place.name);
                // Of several steps of one name the first is where it stops.
                if stops.iter().any(|(other, _)| *other == name) {
                    continue;
                }
                // Before a step is after the one before it, but for the time between.
                if side == "before" && index > 0 && !long() {
                    continue;
                }
                stops.push((name, committed));
            }
        }
        stops
    }

    fn stopped(&self, at: &str, how: &str) -> Ran {
        self.machine.run_failing(&args(self), at, how)
    }

    /// The machine as it was at first.
    pub fn restore(&self) {
        self.machine.restore(&self.saved);
    }

    /// What is different from how an uninterrupted run would have left it.
    pub fn incomplete(&self) -> Vec<String> {
        differences(
            &self.complete,
            &normalised(&self.machine.picture(), &self.before),
        )
    }

    /// It is as if it had not been asked, or as if it had not been stopped.
    #[track_caller]
    pub fn is(&self, complete: bool, at: &str) {
        if complete {
            let different = self.incomplete();
            assert!(
                different.is_empty(),
                "{at}: not complete:\n{}",
                different.join("\n")
            );
        } else {
            let now = self.machine.picture();
            assert_same(&self.before, &now, &format!("{at}: not as before"));
        }
    }

    /// Whether something that did not end is recorded.
    pub fn unfinished(&self) -> bool {
        let status = self
            .machine
            .run(&["status", "--json"])
            .succeeds()
            .json("status");
        status["unfinished"].as_str().is_some()
    }

    /// As after kill -9 or the loss of power, everywhere.
    fn killed(&self) {
        for (at, committed) in self.stops() {
            let ran = self.stopped(&at, "kill");
            assert_eq!(ran.exit, 128 + 9, "{at}: {ran:#?}");
            let unfinished = self.unfinished();
            let list = self.machine.run(&["list"]).succeeds();
            assert_eq!(
                list.stderr.contains("was interrupted; 'beadm-rs recover'"),
                unfinished,
                "{at}: {list:#?}"
            );
            let recovered = self.machine.run(&["recover"]).succeeds();
            assert_eq!(
                recovered.stderr.contains("nothing was interrupted"),
                !unfinished,
                "{at}: {recovered:#?}"
            );
            self.is(committed, &at);
            self.machine
                .run(&["recover"])
                .says(0, "nothing was interrupted");
            if committed {
                self.machine.restore(&self.saved);
            }
        }
    }

    /// A step that fails, everywhere: undone at once up to the commit point.
    /// What is left after it is the same as after a kill, so that one place
    /// there is enough unless there is time.
    fn failed(&self) {
        let mut past = 0;
        for (at, committed) in self.stops() {
            past += u32::from(committed);
            if past > 1 && !long() {
                break;
            }
            let ran = self.stopped(&at, "error");
            let said = format!("stopped by a fail point at {at}");
            if committed {
                ran.says(6, &said).offers(
                    "beadm-rs recover; the next command that changes something does it first",
                );
                self.machine.run(&["recover"]).succeeds();
                self.is(true, &at);
                self.machine.restore(&self.saved);
            } else {
                ran.says(1, &said);
                self.is(false, &at);
            }
        }
    }

    pub(crate) fn run(self) {
        self.killed();
        self.failed();
    }
}

/// With something in every environment that a step could lose.
fn machine(boot: bool) -> Machine {
    furnished(if boot {
        Machine::with_boot_pool()
    } else {
        Machine::new()
    })
}

/// The same on a machine there is already.
fn furnished(machine: Machine) -> Machine {
    let fstab = format!("{} /var zfs defaults 0 0\n", machine.name("ROOT/old/var"));
    machine.write("old", "etc/fstab", fstab);
    machine
}

fn with_new(boot: bool) -> Machine {
    second(machine(boot))
}

fn second(machine: Machine) -> Machine {
    machine.run(&["snapshot", "old@early"]).succeeds();
    machine.clone_of("old", "new");
    machine
}

/// A machine where each of [`commands`] has something to do: three environments
/// that hang on each other, the second one active, the third with snapshots.
pub fn worked(machine: Machine) -> Machine {
    let machine = second(furnished(machine));
    machine.clone_of("new", "newest");
    machine.run(&["snapshot", "newest@late"]).succeeds();
    machine.run(&["snapshot", "newest@later"]).succeeds();
    machine.run(&["activate", "new"]).succeeds();
    machine
}

/// Each command that takes several steps, as it is given on such a machine.
pub fn commands() -> [&'static [&'static str]; 6] {
    [
        &["create", "-e", "new", "-d", "x", "newer"],
        &["activate", "newest"],
        &["failback"],
        &["rename", "new", "renamed"],
        &["rollback", "-y", "newest@late"],
        &["destroy", "-y", "old"],
    ]
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_create_stopped_anywhere_is_taken_back_or_complete() {
    // With /boot it is these steps and more.
    if long() {
        Trial::new(machine(false), &["create", "-e", "old", "-d", "x", "new"]).run();
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_create_with_boot_stopped_anywhere_is_taken_back_or_complete() {
    let machine = machine(true);
    // Its place is set in a step of its own, since it has something below it.
    let below = format!("{}/BOOT/old/grub", machine.boot_pool.as_ref().unwrap());
    sh("zfs", &["create", "-u", "-o", "canmount=noauto", &below]);
    Trial::new(machine, &["create", "-e", "old", "new"]).run();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_create_of_a_snapshot_stopped_anywhere_keeps_the_snapshot() {
    let machine = with_new(false);
    Trial::new(machine, &["create", "-e", "old@early", "newer"]).run();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_copy_to_another_pool_stopped_anywhere_is_taken_back_or_complete() {
    let mut machine = machine(false);
    let other = machine.another_pool("x");
    Trial::new(machine, &["create", "-e", "old", "-p", &other, "copy"]).run();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_import_stopped_anywhere_is_taken_back_or_complete() {
    let machine = machine(false);
    let archive = machine.directory().join("archive");
    let archive = archive.to_str().unwrap().to_owned();
    machine.run(&["export", "old", "-o", &archive]).succeeds();
    Trial::new(machine, &["import", "-i", &archive, "new"]).run();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_import_with_boot_stopped_anywhere_is_taken_back_or_complete() {
    let machine = machine(true);
    let archive = machine.directory().join("archive");
    let archive = archive.to_str().unwrap().to_owned();
    machine.run(&["export", "old", "-o", &archive]).succeeds();
    Trial::new(machine, &["import", "-i", &archive, "new"]).run();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_activation_stopped_anywhere_is_taken_back_or_complete() {
    // With /boot it is these steps and more.
    if long() {
        Trial::new(with_new(false), &["activate", "new"]).run();
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_activation_with_boot_stopped_anywhere_is_taken_back_or_complete() {
    let machine = with_new(true);
    // Two levels deep, so that each dataset is promoted twice.
    machine.clone_of("new", "newer");
    Trial::new(machine, &["activate", "newer"]).run();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_failback_stopped_anywhere_is_taken_back_or_complete() {
    let machine = with_new(false);
    machine.run(&["activate", "new"]).succeeds();
    Trial::new(machine, &["failback"]).run();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_failback_with_boot_stopped_anywhere_is_taken_back_or_complete() {
    if long() {
        let machine = with_new(true);
        machine.run(&["activate", "new"]).succeeds();
        Trial::new(machine, &["failback"]).run();
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_rename_and_a_rollback_stopped_anywhere_have_not_begun_or_are_complete() {
    if long() {
        Trial::new(with_new(false), &["rename", "new", "newer"]).run();
        let machine = with_new(false);
        machine.run(&["snapshot", "new@a"]).succeeds();
        machine.run(&["snapshot", "new@b"]).succeeds();
        Trial::new(machine, &["rollback", "-y", "new@a"]).run();
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_destruction_stopped_anywhere_has_not_begun_or_is_complete() {
    // With /boot it is these steps and more.
    if long() {
        let machine = with_new(false);
        machine.clone_of("new", "newer");
        machine.run(&["snapshot", "new@late"]).succeeds();
        Trial::new(machine, &["destroy", "-y", "new"]).run();
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_destruction_with_boot_stopped_anywhere_has_not_begun_or_is_complete() {
    let machine = with_new(true);
    machine.clone_of("new", "newer");
    machine.run(&["snapshot", "new@late"]).succeeds();
    Trial::new(machine, &["destroy", "-y", "new"]).run();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_rename_with_boot_stopped_anywhere_has_not_begun_or_is_complete() {
    let machine = with_new(true);
    machine.run(&["activate", "new"]).succeeds();
    Trial::new(machine, &["rename", "new", "newer"]).run();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_rollback_with_boot_stopped_anywhere_has_not_begun_or_is_complete() {
    let machine = with_new(true);
    machine.run(&["snapshot", "new@a"]).succeeds();
    machine.run(&["snapshot", "new@b"]).succeeds();
    Trial::new(machine, &["rollback", "-y", "new@a"]).run();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_snapshot_with_boot_that_fails_anywhere_is_taken_back() {
    let machine = machine(true);
    machine.unchanged(|| {
        for step in ["snapshot", "snapshot-boot"] {
            for side in ["before", "after"] {
                let at = format!("snapshot/{step}:{side}");
                let state = if at == "snapshot/snapshot:before" {
                    "state: nothing was changed"
                } else {
                    "state: what was changed was undone"
                };
                machine
                    .run_failing(&["snapshot", "old@s"], &at, "error")
                    .fails(1, state);
            }
        }
    });
}
