//! The engine itself: the channel program, its guards, its errors.

use beadm_rs::zfs::cli::Cli;
use beadm_rs::zfs::{DatasetName, ErrorKind, Guard, Guid, PoolName, SyncOp, Zfs as _, parse};

use crate::machine::Machine;
use crate::ran::{sh, try_sh};

fn dataset(machine: &Machine, below: &str) -> DatasetName {
    machine.name(below).parse().unwrap()
}

fn guid(machine: &Machine, below: &str) -> Guid {
    machine.get(below, "guid").parse().unwrap()
}

fn destroy(machine: &Machine, below: &str, guard: Guard) -> SyncOp {
    SyncOp::Destroy {
        object: machine.name(below),
        guard,
        missing_ok: false,
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_transaction_marks_snapshots_in_the_group_it_takes_them_in() {
    let machine = Machine::new();
    let zfs = Cli::new().unwrap();
    let pool: PoolName = machine.pool.parse().unwrap();
    let mut operations = vec![];
    for below in ["ROOT/old", "ROOT/old/var"] {
        let snapshot = dataset(&machine, below).snapshot("s").unwrap();
        operations.push(SyncOp::Snapshot {
            snapshot: snapshot.clone(),
        });
        operations.push(SyncOp::Mark {
            object: snapshot.to_string(),
            key: "op".to_owned(),
            text: "abc create".to_owned(),
        });
    }
    zfs.transact(&pool, &operations).unwrap();
    let tree = zfs.tree(&[dataset(&machine, "ROOT")], true).unwrap();
    let taken: Vec<_> = tree.iter().flat_map(|dataset| &dataset.snapshots).collect();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0].createtxg, taken[1].createtxg);
    for snapshot in taken {
        assert_eq!(
            snapshot.marks["op"],
            format!("{} abc create", snapshot.guid)
        );
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_guid_beyond_the_signed_range_is_written_as_zfs_writes_it() {
    let machine = Machine::new();
    let zfs = Cli::new().unwrap();
    let pool: PoolName = machine.pool.parse().unwrap();
    // Half of all guids are beyond it; twenty datasets make sure of some.
    for index in 0..20 {
        machine.dataset(&format!("g{index}"), &[]);
    }
    let mut beyond = 0;
    for index in 0..20 {
        let below = format!("g{index}");
        let guid = guid(&machine, &below);
        beyond += u32::from(guid.0 > u64::MAX / 2);
        zfs.transact(
            &pool,
            &[
                SyncOp::Mark {
                    object: machine.name(&below),
                    key: "pinned".to_owned(),
                    text: "x".to_owned(),
                },
                destroy(&machine, &below, Guard::Guid(guid)),
            ],
        )
        .unwrap();
    }
    assert!(beyond > 0);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_wrong_guard_changes_nothing() {
    let machine = Machine::new();
    let zfs = Cli::new().unwrap();
    let pool: PoolName = machine.pool.parse().unwrap();
    let before = machine.picture();
    let error = zfs
        .transact(
            &pool,
            &[
                SyncOp::Mark {
                    object: machine.name("ROOT"),
                    key: "op".to_owned(),
                    text: "x".to_owned(),
                },
                destroy(&machine, "ROOT/old/var/lib", Guard::Guid(Guid(1))),
            ],
        )
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(!error.partial);
    assert_eq!(machine.picture(), before);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_mounted_dataset_with_snapshots_is_found_in_use_before_anything_is_done() {
    let machine = Machine::new();
    let zfs = Cli::new().unwrap();
    let pool: PoolName = machine.pool.parse().unwrap();
    for snapshots in [false, true] {
        if snapshots {
            sh("zfs", &["snapshot", &machine.name("ROOT/old/var/lib@s")]);
        }
        let lib = machine.name("ROOT/old/var/lib");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        sh("mount", &["-t", "zfs", "-o", "zfsutil", &lib, path]);
        let before = machine.picture();
        let error = zfs
            .transact(
                &pool,
                &[
                    destroy(
                        &machine,
                        "ROOT/old/usr/local",
                        Guard::Guid(guid(&machine, "ROOT/old/usr/local")),
                    ),
                    destroy(
                        &machine,
                        "ROOT/old/var/lib",
                        Guard::Guid(guid(&machine, "ROOT/old/var/lib")),
                    ),
                ],
            )
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Busy, "{error}");
        assert_eq!(machine.picture(), before);
        sh("umount", &[path]);
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_came_to_be_meanwhile_stops_a_transaction_before_it_begins() {
    let machine = Machine::new();
    let zfs = Cli::new().unwrap();
    let pool: PoolName = machine.pool.parse().unwrap();
    let lib = |component: &str| machine.name(&format!("ROOT/old/var/lib@{component}"));
    let snapshot = |component: &str| sh("zfs", &["snapshot", &lib(component)]);
    snapshot("1");
    snapshot("2");
    let own = guid(&machine, "ROOT/old/var/lib");
    let to = guid(&machine, "ROOT/old/var/lib@1");
    let younger = guid(&machine, "ROOT/old/var/lib@2");
    let back = [
        destroy(&machine, "ROOT/old/var/lib@2", Guard::Guid(younger)),
        SyncOp::Rollback {
            dataset: dataset(&machine, "ROOT/old/var/lib"),
            guard: Guard::Newest { own, snapshot: to },
        },
    ];
    let away = [
        destroy(&machine, "ROOT/old/var/lib@2", Guard::Guid(younger)),
        destroy(&machine, "ROOT/old/var/lib@1", Guard::Guid(to)),
        destroy(&machine, "ROOT/old/var/lib", Guard::Guid(own)),
    ];
    let refused = |operations: &[SyncOp], what: &str| {
        let before = machine.picture();
        let error = zfs.transact(&pool, operations).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exists, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(!error.partial, "{error}");
        assert_eq!(machine.picture(), before);
    };
    snapshot("3");
    refused(&back, &lib("3"));
    refused(&away, &lib("3"));
    sh("zfs", &["destroy", &lib("3")]);
    machine.dataset("ROOT/old/var/lib/new", &["canmount=noauto"]);
    refused(&away, "lib/new is below it");
    sh("zfs", &["destroy", &machine.name("ROOT/old/var/lib/new")]);
    let clone = machine.name("clone");
    sh(
        "zfs",
        &["clone", "-o", "canmount=noauto", &lib("1"), &clone],
    );
    refused(&away, "clone is a clone of it");
    sh("zfs", &["destroy", &clone]);
    zfs.transact(&pool, &back).unwrap();
    zfs.transact(&pool, &away[1..]).unwrap();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_kernel_and_zfs_agree_on_what_can_be_set() {
    let zfs = Cli::new().unwrap();
    let told = zfs.settable().unwrap();
    let usage = parse::settable(&try_sh("zfs", &["get"]).stderr);
    let missing: Vec<_> = usage.iter().filter(|name| !told.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // A key's, which the kernel's table does not tell apart, and no clone is given.
    let more: Vec<_> = told.iter().filter(|name| !usage.contains(name)).collect();
    let keys = ["keyformat", "pbkdf2iters"];
    assert!(
        more.iter().all(|name| keys.contains(&name.as_str())),
        "{more:?}"
    );
}
