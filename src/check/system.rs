//! What a system needs after its kernel: init, its identities, this program.

use super::Subject;
use super::finding::{
    Findings, INIT_MISSING, MACHINE_ID_ABSENT, MACHINE_ID_EMPTY, MACHINE_ID_UNINITIALIZED,
    OTHER_HOSTID, PROGRAM_ABSENT,
};
use super::initramfs::hostid;
use super::tree::Tree;

/// What an initramfs or the kernel starts, where nothing else is asked for.
const INITS: [&str; 4] = [
    "sbin/init",
    "etc/init",
    "bin/init",
    "usr/lib/systemd/systemd",
];

/// Where this program is, installed by a package or by hand.
const PROGRAMS: [&str; 4] = [
    "usr/sbin/beadm-rs",
    "usr/bin/beadm-rs",
    "usr/local/sbin/beadm-rs",
    "usr/local/bin/beadm-rs",
];

/// Systems that keep their kernels and their init elsewhere, by a file that
/// each of them has: what would be missing there is not.
const OTHER_SYSTEMS: [(&str, &str); 4] = [
    ("etc/NIXOS", "NixOS"),
    ("run/current-system/profile", "Guix"),
    ("boot/kernel/kernel", "FreeBSD"),
    ("platform/i86pc/kernel/amd64/unix", "illumos"),
];

/// The system, where it is one whose layout is not known.
pub(super) fn unknown_layout(tree: &Tree<'_>) -> Option<&'static str> {
    OTHER_SYSTEMS
        .iter()
        .find_map(|(path, name)| tree.find(path).map(|_| *name))
}

pub(super) fn findings(subject: &Subject<'_>, tree: &Tree<'_>, found: &mut Findings) {
    let name = subject.environment.name();
    let executable = |path: &&str| tree.file(path).is_some_and(|entry| entry.executable);
    if unknown_layout(tree).is_none() && !INITS.iter().any(executable) {
        found.add(
            &INIT_MISSING,
            "there is no executable /sbin/init (links followed inside it)",
            "install the package of its init again (systemd-sysv, sysvinit-core, openrc)",
        );
    }
    if !PROGRAMS.iter().any(executable) {
        found.add(
            &PROGRAM_ABSENT,
            format!("there is no beadm-rs in {name}, so no failback from there"),
            "install it there",
        );
    }
    if tree.file("usr/lib/systemd/systemd").is_some() {
        machine_id(tree, found);
    }
    if let Some(machine) = subject.facts.hostid
        && let Some(other) = tree.read("etc/hostid", 4).as_deref().and_then(hostid)
        && other != machine
    {
        found.add(
            &OTHER_HOSTID,
            format!("/etc/hostid is {other:08x}, and the pool was imported by {machine:08x}"),
            format!("zgenhostid -f {machine:08x} inside it, and make its initramfs again"),
        );
    }
}

/// What systemd makes of /etc/machine-id (machine-id(5), "First Boot
/// Semantics").
fn machine_id(tree: &Tree<'_>, found: &mut Findings) {
    const REMEDY: &str = "write the running system's /etc/machine-id there";
    match tree.text("etc/machine-id").as_deref().map(str::trim) {
        None => found.add(
            &MACHINE_ID_ABSENT,
            "/etc/machine-id is not there: the boot will count as the first one",
            REMEDY,
        ),
        Some("uninitialized") => found.add(
            &MACHINE_ID_UNINITIALIZED,
            "/etc/machine-id is 'uninitialized': the boot will count as the first one",
            REMEDY,
        ),
        Some("") => found.add(
            &MACHINE_ID_EMPTY,
            "/etc/machine-id is empty: the machine will have another identity",
            REMEDY,
        ),
        Some(_) => {}
    }
}
