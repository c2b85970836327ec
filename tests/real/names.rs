//! Names that cannot be, are not there, or are there already.

use crate::machine::Machine;
use crate::ran::sh;

const ALLOWED: &str = "is not allowed in a name (letters, digits and '-_.:' are)";

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_name_that_zfs_or_an_option_parser_would_not_take_is_a_usage_error() {
    let machine = Machine::new();
    let empty = "a name, or a part of it between slashes, is empty";
    let cases: [(&[&str], String); 17] = [
        (&["create", ""], format!("'': {empty}")),
        (&["create", "a b"], format!("'a b': ' ' {ALLOWED}")),
        (&["create", "a/b"], format!("'a/b': '/' {ALLOWED}")),
        (&["create", "a%b"], format!("'a%b': '%' {ALLOWED}")),
        (&["create", "ä"], format!("'ä': 'ä' {ALLOWED}")),
        (&["create", "a\tb"], format!("'a\tb': '\\t' {ALLOWED}")),
        (
            &["create", "."],
            "'.': '.' and '..' are not names".to_owned(),
        ),
        (
            &["create", ".."],
            "'..': '.' and '..' are not names".to_owned(),
        ),
        (
            &["create", "--", "-a"],
            "'-a': a boot environment's name cannot begin with '-'".to_owned(),
        ),
        (&["create", "@s"], format!("'': {empty}")),
        (&["create", "old@"], format!("'old@': {empty}")),
        (&["create", "old@a@b"], format!("'old@a@b': '@' {ALLOWED}")),
        (
            &["create", "-e", "old@a/b", "new"],
            format!("'old@a/b': '/' {ALLOWED}"),
        ),
        (&["rename", "old", "a b"], format!("'a b': ' ' {ALLOWED}")),
        (&["rename", "old", "a@b"], format!("'a@b': '@' {ALLOWED}")),
        (
            &["rollback", "old"],
            "'old': a snapshot is written DATASET@SNAPSHOT".to_owned(),
        ),
        (&["snapshot", "old@ä"], format!("'old@ä': 'ä' {ALLOWED}")),
    ];
    machine.unchanged(|| {
        for (arguments, why) in cases {
            let ran = machine.run(arguments);
            let first = ran.stderr.lines().next().unwrap_or_default();
            assert_eq!(ran.exit, 2, "{ran:#?}");
            assert!(first.starts_with("error: invalid value "), "{ran:#?}");
            assert!(first.ends_with(&format!(": {why}")), "{why}: {ran:#?}");
        }
        // An option, since it begins like one.
        machine
            .run(&["create", "-a"])
            .fails(2, "required arguments");
    });
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_name_too_long_with_its_parent_or_for_its_children_is_refused() {
    let machine = Machine::new();
    let root = machine.name("ROOT");
    machine.unchanged(|| {
        let whole = "x".repeat(256 - root.len() - 1);
        for arguments in [
            vec!["create", "-e", "old", &whole],
            vec!["rename", "old", &whole],
        ] {
            let attempted = match arguments[0] {
                "create" => format!("create {whole}"),
                _ => format!("rename old to {whole}"),
            };
            machine.run(&arguments).says(
                3,
                &format!(
                    "refused to {attempted}: '{root}/{whole}' is 256 bytes long with its parent; \
                     ZFS takes 255"
                ),
            );
        }
        // The root fits, and /usr below it does not.
        let root_only = &whole[..whole.len() - 4];
        machine.run(&["create", "-e", "old", root_only]).says(
            3,
            &format!(
                "refused to create {root_only}: '{root}/{root_only}/usr' is 256 bytes long with \
                 its parent; ZFS takes 255"
            ),
        );
        machine
            .run(&["create", "-e", "old", &"y".repeat(300)])
            .fails(2, "is 302 bytes long with its parent; ZFS takes 255");
    });
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_environment_that_is_not_there_is_refused_with_the_ones_that_are() {
    let machine = Machine::new();
    let missing = format!(
        "there is no boot environment 'nope' under {}",
        machine.name("ROOT")
    );
    let cases: [(&[&str], &str); 14] = [
        (&["create", "-e", "nope", "new"], "refused to create new: "),
        (
            &["create", "-e", "nope@s", "new"],
            "refused to create new: ",
        ),
        (&["create", "nope@s"], "refused to take a snapshot: "),
        (&["snapshot", "nope"], "refused to take a snapshot: "),
        (&["activate", "nope"], "refused to activate nope: "),
        (&["destroy", "-y", "nope"], "refused to destroy nope: "),
        (&["destroy", "-y", "nope@s"], "refused to destroy nope@s: "),
        (
            &["rename", "nope", "new"],
            "refused to rename nope to new: ",
        ),
        (
            &["rollback", "-y", "nope@s"],
            "refused to roll back to nope@s: ",
        ),
        (&["describe", "nope", "x"], "refused to describe nope: "),
        (&["pin", "nope"], "refused to pin nope: "),
        (&["mount", "nope"], ""),
        (&["unmount", "nope"], ""),
        (&["list", "nope"], ""),
    ];
    machine.unchanged(|| {
        for (arguments, attempted) in cases {
            machine
                .run(arguments)
                .says(3, &format!("{attempted}{missing}"))
                .offers("there are: old");
        }
        machine
            .run(&["create", "new"])
            .says(
                3,
                "refused to create new: no boot environment is running here to make it from",
            )
            .offers("name one with -e; there are: old");
        machine
            .run(&["failback"])
            .says(
                3,
                "refused to fail back: old has no record of what was active before it",
            )
            .offers("there is no other environment");
        machine
            .run(&["unmount", "old"])
            .says(3, "old is not mounted");
    });
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_exists_already_is_not_made_again() {
    let machine = Machine::with_boot_pool();
    let boot = machine.boot_pool.clone().unwrap();
    let root = machine.name("ROOT");
    machine.clone_of("old", "new");
    machine.run(&["snapshot", "old@s"]).succeeds();
    sh("zfs", &["create", "-u", &format!("{boot}/BOOT/left")]);
    machine.unchanged(|| {
        machine.run(&["create", "-e", "new", "old"]).says(
            3,
            &format!("refused to create old: {root}/old exists already"),
        );
        machine.run(&["create", "--empty", "old"]).says(
            3,
            &format!("refused to create old: {root}/old exists already"),
        );
        machine.run(&["rename", "new", "old"]).says(
            3,
            &format!("refused to rename new to old: {root}/old exists already"),
        );
        // /boot of an environment that is gone.
        machine.run(&["create", "-e", "old", "left"]).says(
            3,
            &format!("refused to create left: {boot}/BOOT/left exists already"),
        );
        machine.run(&["rename", "new", "left"]).says(
            3,
            &format!("refused to rename new to left: {boot}/BOOT/left exists already"),
        );
        for command in ["snapshot", "create"] {
            machine.run(&[command, "old@s"]).says(
                3,
                &format!("refused to take a snapshot of old: {root}/old@s exists already"),
            );
        }
    });
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_snapshot_that_lacks_one_child_is_no_snapshot_of_the_environment() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    for child in ["", "/usr", "/usr/local", "/var"] {
        sh(
            "zfs",
            &["snapshot", &machine.name(&format!("ROOT/new{child}@s"))],
        );
    }
    let lacking = format!(
        "there is no snapshot {}",
        machine.name("ROOT/new/var/lib@s")
    );
    machine.unchanged(|| {
        machine
            .run(&["create", "-e", "new@s", "newer"])
            .says(3, &format!("refused to create newer: {lacking}"))
            .offers("every dataset of the environment needs the snapshot; --shallow takes the root alone");
        machine
            .run(&["rollback", "-y", "new@s"])
            .says(3, &format!("refused to roll back to new@s: {lacking}"));
        machine
            .run(&["destroy", "-y", "new@t"])
            .says(
                3,
                "refused to destroy new@t: no dataset of new has a snapshot of that name",
            )
            .offers("its snapshots: s");
    });
    machine
        .run(&["create", "--shallow", "-e", "new@s", "newer"])
        .succeeds();
    assert_eq!(
        machine.get("ROOT/newer", "origin"),
        machine.name("ROOT/new@s")
    );
}
