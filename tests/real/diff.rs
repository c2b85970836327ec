//! What differs between environments: by every method the same, and what an
//! independent look at the mounted trees says.

use std::path::Path;

use crate::edits::Edits;
use crate::machine::Machine;
use crate::oracle::{Listing, difference, listing};
use crate::ran::{long, sh};

const METHODS: [&str; 3] = ["content", "lineage", "zfs-diff"];

/// Has an environment mounted, whole, while `work` runs.
fn whole<T>(machine: &Machine, be: &str, work: impl FnOnce(&Path) -> T) -> T {
    let at = machine.run(&["mount", be]).succeeds().stdout;
    let result = work(Path::new(at.trim_end()));
    machine.run(&["unmount", be]).succeeds();
    result
}

fn edited(machine: &Machine, be: &str, seed: u64, number: usize) -> Listing {
    whole(machine, be, |root| {
        Edits::new(root, seed).make(number);
        listing(root)
    })
}

/// What `diff` says of files; with `zfs-diff` that has to have been asked of every
/// dataset something was written to.
fn said(machine: &Machine, method: &str, from: &str, to: &str) -> String {
    let arguments = ["diff", "--method", method, "-f", from, to];
    if method == "zfs-diff" {
        let mut json = vec!["--json"];
        json.extend(arguments);
        let found = machine.run(&json).succeeds().json("diff");
        let datasets = found["files"]["datasets"].as_array().unwrap();
        let how: Vec<_> = datasets.iter().map(|dataset| &dataset["how"]).collect();
        assert!(how.iter().any(|how| **how == "zfs-diff"), "{datasets:#?}");
        assert!(how.iter().all(|how| **how != "lineage"), "{datasets:#?}");
    }
    let mut script = vec!["-H"];
    script.extend(arguments);
    machine.run(&script).succeeds().stdout
}

fn every_method_says(machine: &Machine, from: &str, to: &str, expected: &str) {
    for method in METHODS {
        let said = said(machine, method, from, to);
        assert_eq!(said, expected, "{method}, {from} -> {to}");
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn random_changes_are_found_by_every_method_as_by_an_independent_look() {
    let machine = Machine::new();
    edited(&machine, "old", 1, 150);
    let seeds = if long() { 2..42 } else { 2..5 };
    for seed in seeds {
        machine.clone_of("old", "new");
        if seed % 2 == 0 {
            // Both sides changed since their common origin.
            edited(&machine, "old", 1000 + seed, 30);
        }
        if seed % 3 == 0 {
            // A dataset that the other one does not have.
            machine.dataset("ROOT/new/usr/local/only", &["canmount=noauto"]);
        }
        let new = edited(&machine, "new", seed, 60);
        let old = whole(&machine, "old", listing);
        let before = machine.objects();
        let expected = difference(&old, &new);
        assert!(expected.lines().count() > 10, "{expected}");
        every_method_says(&machine, "old", "new", &expected);
        assert_eq!(machine.objects(), before, "nothing is left behind");
        machine.run(&["destroy", "-y", "new"]).succeeds();
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn snapshots_and_mounted_environments_are_compared_too() {
    let machine = Machine::new();
    edited(&machine, "old", 3, 60);
    machine.clone_of("old", "new");
    let first = edited(&machine, "new", 4, 30);
    machine.run(&["snapshot", "new@first"]).succeeds();
    machine.run(&["activate", "new"]).succeeds();
    let second = edited(&machine, "new", 5, 30);
    let old = whole(&machine, "old", listing);
    every_method_says(&machine, "new@first", "new", &difference(&first, &second));
    every_method_says(&machine, "new", "new@first", &difference(&second, &first));
    every_method_says(&machine, "old", "new@first", &difference(&old, &first));
    // What was written a moment ago, and is in no transaction group yet.
    whole(&machine, "new", |root| {
        std::fs::write(root.join("etc/just-now"), "x").unwrap();
        every_method_says(&machine, "old", "new", &difference(&old, &listing(root)));
    });
    machine
        .run(&["diff", "new@first", "new@first"])
        .says(3, "new@first is compared with itself");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_file_that_zfs_diff_leaves_out_is_found() {
    let machine = Machine::new();
    machine.write("old", "one/file", "before");
    machine.with_mounted("old", |root| {
        std::fs::create_dir(root.join("two")).unwrap();
        std::fs::hard_link(root.join("one/file"), root.join("two/file")).unwrap();
        std::fs::remove_file(root.join("two/file")).unwrap();
    });
    machine.clone_of("old", "new");
    machine.write("new", "one/file", "after");
    let expected = "file\tM\tfile\tfile\t/one/file\tcontent\n";
    for method in ["lineage", "content"] {
        assert_eq!(said(&machine, method, "old", "new"), expected, "{method}");
    }
    // Why zfs diff is not the method of choice; it may be repaired one day.
    assert_eq!(said(&machine, "zfs-diff", "old", "new"), "");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_is_planted_in_a_tree_leads_nowhere_and_stops_nothing() {
    let machine = Machine::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "x").unwrap();
    machine.clone_of("old", "new");
    machine.with_mounted("new", |root| {
        std::os::unix::fs::symlink(outside.path(), root.join("etc/out")).unwrap();
        // In the way of a child dataset.
        std::fs::remove_dir_all(root.join("var")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("var")).unwrap();
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&root.join("etc/pipe"), mode).unwrap();
        let kind = nix::sys::stat::SFlag::S_IFCHR;
        let console = nix::sys::stat::makedev(5, 1);
        nix::sys::stat::mknod(&root.join("etc/console"), kind, mode, console).unwrap();
    });
    let expected = "file\t+\t-\tcharacter-device\t/etc/console\t-\n\
                    file\t+\t-\tsymlink\t/etc/out\t-\n\
                    file\t+\t-\tfifo\t/etc/pipe\t-\n";
    every_method_says(&machine, "old", "new", expected);
    // An endless file, and an endless tree.
    for be in ["old", "new"] {
        machine.with_mounted(be, |root| {
            let file = std::fs::File::create(root.join("etc/sparse")).unwrap();
            file.set_len(1 << 60).unwrap();
            let deep = root.join("deep").join("d/".repeat(300));
            std::fs::create_dir_all(deep).unwrap();
        });
    }
    machine
        .run(&["-H", "diff", "--method", "content", "-f", "old", "new"])
        .fails(1, "it is 200 directories deep; not looked into");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_running_environment_is_read_without_what_is_mounted_in_it() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    machine.write("new", "usr/bin/tool", "new");
    machine.write("new", "dev/null", "not a device");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for method in METHODS {
        // Booted into `old`, which has /usr, /dev and others mounted over its own.
        let said = machine
            .run_inside(
                "old",
                &[
                    "-r",
                    &machine.name("ROOT"),
                    "-H",
                    "diff",
                    "-f",
                    "--method",
                    method,
                    "new",
                ],
            )
            .succeeds()
            .stdout;
        assert_eq!(
            said, "file\t-\tfile\t-\t/dev/null\t-\nfile\t-\tfile\t-\t/usr/bin/tool\t-\n",
            "{method}"
        );
    }
    assert_eq!(
        std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        mounts
    );
    // Nothing keeps it busy afterwards.
    machine.run(&["diff", "new", "old"]).succeeds();
    machine.run(&["destroy", "-y", "new"]).succeeds();
    sh("zpool", &["export", &machine.pool]);
    machine.import(&machine.pool, &[]);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_pool_that_cannot_be_written_is_compared_by_walking() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    machine.write("new", "etc/file", "x");
    sh("zpool", &["export", &machine.pool]);
    machine.import(&machine.pool, &["-o", "readonly=on"]);
    let expected = "file\t+\t-\tfile\t/etc/file\t-\n";
    for method in ["lineage", "content"] {
        assert_eq!(said(&machine, method, "old", "new"), expected, "{method}");
    }
    let said = machine
        .run(&["diff", "-f", "--method", "zfs-diff", "old", "new"])
        .succeeds()
        .stdout;
    assert!(
        said.contains("note: / was walked: cannot compare "),
        "{said}"
    );
    assert!(said.ends_with("  + /etc/file\n"), "{said}");
}
