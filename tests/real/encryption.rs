//! Encrypted environments: keys that are not there, and keys that must still
//! open what is left after a promotion.

use std::path::PathBuf;

use crate::machine::Machine;
use crate::ran::sh;

/// A raw key in a file.
struct Key {
    directory: tempfile::TempDir,
}

impl Key {
    fn new() -> Self {
        let key = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::write(key.path(), [0x5a; 32]).unwrap();
        key
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    fn location(&self) -> String {
        format!("keylocation=file://{}", self.path().display())
    }

    fn settings(&self) -> [String; 3] {
        [
            "encryption=on".to_owned(),
            "keyformat=raw".to_owned(),
            self.location(),
        ]
    }
}

/// An environment that is its own encryption root, with a child.
fn encrypted(machine: &Machine, key: &Key, be: &str) {
    let settings = key.settings();
    let mut all: Vec<&str> = settings.iter().map(String::as_str).collect();
    all.extend(["canmount=noauto", "mountpoint=/"]);
    machine.dataset(be, &all);
    machine.dataset(&format!("{be}/var"), &["canmount=noauto"]);
    let name = be.rsplit('/').next().unwrap();
    machine.write(name, "etc/secret", "kept\n");
    machine.install(name);
}

/// After the machine was off: the key opens the root, and with it everything.
fn opens(machine: &Machine, key_root: &str, be: &str) {
    sh("zpool", &["export", &machine.pool]);
    machine.import(&machine.pool, &[]);
    assert_eq!(
        machine.get(&format!("ROOT/{be}"), "keystatus"),
        "unavailable"
    );
    sh("zfs", &["load-key", key_root]);
    for child in ["", "/var"] {
        let dataset = format!("ROOT/{be}{child}");
        assert_eq!(machine.get(&dataset, "keystatus"), "available");
        assert_eq!(machine.get(&dataset, "encryptionroot"), key_root);
    }
    assert_eq!(machine.read(be, "etc/secret").as_deref(), Some("kept\n"));
    machine.run(&["mount", be]).succeeds();
    machine.run(&["unmount", be]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_environment_whose_key_is_not_loaded_is_refused_by_what_needs_its_files() {
    let machine = Machine::new();
    let key = Key::new();
    encrypted(&machine, &key, "ROOT/enc");
    let enc = machine.name("ROOT/enc");
    sh("zfs", &["unload-key", &enc]);
    let locked = format!("{enc} is encrypted and its key is not loaded");
    machine.unchanged(|| {
        for (arguments, attempted) in [
            (
                &["create", "-e", "enc", "new"][..],
                "refused to create new: ",
            ),
            (&["activate", "enc"], "refused to activate enc: "),
            (&["rename", "enc", "new"], "refused to rename enc to new: "),
            (&["mount", "enc"], ""),
        ] {
            machine
                .run(arguments)
                .says(3, &format!("{attempted}{locked}"))
                .offers(&format!("zfs load-key {enc}"));
        }
        machine.run(&["list"]).succeeds();
    });
    // What needs no key needs none.
    machine.run(&["snapshot", "enc@s"]).succeeds();
    machine.run(&["describe", "enc", "locked"]).succeeds();
    machine.run(&["destroy", "-y", "enc"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_environment_with_a_key_of_its_own_hands_it_on_to_its_clone() {
    let machine = Machine::new();
    let key = Key::new();
    encrypted(&machine, &key, "ROOT/enc");
    machine.bootfs("enc");
    machine.clone_of("enc", "new");
    machine.run(&["activate", "new"]).succeeds();
    let new = machine.name("ROOT/new");
    assert_eq!(machine.get("ROOT/new", "encryptionroot"), new);
    assert_eq!(
        format!("keylocation={}", machine.get("ROOT/new", "keylocation")),
        key.location()
    );
    // After such a promotion ZFS says that the key of either is not there. The
    // way back needs none, and with it the key is back.
    assert_eq!(machine.get("ROOT/enc", "keystatus"), "unavailable");
    machine.run(&["failback"]).succeeds();
    assert_eq!(machine.next(), machine.name("ROOT/enc"));
    assert_eq!(machine.get("ROOT/new", "keystatus"), "available");
    machine.run(&["activate", "new"]).succeeds();
    machine
        .run(&["create", "-e", "new", "x"])
        .fails(3, "is encrypted and its key is not loaded")
        .offers(&format!("zfs load-key {new}"));
    opens(&machine, &new, "new");
    machine.run(&["destroy", "-y", "enc"]).succeeds();
    opens(&machine, &new, "new");
    machine.clone_of("new", "newer");
    machine.run(&["activate", "newer"]).succeeds();
    machine.run(&["destroy", "-y", "new"]).succeeds();
    opens(&machine, &machine.name("ROOT/newer"), "newer");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn destroying_what_an_encrypted_clone_hangs_on_leaves_it_its_key() {
    let machine = Machine::new();
    let key = Key::new();
    encrypted(&machine, &key, "ROOT/enc");
    machine.clone_of("enc", "new");
    machine.run(&["destroy", "-y", "enc"]).succeeds();
    opens(&machine, &machine.name("ROOT/new"), "new");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_key_above_the_environments_opens_all_of_them() {
    let key = Key::new();
    let settings = key.settings();
    // On the pool's own dataset, and on ROOT.
    for whole_pool in [true, false] {
        let machine = if whole_pool {
            let mut options = Vec::new();
            for setting in &settings {
                options.extend(["-O", setting.as_str()]);
            }
            Machine::with_pool_options(&options)
        } else {
            let machine = Machine::new();
            sh("zfs", &["destroy", "-r", &machine.name("ROOT")]);
            let mut all: Vec<&str> = settings.iter().map(String::as_str).collect();
            all.extend(["canmount=off", "mountpoint=none"]);
            machine.dataset("ROOT", &all);
            machine.dataset("ROOT/old", &["canmount=noauto", "mountpoint=/"]);
            machine.dataset("ROOT/old/var", &["canmount=noauto"]);
            machine.bootfs("old");
            machine.install("old");
            machine
        };
        let key_root = if whole_pool {
            machine.pool.clone()
        } else {
            machine.name("ROOT")
        };
        machine.write("old", "etc/secret", "kept\n");
        machine.clone_of("old", "new");
        machine.run(&["activate", "new"]).succeeds();
        machine.run(&["destroy", "-y", "old"]).succeeds();
        opens(&machine, &key_root, "new");
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_copy_of_an_encrypted_environment_stays_encrypted_with_its_key() {
    let mut machine = Machine::new();
    let key = Key::new();
    encrypted(&machine, &key, "ROOT/enc");
    let other = machine.another_pool("x");
    machine
        .run(&["create", "-e", "enc", "-p", &other, "copy"])
        .succeeds();
    let copy = format!("{other}/ROOT/copy");
    assert_eq!(
        sh("zfs", &["get", "-H", "-o", "value", "encryption", &copy]),
        "aes-256-gcm"
    );
    // Received raw: what it needs to be opened came with it.
    sh("zpool", &["export", &other]);
    machine.import(&other, &[]);
    let location = key.location();
    let place = location.strip_prefix("keylocation=").unwrap();
    for dataset in [copy.clone(), format!("{copy}/var")] {
        if sh("zfs", &["get", "-H", "-o", "value", "keystatus", &dataset]) == "unavailable" {
            sh("zfs", &["load-key", "-L", place, &dataset]);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    sh("mount", &["-t", "zfs", "-o", "zfsutil", &copy, path]);
    let secret = std::fs::read_to_string(directory.path().join("etc/secret"));
    sh("umount", &[path]);
    assert_eq!(secret.unwrap(), "kept\n");
    let listed = machine.run_on(&format!("{other}/ROOT"), &["list", "-H"]);
    assert!(listed.succeeds().stdout.starts_with("copy\t-\t"));
}
