//! What is cloned with an environment, what stands apart, and which properties
//! go along.

use std::collections::BTreeMap;

use crate::machine::Machine;
use crate::ran::sh;

/// A layer of a container store, as Docker's zfs driver names it.
const LAYER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn lines_of_stderr(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("beadm-rs: "))
        .collect()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_stands_apart_is_named_not_cloned_and_not_destroyed() {
    let machine = Machine::new();
    let docker = "ROOT/old/var/lib/docker";
    machine.dataset(docker, &["canmount=noauto"]);
    machine.dataset(&format!("{docker}/{LAYER}"), &["mountpoint=legacy"]);
    machine.dataset(&format!("{docker}/{LAYER}-init"), &["mountpoint=legacy"]);
    machine.dataset(
        "ROOT/old/cache",
        &["canmount=noauto", "org.beadm-rs:exclude=on"],
    );
    machine.dataset("ROOT/old/cache/below", &["canmount=noauto"]);
    sh(
        "zfs",
        &["create", "-s", "-V", "1M", &machine.name("ROOT/old/swap")],
    );
    let apart = [
        ("cache", "excluded (org.beadm-rs:exclude)"),
        ("cache/below", "excluded (org.beadm-rs:exclude)"),
        ("swap", "a volume"),
        (&format!("var/lib/docker/{LAYER}"), "a container's layer"),
        (
            &format!("var/lib/docker/{LAYER}-init"),
            "a container's layer",
        ),
    ]
    .map(|(below, why)| {
        format!(
            "{} is {why} and is not cloned",
            machine.name(&format!("ROOT/old/{below}"))
        )
    });
    let ran = machine.run(&["create", "-e", "old", "new"]).succeeds();
    let said = lines_of_stderr(&ran.stderr);
    assert_eq!(said[..apart.len()], apart, "{ran:#?}");
    assert_eq!(said[apart.len()..], ["new is a clone of old"]);
    let new: Vec<String> = machine
        .objects()
        .into_iter()
        .filter_map(|name| Some(name.split_once("/ROOT/new")?.1.to_owned()))
        .collect();
    assert_eq!(
        new,
        [
            "",
            "/usr",
            "/usr/local",
            "/var",
            "/var/lib",
            "/var/lib/docker"
        ]
    );
    // No snapshot of theirs either.
    let taken: Vec<String> = machine
        .objects()
        .into_iter()
        .filter(|name| {
            name.contains('@')
                && ["swap", "cache", LAYER]
                    .iter()
                    .any(|part| name.contains(part))
        })
        .collect();
    assert_eq!(taken, Vec::<String>::new());
    // They stay while the environment does, one after another.
    machine.run(&["activate", "new"]).succeeds();
    for (below, what) in [
        ("cache", "excluded (org.beadm-rs:exclude)"),
        ("swap", "a volume"),
        (&format!("var/lib/docker/{LAYER}"), "a container's layer"),
    ] {
        let dataset = machine.name(&format!("ROOT/old/{below}"));
        machine.unchanged(|| {
            machine.run(&["destroy", "-y", "old"]).says(
                3,
                &format!("refused to destroy old: {dataset} in it is {what} and would go with it"),
            );
        });
        sh("zfs", &["destroy", "-r", &dataset]);
    }
    sh(
        "zfs",
        &[
            "destroy",
            "-r",
            &machine.name(&format!("{docker}/{LAYER}-init")),
        ],
    );
    machine.run(&["destroy", "-y", "old"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn children_off_none_and_legacy_stay_what_they_are_and_fstab_names_the_clones() {
    let machine = Machine::new();
    machine.dataset("ROOT/old/srv", &["mountpoint=none"]);
    machine.dataset("ROOT/old/opt", &["mountpoint=legacy"]);
    machine.dataset("ROOT/old/off", &["canmount=off", "mountpoint=/off"]);
    let fstab = |be: &str| {
        format!(
            "# {pool}/ROOT/old/opt is the administrator's\n\
             {pool}/ROOT/{be}/opt\t/opt zfs defaults 0 0\n\
             {pool}/home/x /home/x zfs defaults 0 0\n\
             UUID=1-2 /boot/efi vfat umask=0077 0 1\n",
            pool = machine.pool
        )
    };
    let cache = |be: &str| {
        let rest = "/\ton\ton\ton\ton\toff\ton\toff\t-\tnone";
        format!(
            "{pool}/ROOT/{be}\t{rest}\n{pool}/ROOT/{be}/var\t{rest}\n{pool}/home\t{rest}\n",
            pool = machine.pool
        )
    };
    let list_cache = format!("etc/zfs/zfs-list.cache/{}", machine.pool);
    machine.write("old", "etc/fstab", fstab("old"));
    machine.write("old", &list_cache, cache("old"));
    machine.clone_of("old", "new");
    assert_eq!(machine.read("new", "etc/fstab"), Some(fstab("new")));
    assert_eq!(machine.read("new", &list_cache), Some(cache("new")));
    assert_eq!(machine.read("old", "etc/fstab"), Some(fstab("old")));
    for (below, property, value) in [
        ("srv", "mountpoint", "none"),
        ("opt", "mountpoint", "legacy"),
        ("off", "mountpoint", "/off"),
        ("off", "canmount", "off"),
        ("usr", "canmount", "off"),
        ("var", "canmount", "noauto"),
    ] {
        assert_eq!(
            machine.get(&format!("ROOT/new/{below}"), property),
            value,
            "{below}"
        );
    }
    let at = machine.run(&["mount", "new"]).succeeds().stdout;
    let at = at.trim();
    let source = |below: &str| {
        sh(
            "findmnt",
            &[
                "-n",
                "-o",
                "SOURCE",
                "--mountpoint",
                &format!("{at}{below}"),
            ],
        )
    };
    for (place, dataset) in [
        ("", ""),
        ("/opt", "/opt"),
        ("/var/lib", "/var/lib"),
        ("/usr/local", "/usr/local"),
    ] {
        assert_eq!(source(place), machine.name(&format!("ROOT/new{dataset}")));
    }
    assert!(!std::path::Path::new(at).join("off").exists());
    assert!(!std::path::Path::new(at).join("srv").exists());
    machine.run(&["unmount", "new"]).succeeds();
    // The names follow a rename too.
    machine.run(&["rename", "new", "newer"]).succeeds();
    assert_eq!(machine.read("newer", "etc/fstab"), Some(fstab("newer")));
    assert_eq!(machine.read("newer", &list_cache), Some(cache("newer")));
}

/// The set properties of a dataset, by name.
fn set(machine: &Machine, below: &str) -> BTreeMap<String, String> {
    let all = machine.picture();
    let prefix = format!("{} ", machine.name(below));
    all.into_iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.to_owned(), value)))
        .collect()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_clone_has_the_properties_of_its_source_and_none_of_its_identity() {
    let machine = Machine::new();
    let own = [
        "compression=zstd-3",
        "atime=off",
        "recordsize=32768",
        "devices=off",
        "sharenfs=off",
        "com.sun:auto-snapshot=false",
        "com.example:empty=",
    ];
    let limits = [
        "quota=1073741824",
        "refquota=none",
        "reservation=none",
        "refreservation=1048576",
    ];
    let identity = [
        "org.opensolaris.libbe:uuid=123",
        "org.opensolaris.libbe:policy=static",
        "org.beadm-rs:exclude=off",
        "ca.kamacite:bootable=on",
        "org.zfsbootmenu:active=on",
    ];
    for setting in own.iter().chain(&limits).chain(&identity) {
        sh("zfs", &["set", setting, &machine.name("ROOT/old/var")]);
    }
    machine.run(&["describe", "old", "the first"]).succeeds();
    machine.run(&["pin", "old"]).succeeds();
    machine.clone_of("old", "new");
    let (old, mut expected) = (set(&machine, "ROOT/old/var"), set(&machine, "ROOT/old/var"));
    for setting in identity {
        expected.remove(setting.split('=').next().unwrap());
    }
    assert_eq!(set(&machine, "ROOT/new/var"), expected);
    assert_eq!(old.len(), expected.len() + identity.len());
    // What is inherited stays inherited.
    assert_eq!(
        set(&machine, "ROOT/new/var/lib"),
        set(&machine, "ROOT/old/var/lib")
    );
    assert_eq!(machine.get("ROOT/new/var/lib", "compression"), "zstd-3");
    let root = set(&machine, "ROOT/new");
    assert_eq!(
        root.keys().map(String::as_str).collect::<Vec<_>>(),
        ["canmount", "mountpoint", "org.beadm-rs:op"]
    );
    // The record of its making has ended.
    assert_eq!(root["org.beadm-rs:op"], "-");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn user_properties_with_tabs_and_newlines_are_copied_as_they_are() {
    let machine = Machine::new();
    let old = machine.name("ROOT/old");
    let wild = [
        "one\ttwo\nthree\n\n\tfour ".to_owned(),
        "\n".to_owned(),
        "ends in a newline\n".to_owned(),
        "ümläut € 🦀 \"quoted\" 'and' \\ $HOME %s".to_owned(),
        // What looks like a line of another object.
        format!("x\n{old}\tfilesystem\t1\t2\t3"),
        format!("x\n{old}@s\tsnapshot\t1\t2\t3"),
    ];
    for (index, value) in wild.iter().enumerate() {
        sh(
            "zfs",
            &["set", &format!("com.example:w{index}={value}"), &old],
        );
    }
    machine.clone_of("old", "new");
    for (index, value) in wild.iter().enumerate() {
        let property = format!("com.example:w{index}");
        let output = std::process::Command::new("zfs")
            .args([
                "get",
                "-H",
                "-o",
                "value",
                &property,
                &machine.name("ROOT/new"),
            ])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{value}\n")
        );
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_line_forged_in_a_property_gives_the_clone_nothing_its_source_has_not() {
    let machine = Machine::new();
    let old = machine.name("ROOT/old");
    let forged = format!("com.example:a=x\n{old}\tquota\tlocal\t1048576");
    sh("zfs", &["set", &forged, &old]);
    let before = machine.picture();
    let ran = machine.run(&["create", "-e", "old", "new"]);
    if ran.exit == 0 {
        assert_eq!(machine.get("ROOT/new", "quota"), "0");
        let value = machine.get("ROOT/new", "com.example:a");
        assert_eq!(value, machine.get("ROOT/old", "com.example:a"));
    } else {
        crate::picture::assert_same(&before, &machine.picture(), "it was refused");
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn lines_forged_in_a_mountpoint_are_a_mountpoint() {
    let machine = Machine::new();
    let old = machine.name("ROOT/old");
    for child in ["v", "w"] {
        let child = format!("{old}/{child}");
        sh("zfs", &["create", "-u", "-o", "canmount=noauto", &child]);
    }
    let path = format!(
        "/x\tmountpoint\n{old}/w\tsetuid\tlocal\toff\tsetuid\n{old}/w\tmountpoint\tlocal\t/y"
    );
    let setting = format!("mountpoint={path}");
    sh("zfs", &["set", &setting, &format!("{old}/v")]);
    machine.run(&["create", "-e", "old", "new"]).succeeds();
    assert_eq!(machine.get("ROOT/new/w", "setuid"), "on");
    let mountpoint = machine.get("ROOT/new/w", "mountpoint");
    assert!(mountpoint.ends_with("/w"), "{mountpoint}");
    let mountpoint = machine.get("ROOT/new/v", "mountpoint");
    assert_eq!(mountpoint, machine.get("ROOT/old/v", "mountpoint"));
    assert!(mountpoint.contains("setuid"), "{mountpoint}");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_description_set_by_hand_with_tabs_and_newlines_does_not_break_the_listing() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    let text = "one\ttwo\nthree";
    sh(
        "zfs",
        &[
            "set",
            &format!("org.beadm-rs:description={text}"),
            &machine.name("ROOT/new"),
        ],
    );
    let listed = machine.run(&["list", "-H"]).succeeds().stdout;
    let rows: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(rows.len(), 2, "{listed}");
    assert_eq!(rows[0].len(), 7);
    assert_eq!((rows[0][0], rows[0][6]), ("new", "one two three"));
    assert_eq!((rows[1][0], rows[1][6]), ("old", "-"));
    let json = machine.run(&["list", "--json"]).succeeds().json("list");
    assert_eq!(json["environments"][0]["description"], text);
    machine.run(&["activate", "new"]).succeeds();
    machine.run(&["activate", "old"]).succeeds();
    machine.run(&["destroy", "-y", "new"]).succeeds();
}
