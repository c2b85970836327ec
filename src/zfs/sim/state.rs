//! What the simulated machine remembers, as it stands in `state.json`.
//!
//! A *head* is a dataset, as the kernel calls it. Heads and snapshots refer to
//! each other by object number, as on disk, so a rename or a promote moves
//! nothing else. The files of a head or snapshot are a *tree*; several may
//! share one, until one of them is about to be changed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{SystemTime, UNIX_EPOCH};

use camino::Utf8PathBuf;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::refusal::{Ruled, refusal, refuse};
use crate::zfs::{DatasetName, Guid, Kind, PoolName, SnapshotName};

/// The format of `state.json`.
pub(super) const SCHEMA: &str = "beadm-rs/sim/v1";

/// The number of a head or a snapshot; never used twice.
pub(super) type ObjectId = u64;

/// The number of a tree of files; never used twice.
pub(super) type TreeId = u64;

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) schema: String,
    /// How often it was saved.
    pub(super) sequence: u64,
    /// The number the last object got, or the last guid was made from.
    pub(super) last: u64,
    /// The number the last tree got.
    pub(super) last_tree: TreeId,
    pub(super) pools: BTreeMap<PoolName, PoolState>,
    pub(super) datasets: BTreeMap<DatasetName, Head>,
    /// The head `/` is mounted from.
    pub(super) running: Option<ObjectId>,
    /// In the order they were made.
    pub(super) mounts: Vec<Mounted>,
    /// Trees nothing refers to any more.
    pub(super) trash: Vec<TreeId>,
    /// Guids and times come from `last` and the transaction group, so that a
    /// history gives the same machine each time it is run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) reproducible: bool,
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PoolState {
    pub(super) guid: Guid,
    /// Bytes.
    pub(super) size: u64,
    /// The last transaction group that changed something.
    pub(super) txg: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) readonly: bool,
    pub(super) health: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) altroot: Option<Utf8PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bootfs: Option<ObjectId>,
}

/// A file system or volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) object: ObjectId,
    pub(super) tree: TreeId,
    pub(super) guid: Guid,
    pub(super) kind: Kind,
    pub(super) createtxg: u64,
    pub(super) creation: i64,
    /// The snapshot it is a clone of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<ObjectId>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) properties: Properties,
    /// Oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) snapshots: Vec<Snap>,
    pub(super) space: Space,
    /// Its files may have changed since `space` was measured.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) dirty: bool,
    /// Held open by something that is not a mount (a test says so).
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) busy: bool,
    /// A receive into it is under way or can be resumed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) receiving: bool,
    /// What came of a stream before it broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) partial: Option<Partial>,
    /// The head whose key it uses, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) encryption_root: Option<ObjectId>,
    /// Of an encryption root: its key is not there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) key_missing: bool,
}

/// The beginning of a stream (`DS_FIELD_RESUME_*`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Partial {
    /// The snapshot it is of.
    pub(super) name: SnapshotName,
    pub(super) guid: Guid,
    /// The snapshot it is the difference to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<Guid>,
    /// Where the last part begins that came whole.
    pub(super) last: u64,
    pub(super) contents: Vec<u8>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Snap {
    pub(super) object: ObjectId,
    pub(super) tree: TreeId,
    pub(super) guid: Guid,
    /// What follows the `@`.
    pub(super) name: String,
    pub(super) createtxg: u64,
    pub(super) creation: i64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) properties: Properties,
    pub(super) space: Space,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) holds: Vec<String>,
    /// As in [`Head::busy`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) busy: bool,
}

/// The properties set on one object, by name.
pub(super) type Properties = BTreeMap<String, Value>;

/// One property that is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Value {
    pub(super) value: String,
    #[serde(default, skip_serializing_if = "Origin::is_local")]
    pub(super) source: Origin,
}

/// Where a set property comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Origin {
    /// Set on this very object.
    #[default]
    Local,
    /// Came with a stream.
    Received,
    /// Given at creation once and for all; `zfs get` shows no source.
    Fixed,
}

impl Origin {
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde hands out a reference
    fn is_local(&self) -> bool {
        *self == Self::Local
    }
}

impl Value {
    pub(super) fn local(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            source: Origin::Local,
        }
    }
}

/// Sizes of a tree, in bytes. *The one before* is the snapshot before it on
/// the same dataset, or the dataset's origin, or nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Space {
    /// All its files.
    pub(super) referenced: u64,
    /// Files that the one before does not have like this.
    pub(super) written: u64,
    /// Files of the one before that it does not have like that.
    pub(super) freed: u64,
    /// Says whether the tree still is as it was measured.
    pub(super) stamp: u64,
}

impl Space {
    /// The sizes of something just made from this.
    pub(super) fn unchanged(self) -> Self {
        Self {
            written: 0,
            freed: 0,
            ..self
        }
    }
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mounted {
    pub(super) object: ObjectId,
    pub(super) directory: Utf8PathBuf,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) readonly: bool,
    /// The directory was replaced by a link; the mode it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) linked: Option<u32>,
    /// A process in another mount namespace, and its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) elsewhere: Option<(u32, String)>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands out a reference
fn is_false(value: &bool) -> bool {
    !value
}

/// Scatters a counter over all of `u64` (the finalizer of `SplitMix64`).
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random number: the keys of the standard library's hash maps come from the
/// system's source of randomness.
fn random(salt: u64) -> u64 {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(salt);
    hasher.finish()
}

impl State {
    /// A number for a new object.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A number for a new tree.
    pub(super) fn tree_number(&mut self) -> TreeId {
        self.last_tree += 1;
        self.last_tree
    }

    /// An identity nothing here has; of 17 digits at least, as nearly all are: what has 16
    /// is an operation's id, to whoever reads what is printed.
    pub(super) fn new_guid(&mut self) -> Guid {
        loop {
            let number = self.number();
            let guid = Guid(if self.reproducible {
                scatter(number)
            } else {
                random(number)
            });
            let taken = guid.0 < 10_u64.pow(16)
                || self.pools.values().any(|pool| pool.guid == guid)
                || self.datasets.values().any(|head| {
                    head.guid == guid || head.snapshots.iter().any(|snap| snap.guid == guid)
                });
            if !taken {
                return guid;
            }
        }
    }

    /// Seconds since the epoch.
    pub(super) fn now(&self) -> i64 {
        if self.reproducible {
            let groups: u64 = self.pools.values().map(|pool| pool.txg).sum();
            return 1_700_000_000 + i64::try_from(groups).unwrap_or_default();
        }
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok())
            .unwrap_or_default()
    }

    /// The dataset of that name.
    pub(super) fn head(&self, name: &DatasetName) -> Ruled<&Head> {
        self.datasets
            .get(name)
            .ok_or_else(|| refusal(Errno::ENOENT, format!("'{name}': dataset does not exist")))
    }

    /// The same, to be changed.
    pub(super) fn head_mut(&mut self, name: &DatasetName) -> Ruled<&mut Head> {
        self.datasets
            .get_mut(name)
            .ok_or_else(|| refusal(Errno::ENOENT, format!("'{name}': dataset does not exist")))
    }

    /// The snapshot of that name.
    pub(super) fn snap(&self, name: &SnapshotName) -> Ruled<&Snap> {
        self.datasets
            .get(&name.dataset())
            .and_then(|head| head.snapshots.iter().find(|s| s.name == name.component()))
            .ok_or_else(|| refusal(Errno::ENOENT, format!("'{name}': dataset does not exist")))
    }

    /// The same, to be changed.
    pub(super) fn snap_mut(&mut self, name: &SnapshotName) -> Ruled<&mut Snap> {
        self.datasets
            .get_mut(&name.dataset())
            .and_then(|head| {
                head.snapshots
                    .iter_mut()
                    .find(|s| s.name == name.component())
            })
            .ok_or_else(|| refusal(Errno::ENOENT, format!("'{name}': dataset does not exist")))
    }

    /// The pool of that name.
    pub(super) fn pool(&self, name: &PoolName) -> Ruled<&PoolState> {
        self.pools
            .get(name)
            .ok_or_else(|| refusal(Errno::ENOENT, format!("'{name}': no such pool")))
    }

    /// The same, to be changed.
    pub(super) fn pool_mut(&mut self, name: &PoolName) -> Ruled<&mut PoolState> {
        self.pools
            .get_mut(name)
            .ok_or_else(|| refusal(Errno::ENOENT, format!("'{name}': no such pool")))
    }

    /// Whether the pool can be written to.
    pub(super) fn writable(&self, name: &PoolName) -> Ruled<()> {
        let pool = self.pool(name)?;
        if pool.health == "SUSPENDED" {
            return refuse(Errno::EIO, "pool I/O is currently suspended");
        }
        if pool.readonly {
            return refuse(Errno::EROFS, "the pool is read-only");
        }
        Ok(())
    }

    /// The name of the head with that number.
    pub(super) fn name_of(&self, object: ObjectId) -> Option<&DatasetName> {
        self.datasets
            .iter()
            .find(|(_, head)| head.object == object)
            .map(|(name, _)| name)
    }

    /// The head with that number.
    pub(super) fn by_object(&self, object: ObjectId) -> Option<&Head> {
        self.datasets.values().find(|head| head.object == object)
    }

    /// Where the snapshot with that number is: its dataset, and its place there.
    pub(super) fn place(&self, object: ObjectId) -> Option<(&DatasetName, usize)> {
        self.datasets.iter().find_map(|(name, head)| {
            let index = head.snapshots.iter().position(|s| s.object == object)?;
            Some((name, index))
        })
    }

    /// The snapshot with that number.
    pub(super) fn snap_by_object(&self, object: ObjectId) -> Option<&Snap> {
        self.datasets
            .values()
            .flat_map(|head| &head.snapshots)
            .find(|snap| snap.object == object)
    }

    /// What a head's files are compared with, and what it is rolled back to:
    /// its newest snapshot, else its origin (`ds_prev` in the kernel).
    pub(super) fn previous<'a>(&'a self, head: &'a Head) -> Option<&'a Snap> {
        match head.snapshots.last() {
            Some(snap) => Some(snap),
            None => self.snap_by_object(head.origin?),
        }
    }

    /// The datasets below one, without itself.
    pub(super) fn below<'a>(
        &'a self,
        root: &'a DatasetName,
    ) -> impl Iterator<Item = (&'a DatasetName, &'a Head)> {
        self.datasets
            .range(root.clone()..)
            .take_while(|(name, _)| name.as_str().starts_with(root.as_str()))
            .filter(move |(name, _)| *name != root && name.is_within(root))
    }

    /// Mounted in any namespace.
    pub(super) fn mounted(&self, object: ObjectId) -> bool {
        self.mounts.iter().any(|mount| mount.object == object)
    }

    /// Whether its key is there, or none is needed.
    pub(super) fn key_loaded(&self, head: &Head) -> bool {
        match head.encryption_root {
            Some(root) if root == head.object => !head.key_missing,
            Some(root) => self.by_object(root).is_some_and(|root| !root.key_missing),
            None => true,
        }
    }

    /// Bytes of a dataset and its snapshots, without those below it.
    pub(super) fn own_used(head: &Head) -> u64 {
        let snapshots: u64 = head.snapshots.iter().map(|s| s.space.written).sum();
        snapshots.saturating_add(head.space.written)
    }

    /// Bytes of a dataset, its snapshots and everything below it.
    pub(super) fn used(&self, name: &DatasetName) -> u64 {
        let own = self.datasets.get(name).map_or(0, Self::own_used);
        self.below(name)
            .map(|(_, head)| Self::own_used(head))
            .fold(own, u64::saturating_add)
    }

    /// Every tree something refers to, and how often.
    pub(super) fn trees(&self) -> BTreeMap<TreeId, usize> {
        let mut trees = BTreeMap::new();
        for head in self.datasets.values() {
            *trees.entry(head.tree).or_insert(0) += 1;
            for snap in &head.snapshots {
                *trees.entry(snap.tree).or_insert(0) += 1;
            }
        }
        trees
    }

    /// Keeps in the trash only what nothing refers to.
    pub(super) fn settle_trash(&mut self) {
        if self.trash.is_empty() {
            return;
        }
        let trees = self.trees();
        let trash: BTreeSet<TreeId> = std::mem::take(&mut self.trash).into_iter().collect();
        self.trash = trash
            .into_iter()
            .filter(|tree| !trees.contains_key(tree))
            .collect();
    }
}
