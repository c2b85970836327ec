//! `diff`: what differs, as people and scripts read it.

use beadm_rs::os::Platform as _;
use beadm_rs::zfs::sim::Sim;
use cap_std_ext::cap_std::fs::{Permissions, PermissionsExt as _};

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

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
