//! Files carried from one environment to another, on real file systems.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, setxattr};

use crate::interruption::Trial;
use crate::machine::Machine;
use crate::picture::assert_same;
use crate::ran::sh;

pub const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n";
pub const SHADOW: &str = "root:$6$one:20000:0:99999:7:::\nalice:$6$two:20000:0:99999:7:::\n";
const SYNC: [&str; 5] = ["sync", "--from", "old", "--to", "new"];

/// An environment with accounts and, in a dataset of its own, crontabs; and a
/// clone of it.
pub fn machine() -> Machine {
    let machine = Machine::new();
    machine.write("old", "etc/passwd", PASSWD);
    machine.write("old", "etc/shadow", SHADOW);
    machine.write("old", "etc/group", "root:x:0:\nalice:x:1000:\n");
    machine.with_dataset(&machine.name("ROOT/old/var"), |var| {
        let crontabs = var.join("spool/cron/crontabs");
        std::fs::create_dir_all(&crontabs).unwrap();
        std::fs::write(crontabs.join("bob"), "0 1 * * * report\n").unwrap();
        std::fs::write(crontabs.join("alice"), "0 2 * * * backup\n").unwrap();
    });
    machine.clone_of("old", "new");
    machine
}

/// What goes on in both: an account is locked, one is made, a crontab goes, one
/// comes; in the other one a package makes a user.
pub fn live(machine: &Machine) {
    let locked = SHADOW.replace("alice:$", "alice:!$") + "carol:$6$three:20001:0:99999:7:::\n";
    machine.write("old", "etc/shadow", locked);
    let carol = "carol:x:1001:1001::/home/carol:/bin/sh\n";
    machine.write("old", "etc/passwd", format!("{PASSWD}{carol}"));
    machine.with_dataset(&machine.name("ROOT/old/var"), |var| {
        let crontabs = var.join("spool/cron/crontabs");
        std::fs::remove_file(crontabs.join("bob")).unwrap();
        dressed(&crontabs.join("carol"));
    });
    let daemon = "daemon9:x:109:109::/:/usr/sbin/nologin\n";
    machine.write("new", "etc/passwd", format!("{daemon}{PASSWD}"));
}

/// A file with everything a file can have.
fn dressed(path: &Path) {
    std::fs::write(path, "0 3 * * * tidy\n").unwrap();
    std::os::unix::fs::chown(path, Some(1001), Some(17)).unwrap();
    setxattr(path, "user.colour", b"blue", XattrFlags::empty()).unwrap();
    // Version 2, cap_net_raw permitted: linux/capability.h.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    setxattr(
        path,
        "security.capability",
        &capability,
        XattrFlags::empty(),
    )
    .unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o4750)).unwrap();
    sh(
        "touch",
        &["-d", "2001-02-03 04:05:06 UTC", path.to_str().unwrap()],
    );
}

/// All of it, and the owner's file is what it was.
fn is_dressed(path: &Path) {
    let metadata = std::fs::metadata(path).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o4750);
    assert_eq!((metadata.uid(), metadata.gid()), (1001, 17));
    assert_eq!(metadata.mtime(), 981_173_106);
    let mut value = [0; 64];
    let length = getxattr(path, "user.colour", &mut value).unwrap();
    assert_eq!(&value[..length], b"blue");
    let length = getxattr(path, "security.capability", &mut value).unwrap();
    assert_eq!(length, 20);
}

pub fn crontab(machine: &Machine, be: &str, name: &str) -> Option<String> {
    machine.with_dataset(&machine.name(&format!("ROOT/{be}/var")), |var| {
        std::fs::read_to_string(var.join("spool/cron/crontabs").join(name)).ok()
    })
}

/// Nothing of an operation is left in the files.
pub fn is_tidy(machine: &Machine, be: &str) {
    for dataset in ["", "/var"] {
        machine.with_dataset(&machine.name(&format!("ROOT/{be}{dataset}")), |root| {
            let found = sh("find", &[root.to_str().unwrap(), "-name", ".beadm-rs*"]);
            assert_eq!(found, "");
        });
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_went_on_is_carried_with_all_that_belongs_to_a_file() {
    let machine = machine();
    machine.run(&SYNC).succeeds();
    live(&machine);
    // Somebody looks into the target meanwhile.
    let directory = machine.directory().join("looked-into");
    std::fs::create_dir(&directory).unwrap();
    machine
        .run(&["mount", "new", directory.to_str().unwrap()])
        .succeeds();
    let done = machine.run(&["sync", "--from", "old", "--to", "new", "--json"]);
    let done = done.succeeds().json("sync");
    assert_eq!(done["changed"], true, "{done:#}");
    machine.run(&["unmount", "new"]).succeeds();
    let passwd = machine.read("new", "etc/passwd").unwrap();
    for name in ["daemon9:", "alice:", "carol:"] {
        assert!(passwd.contains(name), "{passwd}");
    }
    let shadow = machine.read("new", "etc/shadow").unwrap();
    assert!(shadow.contains("alice:!$6$two:"), "{shadow}");
    assert!(shadow.contains("carol:$6$three:"), "{shadow}");
    assert_eq!(crontab(&machine, "new", "bob"), None);
    machine.with_dataset(&machine.name("ROOT/new/var"), |var| {
        is_dressed(&var.join("spool/cron/crontabs/carol"));
    });
    is_tidy(&machine, "new");

    // Again: nothing. And back: what the package made, and what is done there later.
    let before = machine.picture();
    machine.run(&SYNC).says(
        0,
        "nothing was changed in old or new that has to be carried",
    );
    assert_same(&before, &machine.picture(), "a second time");
    let unlocked = shadow.replace("alice:!", "alice:");
    machine.write("new", "etc/shadow", unlocked);
    machine
        .run(&["sync", "--from", "new", "--to", "old"])
        .succeeds();
    let shadow = machine.read("old", "etc/shadow").unwrap();
    assert!(shadow.contains("alice:$6$two:"), "{shadow}");
    machine.run(&SYNC).says(
        0,
        "nothing was changed in old or new that has to be carried",
    );

    // Two pairs are left, and go with one of the two.
    let halves = |machine: &Machine| -> Vec<String> {
        let objects = machine.objects().into_iter();
        objects
            .filter(|name| name.ends_with(".from") || name.ends_with(".to"))
            .collect()
    };
    let left = halves(&machine);
    // Six datasets are of `old`, and six of `new`.
    assert_eq!(left.len(), 20, "{left:?}");
    machine.run(&["destroy", "-y", "new"]).succeeds();
    assert_eq!(halves(&machine), Vec::<String>::new());
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_synchronization_stopped_anywhere_is_taken_back_or_complete() {
    let machine = machine();
    live(&machine);
    Trial::new(machine, &SYNC).run();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn one_stopped_in_the_middle_is_taken_back_but_for_what_others_changed() {
    let machine = machine();
    live(&machine);
    let before = machine.picture();
    for at in ["sync/stage:after", "sync/apply:after"] {
        for how in ["kill", "error"] {
            let ran = machine.run_failing(&SYNC, at, how);
            if how == "kill" {
                assert_eq!(ran.exit, 128 + 9, "{at}: {ran:#?}");
                machine.run(&["recover"]).succeeds();
            } else {
                assert_eq!(ran.exit, 1, "{at}: {ran:#?}");
            }
            assert_same(&before, &machine.picture(), at);
            is_tidy(&machine, "new");
        }
    }
    let ran = machine.run_failing(&SYNC, "sync/carry:after", "kill");
    assert_eq!(ran.exit, 128 + 9, "{ran:#?}");
    machine.write("new", "etc/shadow", "root:!:1::::::\n");
    machine.run(&["recover"]).succeeds();
    let shadow = machine.read("new", "etc/shadow");
    assert_eq!(shadow.as_deref(), Some("root:!:1::::::\n"));
    let passwd = machine.read("new", "etc/passwd").unwrap();
    assert!(!passwd.contains("carol"), "{passwd}");
    assert!(crontab(&machine, "new", "bob").is_some());
    assert!(crontab(&machine, "new", "carol").is_none());
    is_tidy(&machine, "new");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_does_not_fit_is_taken_back() {
    let machine = machine();
    live(&machine);
    machine.with_dataset(&machine.name("ROOT/old/var"), |var| {
        // Nothing that compresses.
        let file = var.join("spool/cron/crontabs/large");
        sh(
            "dd",
            &[
                "if=/dev/urandom",
                &format!("of={}", file.display()),
                "bs=1M",
                "count=12",
                "status=none",
            ],
        );
    });
    sh(
        "zfs",
        &["set", "refquota=4M", &machine.name("ROOT/new/var")],
    );
    let before = machine.picture();
    let ran = machine.run(&SYNC);
    assert_eq!(ran.exit, 1, "{ran:#?}");
    assert!(
        ran.stderr.contains("/var/spool/cron/crontabs/large"),
        "{ran:#?}"
    );
    assert_same(&before, &machine.picture(), "without space");
    is_tidy(&machine, "new");
    sh(
        "zfs",
        &["set", "refquota=none", &machine.name("ROOT/new/var")],
    );
    machine.run(&SYNC).succeeds();
    is_tidy(&machine, "new");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_link_in_the_target_does_not_lead_to_the_machine_itself() {
    let machine = machine();
    live(&machine);
    let outside = machine.directory().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("passwd"), PASSWD).unwrap();
    std::fs::write(outside.join("bob"), "the machine's own\n").unwrap();
    for link in ["spool", "spool/cron", "spool/cron/crontabs"] {
        machine.with_dataset(&machine.name("ROOT/new/var"), |var| {
            let place = var.join(link);
            std::fs::rename(&place, var.join("aside")).unwrap();
            std::os::unix::fs::symlink(&outside, &place).unwrap();
        });
        machine.with_dataset(&machine.name("ROOT/old/var"), |var| {
            let crontabs = var.join("spool/cron/crontabs");
            for name in ["bob", "dave"] {
                std::fs::write(crontabs.join(name), format!("{link}\n")).unwrap();
            }
        });
        let ran = machine.run(&SYNC);
        // The first is in the way of what the list begins with.
        assert_eq!(ran.exit, if link == "spool" { 0 } else { 4 }, "{ran:#?}");
        assert_eq!(
            std::fs::read_to_string(outside.join("bob")).unwrap(),
            "the machine's own\n",
            "{link}"
        );
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 2, "{link}");
        machine.with_dataset(&machine.name("ROOT/new/var"), |var| {
            let place = var.join(link);
            std::fs::remove_file(&place).unwrap();
            std::fs::rename(var.join("aside"), &place).unwrap();
        });
    }
}

/// 10,000 files in 500 directories, one of them changed.
#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn of_ten_thousand_files_the_one_that_changed_is_found() {
    let machine = Machine::new();
    machine.write("old", "etc/beadm-rs/synclist", "/srv\n");
    machine.with_mounted("old", |root| {
        for directory in 0..500 {
            let directory = root.join(format!("srv/{directory}"));
            std::fs::create_dir_all(&directory).unwrap();
            for file in 0..20 {
                std::fs::write(directory.join(file.to_string()), "some text\n").unwrap();
            }
        }
    });
    machine.clone_of("old", "new");
    machine.write("old", "srv/250/10", "another text\n");
    let ran = machine.run(&["sync", "--from", "old", "--to", "new", "--check", "--json"]);
    let found = ran.succeeds().json("sync");
    assert_eq!(found["files"].as_array().unwrap().len(), 1, "{found:#}");
}
