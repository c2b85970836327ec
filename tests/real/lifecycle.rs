//! The main job, command by command, on whole trees.

use crate::machine::Machine;

/// The flags of an environment in `list -H`.
fn flags(machine: &Machine, name: &str) -> String {
    let listed = machine.run(&["list", "-H"]).succeeds().stdout;
    listed
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}\t")))
        .and_then(|rest| rest.split('\t').next())
        .unwrap_or_else(|| panic!("{name} is not in {listed}"))
        .to_owned()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn create_activate_failback_destroy_leaves_what_was_there() {
    let machine = Machine::new();
    let before = machine.objects();
    machine
        .run(&["create", "-e", "old", "-d", "a note", "new"])
        .succeeds();
    assert_eq!(machine.get("ROOT/new", "mountpoint"), "/");
    assert_eq!(machine.get("ROOT/new", "canmount"), "noauto");
    assert_eq!(machine.get("ROOT/new/usr", "canmount"), "off");
    assert_eq!(machine.get("ROOT/new/var/lib", "mountpoint"), "/var/lib");
    assert_eq!(machine.get("ROOT/new/var/lib", "canmount"), "noauto");
    assert_eq!(flags(&machine, "old"), "R");
    machine.run(&["activate", "new"]).succeeds();
    assert_eq!(machine.next(), machine.name("ROOT/new"));
    for below in [
        "ROOT/new",
        "ROOT/new/var",
        "ROOT/new/var/lib",
        "ROOT/new/usr/local",
    ] {
        assert_eq!(machine.get(below, "origin"), "-", "{below}");
    }
    machine.run(&["failback"]).succeeds();
    assert_eq!(machine.next(), machine.name("ROOT/old"));
    assert_eq!(machine.get("ROOT/old/var", "origin"), "-");
    machine.run(&["destroy", "-y", "new"]).succeeds();
    assert_eq!(machine.objects(), before);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_running_environment_is_the_one_the_root_is_mounted_from() {
    let machine = Machine::new();
    machine.run(&["create", "-e", "old", "new"]).succeeds();
    let listed = machine.run_inside("old", &["list", "-H"]).succeeds().stdout;
    assert!(listed.starts_with("new\t-\t"), "{listed}");
    assert!(listed.contains("\nold\tNR\t/\t"), "{listed}");
    machine
        .run_inside("old", &["create", "made-here"])
        .succeeds();
    assert!(
        machine
            .get("ROOT/made-here", "origin")
            .starts_with(&machine.name("ROOT/old@beadm-rs."))
    );
    machine
        .run_inside("old", &["destroy", "-y", "old"])
        .fails(3, "it is the running environment");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn boot_in_a_pool_of_its_own_goes_with_its_environment() {
    let machine = Machine::with_boot_pool();
    let before = machine.objects();
    let boot = machine.boot_pool.clone().unwrap();
    machine.run(&["create", "-e", "old", "new"]).succeeds();
    assert!(machine.objects().contains(&format!("{boot}/BOOT/new")));
    machine.run(&["activate", "new"]).succeeds();
    machine.run(&["failback"]).succeeds();
    machine.run(&["rename", "new", "newer"]).succeeds();
    assert!(machine.objects().contains(&format!("{boot}/BOOT/newer")));
    machine.run(&["destroy", "-y", "newer"]).succeeds();
    assert_eq!(machine.objects(), before);
}
