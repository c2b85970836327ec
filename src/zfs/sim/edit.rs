//! What no command of ZFS does, or not that simply: for tests and
//! demonstrations.

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;

use super::change::Change;
use super::datasets;
use super::refusal::{Ruled, refusal};
use super::state::{Head, Mounted, Space};
use super::{Sim, view};
use crate::zfs::{Canmount, DatasetName, Kind, PoolName, Result, SnapshotName};

/// The state of a machine while [`Sim::edit`] works on it.
///
/// Nothing is checked beyond whether the object is there. All changes of one
/// call become visible at once, and at the expense of no transaction group.
pub struct Edit<'a, 'b> {
    change: &'a mut Change<'b>,
    refused: Option<super::refusal::Refusal>,
}

impl Sim {
    /// Changes the machine behind the back of ZFS.
    ///
    /// # Errors
    /// The first object named that is not there; nothing is changed then.
    pub fn edit(&self, work: impl FnOnce(&mut Edit<'_, '_>)) -> Result<()> {
        self.change_after(
            |change| {
                let mut edit = Edit {
                    change,
                    refused: None,
                };
                work(&mut edit);
                edit.refused.map_or(Ok(()), Err)
            },
            |()| Ok(()),
            false,
        )
        .map_err(|refusal| refusal.attempting("edit the simulated machine"))
    }
}

impl Edit<'_, '_> {
    fn note(&mut self, done: Ruled<()>) {
        if let Err(refusal) = done {
            self.refused.get_or_insert(refusal);
        }
    }

    fn with_head(&mut self, dataset: &DatasetName, work: impl FnOnce(&mut Head)) {
        let done = self.change.state.head_mut(dataset).map(work);
        self.note(done);
    }

    /// Sets a property of a dataset, local or received.
    pub fn property(&mut self, dataset: &DatasetName, name: &str, value: &str, received: bool) {
        self.with_head(dataset, |head| {
            datasets::force(&mut head.properties, name, value, received);
        });
    }

    /// Takes a property of a dataset away.
    pub fn inherit(&mut self, dataset: &DatasetName, name: &str) {
        self.with_head(dataset, |head| {
            head.properties.remove(name);
        });
    }

    /// Sets a user property of a snapshot.
    pub fn snapshot_property(&mut self, snapshot: &SnapshotName, name: &str, value: &str) {
        let done = self
            .change
            .state
            .snap_mut(snapshot)
            .map(|snap| datasets::force(&mut snap.properties, name, value, false));
        self.note(done);
    }

    /// Adds a hold to a snapshot, or takes it away.
    pub fn hold(&mut self, snapshot: &SnapshotName, tag: &str, held: bool) {
        let done = self.change.state.snap_mut(snapshot).map(|snap| {
            snap.holds.retain(|other| other != tag);
            if held {
                snap.holds.push(tag.to_owned());
                snap.holds.sort();
            }
        });
        self.note(done);
    }

    /// Something keeps a dataset busy (a running receive, a loop device).
    pub fn busy(&mut self, dataset: &DatasetName, busy: bool) {
        self.with_head(dataset, |head| head.busy = busy);
    }

    /// Something keeps a snapshot busy (a running send, `.zfs/snapshot`).
    pub fn snapshot_busy(&mut self, snapshot: &SnapshotName, busy: bool) {
        let done = self
            .change
            .state
            .snap_mut(snapshot)
            .map(|snap| snap.busy = busy);
        self.note(done);
    }

    /// A receive into a dataset is under way or can be resumed, as far as can be seen:
    /// its token is none that could be used.
    pub fn receiving(&mut self, dataset: &DatasetName, receiving: bool) {
        self.with_head(dataset, |head| head.receiving = receiving);
    }

    /// Makes a dataset and everything below it use the key of `root`, which is
    /// there or not; without a root they are not encrypted.
    pub fn encryption(&mut self, dataset: &DatasetName, root: Option<&DatasetName>, loaded: bool) {
        let done = (|| {
            let state = &mut self.change.state;
            let object = match root {
                Some(root) => {
                    let head = state.head_mut(root)?;
                    head.key_missing = !loaded;
                    Some(head.object)
                }
                None => None,
            };
            state.head(dataset)?;
            for (name, head) in &mut state.datasets {
                if name.is_within(dataset) {
                    head.encryption_root = object;
                }
            }
            Ok(())
        })();
        self.note(done);
    }

    /// Makes a volume. It has no files.
    pub fn volume(&mut self, name: &DatasetName) {
        let done = (|| {
            datasets::check_target(&self.change.state, name)?;
            self.change.begin(&name.pool())?;
            let tree = self.change.empty_tree()?;
            let head = self.change.new_head(Kind::Volume, tree, Space::default());
            self.change.state.datasets.insert(name.clone(), head);
            Ok(())
        })();
        self.note(done);
    }

    /// Imports a pool read-only, or no longer.
    pub fn pool_readonly(&mut self, pool: &PoolName, readonly: bool) {
        let done = self
            .change
            .state
            .pool_mut(pool)
            .map(|pool| pool.readonly = readonly);
        self.note(done);
    }

    /// Sets a pool's health: `ONLINE`, `DEGRADED`, or `SUSPENDED`, in which it
    /// refuses every change.
    pub fn pool_health(&mut self, pool: &PoolName, health: &str) {
        let done = self
            .change
            .state
            .pool_mut(pool)
            .map(|pool| health.clone_into(&mut pool.health));
        self.note(done);
    }

    /// Sets a pool's size, in bytes.
    pub fn pool_size(&mut self, pool: &PoolName, size: u64) {
        let done = self
            .change
            .state
            .pool_mut(pool)
            .map(|pool| pool.size = size);
        self.note(done);
    }

    /// Imports a pool under another root, or under none.
    pub fn altroot(&mut self, pool: &PoolName, altroot: Option<&Utf8Path>) {
        let altroot = altroot.map(Utf8Path::to_owned);
        let done = self
            .change
            .state
            .pool_mut(pool)
            .map(|pool| pool.altroot = altroot);
        self.note(done);
    }

    /// Makes a dataset the running root, mounted at `/` with its own children,
    /// without a reboot. Nothing else is mounted or unmounted.
    pub fn running(&mut self, root: &DatasetName) {
        let done = (|| {
            let state = &mut self.change.state;
            let object = state.head(root)?.object;
            state.running = Some(object);
            let below: Vec<_> = state
                .below(root)
                .filter(|(_, head)| {
                    head.kind == Kind::Filesystem && view::canmount_of(head) != Canmount::Off
                })
                .filter_map(|(name, head)| match view::mountpoint_of(state, name) {
                    crate::zfs::Mountpoint::Path(path) => Some((head.object, path)),
                    _ => None,
                })
                .collect();
            self.mounted_at(object, "/".into(), None)?;
            for (object, directory) in below {
                self.mounted_at(object, directory, None)?;
            }
            Ok(())
        })();
        self.note(done);
    }

    /// Mounts a dataset somewhere in another mount namespace.
    pub fn mounted_elsewhere(
        &mut self,
        dataset: &DatasetName,
        directory: &Utf8Path,
        pid: u32,
        command: &str,
    ) {
        let done = self
            .change
            .state
            .head(dataset)
            .map(|head| head.object)
            .and_then(|object| {
                let elsewhere = Some((pid, command.to_owned()));
                self.mounted_at(object, directory.to_owned(), elsewhere)
            });
        self.note(done);
    }

    fn mounted_at(
        &mut self,
        object: u64,
        directory: Utf8PathBuf,
        elsewhere: Option<(u32, String)>,
    ) -> Ruled<()> {
        let name = self.change.state.name_of(object).cloned();
        let name = name.ok_or_else(|| refusal(Errno::ENOENT, "dataset does not exist"))?;
        self.change.expose(&name)?;
        self.change.state.mounts.push(Mounted {
            object,
            directory,
            readonly: false,
            linked: None,
            elsewhere,
        });
        Ok(())
    }
}
