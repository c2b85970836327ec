//! The languages of bectl and beadm on real ZFS.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::machine::Machine;
use crate::ran::{Ran, program, sh};

/// The program under that tool's name.
fn named(machine: &Machine, name: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(program());
    command.arg0(name).stdin(Stdio::null());
    if name == "bectl" {
        command.args(["-r", &machine.name("ROOT")]).args(arguments);
        return Ran::of(command.output().unwrap());
    }
    let mut words = vec![name];
    words.extend(arguments);
    machine.run(&words)
}

fn bectl(machine: &Machine, line: &str) -> Ran {
    named(machine, "bectl", &line.split(' ').collect::<Vec<_>>())
}

fn beadm(machine: &Machine, line: &str) -> Ran {
    named(machine, "beadm", &line.split(' ').collect::<Vec<_>>())
}

/// There is such a dataset or snapshot.
fn has(machine: &Machine, below: &str) -> bool {
    machine.objects().contains(&machine.name(below))
}

/// It succeeds and says nothing at all.
#[track_caller]
fn silent(ran: Ran) {
    assert_eq!(
        (ran.exit, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, "", "")
    );
}

/// It succeeds and says that.
#[track_caller]
fn prints(ran: Ran, text: &str) {
    assert_eq!((ran.exit, ran.stdout.as_str()), (0, text), "{ran:#?}");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_main_job_in_the_language_of_bectl() {
    let machine = Machine::new();
    let before = machine.objects();
    prints(bectl(&machine, "check"), "");
    silent(bectl(&machine, "create -e old shallow"));
    silent(bectl(&machine, "create -r -e old deep"));
    assert!(!has(&machine, "ROOT/shallow/var"));
    assert_eq!(machine.get("ROOT/deep/usr", "canmount"), "off");
    silent(bectl(&machine, "create deep@one"));
    silent(bectl(&machine, "create -r deep@two"));
    assert!(!has(&machine, "ROOT/deep/var@one"));
    assert!(has(&machine, "ROOT/deep/var@two"));
    let listed = bectl(&machine, "list -H").succeeds().stdout;
    let lines: Vec<Vec<&str>> = listed.lines().map(|it| it.split('\t').collect()).collect();
    let names: Vec<_> = lines.iter().map(|fields| fields[..3].join(" ")).collect();
    assert_eq!(names, ["deep - -", "old R -", "shallow - -"]);
    // As `zfs list` humanises the same number.
    let used = sh(
        "zfs",
        &[
            "get",
            "-H",
            "-o",
            "value",
            "used",
            &machine.name("ROOT/old"),
        ],
    );
    assert_eq!(lines[1][3], used);
    for (key, property) in [
        ("usedds", "usedbydataset"),
        ("usedbysnapshots", "usedbysnapshots"),
        ("usedrefreserv", "usedbyrefreservation"),
    ] {
        let by_size = |name: &&str| -> u64 {
            machine
                .get(&format!("ROOT/{name}"), property)
                .parse()
                .unwrap()
        };
        let mut expected = vec!["deep", "old", "shallow"];
        expected.sort_by_key(by_size);
        let listed = bectl(&machine, &format!("list -H -c {key}"))
            .succeeds()
            .stdout;
        let names: Vec<_> = listed
            .lines()
            .filter_map(|it| it.split('\t').next())
            .collect();
        assert_eq!(names, expected, "{key}");
    }
    prints(
        bectl(&machine, "activate deep"),
        "Successfully activated boot environment deep\n",
    );
    assert_eq!(machine.next(), machine.name("ROOT/deep"));
    assert_eq!(machine.get("ROOT/deep/var/lib", "origin"), "-");
    bectl(&machine, "destroy deep").says(5, "cannot destroy active boot environment");
    bectl(&machine, "activate old").succeeds();
    silent(bectl(&machine, "create -e deep@one of-one"));
    bectl(&machine, "destroy deep@one").says(21, "snapshot has clones");
    silent(bectl(&machine, "destroy -o of-one"));
    assert!(!has(&machine, "ROOT/deep@one"));
    silent(bectl(&machine, "destroy deep"));
    silent(bectl(&machine, "destroy shallow"));
    assert_eq!(machine.objects(), before);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn bectl_mounts_whole_and_destroys_what_is_mounted_only_when_told() {
    let machine = Machine::new();
    silent(bectl(&machine, "create -r -e old new"));
    let place = machine.directory().join("a/b");
    let at = place.to_str().unwrap();
    prints(
        bectl(&machine, &format!("mount new {at}")),
        &format!("{at}\n"),
    );
    fs::write(place.join("var/lib/file"), "x").unwrap();
    fs::write(place.join("usr/local/file"), "x").unwrap();
    bectl(&machine, "mount new").says(12, "boot environment is already mounted");
    bectl(&machine, "destroy new").says(6, "cannot destroy mounted boot env unless forced");
    let open = File::open(place.join("var/lib/file")).unwrap();
    bectl(&machine, "umount new").says(8, "specified path is busy");
    drop(open);
    silent(bectl(&machine, "umount new"));
    silent(bectl(&machine, "unmount -f new"));
    bectl(&machine, &format!("mount new {at}")).succeeds();
    silent(bectl(&machine, "destroy -F new"));
    assert!(!has(&machine, "ROOT/new"));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_bectl_exports_zfs_receives() {
    let machine = Machine::new();
    let before = machine.objects();
    machine.write("old", "etc/exported", "of the stream");
    let file = machine.directory().join("stream");
    let export = |name: &str, to: Stdio| {
        let mut command = machine.command(&["bectl", "export", name]);
        Ran::of(command.stdout(to).output().unwrap())
    };
    let made = File::create(&file).unwrap();
    silent(export("old", made.into()));
    assert_eq!(machine.objects(), before, "nothing of it stays");
    let target = machine.name("ROOT/in");
    let script = format!(
        "zfs receive -u -o canmount=noauto {target} < {}",
        file.display()
    );
    sh("sh", &["-c", &script]);
    let received = machine.with_mounted("in", |root| fs::read(root.join("etc/exported")));
    assert_eq!(received.unwrap(), b"of the stream");
    // So does it itself, in either language.
    for tool in ["bectl", "beadm"] {
        let mut command = machine.command(&[tool, "import", tool]);
        silent(Ran::of(
            command.stdin(File::open(&file).unwrap()).output().unwrap(),
        ));
        let imported = machine.read(tool, "etc/exported");
        assert_eq!(imported.as_deref(), Some("of the stream"));
        assert_eq!(machine.get(&format!("ROOT/{tool}"), "canmount"), "noauto");
        machine.run(&["destroy", "-y", tool]).succeeds();
    }
    // A reader that takes no more is a failure, and the snapshot goes.
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    export("old", full.into()).says(16, "input/output error");
    export("nobody", Stdio::piped()).says(3, "specified boot environment does not exist");
    sh("zfs", &["destroy", "-r", &target]);
    assert_eq!(machine.objects(), before);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_main_job_in_the_language_of_beadm() {
    let machine = Machine::new();
    let before = machine.objects();
    prints(
        beadm(&machine, "create -e old -d note -o atime=off new"),
        "Created successfully\n",
    );
    assert_eq!(machine.get("ROOT/new", "atime"), "off");
    let listed = beadm(&machine, "list -H").succeeds().stdout;
    let line = listed
        .lines()
        .find(|line| line.starts_with("new;"))
        .unwrap();
    let fields: Vec<_> = line.split(';').collect();
    let [used, created, guid] = ["used", "creation", "guid"].map(|it| machine.get("ROOT/new", it));
    let guid = format!("{:016x}", guid.parse::<u64>().unwrap());
    assert_eq!(fields.len(), 7, "{line}");
    assert_eq!(fields[2..], ["", "", &used, "static", &created]);
    let plain = fields[1].replace('-', "");
    assert_eq!(
        plain[17..],
        guid[1..],
        "all but the bits that say what it is"
    );
    assert_eq!(&fields[1][14..15], "8");
    prints(
        beadm(&machine, "rename new newer"),
        "Renamed successfully\n",
    );
    let renamed = beadm(&machine, "list -H newer").succeeds().stdout;
    assert!(renamed.contains(fields[1]), "{renamed}");
    prints(
        beadm(&machine, "create newer@now"),
        "Created successfully\n",
    );
    machine.write("newer", "etc/later", "x");
    prints(
        beadm(&machine, "rollback newer now"),
        "Rolled back successfully\n",
    );
    assert!(!machine.with_mounted("newer", |root| root.join("etc/later").exists()));
    prints(
        beadm(&machine, "activate newer"),
        "Activated successfully\n",
    );
    assert_eq!(machine.next(), machine.name("ROOT/newer"));
    prints(beadm(&machine, "activate old"), "Activated successfully\n");
    beadm(&machine, "destroy -F newer").says(1, "Unable to destroy newer: BE has snapshots.");
    prints(
        beadm(&machine, "destroy -Fs newer"),
        "Destroyed successfully\n",
    );
    assert_eq!(machine.objects(), before);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn beadm_shows_what_is_shared_where_it_mounts() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    let home = machine.directory().join("home");
    fs::create_dir(&home).unwrap();
    let home = home.to_str().unwrap();
    sh(
        "mount",
        &["-t", "zfs", "-o", "zfsutil", &machine.name("home"), home],
    );
    fs::write(format!("{home}/letter"), "x").unwrap();
    let place = machine.directory().join("be");
    let at = place.to_str().unwrap();
    let shown = format!("{at}{home}/letter");
    for (how, may) in [("ro", false), ("rw", true)] {
        prints(
            beadm(&machine, &format!("mount -s {how} new {at}")),
            &format!("Mounted successfully on: '{at}'\n"),
        );
        assert_eq!(fs::read(&shown).unwrap(), b"x");
        assert_eq!(fs::write(&shown, "x").is_ok(), may, "{how}");
        fs::write(place.join("var/lib/own"), "x").unwrap();
        prints(
            beadm(&machine, &format!("unmount {at}")),
            "Unmounted successfully\n",
        );
        assert!(!place.join("var").exists());
    }
    // And it is there as before.
    fs::write(format!("{home}/letter"), "y").unwrap();
    sh("umount", &[home]);
    let directory = beadm(&machine, "mount new").succeeds().stdout;
    assert_eq!(
        directory,
        "Mounted successfully on: '/run/beadm-rs/mnt/new'\n"
    );
    prints(
        beadm(&machine, "destroy -fF new"),
        "Destroyed successfully\n",
    );
}
