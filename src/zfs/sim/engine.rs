//! The simulated machine as an engine.

use std::collections::BTreeMap;

use super::datasets;
use super::files;
use super::property::When;
use super::refusal::{Refusal, Ruled};
use super::{Sim, rules, view};
use crate::zfs::{
    CloneOf, Dataset, DatasetName, Error, ErrorKind, Giving, Incoming, Meter, Outgoing, Pool,
    PoolName, Property, Result, Setting, SnapshotName, SyncOp, Taking, Transfer, Zfs,
};

impl Sim {
    fn clone_one(&self, clone: &CloneOf, is_set_later: bool) -> Ruled<()> {
        self.change(|change| datasets::clone_one(change, clone))?;
        if clone.settings.is_empty() || is_set_later {
            return Ok(());
        }
        // ZFS sets them in a later transaction group (`zfs_ioc_clone`).
        let set = self
            .change(|change| datasets::set(change, &clone.target, &clone.settings, When::Cloning));
        if set.is_err() && self.powered().is_ok() {
            self.change(|change| datasets::take_back(change, &clone.target))?;
        }
        set
    }
}

impl Zfs for Sim {
    fn label(&self) -> String {
        match &self.inner.store.directory {
            Some(directory) => format!("a simulated machine in {directory}"),
            None => "a simulated machine in memory".to_owned(),
        }
    }

    fn pools(&self) -> Result<Vec<Pool>> {
        self.state()
            .map(|state| view::pools(&state))
            .map_err(|refusal| refusal.attempting("list the pools"))
    }

    fn tree(&self, roots: &[DatasetName], snapshots: bool) -> Result<Vec<Dataset>> {
        self.state()
            .map(|state| view::tree(&state, &self.inner.store.files, roots, snapshots))
            .map_err(|refusal| refusal.attempting("list the datasets"))
    }

    fn properties(&self, root: &DatasetName) -> Result<BTreeMap<DatasetName, Vec<Property>>> {
        self.state()
            .and_then(|state| {
                state.head(root)?;
                Ok(view::properties(&state, root))
            })
            .map_err(|refusal| refusal.attempting(format!("read the properties of {root}")))
    }

    fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<String>> {
        self.state()
            .and_then(|state| state.snap(snapshot).map(|snap| snap.holds.clone()))
            .map_err(|refusal| refusal.attempting(format!("list the holds of {snapshot}")))
    }

    fn transact(&self, pool: &PoolName, ops: &[SyncOp]) -> Result<()> {
        let mut failed = None;
        let mut partial = false;
        self.change(|change| {
            let done = rules::transact(change, pool, ops, &mut failed);
            partial = change.keep;
            done
        })
        .map_err(|refusal| {
            match failed.and_then(|failed: usize| ops.get(failed)) {
                Some(op) => refusal.attempting(op),
                None => refusal.attempting(format!("run {} operations on {pool}", ops.len())),
            }
            .partial(partial)
        })
    }

    fn clone_all(&self, clones: &[CloneOf]) -> Result<()> {
        let mut later = Vec::new();
        for clone in clones {
            let is_set_later = clone.is_set_later(clones);
            self.clone_one(clone, is_set_later).map_err(|refusal| {
                refusal.attempting(format!("clone {} as {}", clone.snapshot, clone.target))
            })?;
            later.extend(is_set_later.then_some(clone));
        }
        later
            .into_iter()
            .try_for_each(|clone| self.set(&clone.target, &clone.settings))
    }

    fn create(&self, target: &DatasetName, settings: &[Setting]) -> Result<()> {
        self.change(|change| datasets::create(change, target, settings))
            .map_err(|refusal| refusal.attempting(format!("create {target}")))
    }

    fn set(&self, dataset: &DatasetName, settings: &[Setting]) -> Result<()> {
        let names: Vec<&str> = settings.iter().map(|(name, _)| name.as_str()).collect();
        self.change(|change| datasets::set(change, dataset, settings, When::Later))
            .map_err(|refusal| refusal.attempting(format!("set {} of {dataset}", names.join(", "))))
    }

    fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<()> {
        self.change(|change| datasets::rename(change, from, to))
            .map_err(|refusal| refusal.attempting(format!("rename {from} to {to}")))
    }

    fn set_bootfs(&self, pool: &PoolName, dataset: Option<&DatasetName>) -> Result<()> {
        let value = dataset.map(ToString::to_string).unwrap_or_default();
        self.change(|change| datasets::set_bootfs(change, pool, dataset))
            .map_err(|refusal| refusal.attempting(format!("set bootfs of {pool} to '{value}'")))
    }

    fn transfer_size(&self, transfer: &Transfer) -> Result<u64> {
        self.state()
            .and_then(|state| Ok(state.snap(&transfer.snapshot)?.space.referenced))
            .map_err(|refusal| {
                refusal.attempting(format!("estimate a stream of {}", transfer.snapshot))
            })
    }

    fn transfer(&self, transfer: &Transfer, meter: &dyn Meter) -> Result<()> {
        let attempted = format!("send {} to {}", transfer.snapshot, transfer.target);
        let mut stopped = false;
        self.change(|change| {
            let (from, space, guid) = datasets::check_transfer(&change.state, transfer)?;
            let to = change.state.tree_number();
            let copied = change
                .files
                .copy(from, to, &mut |bytes| meter.advance(bytes));
            if let Err(error) = copied {
                stopped = files::is_stop(&error);
                return Err(Refusal::other(error.to_string()));
            }
            datasets::receive(change, transfer, to, space, guid)
        })
        .map_err(|refusal| {
            if stopped {
                Error::new(ErrorKind::Interrupted, &attempted, "interrupted")
            } else {
                refusal.attempting(&attempted)
            }
        })
    }

    fn send_size(&self, outgoing: &Outgoing) -> Result<u64> {
        self.state()
            .and_then(|state| Ok(state.snap(&outgoing.snapshot)?.space.referenced))
            .map_err(|refusal| {
                refusal.attempting(format!("estimate a stream of {}", outgoing.snapshot))
            })
    }

    fn send(&self, outgoing: &Outgoing, take: &mut Taking<'_>) -> Result<std::io::Result<()>> {
        let stream = self
            .stream_of(outgoing)
            .map_err(|refusal| refusal.attempting(format!("send {}", outgoing.snapshot)))?;
        Ok(take(&mut stream.as_slice()))
    }

    fn receive(&self, incoming: &Incoming, give: &mut Giving<'_>) -> Result<std::io::Result<()>> {
        let mut stream = Vec::new();
        let attempted = format!("receive {}", incoming.target.dataset());
        if let Err(error) = give(&mut stream) {
            // Of what did not begin nothing is kept.
            if incoming.keep && !stream.is_empty() {
                let held = self.hold(incoming, &stream);
                held.map_err(|refusal| refusal.attempting(attempted))?;
            }
            return Ok(Err(error));
        }
        self.arrive(incoming, &stream)
            .map(Ok)
            .map_err(|refusal| refusal.attempting(attempted))
    }
}
