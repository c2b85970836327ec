//! Pools that cannot be changed: read-only, gone, full, suspended.

use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::picture::assert_same;
use crate::ran::{Ran, program, sh, try_sh};

/// Every changing command, and how its refusal begins.
const CHANGES: [(&[&str], &str); 11] = [
    (&["create", "-e", "old", "x"], "create x"),
    (&["create", "--empty", "x"], "create x"),
    (&["snapshot", "old"], "take a snapshot of old"),
    (&["activate", "new"], "activate new"),
    (&["destroy", "-y", "new"], "destroy new"),
    (&["destroy", "-y", "new@s"], "destroy new@s"),
    (&["rename", "new", "x"], "rename new to x"),
    (&["rollback", "-y", "new@s"], "roll back to new@s"),
    (&["describe", "new", "x"], "describe new"),
    (&["pin", "new"], "pin new"),
    (&["unpin", "new"], "unpin new"),
];

fn prepared(machine: &Machine) {
    machine.clone_of("old", "new");
    machine.run(&["snapshot", "new@s"]).succeeds();
    // Makes the directories its datasets are mounted on.
    machine.run(&["mount", "old"]).succeeds();
    machine.run(&["unmount", "old"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_pool_imported_read_only_is_read_and_not_changed() {
    let machine = Machine::new();
    prepared(&machine);
    let pool = machine.pool.as_str();
    sh("zpool", &["export", pool]);
    machine.import(pool, &["-o", "readonly=on"]);
    for (arguments, attempted) in CHANGES {
        machine
            .run(arguments)
            .says(
                3,
                &format!("refused to {attempted}: pool {pool} is imported read-only"),
            )
            .offers(&format!("zpool export {pool} && zpool import -N {pool}"));
    }
    machine.run(&["list"]).succeeds();
    machine.run(&["status"]).succeeds();
    machine.run(&["recover"]).says(0, "nothing was interrupted");
    let at = machine.run(&["mount", "--read-only", "old"]).succeeds();
    let release = std::fs::read_to_string(format!("{}/etc/os-release", at.stdout.trim()));
    assert_eq!(release.unwrap(), "ID=test\n");
    machine.run(&["unmount", "old"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_boot_pool_imported_read_only_stops_every_change_of_its_environments() {
    let machine = Machine::with_boot_pool();
    prepared(&machine);
    let boot = machine.boot_pool.clone().unwrap();
    sh("zpool", &["export", &boot]);
    machine.import(&boot, &["-o", "readonly=on"]);
    machine.unchanged(|| {
        for (arguments, attempted) in CHANGES {
            // What concerns the root's pool alone.
            if ["describe", "pin", "unpin"].contains(&arguments[0]) || arguments[1] == "--empty" {
                continue;
            }
            machine.run(arguments).says(
                3,
                &format!("refused to {attempted}: pool {boot} is imported read-only"),
            );
        }
    });
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_pool_that_is_not_imported_is_named() {
    let machine = Machine::new();
    let root = machine.name("ROOT");
    machine.unchanged(|| {
        machine
            .run(&["create", "-e", "old", "-p", "nopool", "x"])
            .says(3, "refused to create x: there is no pool 'nopool'")
            .offers("zpool import nopool");
        sh("zpool", &["export", &machine.pool]);
        for arguments in [
            &["list"][..],
            &["status"],
            &["create", "-e", "old", "x"],
            &["recover"],
        ] {
            machine
                .run(arguments)
                .fails(3, &format!("there is no dataset {root}"));
        }
        machine.import(&machine.pool, &[]);
    });
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_quota_reached_while_its_files_are_written_is_undone() {
    let machine = Machine::with_pool_options(&["-O", "compression=off"]);
    let fstab = format!("{} /var zfs defaults 0 0\n", machine.name("ROOT/old/var"));
    machine.write("old", "etc/fstab", fstab.repeat(40_000));
    sh("zpool", &["sync", &machine.pool]);
    let used = machine.get("ROOT", "used").parse::<u64>().unwrap();
    sh(
        "zfs",
        &[
            "set",
            &format!("quota={}", used + 200_000),
            &machine.name("ROOT"),
        ],
    );
    let ran = machine.unchanged(|| machine.run(&["create", "-e", "old", "new"]));
    ran.fails(1, "uota exceeded")
        .fails(1, "state: what was changed was undone");
    sh("zfs", &["set", "quota=none", &machine.name("ROOT")]);
    machine.run(&["create", "-e", "old", "new"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_full_pool_takes_no_new_environment_and_lets_one_be_destroyed() {
    let machine = Machine::with_disk(80 << 20, &["-O", "compression=off"]);
    machine.clone_of("old", "new");
    let at = machine.directory().join("home");
    std::fs::create_dir(&at).unwrap();
    let path = at.to_str().unwrap();
    sh(
        "mount",
        &["-t", "zfs", "-o", "zfsutil", &machine.name("home"), path],
    );
    let file = format!("of={path}/filler");
    try_sh("dd", &["if=/dev/urandom", &file, "bs=128k"]).fails(1, "No space left on device");
    sh("umount", &[path]);
    sh("zpool", &["sync", &machine.pool]);
    let before = machine.picture();
    // Whether the record of it or the first snapshot is too much.
    let ran = machine
        .run(&["create", "-e", "old", "newer"])
        .fails(1, "no space, or a quota is reached");
    let states = ["nothing was changed", "what was changed was undone"];
    assert!(
        states.iter().any(|state| ran.stderr.contains(state)),
        "{ran:#?}"
    );
    assert_same(&before, &machine.picture(), "a failed create is undone");
    machine.run(&["destroy", "-y", "new"]).succeeds();
}

/// A device-mapper device on a part of the guest's empty disk that can be made
/// to fail; unmade with it.
struct Failing {
    name: String,
}

const SECTORS: u32 = 1 << 19;

impl Failing {
    fn new(name: &str) -> Self {
        let failing = Self {
            name: name.to_owned(),
        };
        sh("dmsetup", &["create", name, "--table", &failing.table()]);
        failing
    }

    fn device(&self) -> String {
        format!("/dev/mapper/{}", self.name)
    }

    fn table(&self) -> String {
        format!("0 {SECTORS} linear /dev/disk/by-id/virtio-scratch 0")
    }

    fn set(&self, table: &str) {
        sh("dmsetup", &["suspend", "--noflush", &self.name]);
        sh("dmsetup", &["load", &self.name, "--table", table]);
        sh("dmsetup", &["resume", &self.name]);
    }

    fn fail(&self) {
        self.set(&format!("0 {SECTORS} error"));
    }

    fn heal(&self) {
        self.set(&self.table());
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let _ = try_sh("dmsetup", &["remove", "--retry", &self.name]);
    }
}

fn health(pool: &str) -> String {
    sh("zpool", &["list", "-H", "-o", "health", pool])
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_suspended_pool_is_refused_without_waiting_for_it() {
    let mut machine = Machine::new();
    let failing = Failing::new("beadm-rs-failing");
    let pool = machine.pool_on("s", &failing.device());
    let root = format!("{pool}/ROOT");
    let be = format!("{root}/old");
    sh(
        "zfs",
        &[
            "create",
            "-u",
            "-o",
            "canmount=noauto",
            "-o",
            "mountpoint=/",
            &be,
        ],
    );
    sh("zpool", &["sync", &pool]);
    let program = program();
    let run = |arguments: &[&str]| -> Ran {
        let mut all = vec!["20", program.to_str().unwrap(), "-r", &root];
        all.extend(arguments);
        try_sh("timeout", &all)
    };
    failing.fail();
    // Something has to be written for the failure to be noticed, and that waits.
    let mut writer = std::process::Command::new("zpool")
        .args(["sync", &pool])
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut noticed = false;
    let mut toucher = std::process::Command::new("zfs")
        .args(["set", "x:y=z", &root])
        .spawn()
        .unwrap();
    while !noticed && Instant::now() < deadline {
        noticed = health(&pool) == "SUSPENDED";
        std::thread::sleep(Duration::from_millis(200));
    }
    let refused = run(&["create", "-e", "old", "new"]);
    let listed = run(&["list"]);
    failing.heal();
    sh("zpool", &["clear", &pool]);
    writer.wait().unwrap();
    toucher.wait().unwrap();
    assert!(noticed, "the pool was not suspended");
    let said = format!("pool {pool} is SUSPENDED");
    refused
        .fails(3, &said)
        .offers(&format!("zpool status {pool} says why; zpool clear {pool}"));
    // ZFS may answer that from memory.
    assert!(
        listed.exit == 0 || listed.exit == 3 && listed.stderr.contains(&said),
        "{listed:#?}"
    );
    assert_eq!(health(&pool), "ONLINE");
    run(&["create", "-e", "old", "new"]).succeeds();
    sh("zpool", &["destroy", "-f", &pool]);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_pool_of_another_machine_is_not_taken_for_boot() {
    let mut machine = Machine::new();
    let other = machine.another_pool("o");
    let boot = format!("{other}/BOOT");
    sh("zfs", &["create", "-o", "mountpoint=none", &boot]);
    for name in ["old", "new"] {
        let settings = ["-o", "canmount=noauto", "-o", "mountpoint=/boot"];
        let dataset = format!("{boot}/{name}");
        sh("zfs", &[&["create"], &settings[..], &[&dataset]].concat());
    }
    // Here to be read, under a root of its own.
    sh("zpool", &["export", &other]);
    let at = machine.directory().join("elsewhere");
    machine.import(&other, &["-R", at.to_str().unwrap()]);
    let everything = || {
        sh(
            "zfs",
            &["list", "-Hp", "-r", "-t", "all", "-o", "name,guid", &other],
        )
    };
    let before = everything();
    machine.run(&["create", "-e", "old", "new"]).succeeds();
    machine.run(&["snapshot", "new@s"]).succeeds();
    machine.run(&["rename", "new", "newer"]).succeeds();
    machine.run(&["rename", "newer", "new"]).succeeds();
    machine.run(&["destroy", "-y", "new"]).succeeds();
    assert_eq!(everything(), before);
}
