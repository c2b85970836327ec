//! The ways an environment or a snapshot of one is made.

use crate::machine::Machine;
use crate::ran::sh;

fn get(dataset: &str, property: &str) -> String {
    sh("zfs", &["get", "-Hp", "-o", "value", property, dataset])
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_snapshot_of_an_environment_is_taken_cloned_and_destroyed_whole() {
    let machine = Machine::new();
    let before = machine.objects();
    machine.write("old", "etc/version", "1");
    machine.run(&["create", "old@one"]).succeeds();
    machine.run(&["snapshot", "old@two"]).succeeds();
    machine.run(&["snapshot", "old"]).succeeds();
    for child in ["", "/usr", "/usr/local", "/var", "/var/lib"] {
        for name in ["one", "two"] {
            let snapshot = machine.name(&format!("ROOT/old{child}@{name}"));
            let txg = |snapshot: &str| get(snapshot, "createtxg");
            assert_eq!(
                txg(&snapshot),
                txg(&machine.name(&format!("ROOT/old@{name}")))
            );
        }
    }
    machine.write("old", "etc/version", "2");
    machine.run(&["create", "-e", "old@one", "new"]).succeeds();
    assert_eq!(
        machine.get("ROOT/new/var", "origin"),
        machine.name("ROOT/old/var@one")
    );
    assert_eq!(machine.read("new", "etc/version").as_deref(), Some("1"));
    machine.unchanged(|| {
        machine.run(&["destroy", "-y", "old@one"]).says(
            3,
            &format!(
                "refused to destroy old@one: {} is a clone of {}",
                machine.name("ROOT/new"),
                machine.name("ROOT/old@one")
            ),
        );
        machine
            .run(&["destroy", "old@two"])
            .says(
                3,
                "to destroy old@two for good needs a yes, and there is no terminal to ask on",
            )
            .offers("add --yes (-y)");
    });
    machine.run(&["destroy", "-y", "new"]).succeeds();
    // Somebody's snapshots stay when a clone of them goes.
    assert!(
        machine
            .objects()
            .contains(&machine.name("ROOT/old/var@one"))
    );
    let third = machine
        .objects()
        .into_iter()
        .find_map(|name| Some(name.split_once("ROOT/old@beadm-rs.")?.1.to_owned()))
        .unwrap();
    let third = format!("old@beadm-rs.{third}");
    machine
        .run(&["destroy", "-y", "old@one", "old@two", &third])
        .succeeds();
    assert_eq!(machine.objects(), before);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn options_of_create_do_what_they_say() {
    let machine = Machine::new();
    machine
        .run(&[
            "create",
            "-e",
            "old",
            "-o",
            "compression=gzip",
            "-o",
            "com.example:a=b c",
            "-d",
            "ein Versuch: 1 > 0",
            "new",
        ])
        .succeeds();
    assert_eq!(machine.get("ROOT/new", "compression"), "gzip");
    assert_eq!(machine.get("ROOT/new", "com.example:a"), "b c");
    assert_eq!(
        machine.get("ROOT/new", "org.beadm-rs:description"),
        "ein Versuch: 1 > 0"
    );
    machine
        .run(&["create", "-e", "old", "--shallow", "flat"])
        .succeeds();
    assert!(!machine.objects().contains(&machine.name("ROOT/flat/var")));
    machine.run(&["create", "--empty", "blank"]).succeeds();
    assert_eq!(machine.get("ROOT/blank", "origin"), "-");
    assert_eq!(machine.get("ROOT/blank", "mountpoint"), "/");
    assert_eq!(machine.get("ROOT/blank", "canmount"), "noauto");
    assert_eq!(machine.get("ROOT/blank", "mounted"), "no");
    machine
        .run(&["create", "-a", "-e", "old", "now"])
        .succeeds();
    assert_eq!(machine.next(), machine.name("ROOT/now"));
    machine.unchanged(|| {
        for name in ["canmount", "mountpoint", "org.beadm-rs:op"] {
            machine
                .run(&["create", "-e", "old", "-o", &format!("{name}=off"), "x"])
                .says(
                    3,
                    &format!("refused to create x: -o {name}: beadm-rs sets that itself"),
                );
        }
        let long = "d".repeat(1025);
        machine
            .run(&["create", "-e", "old", "-d", &long, "x"])
            .fails(
                2,
                "a description is 1024 bytes at the most, and this one 1025",
            );
        // What ZFS does not take is undone.
        for setting in ["nosuch=1", "compression=nosuch", "quota=nosuch"] {
            machine
                .run(&["create", "-e", "old", "-o", setting, "x"])
                .fails(1, "state: what was changed was undone");
            machine
                .run(&["create", "--empty", "-o", setting, "x"])
                .fails(1, "cannot create");
        }
    });
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_dry_run_prints_the_plan_and_changes_nothing() {
    let machine = Machine::with_boot_pool();
    machine.clone_of("old", "new");
    machine.run(&["snapshot", "new@s"]).succeeds();
    let commands: [&[&str]; 12] = [
        &["create", "-e", "old", "x"],
        &["create", "--empty", "x"],
        &["create", "-a", "-e", "old", "x"],
        &["snapshot", "old"],
        &["activate", "new"],
        &["destroy", "new"],
        &["destroy", "new@s"],
        &["rename", "new", "x"],
        &["rollback", "new@s"],
        &["describe", "new", "x"],
        &["pin", "new"],
        &["mount", "new"],
    ];
    machine.unchanged(|| {
        for command in commands {
            let mut arguments = vec!["-n"];
            arguments.extend(command);
            let ran = machine.run(&arguments).succeeds();
            assert!(
                ran.stdout.contains("new")
                    || ran.stdout.contains("/x")
                    || ran.stdout.contains("old"),
                "{ran:#?}"
            );
        }
    });
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_copy_in_another_pool_is_whole_and_leaves_nothing_behind_here() {
    let mut machine = Machine::new();
    let other = machine.another_pool("x");
    machine.write(
        "old",
        "etc/fstab",
        format!("{} /var zfs defaults 0 0\n", machine.name("ROOT/old/var")),
    );
    machine.write("old", "data", vec![3; 3 << 20]);
    sh(
        "zfs",
        &["set", "compression=zstd", &machine.name("ROOT/old/var")],
    );
    sh(
        "zfs",
        &[
            "set",
            "com.example:a=one\ttwo",
            &machine.name("ROOT/old/var"),
        ],
    );
    let objects = machine.objects();
    machine
        .run(&[
            "create",
            "-e",
            "old",
            "-p",
            &other,
            "-d",
            "elsewhere",
            "copy",
        ])
        .succeeds();
    assert_eq!(machine.objects(), objects);
    let beroot = format!("{other}/ROOT");
    let there = sh(
        "zfs",
        &[
            "list",
            "-H",
            "-r",
            "-t",
            "all",
            "-o",
            "name,canmount,mountpoint",
            &beroot,
        ],
    );
    assert_eq!(
        there,
        [
            "\toff\tnone",
            "/copy\tnoauto\t/",
            "/copy/usr\toff\t/usr",
            "/copy/usr/local\tnoauto\t/usr/local",
            "/copy/var\tnoauto\t/var",
            "/copy/var/lib\tnoauto\t/var/lib"
        ]
        .map(|line| format!("{beroot}{line}"))
        .join("\n")
    );
    assert_eq!(get(&format!("{beroot}/copy/var"), "compression"), "zstd");
    assert_eq!(
        get(&format!("{beroot}/copy/var"), "com.example:a"),
        "one\ttwo"
    );
    assert_eq!(
        get(&format!("{beroot}/copy"), "org.beadm-rs:description"),
        "elsewhere"
    );
    let marks = sh(
        "zfs",
        &[
            "get",
            "-H",
            "-r",
            "-s",
            "local,received",
            "-o",
            "property",
            "all",
            &other,
        ],
    );
    assert!(!marks.contains("org.beadm-rs:op"), "{marks}");
    // It is an environment like any other.
    let at = machine
        .run_on(&beroot, &["mount", "copy"])
        .succeeds()
        .stdout;
    let fstab = std::fs::read_to_string(format!("{}/etc/fstab", at.trim()));
    let data = std::fs::metadata(format!("{}/data", at.trim())).map(|found| found.len());
    machine.run_on(&beroot, &["unmount", "copy"]).succeeds();
    assert_eq!(
        fstab.unwrap(),
        format!("{beroot}/copy/var /var zfs defaults 0 0\n")
    );
    assert_eq!(data.unwrap(), 3 << 20);
    machine.run_on(&beroot, &["activate", "copy"]).succeeds();
    // From a snapshot, the root alone; and what is not possible.
    machine.run(&["snapshot", "old@s"]).succeeds();
    machine
        .run(&["create", "--shallow", "-e", "old@s", "-p", &other, "flat"])
        .succeeds();
    assert!(machine.objects().contains(&machine.name("ROOT/old@s")));
    machine.unchanged(|| {
        machine
            .run(&["create", "-e", "old", "-p", &other, "copy"])
            .says(
                3,
                &format!("refused to create copy: {beroot}/copy exists already"),
            );
        sh("zfs", &["rename", &beroot, &format!("{other}/X")]);
        machine
            .run(&["create", "-e", "old", "-p", &other, "third"])
            .says(
                3,
                &format!("refused to create third: there is no dataset {beroot}"),
            )
            .offers(&format!(
                "zfs create -o canmount=off -o mountpoint=none {beroot}"
            ));
        sh("zfs", &["rename", &format!("{other}/X"), &beroot]);
    });
}
