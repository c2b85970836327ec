//! `diff`: what differs, as people and scripts read it.

use std::os::fd::AsRawFd as _;

use beadm_rs::os::{Object, Platform as _};
use beadm_rs::zfs::sim::Sim;
use cap_std_ext::cap_std::fs::{Permissions, PermissionsExt as _};

use super::machine::{Machine, dataset};
use super::transcript::{Transcript, program};

#[path = "../real/edits.rs"]
mod edits;
#[path = "../real/oracle.rs"]
mod oracle;

use oracle::{Listing, difference, listing};

const STATUS: &str = "var/lib/dpkg/status";

fn package(name: &str, version: &str) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
    )
}

fn write(sim: &Sim, name: &str, path: &str, contents: impl AsRef<[u8]>) {
    sim.write_file(&dataset(name), path, contents).unwrap();
}

/// The running system with something in it to differ from.
fn installed(machine: &Machine) {
    let sim = &machine.sim;
    let root = "rpool/ROOT/debian";
    let packages = [
        package("base", "1.9"),
        package("firmware", "2"),
        package("gone", "1"),
    ];
    write(sim, root, STATUS, packages.concat());
    write(sim, root, "etc/motd", "welcome");
    write(sim, root, "etc/old.conf", "x");
    write(sim, root, "usr/lib/os-release", "ID=debian\n");
    write(sim, root, "usr/share/same", "the same");
    write(sim, "rpool/ROOT/debian/var/log", "syslog", "a line\n");
}

fn upgraded(machine: &Machine) {
    let sim = &machine.sim;
    let root = "rpool/ROOT/upgrade";
    let packages = [
        package("base", "1.10"),
        package("come", "1:3"),
        package("firmware", "2~beta"),
    ];
    write(sim, root, STATUS, packages.concat());
    write(sim, root, "etc/motd", "farewell");
    write(sim, root, "usr/share/same", "the same");
    write(sim, root, "usr/share/new/file", "n");
    write(sim, root, "top", "t");
    write(sim, "rpool/ROOT/upgrade/var/log", "syslog", "another\n");
    sim.with_files(&dataset(root), true, &mut |files| {
        files.remove_file("etc/old.conf")?;
        files.remove_file("usr/lib/os-release")?;
        files.symlink("../share/new/file", "usr/lib/os-release")?;
        files.write("etc/a\tb\\c\u{fc}", "odd")?;
        files.set_permissions("usr/share", Permissions::from_mode(0o700))
    })
    .unwrap();
}

#[test]
fn what_an_upgrade_changed_is_counted_and_named() {
    Transcript::on(Machine::with_one_pool())
        .then("The running system has packages and files.", installed)
        .run("snapshot debian@before")
        .run("create upgrade")
        .run("diff upgrade")
        .then("Another one is upgraded.", upgraded)
        .run("diff debian upgrade")
        .note("Without a second one, the running one is it.")
        .run("diff upgrade")
        .note("One by one; only some; for scripts.")
        .run("diff -f debian upgrade")
        .run("diff -p debian upgrade")
        .run("diff -f -p debian upgrade --path /etc --path usr/lib/ --exclude /etc/motd")
        .run("-H diff debian upgrade")
        .run("-H diff -f debian upgrade")
        .run("--json diff debian upgrade --path /usr")
        .note("With a snapshot, and by every method.")
        .run("diff debian@before upgrade --path /etc")
        .run("diff debian@before debian")
        .run("diff --method content debian upgrade --path /etc")
        .run("diff --method zfs-diff debian upgrade --path /etc")
        .run("diff -n --method zfs-diff debian upgrade --path /etc")
        .is("diff");
}

#[test]
fn datasets_on_one_side_and_untouched_ones_are_part_of_the_tree() {
    Transcript::on(Machine::with_one_pool())
        .run("snapshot debian@before")
        .run("create -e debian@before one")
        .run("create -e debian@before two")
        .note("Nothing was written to either: nothing is read.")
        .run("--json diff -f one two")
        .then(
            "One gets datasets where the other has no directories.",
            |machine| {
                let noauto = [("canmount", "noauto")];
                machine.make("rpool/ROOT/one/srv", &[("canmount", "off")]);
                machine.make("rpool/ROOT/one/srv/data", &noauto);
                machine.make("rpool/ROOT/two/etc", &noauto);
                write(&machine.sim, "rpool/ROOT/one/srv/data", "file", "x");
                write(&machine.sim, "rpool/ROOT/two/etc", "hostname", "two");
            },
        )
        .run("diff -f one two")
        .run("diff -f two one --path /srv")
        .run("diff -f one two --path /srv/data/file")
        .note("A child without the snapshot is left out, and said so.")
        .then("debian gets one too.", |machine| {
            machine.make("rpool/ROOT/debian/opt", &[("canmount", "noauto")]);
            write(&machine.sim, "rpool/ROOT/debian/opt", "tool", "x");
        })
        .run("diff -f debian@before")
        .is("diff-datasets");
}

#[test]
fn what_cannot_be_compared_is_refused_or_said() {
    Transcript::on(Machine::with_boot_pool())
        .run("create one")
        .run("diff one one")
        .run("diff debian")
        .run("diff none")
        .run("diff one none")
        .run("diff one@nothing")
        .run("diff one@a@b")
        .run("snapshot one@a")
        .run("diff one@nothing")
        .then("One has a database that cannot be read.", |machine| {
            write(
                &machine.sim,
                "rpool/ROOT/one",
                "var/lib/rpm/Packages",
                "bdb",
            );
            write(&machine.sim, "bpool/BOOT/one", "vmlinuz", "kernel");
        })
        .run("diff one")
        .run("diff -f one")
        .run("--json diff -p one")
        .is("diff-trouble");
}

/// Runs the program on a machine; what it printed.
fn run(machine: &Machine, arguments: &[&str]) -> String {
    let mut command = program();
    command
        .arg("--sim")
        .arg(machine.directory())
        .args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:#?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes random changes in the root dataset of an environment; what is in it then.
fn edited(machine: &Machine, be: &str, seed: u64, number: usize) -> Listing {
    let files = machine
        .sim
        .open_files(&Object::Dataset(dataset(&format!("rpool/ROOT/{be}"))));
    let files = files.unwrap();
    let root = std::fs::read_link(format!("/proc/self/fd/{}", files.root.as_raw_fd())).unwrap();
    edits::Edits::new(&root, seed).make(number);
    listing(&root)
}

#[test]
fn random_changes_are_found_as_by_an_independent_look() {
    for seed in 0..12 {
        let machine = Machine::with_one_pool();
        write(&machine.sim, "rpool/ROOT/debian", "root/.profile", "x");
        run(&machine, &["create", "new"]);
        // What a clone shares with its origin becomes its own by a change.
        write(&machine.sim, "rpool/ROOT/new", "etc/own", "x");
        let old = edited(&machine, "debian", 200 + seed, 60);
        let new = edited(&machine, "new", 300 + seed, 60);
        let expected = difference(&old, &new);
        assert!(expected.lines().count() > 10, "{expected}");
        for method in ["lineage", "content"] {
            let said = run(
                &machine,
                &["-H", "diff", "--method", method, "-f", "debian", "new"],
            );
            assert_eq!(said, expected, "{method}, seed {seed}");
        }
        let back = run(&machine, &["-H", "diff", "-f", "new", "debian"]);
        assert_eq!(back, difference(&new, &old), "seed {seed}");
    }
}
