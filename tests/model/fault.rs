//! A machine on which one call fails, and works again afterwards: a full disk,
//! a dataset that was busy for a moment.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use beadm_rs::os::inside::{Ended, Inside, NotRun, Program, Surroundings};
use beadm_rs::os::{self, FileWork, Files, Lock, LockKind, Mount, MountRequest, Object, Platform};
use beadm_rs::zfs::sim::Sim;
use beadm_rs::zfs::{
    CloneOf, Dataset, DatasetName, Error, ErrorKind, Giving, Incoming, Meter, Mountpoint, Outgoing,
    Pool, PoolName, Property, Result, Setting, SnapshotName, SyncOp, Taking, Transfer, Zfs,
};
use camino::{Utf8Path, Utf8PathBuf};

/// Which call fails, and how much of it is done before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// So many calls that change something succeed first.
    pub after: u8,
    /// So many parts of the call are done: operations, clones.
    pub parts: u8,
}

/// The machine.
#[derive(Clone)]
pub struct Faulty {
    sim: Sim,
    fault: Fault,
    left: Arc<Mutex<Option<u8>>>,
}

impl Faulty {
    /// A machine that has the fault once.
    pub fn new(sim: Sim, fault: Fault) -> Self {
        let left = Arc::new(Mutex::new(Some(fault.after)));
        Self { sim, fault, left }
    }

    /// The machine itself.
    pub fn sim(&self) -> &Sim {
        &self.sim
    }

    /// Whether this call is the one.
    fn strikes(&self) -> bool {
        let mut left = self.left.lock().unwrap();
        match *left {
            Some(0) => {
                *left = None;
                true
            }
            Some(more) => {
                *left = Some(more - 1);
                false
            }
            None => false,
        }
    }

    fn or<T>(&self, attempted: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.strikes() {
            return Err(fault(attempted));
        }
        work()
    }

    fn or_os<T>(&self, attempted: &str, work: impl FnOnce() -> os::Result<T>) -> os::Result<T> {
        if self.strikes() {
            return Err(os::Error::Unexpected {
                attempted: attempted.to_owned(),
                detail: "the fault of this test".to_owned(),
            });
        }
        work()
    }
}

fn fault(attempted: &str) -> Error {
    Error::new(ErrorKind::NoSpace, attempted, "the fault of this test")
}

impl Zfs for Faulty {
    fn label(&self) -> String {
        self.sim.label()
    }

    fn pools(&self) -> Result<Vec<Pool>> {
        self.sim.pools()
    }

    fn tree(&self, roots: &[DatasetName], snapshots: bool) -> Result<Vec<Dataset>> {
        self.sim.tree(roots, snapshots)
    }

    fn properties(&self, root: &DatasetName) -> Result<BTreeMap<DatasetName, Vec<Property>>> {
        self.sim.properties(root)
    }

    fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<String>> {
        self.sim.holds(snapshot)
    }

    /// What is looked at first has passed, and then one of the operations fails.
    fn transact(&self, pool: &PoolName, ops: &[SyncOp]) -> Result<()> {
        if !self.strikes() {
            return self.sim.transact(pool, ops);
        }
        let mut parts = usize::from(self.fault.parts) % ops.len().max(1);
        // A snapshot that could be taken can be marked.
        if matches!(ops.get(parts), Some(SyncOp::Mark { object, .. }) if object.contains('@')) {
            parts += 1;
        }
        let parts = parts % ops.len().max(1);
        if parts > 0 {
            self.sim.transact(pool, &ops[..parts])?;
        }
        Err(fault("run a transaction").partial(parts > 0))
    }

    /// Some are made, the last of them without its settings.
    fn clone_all(&self, clones: &[CloneOf]) -> Result<()> {
        if !self.strikes() {
            return self.sim.clone_all(clones);
        }
        let parts = usize::from(self.fault.parts) % (clones.len() + 1);
        let mut made = clones[..parts].to_vec();
        if let Some(last) = made.last_mut() {
            last.settings.clear();
        }
        self.sim.clone_all(&made)?;
        Err(fault("clone"))
    }

    fn send_size(&self, outgoing: &Outgoing) -> Result<u64> {
        self.sim.send_size(outgoing)
    }

    fn send(&self, outgoing: &Outgoing, take: &mut Taking<'_>) -> Result<std::io::Result<()>> {
        self.or("send", || self.sim.send(outgoing, take))
    }

    fn receive(&self, incoming: &Incoming, give: &mut Giving<'_>) -> Result<std::io::Result<()>> {
        self.or("receive", || self.sim.receive(incoming, give))
    }

    fn create(&self, target: &DatasetName, settings: &[Setting]) -> Result<()> {
        self.or("create", || self.sim.create(target, settings))
    }

    fn set(&self, dataset: &DatasetName, settings: &[Setting]) -> Result<()> {
        self.or("set", || self.sim.set(dataset, settings))
    }

    fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<()> {
        self.or("rename", || self.sim.rename(from, to))
    }

    fn set_bootfs(&self, pool: &PoolName, dataset: Option<&DatasetName>) -> Result<()> {
        self.or("set bootfs", || self.sim.set_bootfs(pool, dataset))
    }

    fn transfer_size(&self, transfer: &Transfer) -> Result<u64> {
        self.sim.transfer_size(transfer)
    }

    fn transfer(&self, transfer: &Transfer, meter: &dyn Meter) -> Result<()> {
        self.or("send", || self.sim.transfer(transfer, meter))
    }
}

impl Platform for Faulty {
    fn root_dataset(&self) -> os::Result<Option<DatasetName>> {
        self.sim.root_dataset()
    }

    fn mounts(&self, all: bool) -> os::Result<Vec<Mount>> {
        self.sim.mounts(all)
    }

    fn mount(&self, request: &MountRequest) -> os::Result<()> {
        self.or_os("mount", || self.sim.mount(request))
    }

    fn unmount(&self, directory: &Utf8Path, force: bool) -> os::Result<()> {
        self.or_os("unmount", || self.sim.unmount(directory, force))
    }

    fn with_files(
        &self,
        dataset: &DatasetName,
        writable: bool,
        work: &mut FileWork<'_>,
    ) -> os::Result<()> {
        // A clone is looked into while others are made: to count that would make the same
        // history come out differently.
        let is_being_made = |found: Vec<Dataset>| {
            let mut found = found.iter();
            found.any(|found| found.name == *dataset && found.mountpoint == Mountpoint::None)
        };
        let roots = std::slice::from_ref(dataset);
        if !writable && self.sim.tree(roots, false).is_ok_and(is_being_made) {
            return self.sim.with_files(dataset, writable, work);
        }
        self.or_os("work with files", || {
            self.sim.with_files(dataset, writable, work)
        })
    }

    fn open_files(&self, object: &Object) -> os::Result<Files> {
        self.sim.open_files(object)
    }

    fn new_mount_directory(&self, name: &str) -> os::Result<Utf8PathBuf> {
        self.sim.new_mount_directory(name)
    }

    fn is_own_mount_directory(&self, directory: &Utf8Path) -> bool {
        self.sim.is_own_mount_directory(directory)
    }

    fn lock(&self, kind: LockKind, purpose: &str, patience: Duration) -> os::Result<Lock> {
        self.sim.lock(kind, purpose, patience)
    }

    fn lock_holder(&self, kind: LockKind) -> Option<String> {
        self.sim.lock_holder(kind)
    }

    fn enable(&self, units: &[(String, Vec<String>)], off: bool) -> os::Result<()> {
        self.sim.enable(units, off)
    }

    fn surroundings(&self) -> os::Result<Surroundings> {
        self.sim.surroundings()
    }

    fn run_inside(
        &self,
        inside: &Inside,
        program: &Program,
        interrupted: &AtomicBool,
        mounted: &mut (dyn FnMut() + Send),
    ) -> std::result::Result<Ended, NotRun> {
        self.sim.run_inside(inside, program, interrupted, mounted)
    }

    fn new_log(&self, name: &str) -> os::Result<(Utf8PathBuf, std::fs::File)> {
        self.sim.new_log(name)
    }

    fn volatile(&self, name: &str) -> os::Result<Utf8PathBuf> {
        self.sim.volatile(name)
    }
}
