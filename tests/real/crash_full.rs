//! No space left, from the beginning of each step on: what the program says it
//! left is what is there, and where it left something to `recover`, that works
//! once there is space.
//!
//! In the ordinary run the pool is full from every third step on, and the quota
//! is reached at one step of every other command; with `BEADM_RS_LONG=1` at each.

use crate::fakes::write_program;
use crate::interruption::{Trial, commands, worked};
use crate::machine::Machine;
use crate::ran::{long, sh};
use crate::tally::Tally;

/// A way to leave no space.
struct Full {
    /// A script that takes it.
    take: String,
    /// A script that gives it back.
    give: String,
}

impl Full {
    /// The pool is really full, by a file in another dataset.
    fn by_a_file(machine: &Machine) -> Self {
        let directory = machine.directory().join("filled");
        std::fs::create_dir(&directory).unwrap();
        let directory = directory.display();
        let home = machine.name("home");
        let mount = format!("mount -t zfs -o zfsutil {home} {directory}");
        Self {
            // dd ends with an error when the pool is full, as it should; what
            // is not yet on disk may still be refused then, hence sync.
            take: format!(
                "{mount} && dd if=/dev/urandom of={directory}/filled bs=128k 2>/dev/null
                 dd if=/dev/urandom of={directory}/rest bs=4k oflag=sync 2>/dev/null
                 umount {directory}"
            ),
            // Freed blocks come back some groups later.
            give: format!(
                "{mount} && rm -f {directory}/filled {directory}/rest && umount {directory}
                 for i in 1 2 3; do zpool sync {}; done",
                machine.pool
            ),
        }
    }

    /// A quota on everything that holds environments.
    fn by_quota(machine: &Machine) -> Self {
        let mut parents = vec![machine.name("ROOT")];
        parents.extend(machine.boot_pool.iter().map(|pool| format!("{pool}/BOOT")));
        let each = |value: &str| -> String {
            let line = |name: &String| format!("zfs set quota={value} {name}\n");
            parents.iter().map(line).collect()
        };
        for parent in &parents {
            // Once set it stays set, which would be seen as a difference.
            sh("zfs", &["set", "quota=none", parent]);
        }
        Self {
            take: each("$(zfs get -Hpo value used \"$name\")")
                .lines()
                .zip(&parents)
                .map(|(line, name)| format!("name={name}; {line}\n"))
                .collect(),
            give: each("none"),
        }
    }
}

/// Runs a command in which the space ends before each step, or before one.
fn every_step(number: usize, trial: &Trial, full: &Full, tally: &mut Tally, all: bool) {
    let script = trial.machine.directory().join("full");
    let path = script.to_str().unwrap();
    let words: Vec<&str> = trial.arguments.iter().map(String::as_str).collect();
    let mut places: Vec<String> = trial.stops().into_iter().map(|(place, _)| place).collect();
    if !long() {
        // Right after a step is right before the next.
        places.pop();
    }
    if !long() && all {
        // Every third one, of the next command others.
        let mut index = number;
        places.retain(|_| {
            index += 1;
            index.is_multiple_of(3)
        });
    }
    if !all {
        if !number.is_multiple_of(2) {
            return;
        }
        places = vec![places.swap_remove(number % places.len())];
    }
    write_program(&script, &format!("#!/bin/sh\n{}\nexit 0\n", full.take));
    for place in places {
        let at = format!("{:?}, no space from {place}", trial.arguments);
        tally.point(number, trial, &at, || {
            let how = format!("run:{path}");
            let ran = trial.machine.run_failing(&words, &place, &how);
            // As somebody would who is told to; it may fail, but do no harm.
            let first = (ran.exit == 6).then(|| trial.machine.run(&["recover"]));
            sh("sh", &["-ec", &full.give]);
            assert!([0, 1, 6].contains(&ran.exit), "{at}: {ran:#?}");
            let what = match &first {
                Some(first) if first.exit == 0 => "full, recovered",
                Some(_) => "full, later",
                None => "full",
            };
            (ran, what)
        });
    }
}

/// Each command on one machine after the other.
fn every_command(name: &str, machine: Machine, full: impl Fn(&Machine) -> Full, all: bool) {
    let mut machine = worked(machine);
    let full = full(&machine);
    let mut tally = Tally::default();
    for (number, command) in commands().into_iter().enumerate() {
        let trial = Trial::new(machine, command);
        every_step(number, &trial, &full, &mut tally, all);
        machine = trial.machine;
    }
    tally.tell(name);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_pool_is_full_from_steps_of_every_command_on() {
    let machine = Machine::with_disk(64 << 20, &[]);
    every_command("crash-full", machine, Full::by_a_file, true);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_quota_is_reached_at_steps_of_commands() {
    let machine = Machine::with_boot_pool();
    every_command("crash-quota", machine, Full::by_quota, long());
}
