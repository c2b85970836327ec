//! What is refused before anything is changed, why, and what to do instead.

use beadm_rs::zfs::{CloneOf, SyncOp, Zfs as _};

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

#[test]
fn what_is_in_use_stays() {
    Transcript::on(Machine::with_one_pool())
        .run("failback")
        .run("destroy -y debian")
        .run("rollback -y debian@a")
        .run("create one")
        .run("activate one")
        .run("destroy -y one")
        .reboot()
        .run("activate debian")
        .run("destroy -y debian")
        .run("destroy -y one")
        .run("failback")
        .run("create two")
        .run("activate two")
        .run("activate one")
        .note("two is what the records name no more; it may go.")
        .run("destroy -y two")
        .then("Somebody sets bootfs by hand.", |machine| {
            machine
                .sim
                .set_bootfs(
                    &"rpool".parse().unwrap(),
                    Some(&dataset("rpool/ROOT/debian")),
                )
                .unwrap();
            machine.sim.reboot().unwrap();
        })
        .run("status")
        .run("destroy -y one")
        .run("activate -t debian")
        .run("activate --not-once")
        .run("activate --no-trial debian")
        .is("in-use");
}

#[test]
fn what_is_held_foreign_or_apart_stays() {
    Transcript::on(Machine::with_one_pool())
        .run("create one")
        .run("snapshot one@mine")
        .then("A snapshot is held.", |machine| {
            let snapshot = "rpool/ROOT/one/var@mine".parse().unwrap();
            machine
                .sim
                .edit(|edit| edit.hold(&snapshot, "backup", true))
                .unwrap();
        })
        .run("destroy -y one")
        .run("destroy -y one@mine")
        .then("It is let go; there is a volume in it.", |machine| {
            let snapshot = "rpool/ROOT/one/var@mine".parse().unwrap();
            machine
                .sim
                .edit(|edit| {
                    edit.hold(&snapshot, "backup", false);
                    edit.volume(&dataset("rpool/ROOT/one/swap"));
                })
                .unwrap();
        })
        .run("destroy -y one")
        .run("create -e one two")
        .then("One of its datasets is excluded.", |machine| {
            machine
                .sim
                .edit(|edit| {
                    let cache = dataset("rpool/ROOT/two/var/log");
                    edit.property(&cache, "org.beadm-rs:exclude", "on", false);
                })
                .unwrap();
        })
        .run("destroy -y two")
        .run("create -e two three")
        .then("A clone of its own snapshot is in it.", |machine| {
            machine
                .sim
                .clone_all(&[CloneOf {
                    snapshot: "rpool/ROOT/one@mine".parse().unwrap(),
                    target: dataset("rpool/ROOT/one/own"),
                    settings: Vec::new(),
                }])
                .unwrap();
        })
        .run("rollback -y one@mine")
        .run("destroy -y one@mine")
        .is("apart");
}

#[test]
fn snapshots_that_collide_or_lack_a_child_are_no_way_back() {
    Transcript::on(Machine::with_one_pool())
        .run("snapshot debian@same")
        .run("create one")
        .run("snapshot one@same")
        .run("activate one")
        .then("One dataset loses its snapshot.", |machine| {
            let lost = SyncOp::Destroy {
                object: "rpool/ROOT/one/var/log@same".to_owned(),
                guard: beadm_rs::zfs::Guard::Guid(guid_of(machine, "rpool/ROOT/one/var/log@same")),
                missing_ok: false,
            };
            machine
                .sim
                .transact(&"rpool".parse().unwrap(), &[lost])
                .unwrap();
        })
        .run("create -e one@same two")
        .run("create -e one@same --shallow two")
        .run("rollback -y one@same")
        .run("rollback -y one@none")
        .run("destroy -y one@none")
        .run("create -e one@none three")
        .run("snapshot one@same")
        .is("snapshots");
}

fn guid_of(machine: &Machine, snapshot: &str) -> beadm_rs::zfs::Guid {
    let name: beadm_rs::zfs::SnapshotName = snapshot.parse().unwrap();
    machine
        .sim
        .tree(&[name.dataset()], true)
        .unwrap()
        .iter()
        .flat_map(|dataset| &dataset.snapshots)
        .find(|snapshot| snapshot.name == name)
        .unwrap()
        .guid
}

#[test]
fn pools_that_take_no_change_are_left_alone() {
    let pool: beadm_rs::zfs::PoolName = "rpool".parse().unwrap();
    Transcript::on(Machine::with_one_pool())
        .run("create one")
        .then("The pool is read-only.", |machine| {
            machine
                .sim
                .edit(|edit| edit.pool_readonly(&pool, true))
                .unwrap();
        })
        .run("create two")
        .run("activate one")
        .run("destroy -y one")
        .run("rename one two")
        .run("list")
        .then("It is suspended.", |machine| {
            machine
                .sim
                .edit(|edit| {
                    edit.pool_readonly(&pool, false);
                    edit.pool_health(&pool, "SUSPENDED");
                })
                .unwrap();
        })
        .run("create two")
        .run("describe one text")
        .run("pin one")
        .run("snapshot one")
        .then("It works again.", |machine| {
            machine
                .sim
                .edit(|edit| edit.pool_health(&pool, "ONLINE"))
                .unwrap();
        })
        .run("create -p nowhere two")
        .run("create -p rpool two")
        .is("pools");
}

#[test]
fn what_zfs_refuses_in_the_middle_is_undone() {
    let pool: beadm_rs::zfs::PoolName = "rpool".parse().unwrap();
    Transcript::on(Machine::with_one_pool())
        .run("create one")
        .then("A dataset is busy.", |machine| {
            machine
                .sim
                .edit(|edit| edit.busy(&dataset("rpool/ROOT/one/var"), true))
                .unwrap();
        })
        .run("destroy -y one")
        .then(
            "A running send holds the snapshot it came from.",
            |machine| {
                let name = machine
                    .sim
                    .tree(&[dataset("rpool/ROOT/debian/var")], true)
                    .unwrap();
                let snapshot = name[0].snapshots[0].name.clone();
                machine
                    .sim
                    .edit(|edit| edit.snapshot_busy(&snapshot, true))
                    .unwrap();
            },
        )
        .run("activate one")
        .run("status")
        .then("The pool is full.", |machine| {
            machine.sim.edit(|edit| edit.pool_size(&pool, 512)).unwrap();
        })
        .run("create two")
        .run("list")
        .is("undone");
}

#[test]
fn encrypted_environments_need_their_key() {
    Transcript::on(Machine::with_one_pool())
        .run("create one")
        .then("one is encrypted, and its key not loaded.", |machine| {
            let one = dataset("rpool/ROOT/one");
            machine
                .sim
                .edit(|edit| edit.encryption(&one, Some(&one), false))
                .unwrap();
        })
        .run("activate one")
        .run("create -e one two")
        .run("mount one SCRATCH/one")
        .is("encryption");
}
