//! New names for environments, the running one too.

use crate::machine::Machine;
use crate::ran::{Mounted, sh};

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_running_environment_is_renamed_and_bootfs_follows() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    let fstab = format!("{} /x zfs defaults 0 0\n", machine.name("ROOT/old/x"));
    machine.write("old", "etc/fstab", &fstab);
    let ran = machine
        .run_inside("old", &["rename", "old", "older"])
        .succeeds();
    assert_eq!(ran.stderr, "beadm-rs: old is called older now\n");
    assert_eq!(machine.next(), machine.name("ROOT/older"));
    assert_eq!(
        machine.read("older", "etc/fstab"),
        Some(fstab.replace("/old/", "/older/"))
    );
    assert!(
        machine
            .get("ROOT/new", "origin")
            .starts_with(&machine.name("ROOT/older@"))
    );
    let listed = machine
        .run_inside("older", &["list", "-H"])
        .succeeds()
        .stdout;
    assert!(listed.contains("older\tNR\t/\t"), "{listed}");
    // What was known of it is known still.
    machine.run(&["activate", "new"]).succeeds();
    machine.run(&["rename", "older", "oldest"]).succeeds();
    machine.run(&["rename", "new", "newer"]).succeeds();
    assert_eq!(machine.next(), machine.name("ROOT/newer"));
    machine.run(&["failback"]).succeeds();
    assert_eq!(machine.next(), machine.name("ROOT/oldest"));
    machine.run(&["destroy", "-y", "newer"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_name_in_use_by_fstab_is_not_taken_from_under_a_running_or_next_environment() {
    let machine = Machine::new();
    machine.dataset("ROOT/old/opt", &["mountpoint=legacy"]);
    let fstab = format!("{} /opt zfs defaults 0 0\n", machine.name("ROOT/old/opt"));
    machine.write("old", "etc/fstab", &fstab);
    machine.clone_of("old", "new");
    let refusal = |be: &str| {
        format!(
            "refused to rename {be} to x: {} is mounted by fstab (mountpoint=legacy), and a machine \
             that stopped halfway through the rename would boot without it",
            machine.name(&format!("ROOT/{be}/opt"))
        )
    };
    machine.unchanged(|| {
        machine
            .run(&["rename", "old", "x"])
            .says(3, &refusal("old"));
        machine
            .run_inside("new", &["rename", "new", "x"])
            .says(3, &refusal("new"));
    });
    machine.run(&["rename", "new", "x"]).succeeds();
    assert_eq!(
        machine.read("x", "etc/fstab"),
        Some(fstab.replace("/old/", "/x/"))
    );
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_mounted_environment_stays_mounted_while_it_is_renamed() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    let at = machine.run(&["mount", "new"]).succeeds().stdout;
    let at = at.trim();
    machine.run(&["rename", "new", "newer"]).succeeds();
    assert!(std::path::Path::new(at).join("etc/os-release").exists());
    assert_eq!(machine.get("ROOT/newer", "mounted"), "yes");
    machine.run(&["unmount", "newer"]).succeeds();
    assert_eq!(machine.get("ROOT/newer", "mounted"), "no");
    sh("zfs", &["list", &machine.name("ROOT/newer/var/lib")]);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_the_kernel_was_started_with_keeps_its_name_unless_forced() {
    let machine = Machine::new();
    let line = machine.directory().join("cmdline");
    let name = machine.name("ROOT/old");
    std::fs::write(&line, format!("root=ZFS={name} ro quiet\n")).unwrap();
    sh(
        "mount",
        &["--bind", line.to_str().unwrap(), "/proc/cmdline"],
    );
    let _line = Mounted("/proc/cmdline");
    let refusal = format!(
        "refused to rename old: the kernel was started with the name {name} for its root, and a \
         loader that knows that name alone would not find it under another one"
    );
    machine.unchanged(|| {
        for words in [&["rename", "old", "x"][..], &["rename", "-n", "old", "x"]] {
            machine.run_inside("old", words).says(3, &refusal);
        }
    });
    // A rescue system was not started from it.
    machine.run(&["rename", "old", "older"]).succeeds();
    machine.run(&["rename", "older", "old"]).succeeds();
    machine
        .run_inside("old", &["rename", "--force", "old", "x"])
        .succeeds();
    sh("zfs", &["list", &machine.name("ROOT/x/var/lib")]);
}
