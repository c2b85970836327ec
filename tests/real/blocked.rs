//! What stands in the way of a change: holds, streams, automounted snapshots,
//! names both sides have, mounts here and elsewhere.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use crate::machine::Machine;
use crate::ran::sh;

/// A child process that does not outlive the test.
pub struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Background {
    /// A `zfs send` into a pipe that nobody reads; under way when this returns.
    pub fn send(snapshot: &str) -> Self {
        let mut child = Command::new("zfs")
            .args(["send", snapshot])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 16];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        Self(child)
    }

    /// A process in a mount namespace of its own with something mounted in it.
    fn mounting(dataset: &str, directory: &str) -> Self {
        let script = "mount --make-rprivate / && mount -t zfs -o zfsutil $1 $2 && echo done && exec sleep 1000";
        let mut child = Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh", dataset, directory])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 4];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        Self(child)
    }
}

const MEGABYTE: usize = 1 << 20;

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_hold_keeps_what_it_holds() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    machine.run(&["snapshot", "new@a"]).succeeds();
    machine.run(&["snapshot", "new@b"]).succeeds();
    let held = machine.name("ROOT/new/var@b");
    sh("zfs", &["hold", "keep", &held]);
    machine.unchanged(|| {
        machine
            .run(&["destroy", "-y", "new"])
            .says(3, &format!("refused to destroy new: {held} is held"))
            .offers(&format!(
                "zfs holds {held} names the tags; zfs release TAG {held}"
            ));
        machine
            .run(&["destroy", "-y", "new@b"])
            .says(3, &format!("refused to destroy new@b: {held} is held"));
        machine
            .run(&["rollback", "-y", "new@a"])
            .says(
                3,
                &format!("refused to roll back to new@a: {held} is younger, and held"),
            )
            .offers(&format!("zfs holds {held} names the tags"));
    });
    // Not in the way of what touches no snapshot of it.
    machine.run(&["activate", "new"]).succeeds();
    machine.run(&["activate", "old"]).succeeds();
    machine.run(&["rename", "new", "newer"]).succeeds();
    sh(
        "zfs",
        &["release", "keep", &machine.name("ROOT/newer/var@b")],
    );
    machine.run(&["destroy", "-y", "newer"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_stream_under_way_stops_what_would_move_or_destroy_its_snapshot() {
    let machine = Machine::new();
    machine.write("old", "data", vec![7; 4 * MEGABYTE]);
    machine.run(&["snapshot", "old@s"]).succeeds();
    machine.clone_of("old", "new");
    let sent = machine.name("ROOT/old@s");
    let stream = Background::send(&sent);
    machine.unchanged(|| {
        let new = machine.name("ROOT/new");
        let line = format!(
            "cannot promote {new}: a snapshot that would move is in use \
             (a running zfs send, or mounted under .zfs/snapshot)"
        );
        machine.run(&["activate", "new"]).says(5, &line);
        machine.run(&["destroy", "-y", "old@s"]).says(
            5,
            &format!("cannot destroy {sent}: the snapshot is held, or in use"),
        );
    });
    drop(stream);
    machine.run(&["activate", "new"]).succeeds();
    // It has moved, and is read from its new place.
    let stream = Background::send(&machine.name("ROOT/new@s"));
    machine.run(&["activate", "old"]).fails(5, "is in use");
    drop(stream);
    machine.run(&["activate", "old"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_stream_of_a_snapshot_of_it_stops_a_destruction_before_it_begins() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    machine.write("new", "data", vec![7; 4 * MEGABYTE]);
    machine.run(&["snapshot", "new@s"]).succeeds();
    let stream = Background::send(&machine.name("ROOT/new@s"));
    machine.unchanged(|| {
        machine
            .run(&["destroy", "-y", "new"])
            .fails(5, "the snapshot is held, or in use");
    });
    drop(stream);
    machine.run(&["destroy", "-y", "new"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_automounted_snapshot_stops_a_promotion_until_it_is_unmounted() {
    let machine = Machine::new();
    machine.run(&["snapshot", "old@s"]).succeeds();
    machine.clone_of("old", "new");
    let at = machine.run(&["mount", "old"]).succeeds().stdout;
    let inside = format!("{}/.zfs/snapshot/s", at.trim());
    assert!(sh("ls", &[&inside]).contains("etc"));
    let ran = machine.unchanged(|| machine.run(&["activate", "new"]));
    ran.says(
        5,
        &format!(
            "cannot promote {}: a snapshot that would move is in use \
             (a running zfs send, or mounted under .zfs/snapshot)",
            machine.name("ROOT/new")
        ),
    );
    sh("umount", &[&inside]);
    machine.run(&["activate", "new"]).succeeds();
    machine.run(&["unmount", "old"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn snapshots_of_one_name_on_both_sides_are_named_before_they_meet() {
    let machine = Machine::new();
    machine.run(&["snapshot", "old@x"]).succeeds();
    machine.clone_of("old", "mid");
    machine.clone_of("mid", "new");
    let mid = machine.name("ROOT/mid");
    sh("zfs", &["snapshot", &format!("{mid}@x")]);
    machine.unchanged(|| {
        machine
            .run(&["activate", "mid"])
            .says(
                3,
                &format!(
                    "refused to activate mid: {mid} and what it is a clone of both have snapshots \
                     named x, and promotion would bring them together"
                ),
            )
            .offers(&format!("zfs rename {mid}@x {mid}@SOMETHING-ELSE"));
    });
    sh("zfs", &["rename", &format!("{mid}@x"), &format!("{mid}@y")]);
    machine.run(&["activate", "mid"]).succeeds();
    machine.run(&["activate", "old"]).succeeds();
    // What hangs on one that is to be destroyed.
    machine.run(&["snapshot", "mid@z"]).succeeds();
    machine.clone_of("mid", "newer");
    sh("zfs", &["snapshot", &machine.name("ROOT/newer@z")]);
    let newer = machine.name("ROOT/newer");
    machine.unchanged(|| {
        machine
            .run(&["destroy", "-y", "mid"])
            .says(
                3,
                &format!(
                    "refused to destroy mid: {newer} hangs on it and cannot be promoted: \
                     both have snapshots named z"
                ),
            )
            .offers(&format!("zfs rename {newer}@z {newer}@SOMETHING-ELSE"));
    });
    sh(
        "zfs",
        &["rename", &format!("{newer}@z"), &format!("{newer}@q")],
    );
    machine.run(&["destroy", "-y", "mid"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_mounted_environment_is_neither_destroyed_nor_rolled_back() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    machine.run(&["snapshot", "new@s"]).succeeds();
    let at = machine.run(&["mount", "new"]).succeeds().stdout;
    let at = at.trim();
    machine.unchanged(|| {
        machine
            .run(&["destroy", "-y", "new"])
            .says(3, &format!("refused to destroy new: it is mounted on {at}"))
            .offers("beadm-rs unmount new, or destroy -F");
        machine
            .run(&["rollback", "-y", "new@s"])
            .says(
                3,
                &format!("refused to roll back to new@s: it is mounted on {at}"),
            )
            .offers("beadm-rs unmount new");
    });
    machine.run(&["destroy", "-F", "-y", "new"]).succeeds();
    assert!(!std::path::Path::new(at).join("etc").exists());
    assert!(!machine.objects().iter().any(|name| name.contains("/new")));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_mount_in_another_mount_namespace_is_named_with_its_process() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    machine.run(&["snapshot", "new@s"]).succeeds();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let lib = machine.name("ROOT/new/var/lib");
    let other = Background::mounting(&lib, path);
    let elsewhere = format!(
        "{lib} is mounted on {path} in the mount namespace of process {} (sleep)",
        other.0.id()
    );
    machine.unchanged(|| {
        for arguments in [
            &["destroy", "-y", "new"][..],
            &["destroy", "-F", "-y", "new"],
        ] {
            machine
                .run(arguments)
                .says(3, &format!("refused to destroy new: {elsewhere}"))
                .offers("stop or restart that process; its view of the mounts is its own");
        }
        machine
            .run(&["rollback", "-y", "new@s"])
            .says(3, &format!("refused to roll back to new@s: {elsewhere}"));
    });
    drop(other);
    machine.run(&["rollback", "-y", "new@s"]).succeeds();
    machine.run(&["destroy", "-y", "new"]).succeeds();
}
