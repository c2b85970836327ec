//! No space left, from the beginning of each step on: what the program says it
//! left is what is there, and where it left something to `recover`, that works
//! once there is space.

use crate::fakes::write_program;
use crate::interruption::{Trial, commands, worked};
use crate::machine::Machine;
use crate::ran::{long, sh, try_sh};

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

/// Runs a command in which the space ends before each step.
fn every_step(trial: &Trial, full: &Full) {
    let script = trial.machine.directory().join("full");
    let path = script.to_str().unwrap();
    let words: Vec<&str> = trial.arguments.iter().map(String::as_str).collect();
    let mut places: Vec<String> = trial.stops().into_iter().map(|(place, _)| place).collect();
    if !long() {
        // Right after a step is right before the next.
        places.pop();
    }
    for place in places {
        write_program(&script, &format!("#!/bin/sh\n{}\nexit 0\n", full.take));
        let ran = trial
            .machine
            .run_failing(&words, &place, &format!("run:{path}"));
        let at = format!("{:?}, no space from {place}: {ran:#?}", trial.arguments);
        assert!([0, 1, 6].contains(&ran.exit), "{at}");
        let first = (ran.exit == 6).then(|| trial.machine.run(&["recover"]));
        let given = try_sh("sh", &["-ec", &full.give]);
        assert_eq!(given.exit, 0, "{at}: {given:#?}");
        match ran.exit {
            0 => trial.is(true, &at),
            1 => trial.is(false, &at),
            _ => {
                assert!(ran.stderr.contains("beadm-rs recover"), "{at}");
                trial.machine.run(&["recover"]).succeeds();
                if !trial.incomplete().is_empty() {
                    trial.is(false, &format!("{at}, recovered: {first:#?}"));
                }
            }
        }
        if trial.machine.picture() != trial.before {
            trial.restore();
        }
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_pool_is_full_at_every_step() {
    if !long() {
        return;
    }
    let mut machine = worked(Machine::with_disk(64 << 20, &[]));
    let full = Full::by_a_file(&machine);
    for command in commands() {
        let trial = Trial::new(machine, command);
        every_step(&trial, &full);
        machine = trial.machine;
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_quota_is_reached_at_every_step() {
    if !long() {
        return;
    }
    let mut machine = worked(Machine::with_boot_pool());
    let full = Full::by_quota(&machine);
    for command in commands() {
        let trial = Trial::new(machine, command);
        every_step(&trial, &full);
        machine = trial.machine;
    }
}
