//! What the differential test found: where the simulator once did something
//! else than OpenZFS 2.3, and what ZFS does.

use super::*;
use crate::os::{MountRequest, Platform as _};
use crate::zfs::{Mountpoint, Property};

fn set(sim: &Sim, name: &str, pairs: &[(&str, &str)]) -> Result<()> {
    let settings: Vec<Setting> = pairs.iter().map(|(n, v)| setting(n, v)).collect();
    sim.set(&ds(name), &settings)
}

fn properties(sim: &Sim, name: &str) -> Vec<(String, String)> {
    let all = sim.properties(&ds(name)).unwrap();
    let set = all.get(&ds(name)).into_iter().flatten();
    set.map(|Property { name, value, .. }| (name.clone(), value.clone()))
        .collect()
}

/// `zfs set` tries each by itself where the kernel does not take them together
/// (`zfs_set_prop_nvlist`).
#[test]
fn of_several_settings_those_the_kernel_takes_are_set() {
    let sim = machine();
    let long = "v".repeat(8192);
    let error = refused(
        set(
            &sim,
            "p/ROOT/a/var",
            &[("atime", "off"), ("org.test:long", &long)],
        ),
        ErrorKind::Invalid,
    );
    assert_eq!(error.detail, "property value too long");
    assert!(properties(&sim, "p/ROOT/a/var").contains(&("atime".to_owned(), "off".to_owned())));
    // What libzfs itself refuses does not get that far.
    refused(
        set(&sim, "p/ROOT/a/var", &[("atime", "on"), ("copies", "9")]),
        ErrorKind::Invalid,
    );
    assert!(properties(&sim, "p/ROOT/a/var").contains(&("atime".to_owned(), "off".to_owned())));
}

#[test]
fn what_is_asked_of_a_pool_s_own_name_has_no_name() {
    let sim = machine();
    for name in ["p", "nopool"] {
        let error = refused(sim.create(&ds(name), &[]), ErrorKind::Invalid);
        assert_eq!(error.detail, "missing dataset name");
        refused(sim.rename(&ds("p/ROOT/a"), &ds(name)), ErrorKind::Invalid);
    }
}

/// `zfs_rename`, `zfs_clone`: libzfs looks at names and values, and then the
/// kernel at what there is.
#[test]
fn a_name_that_is_taken_is_found_out_last() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    refused(
        sim.rename(&ds("p/ROOT/a"), &ds("p/ROOT/a/var")),
        ErrorKind::Invalid,
    );
    refused(
        sim.rename(&ds("p"), &ds("p/ROOT/a")),
        ErrorKind::Unsupported,
    );
    let mut wrong = clone_of("p/ROOT/a@1", "p/ROOT/a");
    wrong.settings = vec![setting("acltype", "x")];
    refused(sim.clone_all(&[wrong]), ErrorKind::Invalid);
}

#[test]
fn values_are_shown_as_zfs_shows_them() {
    let sim = machine();
    for (name, written, shown) in [
        ("acltype", "posixacl", "posix"),
        ("filesystem_limit", "none", "none"),
        ("mountpoint", "/tmp//y/", "/tmp//y/"),
    ] {
        set(&sim, "p/ROOT/a", &[(name, written)]).unwrap();
        assert!(
            properties(&sim, "p/ROOT/a").contains(&(name.to_owned(), shown.to_owned())),
            "{name}={written}"
        );
    }
    assert_eq!(
        sim.dataset("p/ROOT/a/var").mountpoint,
        Mountpoint::Path("/tmp//y//var".into())
    );
}

#[test]
fn a_file_system_mounted_read_only_is_shown_as_such() {
    let sim = machine();
    sim.mount(&MountRequest {
        dataset: ds("p/ROOT/a"),
        directory: "/mnt".into(),
        readonly: true,
        legacy: false,
    })
    .unwrap();
    assert!(sim.dataset("p/ROOT/a").readonly);
    assert!(!sim.dataset("p/ROOT/a/var").readonly);
}

fn mount(sim: &Sim, directory: &str, readonly: bool) -> crate::os::Result<()> {
    sim.mount(&MountRequest {
        dataset: ds("p/ROOT/a"),
        directory: directory.into(),
        readonly,
        legacy: false,
    })
}

/// `zpl_get_tree`: all mounts of a dataset are of one superblock.
#[test]
fn what_is_mounted_read_only_is_so_everywhere() {
    let sim = machine();
    let mut write = |root: &cap_std_ext::cap_std::fs::Dir| root.write("x", "x");
    mount(&sim, "/mnt", true).unwrap();
    assert!(sim.with_files(&ds("p/ROOT/a"), true, &mut write).is_err());
    assert!(mount(&sim, "/mnt2", false).is_err());
    mount(&sim, "/mnt2", true).unwrap();
    sim.unmount("/mnt2".into(), false).unwrap();
    sim.unmount("/mnt".into(), false).unwrap();
    sim.with_files(&ds("p/ROOT/a"), true, &mut write).unwrap();
    mount(&sim, "/mnt", false).unwrap();
    assert!(mount(&sim, "/mnt2", true).is_err());
}

/// `do_add_mount` of Linux.
#[test]
fn nothing_is_mounted_on_itself() {
    let sim = machine();
    mount(&sim, "/mnt", false).unwrap();
    assert!(mount(&sim, "/mnt", false).is_err());
    mount(&sim, "/mnt2", false).unwrap();
}

/// `zfs_receive_checkprops` looks at names before `zfs_receive_one` looks for
/// the dataset, and that before values are looked at.
#[test]
fn a_receive_is_refused_for_the_name_of_a_property_first() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    let mut transfer = crate::zfs::Transfer {
        snapshot: snap("p/ROOT/a@1"),
        target: ds("p/ROOT/a"),
        settings: vec![setting("used", "1")],
        raw: false,
    };
    for (name, value, kind) in [
        ("used", "1", ErrorKind::Invalid),
        ("version", "5", ErrorKind::Invalid),
        ("utf8only", "on", ErrorKind::Invalid),
        ("note", "x", ErrorKind::Invalid),
        ("canmount", "maybe", ErrorKind::Exists),
        ("keylocation", "prompt", ErrorKind::Exists),
    ] {
        transfer.settings = vec![setting(name, value)];
        refused(sim.transfer(&transfer, &Patient), kind);
    }
}

/// `in_use` of `program.lua`: nothing is done where something is held.
#[test]
fn a_held_snapshot_is_found_before_anything_is_done() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    let guid = sim.snapshot("p/ROOT/a@1").guid;
    sim.edit(|edit| edit.hold(&snap("p/ROOT/a@1"), "user", true))
        .unwrap();
    let ops = [take("p/ROOT/a/var@2"), destroy("p/ROOT/a@1", guid)];
    let error = refused(sim.run(&ops), ErrorKind::Busy);
    assert!(!error.partial);
}

#[test]
fn what_is_read_only_is_not_written_to() {
    let sim = machine();
    set(&sim, "p/ROOT/a", &[("readonly", "on")]).unwrap();
    let written = sim.with_files(&ds("p/ROOT/a/var"), true, &mut |root| root.write("x", "x"));
    assert!(written.is_err());
}

/// `dmu_recv_begin_sync`, `dmu_recv_end_sync`.
#[test]
fn a_received_snapshot_is_younger_than_its_dataset() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    let transfer = crate::zfs::Transfer {
        snapshot: snap("p/ROOT/a@1"),
        target: ds("bpool/a"),
        settings: Vec::new(),
        raw: false,
    };
    sim.transfer(&transfer, &Patient).unwrap();
    let received = sim.dataset("bpool/a");
    assert!(received.createtxg < received.snapshots[0].createtxg);
}

struct Patient;

impl crate::zfs::Meter for Patient {
    fn advance(&self, _bytes: u64) -> bool {
        true
    }
}

#[test]
fn a_transaction_of_a_pool_that_is_not_there_begins_with_no_operation() {
    let sim = machine();
    let ops = [take("p/ROOT/a@1"), take("p/ROOT/a/var@1")];
    let error = refused(sim.transact(&pool("nopool"), &ops), ErrorKind::NotFound);
    assert_eq!(error.attempted, "run 2 operations on nopool");
}
