//! A `zfs` or `zpool` that is not there, fails, or prints what it should not.

use crate::fakes::Fakes;
use crate::machine::Machine;

/// Fails a subcommand: without doing it, or having done it.
fn failing(subcommand: &str, done: bool) -> String {
    let first = if done { r#"real "$@" >/dev/null"# } else { ":" };
    format!(
        r#"if [ "$1" = {subcommand} ]; then {first}; echo "internal error: out of cheese" >&2; exit 1; fi"#
    )
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_zfs_that_is_missing_or_talks_nonsense_is_told_and_nothing_is_changed() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    let commands: [&[&str]; 5] = [
        &["list"],
        &["status"],
        &["create", "-e", "old", "x"],
        &["destroy", "-y", "new"],
        &["recover"],
    ];
    // What the listing is replaced by, the exit code, what is said.
    let garbage = [
        ("echo garbage; exit 0", 1, "of its output is not understood"),
        (
            "echo '<html>503</html>'; exit 0",
            1,
            "of its output is not understood",
        ),
        (r"printf 'a\tb\377\n'; exit 0", 1, "is not UTF-8"),
        (
            "exit 42",
            1,
            "it ended with exit status: 42 and said nothing",
        ),
        ("kill -9 $$", 1, "signal: 9"),
        (
            "echo 'internal error: x' >&2; exit 1",
            1,
            "internal error: x",
        ),
        (
            r#"real "$@" | head -c 150; exit 0"#,
            1,
            "of its output is not understood",
        ),
    ];
    machine.unchanged(|| {
        for (lines, exit, said) in garbage {
            let fakes = Fakes::new();
            fakes.zfs(&format!(r#"if [ "$1" = list ]; then {lines}; fi"#));
            for command in commands {
                fakes.run(&machine, command).fails(exit, said);
            }
            let fakes = Fakes::new();
            fakes.zpool(&format!(
                r#"if [ "$1" = list ]; then {}; fi"#,
                lines.replace("-c 150", "-c 5")
            ));
            fakes.run(&machine, &["list"]).fails(exit, said);
        }
        for missing in ["zfs", "zpool"] {
            let fakes = Fakes::new();
            fakes.without(missing);
            for command in commands {
                fakes
                    .run(&machine, command)
                    .fails(
                        3,
                        &format!("{missing} does not start: No such file or directory"),
                    )
                    .fails(3, "install OpenZFS");
            }
        }
        // Nothing at all is no pool, and not an empty machine.
        let fakes = Fakes::new();
        fakes.zfs(r#"if [ "$1" = list ]; then exit 0; fi"#);
        fakes
            .run(&machine, &["list"])
            .fails(3, "there is no dataset");
    });
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_step_that_fails_is_undone_whether_it_was_done_or_not() {
    let machine = Machine::with_boot_pool();
    machine.clone_of("old", "new");
    let create: &[&str] = &["create", "-e", "old", "x"];
    let cases: [(&[&str], &str, bool); 4] = [
        (create, "clone", false),
        (create, "clone", true),
        (create, "set", false),
        (&["rename", "new", "x"], "rename", false),
    ];
    for (arguments, subcommand, done) in cases {
        let fakes = Fakes::new();
        fakes.zfs(&failing(subcommand, done));
        machine.unchanged(|| {
            fakes
                .run(&machine, arguments)
                .fails(1, "out of cheese")
                .fails(1, "state: what was changed was undone");
        });
    }
    for done in [false, true] {
        let fakes = Fakes::new();
        fakes.zpool(&format!(
            r#"if [ "$1" = set ] && mkdir $here/once 2>/dev/null; then {}; echo "out of cheese" >&2; exit 1; fi"#,
            if done { r#"real "$@""# } else { ":" }
        ));
        machine.unchanged(|| {
            fakes
                .run(&machine, &["activate", "new"])
                .fails(1, "out of cheese")
                .fails(1, "state: what was changed was undone");
        });
    }
}

/// A `zfs` whose first channel program that changes something is done, or not,
/// and whose answer is not to be understood.
fn unsaid(done: bool) -> Fakes {
    let fakes = Fakes::new();
    let first = if done {
        r#"real "$@" >/dev/null"#
    } else {
        "cat >/dev/null"
    };
    fakes.zfs(&format!(
        r#"case "$1 $*" in
"program "*" mark "*|"program "*" destroy "*|"program "*" snapshot "*)
    if mkdir $here/once 2>/dev/null; then {first}; echo '{{"return": nonsense'; exit 0; fi;;
esac"#
    ));
    fakes
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_transaction_whose_answer_is_lost_is_not_taken_for_undone() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    for done in [false, true] {
        for arguments in [
            &["create", "-e", "old", "x"][..],
            &["activate", "new"],
            &["snapshot", "old@x"],
        ] {
            let fakes = unsaid(done);
            machine.unchanged(|| {
                fakes
                    .run(&machine, arguments)
                    .fails(1, "of its output is not understood")
                    .fails(1, "state: what was changed was undone");
            });
        }
    }
    // A destruction has no way back, and may have happened.
    let before = machine.picture();
    let ran = unsaid(false).run(&machine, &["destroy", "-y", "new"]);
    ran.fails(6, "of its output is not understood")
        .fails(6, "beadm-rs recover");
    crate::picture::assert_same(&before, &machine.picture(), "it had not happened");
    machine.run(&["recover"]).succeeds();
    let ran = unsaid(true).run(&machine, &["destroy", "-y", "new"]);
    ran.fails(6, "of its output is not understood");
    assert!(!machine.objects().iter().any(|name| name.contains("/new")));
    machine.run(&["recover"]).says(0, "nothing was interrupted");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_cannot_be_undone_either_is_left_for_recover_and_said() {
    let machine = Machine::new();
    let before = machine.picture();
    let fakes = Fakes::new();
    fakes.zfs(
        r#"if [ "$1" = clone ]; then real "$@"; mkdir $here/broken 2>/dev/null; echo "out of cheese" >&2; exit 1; fi
if [ "$1" = program ] && [ -d $here/broken ]; then echo "no more programs" >&2; exit 1; fi"#,
    );
    let ran = fakes.run(&machine, &["create", "-e", "old", "x"]);
    ran.fails(6, "out of cheese")
        .fails(6, "state: not everything could be undone: ")
        .fails(6, "no more programs")
        .offers("beadm-rs recover; the next command that changes something does it first");
    let status = machine.run(&["status", "--json"]).succeeds().json("status");
    assert!(status["unfinished"].as_str().is_some());
    machine
        .run(&["recover"])
        .fails(0, "was interrupted and is taken back");
    crate::picture::assert_same(&before, &machine.picture(), "recover took it back");
}
