//! What shares a transaction group, and what it is guarded by; clones.

use std::fmt;

use serde::Serialize;

use super::{DatasetName, Guid, PREFIX, Setting, SnapshotName};

/// What must be true of an object for an operation to touch it; looked at in
/// the same transaction group as the operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Guard {
    /// The object has this guid.
    Guid(Guid),
    /// The dataset is a clone of this snapshot.
    Origin(SnapshotName),
    /// The dataset has the guid `own`, and its newest snapshot, of those that
    /// the transaction does not destroy, the guid `snapshot`.
    Newest {
        /// The dataset's.
        own: Guid,
        /// Its newest snapshot's.
        snapshot: Guid,
    },
    /// The object carries the mark `key` (without [`PREFIX`]) with its own guid
    /// and `text`: what [`SyncOp::Mark`] sets.
    Mark {
        /// The property without [`PREFIX`].
        key: String,
        /// What follows the guid.
        text: String,
    },
    /// The property `org.beadm-rs:<key>` has exactly this value, set or
    /// inherited: how a received dataset is known, whose guid was not known
    /// when it was marked.
    Setting {
        /// The property without [`PREFIX`].
        key: String,
        /// Its whole value.
        value: String,
    },
}

/// An operation that can share a transaction group with others on its pool.
///
/// The set is that of `zfs.sync` in OpenZFS 2.2 and later (zfs-program(8)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum SyncOp {
    /// Set `org.beadm-rs:<key>` on a dataset or snapshot to its own guid, a
    /// space, and `text`.
    Mark {
        /// Dataset or snapshot.
        object: String,
        /// The property without [`PREFIX`].
        key: String,
        /// What follows the guid.
        text: String,
    },
    /// Take `org.beadm-rs:<key>` away again. Nothing happens where it is not
    /// set or the object is gone.
    Unmark {
        /// Dataset or snapshot.
        object: String,
        /// The property without [`PREFIX`].
        key: String,
    },
    /// Take one snapshot.
    Snapshot {
        /// Its name.
        snapshot: SnapshotName,
    },
    /// Make a clone the owner of its origin and what came before it.
    Promote {
        /// The clone.
        dataset: DatasetName,
        /// Checked before anything is done. Not possible where an earlier
        /// operation of the same transaction makes it a clone of what it is then.
        checked: bool,
    },
    /// Destroy a dataset (without children or snapshots) or a snapshot.
    Destroy {
        /// Dataset or snapshot.
        object: String,
        /// What it must be.
        guard: Guard,
        /// Its absence is no error (undoing, repeating).
        missing_ok: bool,
    },
    /// Roll a dataset back to its newest snapshot (newest after the operations
    /// before this one).
    Rollback {
        /// The dataset; not mounted anywhere.
        dataset: DatasetName,
        /// What it must be.
        guard: Guard,
    },
}

impl fmt::Display for SyncOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mark { object, key, .. } => write!(f, "set {PREFIX}{key} on {object}"),
            Self::Unmark { object, key } => write!(f, "clear {PREFIX}{key} on {object}"),
            Self::Snapshot { snapshot } => write!(f, "take snapshot {snapshot}"),
            Self::Promote { dataset, .. } => write!(f, "promote {dataset}"),
            Self::Destroy { object, .. } => write!(f, "destroy {object}"),
            Self::Rollback { dataset, .. } => write!(f, "roll back {dataset}"),
        }
    }
}

/// One clone to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CloneOf {
    /// What it is made from.
    pub snapshot: SnapshotName,
    /// What it is called.
    pub target: DatasetName,
    /// Its settings; set after the clone is made, in a later transaction group
    /// (`zfs_ioc_clone`).
    pub settings: Vec<Setting>,
}

impl CloneOf {
    /// Whether its settings are made while clones below it are, which then wait for one
    /// transaction group less: there are some among these, and what they inherit meanwhile
    /// mounts none of them elsewhere.
    #[must_use]
    pub fn is_set_later(&self, clones: &[Self]) -> bool {
        let later = |(name, _): &Setting| name == "canmount" || name.contains(':');
        !self.settings.is_empty()
            && self.settings.iter().all(later)
            && clones
                .iter()
                .any(|other| other.target.parent().as_ref() == Some(&self.target))
    }
}
