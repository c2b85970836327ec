//! Upgrades for which there is not enough space.

use crate::machine::Machine;
use crate::ran::{Ran, sh};
use crate::run::give_tools;

/// A machine on a small disk whose environment has a shell.
fn small() -> Machine {
    let machine = Machine::with_disk(80 << 20, &["-O", "compression=off"]);
    give_tools(&machine);
    machine
}

/// Upgrades `old` as `new` by a script of the shell.
fn upgrade(machine: &Machine, options: &[&str], script: &str) -> Ran {
    let words = ["upgrade", "-e", "old", "--name", "new"];
    let command = ["--", "sh", "-c", script];
    machine.run(&[&words[..], options, &command].concat())
}

/// Until nothing more fits; what is not yet on disk may still be refused then, hence the
/// second, which waits for each block.
const FILL: &str = "dd if=/dev/urandom of=/var/lib/big bs=128k 2>&1
    dd if=/dev/urandom of=/var/lib/rest bs=4k oflag=sync 2>&1";

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_upgrade_that_fills_the_pool_is_taken_back_and_one_that_fits_can_follow() {
    let machine = small();
    let ran = machine.unchanged(|| upgrade(&machine, &[], FILL));
    ran.fails(1, "cannot run 'sh -c 'dd if=/dev/urandom")
        .fails(1, "No space left on device")
        .fails(
            1,
            "state: new is gone again; the running system was not touched",
        );
    sh("zpool", &["sync", &machine.pool]);
    upgrade(&machine, &["--no-check"], "echo upgraded > /etc/upgraded").succeeds();
    assert_eq!(machine.read("new", "etc/upgraded").unwrap(), "upgraded\n");
    assert_eq!(machine.next(), machine.name("ROOT/new"));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_upgrade_that_fills_the_pool_and_does_not_say_so_is_whole_or_not_there() {
    for options in [&["--no-check"][..], &["--no-check", "--no-activate"]] {
        let machine = small();
        let before = (machine.objects(), machine.next());
        let ran = upgrade(&machine, options, &format!("{FILL}; true"));
        let after = (machine.objects(), machine.next());
        let status = machine.run(&["status", "-H"]).succeeds().stdout;
        assert!(status.contains("unfinished\tnothing\n"), "{status}");
        match ran.exit {
            1 => assert_eq!(after, before, "{ran:#?}"),
            0 => {
                let next = if options.len() == 1 { "new" } else { "old" };
                assert_eq!(after.1, machine.name(&format!("ROOT/{next}")), "{ran:#?}");
                assert!(machine.read("new", "etc/os-release").is_some());
                // It is one like any other, whose space comes back.
                machine.run(&["activate", "--no-check", "old"]).succeeds();
                machine.run(&["destroy", "-y", "new"]).succeeds();
            }
            _ => panic!("{ran:#?}"),
        }
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_upgrade_that_filled_the_pool_is_kept_where_that_is_asked_for() {
    let machine = small();
    upgrade(&machine, &["--keep-failed"], FILL).fails(
        1,
        "state: new is kept as it was left; the running system was not touched",
    );
    let status = machine.run(&["status", "-H"]).succeeds();
    assert!(
        status.stdout.contains("unfinished\tnothing\n"),
        "{status:#?}"
    );
    assert_eq!(machine.next(), machine.name("ROOT/old"));
    machine.run(&["destroy", "-y", "new"]).succeeds();
}
