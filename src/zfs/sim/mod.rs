//! A simulated machine with ZFS pools in a directory, or in memory.
//!
//! It is what `beadm-rs demo` and the quick start run on, without root and
//! without ZFS, and what the property tests run on. It is a simulation: no
//! block is ever shared or compressed, and a *mount* is a symbolic link.
//!
//! - `state`: what is remembered, as it stands in `DIR/state.json`;
//!   `store`: how it is kept; `files`: the files of datasets and snapshots,
//!   `DIR/data/<number>/`.
//! - `change`: one change, a transaction group; `rules`: what can be in one,
//!   with the kernel's checks; `datasets`: clone, create, set, rename,
//!   receive; `property`: names and values of properties.
//! - `view`: what `zfs list`, `zfs get` and `zpool list` show.
//! - `engine`: [`Zfs`](crate::zfs::Zfs); `platform`:
//!   [`Platform`](crate::os::Platform); `boot`: [`Sim::reboot`].
//! - `loader`: a loader's partition and variables, where it has them; `grub`: what its programs do.
//! - `stream`: what leaves it and comes into it: ZFS's records around a form of its own.
//! - `contents`: [`Sim::write_file`], [`Sim::read_file`]; [`Edit`]: what no
//!   command of ZFS does (tests, demonstrations); [`Import`]: files of the host
//!   brought in.
//!
//! Where the kernel's behaviour is modelled, the function is named. Not
//! modelled: bookmarks, deferred destroy, limits on numbers of file systems
//! and snapshots, delegation, slop space, blocks. Sizes are those of files
//! rounded up to 512 bytes, compared by path, size and time; quotas stop
//! transfers, promotes and renames as in ZFS, and not what is written to a
//! mounted directory.

mod boot;
mod change;
mod check;
mod contents;
mod datasets;
mod edit;
mod engine;
mod files;
mod grub;
mod import;
mod label;
mod loader;
mod packages;
mod platform;
mod property;
mod refusal;
mod rules;
mod state;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use camino::Utf8Path;

use self::change::Change;
use self::refusal::{Refusal, Ruled, file_error};
use self::state::{PoolState, SCHEMA, Space, State};
use self::store::Store;
use super::{Kind, PoolName, Result};

pub use self::edit::Edit;
pub use self::import::{Import, ImportReport};

/// A pool of a new machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPool {
    /// Its name.
    pub name: PoolName,
    /// Bytes of it.
    pub size: u64,
}

/// A simulated machine: an engine and an operating system in one. Clones are
/// the same machine.
#[derive(Clone)]
pub struct Sim {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    /// How many more changes succeed before the machine stops.
    power: Mutex<Option<u64>>,
    /// In memory: where the lock is, made when it is first asked for.
    scratch: OnceLock<tempfile::TempDir>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("directory", &self.inner.store.directory)
            .finish_non_exhaustive()
    }
}

impl Sim {
    /// Makes a machine with empty pools in a directory, which must be empty or
    /// not there; only its owner can look into it.
    ///
    /// # Errors
    /// Where the directory is there and not empty, or cannot be made.
    pub fn create(directory: &Utf8Path, pools: &[NewPool]) -> Result<Self> {
        let attempted = format!("make a simulated machine in {directory}");
        State::with_pools(pools, false)
            .and_then(|state| Store::create(directory, state))
            .and_then(|store| Self::over(store).with_roots())
            .map_err(|refusal| refusal.attempting(attempted))
    }

    /// Opens the machine in a directory.
    ///
    /// # Errors
    /// Where there is none, or it is of a format this program does not know.
    pub fn open(directory: &Utf8Path) -> Result<Self> {
        Store::open(directory).map(Self::over).map_err(|refusal| {
            refusal.attempting(format!("open the simulated machine {directory}"))
        })
    }

    /// A machine without a directory, the same each time the same is done to
    /// it: guids and times are counted, not drawn.
    ///
    /// Files are kept in memory ([`Sim::write_file`], [`Sim::read_file`]);
    /// `with_files` writes them to a temporary directory, and reads them again
    /// afterwards where they were to be changed. Mounts are remembered and lead
    /// nowhere.
    ///
    /// # Errors
    /// Two pools of the same name.
    pub fn in_memory(pools: &[NewPool]) -> Result<Self> {
        State::with_pools(pools, true)
            .map(Store::memory)
            .and_then(|store| Self::over(store).with_roots())
            .map_err(|refusal| refusal.attempting("make a simulated machine"))
    }

    /// A machine in memory as a state file says it is, without its files.
    ///
    /// # Errors
    /// Where the text is not a state.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn from_state(text: &str) -> Result<Self> {
        store::parse(Utf8Path::new("state.json"), text)
            .map(Store::memory)
            .map(Self::over)
            .map_err(|refusal| refusal.attempting("read the state of a simulated machine"))
    }

    /// A second machine that is now as this one, both in memory.
    ///
    /// # Errors
    /// Where this one is in a directory.
    pub fn fork(&self) -> Result<Self> {
        let attempted = "copy the simulated machine";
        let store = &self.inner.store;
        let Some(trees) = store.files.memory() else {
            return Err(Refusal::other("it is in a directory").attempting(attempted));
        };
        let state = store
            .state()
            .map_err(|refusal| refusal.attempting(attempted))?;
        let copy = Store::memory(State::clone(&state));
        if let Some(mut copied) = copy.files.memory() {
            copied.clone_from(&trees);
        }
        Ok(Self::over(copy))
    }

    fn over(store: Store) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                power: Mutex::new(None),
                scratch: OnceLock::new(),
            }),
        }
    }

    /// Makes the pools' own datasets.
    fn with_roots(self) -> Ruled<Self> {
        self.change(|change| {
            let pools: Vec<PoolName> = change.state.pools.keys().cloned().collect();
            for pool in pools {
                change.begin(&pool)?;
                let tree = change.empty_tree()?;
                let head = change.new_head(Kind::Filesystem, tree, Space::default());
                change.state.datasets.insert(pool.into(), head);
            }
            Ok(())
        })?;
        Ok(self)
    }

    /// After `changes` more changes every call fails, as after a power cut,
    /// until [`Sim::resume`], [`Sim::reboot`], or until the directory is opened
    /// anew.
    ///
    /// A change is a transaction group: `transact` is one however many
    /// operations it has, each clone is one and its settings another. Beside
    /// them a mount, an unmount, and work with writable files count one each.
    pub fn fail_after(&self, changes: u64) {
        *self.power() = Some(changes);
    }

    /// The machine has power again.
    pub fn resume(&self) {
        *self.power() = None;
    }

    fn power(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.inner
            .power
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn powered(&self) -> Ruled<()> {
        if *self.power() == Some(0) {
            return Err(Refusal::other("the simulated machine stopped"));
        }
        Ok(())
    }

    fn spend(&self) {
        let mut power = self.power();
        *power = power.map(|left| left.saturating_sub(1));
    }

    /// What is.
    fn state(&self) -> Ruled<Arc<State>> {
        self.powered()?;
        self.inner.store.state()
    }

    /// One change, which counts.
    fn change<T>(&self, work: impl FnOnce(&mut Change<'_>) -> Ruled<T>) -> Ruled<T> {
        self.change_after(work, |_| Ok(()), true)
    }

    /// One change; once it is saved, `after` does what may be done twice.
    fn change_after<T>(
        &self,
        work: impl FnOnce(&mut Change<'_>) -> Ruled<T>,
        after: impl FnOnce(&T) -> Ruled<()>,
        counts: bool,
    ) -> Ruled<T> {
        self.powered()?;
        let store = &self.inner.store;
        let _exclusive = store.exclusive()?;
        let before = store.state()?;
        let mut change = Change::new(State::clone(&before), &store.files);
        let swept = store.files.sweep(change.state.last_tree);
        swept.map_err(file_error("remove unfinished files of the simulation"))?;
        // Removed when they were thrown away, unless that process was killed.
        let leftover = std::mem::take(&mut change.state.trash);
        for tree in leftover {
            self.throw_away(tree);
        }
        let done = work(&mut change);
        let unchanged = change.state == *before;
        if (done.is_ok() && !unchanged) || (done.is_err() && change.keep) {
            change.state.settle_trash();
            let trash = change.state.trash.clone();
            store.save(change.state)?;
            for tree in trash {
                self.throw_away(tree);
            }
            if counts {
                self.spend();
            }
        }
        let done = done?;
        after(&done)?;
        Ok(done)
    }

    fn throw_away(&self, tree: state::TreeId) {
        // What cannot be removed harms nobody and is in nobody's way.
        if let Err(error) = self.inner.store.files.remove(tree) {
            tracing::debug!(tree, %error, "files of the simulation are left behind");
        }
    }
}

impl State {
    fn with_pools(pools: &[NewPool], reproducible: bool) -> Ruled<Self> {
        let mut state = Self {
            schema: SCHEMA.to_owned(),
            reproducible,
            ..Self::default()
        };
        for pool in pools {
            let guid = state.new_guid();
            let new = PoolState {
                guid,
                size: pool.size,
                // Where the first dataset of a real pool is (TXG_INITIAL).
                txg: 3,
                readonly: false,
                health: "ONLINE".to_owned(),
                altroot: None,
                bootfs: None,
            };
            if state.pools.insert(pool.name.clone(), new).is_some() {
                return Err(Refusal::other(format!(
                    "there are two pools '{}'",
                    pool.name
                )));
            }
        }
        Ok(state)
    }
}
