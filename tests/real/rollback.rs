//! Environments put back to a snapshot.

use crate::machine::Machine;
use crate::ran::sh;

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_rollback_names_the_younger_snapshots_and_destroys_them_only_with_a_yes() {
    let machine = Machine::with_boot_pool();
    machine.clone_of("old", "new");
    machine.write("new", "version", "1");
    machine.run(&["snapshot", "new@a"]).succeeds();
    machine.write("new", "version", "2");
    machine.run(&["snapshot", "new@b"]).succeeds();
    sh("zfs", &["snapshot", &machine.name("ROOT/new/var@c")]);
    machine.write("new", "version", "3");
    // Seven datasets with @b, one of them with @c too.
    let boot = format!("{}/BOOT/new", machine.boot_pool.clone().unwrap());
    machine.unchanged(|| {
        machine
            .run(&["rollback", "new@a"])
            .says(
                3,
                "to put new back to @a, and destroy 7 younger snapshots needs a yes, and there is no \
                 terminal to ask on",
            )
            .offers("add --yes (-y)");
        let plan = machine.run(&["rollback", "-n", "new@a"]).succeeds().stdout;
        for younger in [format!("{boot}@b"), machine.name("ROOT/new/var@c")] {
            assert!(
                plan.contains(&format!("note: {younger} is younger and is destroyed")),
                "{plan}"
            );
        }
    });
    let ran = machine.run(&["rollback", "-y", "new@a"]).succeeds();
    assert!(
        ran.stderr
            .contains(&machine.name("ROOT/new@b is younger and is destroyed")),
        "{ran:#?}"
    );
    assert_eq!(machine.read("new", "version").as_deref(), Some("1"));
    let left: Vec<String> = machine
        .objects()
        .into_iter()
        .filter(|name| name.contains("/new") && (name.ends_with("@b") || name.ends_with("@c")))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    // Once more, with nothing younger.
    machine.write("new", "version", "4");
    machine.run(&["rollback", "-y", "new@a"]).succeeds();
    assert_eq!(machine.read("new", "version").as_deref(), Some("1"));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_rollback_that_would_take_something_away_is_refused() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    machine.run(&["snapshot", "new@a"]).succeeds();
    machine.clone_of("new", "newer");
    let origin = machine.get("ROOT/newer", "origin");
    machine.unchanged(|| {
        machine
            .run(&["rollback", "-y", "new@a"])
            .says(
                3,
                &format!(
                    "refused to roll back to new@a: {origin} is younger, and {} is a clone of it",
                    machine.name("ROOT/newer")
                ),
            )
            .offers("beadm-rs create -e new@a NAME keeps both");
        machine
            .run_inside("new", &["rollback", "-y", "new@a"])
            .says(
                3,
                "refused to roll back to new@a: it is the running environment",
            )
            .offers("beadm-rs create -e new@a NAME, and activate that");
    });
}
