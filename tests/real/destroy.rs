//! The end of environments: who is promoted, which snapshots go, what is freed.

use crate::machine::Machine;
use crate::ran::sh;

/// What there is below ROOT of one environment.
fn of(machine: &Machine, be: &str) -> Vec<String> {
    let prefix = machine.name(&format!("ROOT/{be}"));
    machine
        .objects()
        .into_iter()
        .filter(|name| name.split(['@', '/']).nth(2) == Some(be))
        .map(|name| name[prefix.len()..].to_owned())
        .collect()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_chain_of_clones_is_destroyed_in_every_order_and_the_others_keep_their_files() {
    let machine = Machine::new();
    let before = machine.objects();
    let chain = ["a", "b", "c"];
    let mut from = "old";
    for be in chain {
        machine.clone_of(from, be);
        machine.write(be, &format!("only-{be}"), be);
        from = be;
    }
    let saved = machine.save();
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for (round, order) in orders.into_iter().enumerate() {
        if round > 0 {
            machine.restore(&saved);
        }
        for (index, be) in order.into_iter().enumerate() {
            machine.run(&["destroy", "-y", chain[be]]).succeeds();
            for left in &order[index + 1..] {
                // It has what was there when it was cloned, and its own.
                for (position, be) in chain.into_iter().enumerate() {
                    let found = machine.read(chain[*left], &format!("only-{be}"));
                    assert_eq!(found.is_some(), position <= *left, "{order:?} {left} {be}");
                }
            }
        }
        assert_eq!(machine.objects(), before, "{order:?}");
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn clones_of_several_snapshots_of_one_are_promoted_oldest_first_with_their_snapshots() {
    let machine = Machine::new();
    machine.clone_of("old", "base");
    for (version, clone) in [("1", "one"), ("2", "two")] {
        machine.write("base", "version", version);
        machine
            .run(&["snapshot", &format!("base@s{version}")])
            .succeeds();
        machine
            .run(&["create", "-e", &format!("base@s{version}"), clone])
            .succeeds();
    }
    machine.write("base", "version", "3");
    machine.run(&["snapshot", "base@young"]).succeeds();
    let ran = machine.run(&["destroy", "-y", "base"]).succeeds();
    for clone in ["one", "two"] {
        let said = format!(
            "{} was cloned from it and is promoted",
            machine.name(&format!("ROOT/{clone}"))
        );
        assert!(ran.stderr.contains(&said), "{ran:#?}");
    }
    // Snapshots that others are cloned from stay, those only it had are gone.
    assert_eq!(
        machine.get("ROOT/two", "origin"),
        machine.name("ROOT/one@s1")
    );
    assert!(of(&machine, "one").contains(&"/var/lib@s1".to_owned()));
    assert!(of(&machine, "two").contains(&"/var/lib@s2".to_owned()));
    assert_eq!(of(&machine, "base"), Vec::<String>::new());
    assert!(
        !machine
            .objects()
            .iter()
            .any(|name| name.ends_with("@young"))
    );
    assert_eq!(machine.read("one", "version").as_deref(), Some("1"));
    assert_eq!(machine.read("two", "version").as_deref(), Some("2"));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_snapshots_it_was_cloned_from_go_where_this_program_made_them_and_nobody_needs_them() {
    let machine = Machine::new();
    let before = machine.objects();
    let taken = |machine: &Machine| -> usize {
        machine
            .objects()
            .iter()
            .filter(|name| name.contains("old@beadm-rs."))
            .count()
    };
    machine.clone_of("old", "new");
    assert_eq!(taken(&machine), 1);
    machine
        .run(&["destroy", "-y", "--keep-origin", "new"])
        .succeeds();
    assert_eq!(taken(&machine), 1);
    let kept = machine
        .objects()
        .into_iter()
        .find(|name| name.contains("/old@beadm-rs."))
        .unwrap();
    // Another environment of the very snapshot, which somebody holds by now.
    let snapshot = kept.rsplit('@').next().unwrap().to_owned();
    let again = format!("old@{snapshot}");
    machine.run(&["create", "-e", &again, "again"]).succeeds();
    sh("zfs", &["hold", "-r", "keep", &kept]);
    machine.run(&["destroy", "-y", "again"]).succeeds();
    assert!(machine.objects().contains(&kept));
    sh("zfs", &["release", "-r", "keep", &kept]);
    // A clone that is no environment needs what it is a clone of, and only that.
    machine.run(&["create", "-e", &again, "again"]).succeeds();
    let foreign = machine.name("home/clone");
    sh("zfs", &["clone", "-o", "canmount=noauto", &kept, &foreign]);
    machine.run(&["destroy", "-y", "again"]).succeeds();
    assert_eq!(
        machine
            .objects()
            .iter()
            .filter(|name| name.ends_with(&snapshot))
            .collect::<Vec<_>>(),
        [&kept]
    );
    sh("zfs", &["destroy", &foreign]);
    machine.run(&["destroy", "-y", &again]).succeeds();
    assert_eq!(machine.objects(), before);
    sh("zfs", &["snapshot", "-r", &machine.name("ROOT/old@mine")]);
    machine
        .run(&["create", "-e", "old@mine", "again"])
        .succeeds();
    machine.run(&["destroy", "-y", "again"]).succeeds();
    assert!(
        machine
            .objects()
            .contains(&machine.name("ROOT/old/var@mine"))
    );
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_clone_outside_root_is_promoted_and_named_and_one_inside_is_refused() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    machine.write("new", "data", "kept");
    machine.run(&["snapshot", "new@s"]).succeeds();
    let foreign = machine.name("home/clone");
    sh(
        "zfs",
        &[
            "clone",
            "-o",
            "canmount=noauto",
            &machine.name("ROOT/new@s"),
            &foreign,
        ],
    );
    let inside = machine.name("ROOT/new/var/copy");
    let origin = machine.name("ROOT/new/usr@s");
    sh("zfs", &["clone", "-o", "canmount=noauto", &origin, &inside]);
    machine.unchanged(|| {
        machine
            .run(&["destroy", "-y", "new"])
            .says(
                3,
                &format!(
                    "refused to destroy new: {inside} in it is a clone of {origin}, made by \
                     something else, and would go with it"
                ),
            )
            .offers(&format!("zfs destroy {inside} first, or move it"));
    });
    sh("zfs", &["destroy", &inside]);
    let ran = machine.run(&["destroy", "-y", "new"]).succeeds();
    assert!(
        ran.stderr.contains(&format!(
            "beadm-rs: {foreign} was cloned from it and is promoted\n"
        )),
        "{ran:#?}"
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    sh("mount", &["-t", "zfs", "-o", "zfsutil", &foreign, path]);
    let kept = std::fs::read_to_string(directory.path().join("data"));
    sh("umount", &[path]);
    assert_eq!(kept.unwrap(), "kept");
    assert_eq!(of(&machine, "new"), Vec::<String>::new());
    // The snapshot lives on in the clone; its namesakes of the children are gone.
    sh("zfs", &["list", "-H", &format!("{foreign}@s")]);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_the_machine_needs_is_not_destroyed_even_with_force() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    machine.clone_of("old", "spare");
    machine.run(&["pin", "spare"]).succeeds();
    let refused = |be: &str, why: &str, remedy: &str| {
        for arguments in [&["destroy", "-y", be][..], &["destroy", "-F", "-y", be]] {
            machine
                .run(arguments)
                .says(3, &format!("refused to destroy {be}: {why}"))
                .offers(remedy);
        }
    };
    machine.unchanged(|| {
        refused(
            "old",
            "it is the environment that boots next",
            "activate another one first",
        );
        refused("spare", "it is pinned", "beadm-rs unpin spare");
        machine
            .run(&["destroy", "new"])
            .says(
                3,
                "to destroy new for good needs a yes, and there is no terminal to ask on",
            )
            .offers("add --yes (-y)");
        machine
            .run_inside("new", &["destroy", "-y", "-F", "new"])
            .says(3, "refused to destroy new: it is the running environment")
            .offers("activate another one, reboot into it, and destroy this one then");
    });
    machine.run(&["activate", "new"]).succeeds();
    // Something else than beadm-rs moved bootfs: what is known to work stays.
    machine.bootfs("old");
    machine.unchanged(|| {
        refused(
            "new",
            "it is the last one known to work",
            "beadm-rs activate another one first: it becomes the last good one",
        );
    });
    machine.run(&["unpin", "spare"]).succeeds();
    machine.run(&["destroy", "-y", "spare"]).succeeds();
}

/// Bytes free in the pool when everything destroyed has really gone. What a
/// group frees is free some groups later only, and there can be several of these.
fn free(machine: &Machine) -> i64 {
    let read = || -> i64 {
        sh("zpool", &["sync", &machine.pool]);
        sh(
            "zpool",
            &["get", "-Hp", "-o", "value", "free", &machine.pool],
        )
        .parse()
        .unwrap()
    };
    sh("zpool", &["sync", &machine.pool]);
    sh("zpool", &["wait", "-t", "free", &machine.pool]);
    let mut readings = vec![read()];
    while readings.len() < 40 {
        readings.push(read());
        // Frees are put off by two groups.
        if let [.., a, b, c, d] = readings[..]
            && [a, b, c] == [d; 3]
        {
            return d;
        }
    }
    panic!("what is free in the pool changes all the time: {readings:?}");
}

/// What a `list` promises for an environment, and what its end really frees.
#[track_caller]
fn frees_what_is_promised(machine: &Machine, be: &str, expected_mib: i64) {
    let before = free(machine);
    let listed = machine.run(&["list", "--json", be]).succeeds().json("list");
    let promised = listed["environments"][0]["freed"].as_i64().unwrap();
    machine.run(&["destroy", "-y", be]).succeeds();
    let freed = free(machine) - before;
    // Metadata: some blocks per dataset, in three copies.
    let tolerance = 400 << 10;
    assert!(
        (freed - promised).abs() < tolerance,
        "{be}: promised {promised}, freed {freed}"
    );
    let expected = expected_mib << 20;
    assert!(
        (freed - expected).abs() < tolerance,
        "{be}: expected {expected}, freed {freed}"
    );
}

/// Bytes that do not compress.
fn noise(mebibytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..mebibytes << 17)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn destroying_frees_what_the_listing_promises() {
    let machine = Machine::new();
    let remove = |be: &str, file: &str| {
        machine.with_mounted(be, |root| std::fs::remove_file(root.join(file)).unwrap());
    };
    // With a snapshot of its own: what only the snapshot has counts.
    machine.clone_of("old", "own");
    machine.write("own", "first", noise(4));
    machine.run(&["snapshot", "own@s"]).succeeds();
    remove("own", "first");
    machine.write("own", "second", noise(2));
    frees_what_is_promised(&machine, "own", 6);
    // With dependents: what they were cloned with stays.
    machine.clone_of("old", "base");
    machine.write("base", "first", noise(4));
    machine.clone_of("base", "one");
    machine.write("base", "second", noise(2));
    machine.clone_of("base", "two");
    machine.write("base", "third", noise(3));
    frees_what_is_promised(&machine, "base", 3);
    remove("one", "first");
    machine.write("one", "fourth", noise(2));
    frees_what_is_promised(&machine, "one", 2);
    frees_what_is_promised(&machine, "two", 6);
    // After an activation the old one hangs on the new one, and the snapshot
    // between them goes with it.
    machine.write("old", "large", noise(5));
    machine.clone_of("old", "new");
    remove("new", "large");
    machine.run(&["activate", "new"]).succeeds();
    machine.write("old", "later", noise(2));
    frees_what_is_promised(&machine, "old", 7);
}
