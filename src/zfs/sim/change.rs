//! One change of the simulated machine: a copy of its state that becomes the
//! state when it is saved, which is one transaction group of a pool.

use nix::errno::Errno;

use super::files::Files;
use super::refusal::{Ruled, file_error, refusal, refuse};
use super::state::{Head, Properties, Space, State, TreeId};
use crate::zfs::{DatasetName, Kind, PoolName};

/// A change under way.
pub(super) struct Change<'a> {
    /// What will be.
    pub(super) state: State,
    /// The trees. What is made here is found by nobody before the state is saved.
    pub(super) files: &'a Files,
    /// The transaction group, once [`Change::begin`] says of which pool.
    pub(super) txg: u64,
    /// Seconds since the epoch.
    pub(super) now: i64,
    /// Save it even where it failed.
    pub(super) keep: bool,
}

impl<'a> Change<'a> {
    /// Begins with a copy of what is.
    pub(super) fn new(state: State, files: &'a Files) -> Self {
        let now = state.now();
        Self {
            state,
            files,
            txg: 0,
            now,
            keep: false,
        }
    }

    /// Opens the next transaction group of a pool.
    pub(super) fn begin(&mut self, pool: &PoolName) -> Ruled<()> {
        self.state.writable(pool)?;
        let pool = self.state.pool_mut(pool)?;
        pool.txg += 1;
        self.txg = pool.txg;
        Ok(())
    }

    /// Whether the pool has room for something that takes hardly any
    /// (`ZFS_SPACE_CHECK_NORMAL`).
    pub(super) fn room_for_metadata(&self, pool: &PoolName) -> Ruled<()> {
        let size = self.state.pool(pool)?.size;
        if self.state.used(&pool.clone().into()) >= size {
            return refuse(Errno::ENOSPC, "out of space");
        }
        Ok(())
    }

    /// Gives a new dataset its number, guid and times.
    pub(super) fn new_head(&mut self, kind: Kind, tree: TreeId, space: Space) -> Head {
        Head {
            object: self.state.number(),
            tree,
            guid: self.state.new_guid(),
            kind,
            createtxg: self.txg,
            creation: self.now,
            origin: None,
            properties: Properties::new(),
            snapshots: Vec::new(),
            space,
            dirty: false,
            busy: false,
            receiving: false,
            partial: None,
            encryption_root: None,
            key_missing: false,
        }
    }

    /// A new empty tree.
    pub(super) fn empty_tree(&mut self) -> Ruled<TreeId> {
        let tree = self.state.tree_number();
        self.files
            .create(tree)
            .map_err(file_error("make a directory of the simulation"))?;
        Ok(tree)
    }

    /// A copy of a tree.
    pub(super) fn copy_tree(&mut self, from: TreeId) -> Ruled<TreeId> {
        let to = self.state.tree_number();
        self.files
            .copy(from, to, &mut |_| true)
            .map_err(file_error("copy files of the simulation"))?;
        Ok(to)
    }

    /// The dataset's files as a snapshot keeps them, with their sizes.
    pub(super) fn freeze(&mut self, name: &DatasetName) -> Ruled<(TreeId, Space)> {
        let head = self.state.head(name)?;
        if !head.dirty {
            // Shared until somebody is about to write.
            return Ok((head.tree, head.space));
        }
        let live = head.tree;
        let tree = self.copy_tree(live)?;
        let space = self.measure(name, tree)?;
        Ok((tree, space))
    }

    /// The sizes of a tree that stands for the dataset's.
    fn measure(&self, name: &DatasetName, tree: TreeId) -> Ruled<Space> {
        let head = self.state.head(name)?;
        let before = self.state.previous(head).map(|snap| snap.tree);
        self.files
            .measure(tree, before, head.space)
            .map_err(file_error("measure files of the simulation"))
    }

    /// Makes the dataset's files its own and says that they may change from
    /// now on.
    pub(super) fn expose(&mut self, name: &DatasetName) -> Ruled<TreeId> {
        let mut tree = self.state.head(name)?.tree;
        if self.state.trees().get(&tree).is_some_and(|uses| *uses > 1) {
            tree = self.copy_tree(tree)?;
        }
        let head = self.state.head_mut(name)?;
        head.tree = tree;
        head.dirty = true;
        Ok(tree)
    }

    /// Measures the dataset's files after they may have changed.
    pub(super) fn settle(&mut self, name: &DatasetName) -> Ruled<()> {
        let tree = self.state.head(name)?.tree;
        let space = self.measure(name, tree)?;
        let object = self.state.head(name)?.object;
        let mounted = self.state.mounted(object);
        let head = self.state.head_mut(name)?;
        head.space = space;
        head.dirty = mounted;
        Ok(())
    }

    /// Takes a dataset out: no snapshots, no children, not in use.
    pub(super) fn remove_head(&mut self, name: &DatasetName) -> Ruled<()> {
        let Some(head) = self.state.datasets.remove(name) else {
            return Err(refusal(Errno::ENOENT, "dataset does not exist"));
        };
        self.state.trash.push(head.tree);
        // spa_prop_clear_bootfs
        for pool in self.state.pools.values_mut() {
            if pool.bootfs == Some(head.object) {
                pool.bootfs = None;
            }
        }
        if self.state.running == Some(head.object) {
            self.state.running = None;
        }
        Ok(())
    }
}
