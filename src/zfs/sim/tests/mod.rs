//! The rules of the simulated machine, one sentence each.

mod crash;
mod datasets;
mod differential;
mod files;
mod platform;
mod transactions;

use super::{NewPool, Sim};
use crate::zfs::{
    CloneOf, Dataset, DatasetName, Error, ErrorKind, Guard, Guid, PoolName, Result, Setting,
    Snapshot, SnapshotName, SyncOp, Zfs as _,
};

fn ds(name: &str) -> DatasetName {
    name.parse().unwrap()
}

fn snap(name: &str) -> SnapshotName {
    name.parse().unwrap()
}

fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

fn setting(name: &str, value: &str) -> Setting {
    (name.to_owned(), value.to_owned())
}

fn new_pools() -> [NewPool; 2] {
    ["bpool", "p"].map(|name| NewPool {
        name: pool(name),
        size: 1 << 20,
    })
}

/// A machine in memory with `p/ROOT/a`, and `var` below it.
fn machine() -> Sim {
    let sim = Sim::in_memory(&new_pools()).unwrap();
    populate(&sim);
    sim
}

fn populate(sim: &Sim) {
    sim.create(
        &ds("p/ROOT"),
        &[setting("canmount", "off"), setting("mountpoint", "none")],
    )
    .unwrap();
    let root = [setting("canmount", "noauto"), setting("mountpoint", "/")];
    sim.create(&ds("p/ROOT/a"), &root).unwrap();
    sim.create(&ds("p/ROOT/a/var"), &[setting("canmount", "noauto")])
        .unwrap();
    sim.write_file(&ds("p/ROOT/a"), "etc/motd", "one").unwrap();
}

impl Sim {
    fn dataset(&self, name: &str) -> Dataset {
        let all = self.tree(&[ds(name)], true).unwrap();
        all.into_iter()
            .next()
            .unwrap_or_else(|| panic!("no {name}"))
    }

    fn snapshot(&self, name: &str) -> Snapshot {
        let name = snap(name);
        let dataset = self.dataset(name.dataset().as_str());
        let found = dataset.snapshots.into_iter().find(|s| s.name == name);
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    fn exists(&self, name: &str) -> bool {
        !self.tree(&[ds(name)], false).unwrap().is_empty()
    }

    fn snapshot_names(&self, name: &str) -> Vec<String> {
        let snapshots = self.dataset(name).snapshots;
        snapshots
            .iter()
            .map(|s| s.name.component().to_owned())
            .collect()
    }

    fn origin(&self, name: &str) -> Option<String> {
        self.dataset(name).origin.map(String::from)
    }

    fn run(&self, ops: &[SyncOp]) -> Result<()> {
        self.transact(&pool("p"), ops)
    }

    fn take(&self, name: &str) {
        self.run(&[take(name)]).unwrap();
    }

    fn clone_of(&self, snapshot: &str, target: &str) {
        self.clone_all(&[clone_of(snapshot, target)]).unwrap();
    }

    fn destroy(&self, name: &str) -> Result<()> {
        self.run(&[self.destruction(name)])
    }

    /// A destruction guarded by what is there now.
    fn destruction(&self, name: &str) -> SyncOp {
        let guid = if name.contains('@') {
            self.snapshot(name).guid
        } else {
            self.dataset(name).guid
        };
        destroy(name, guid)
    }

    fn rollback(&self, name: &str) -> Result<()> {
        self.run(&[SyncOp::Rollback {
            dataset: ds(name),
            guard: Guard::Guid(self.dataset(name).guid),
        }])
    }

    fn text(&self, object: &str, path: &str) -> Option<String> {
        let contents = self.read_file(object, path).unwrap()?;
        Some(String::from_utf8(contents).unwrap())
    }
}

fn take(name: &str) -> SyncOp {
    SyncOp::Snapshot {
        snapshot: snap(name),
    }
}

fn promote(name: &str, checked: bool) -> SyncOp {
    SyncOp::Promote {
        dataset: ds(name),
        checked,
    }
}

fn destroy(name: &str, guid: Guid) -> SyncOp {
    SyncOp::Destroy {
        object: name.to_owned(),
        guard: Guard::Guid(guid),
        missing_ok: false,
    }
}

fn mark(object: &str, key: &str, text: &str) -> SyncOp {
    SyncOp::Mark {
        object: object.to_owned(),
        key: key.to_owned(),
        text: text.to_owned(),
    }
}

fn clone_of(snapshot: &str, target: &str) -> CloneOf {
    CloneOf {
        snapshot: snap(snapshot),
        target: ds(target),
        settings: Vec::new(),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    error
}
