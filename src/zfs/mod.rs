//! ZFS as this program sees it: one trait, [`Zfs`], implemented by an engine.
//!
//! - [`cli`]: the default; drives `zfs` and `zpool`. With the feature `libzetta`
//!   it sends streams through libzfs_core (`lzc`).
//! - [`sim`]: a simulated pool in a directory, for trying out and for tests.
//! - [`name`], [`error`], and what is re-exported here of `property`, `op` and
//!   `stream`: the vocabulary; [`parse`]: pure readers of what `zfs` and `zpool` print.

pub mod cli;
pub mod error;
#[cfg(feature = "libzetta")]
mod lzc;
pub mod name;
mod op;
pub mod parse;
mod property;
pub mod sim;
mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

pub use error::{Error, ErrorKind, Result};
pub use name::{DatasetName, NameError, PoolName, SnapshotName};
pub use op::{CloneOf, Guard, SyncOp};
pub use property::{Canmount, Mountpoint, Property, Setting, Source};
pub use stream::{Blocks, Giving, Incoming, Meter, Outgoing, Taking, Transfer};

/// The prefix of every user property this program sets.
pub const PREFIX: &str = "org.beadm-rs:";

/// ZFS's own identity of a pool, dataset or snapshot.
///
/// It survives a rename; a dataset that was received elsewhere has a new one
/// (zfsprops(7), `guid`).
///
/// Written as a text in JSON: many readers keep numbers in 53 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Guid(pub u64);

impl TryFrom<String> for Guid {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Guid> for String {
    fn from(guid: Guid) -> Self {
        guid.to_string()
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Guid {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// One imported pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// Its identity.
    pub guid: Guid,
    /// `ONLINE`, `DEGRADED`, `SUSPENDED`, … as zpool(8) writes it.
    pub health: String,
    /// Imported read-only.
    pub readonly: bool,
    /// The root all mountpoints are under, where it was imported with `-R`.
    pub altroot: Option<Utf8PathBuf>,
    /// The dataset a loader boots by default.
    pub bootfs: Option<DatasetName>,
    /// Bytes free in the pool.
    pub free: u64,
    /// Bytes of the pool in all.
    pub size: u64,
}

impl Pool {
    /// It answers: neither faulted, suspended nor otherwise out of order.
    #[must_use]
    pub fn is_working(&self) -> bool {
        matches!(self.health.as_str(), "ONLINE" | "DEGRADED")
    }
}

/// What kind of dataset it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file system.
    Filesystem,
    /// A volume (a block device).
    Volume,
}

/// A file system or volume with what this program asks of every one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Its name.
    pub name: DatasetName,
    /// File system or volume.
    pub kind: Kind,
    /// Its identity.
    pub guid: Guid,
    /// The transaction group it was made in: the order in which things came.
    pub createtxg: u64,
    /// When it was made, seconds since the epoch.
    pub creation: i64,
    /// Bytes of it, its snapshots and everything below it.
    pub used: u64,
    /// Bytes it refers to, shared with others or not.
    pub referenced: u64,
    /// Bytes written since its newest snapshot (since its origin, where it has none).
    pub written: u64,
    /// The snapshot it is a clone of.
    pub origin: Option<SnapshotName>,
    /// `canmount`; [`Canmount::On`] for a volume.
    pub canmount: Canmount,
    /// `mountpoint`, the pool's altroot included.
    pub mountpoint: Mountpoint,
    /// Mounted in this program's mount namespace.
    pub mounted: bool,
    /// Mounted read-only by its property.
    pub readonly: bool,
    /// Where its key comes from; `None` where it is not encrypted.
    pub encryption_root: Option<DatasetName>,
    /// The key is there (also where none is needed).
    pub key_loaded: bool,
    /// How far what is being received into it has come, or had come when it broke off
    /// (`receive_resume_token`).
    pub token: Option<String>,
    /// The properties `org.beadm-rs:*` asked for ([`SURVEYED`]), without the
    /// prefix, set or inherited; see `marker` for which count.
    pub marks: BTreeMap<String, String>,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
}

impl Dataset {
    /// A receive into it is under way or can be resumed.
    #[must_use]
    pub fn receiving(&self) -> bool {
        self.token.is_some()
    }
}

/// A snapshot with what this program asks of every one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: SnapshotName,
    /// Its identity; the same after send and receive.
    pub guid: Guid,
    /// The transaction group it was taken in.
    pub createtxg: u64,
    /// When it was taken, seconds since the epoch.
    pub creation: i64,
    /// Bytes only it refers to.
    pub used: u64,
    /// Bytes it refers to.
    pub referenced: u64,
    /// Bytes written between the snapshot before it and it.
    pub written: u64,
    /// The datasets cloned from it, in this pool, wherever they lie.
    pub clones: Vec<DatasetName>,
    /// How many holds keep it (zfs-hold(8)).
    pub holds: u64,
    /// As in [`Dataset::marks`].
    pub marks: BTreeMap<String, String>,
}

/// The user properties every survey asks for, without [`PREFIX`].
///
/// `description` stands last: it is the one whose value a person writes, and in
/// a tab-separated listing the last column may hold anything.
pub const SURVEYED: [&str; 11] = [
    "op",
    "confirmed",
    "failback",
    "pinned",
    "exclude",
    "schema",
    "trial",
    "fell-back",
    "files",
    "made",
    "description",
];

/// What the bytes are for that a dataset uses itself (zfsprops(7), `usedby*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsedBy {
    /// Its own contents, which its end would free if it had no snapshots.
    pub dataset: u64,
    /// Its snapshots.
    pub snapshots: u64,
    /// What is reserved for it and not used.
    pub refreservation: u64,
}

/// An engine: everything this program asks of ZFS.
///
/// Reading calls take no lock and change nothing. A call that changes
/// something has either done it all or says why not; [`Zfs::transact`] says
/// how far it came.
pub trait Zfs: Send + Sync {
    /// What the engine is, for messages: "OpenZFS", "a simulated pool in DIR".
    fn label(&self) -> String;

    /// Every imported pool.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] where there is no ZFS.
    fn pools(&self) -> Result<Vec<Pool>>;

    /// Every file system and volume at and below `roots`, with its snapshots
    /// where `snapshots` is set, in the order of ZFS (parents before
    /// children). A root that does not exist is left out.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn tree(&self, roots: &[DatasetName], snapshots: bool) -> Result<Vec<Dataset>>;

    /// The roots and what lies directly below them, without snapshots. A root
    /// that does not exist is left out.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn children(&self, roots: &[DatasetName]) -> Result<Vec<Dataset>> {
        let mut datasets = self.tree(roots, false)?;
        datasets.retain(|dataset| {
            roots
                .iter()
                .any(|root| dataset.name == *root || dataset.name.parent().as_ref() == Some(root))
        });
        Ok(datasets)
    }

    /// What the space of each file system directly below `root` is for.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn used_by(&self, root: &DatasetName) -> Result<BTreeMap<DatasetName, UsedBy>> {
        let of = |dataset: Dataset| {
            let used = UsedBy {
                dataset: dataset.written,
                snapshots: dataset.snapshots.iter().map(|it| it.written).sum(),
                refreservation: 0,
            };
            (dataset.name, used)
        };
        let datasets = self.tree(std::slice::from_ref(root), true)?.into_iter();
        let below = datasets.filter(|dataset| dataset.name.parent().as_ref() == Some(root));
        Ok(below.map(of).collect())
    }

    /// The properties set or received on every file system at and below
    /// `root`; of these only, without the inherited ones.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and whatever else ZFS says.
    fn properties(&self, root: &DatasetName) -> Result<BTreeMap<DatasetName, Vec<Property>>>;

    /// The values that such user properties have on the file systems at and below
    /// `root`, inherited ones too; none for one that is set nowhere.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and whatever else ZFS says.
    fn effective(
        &self,
        root: &DatasetName,
        names: &[&str],
    ) -> Result<BTreeMap<DatasetName, Vec<Property>>> {
        let set = self.properties(&root.pool().into())?;
        let value = |dataset: &DatasetName, name: &str| {
            let mut at = Some(dataset.clone());
            while let Some(above) = at {
                let own = set.get(&above).into_iter().flatten();
                if let Some(found) = own.into_iter().find(|property| property.name == name) {
                    return Some(found.clone());
                }
                at = above.parent();
            }
            None
        };
        let values = |dataset: Dataset| {
            let found = names.iter().filter_map(|name| value(&dataset.name, name));
            (dataset.name.clone(), found.collect())
        };
        let datasets = self.tree(std::slice::from_ref(root), false)?;
        Ok(datasets.into_iter().map(values).collect())
    }

    /// The features of a pool that are active (zpool-features(7)), without
    /// `feature@`; none where the engine has no such thing.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn active_features(&self, _pool: &PoolName) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Those of the features that a pool does not have, or has disabled: what a
    /// stream that needs them cannot be received by.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn lacking_features(&self, _pool: &PoolName, _needed: &[String]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Whether this release knows a property that can be set on a file system.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn knows_property(&self, _name: &str) -> Result<bool> {
        Ok(true)
    }

    /// What is known of a pool's data that cannot be read any more, in the words
    /// of `zpool status`; `None` where nothing is.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn data_errors(&self, _pool: &PoolName) -> Result<Option<String>> {
        Ok(None)
    }

    /// Where the key of an encryption root is (`keylocation`, zfsprops(7));
    /// `None` where that was never said.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn key_location(&self, root: &DatasetName) -> Result<Option<String>> {
        let own = self.properties(root)?.remove(root).unwrap_or_default();
        let location = own
            .into_iter()
            .find(|property| property.name == "keylocation");
        Ok(location.map(|property| property.value))
    }

    /// The tags that hold a snapshot.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and whatever else ZFS says.
    fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<String>>;

    /// Runs the operations in order in one transaction group of the pool.
    ///
    /// Guards, promotions marked `checked`, whether a dataset that is to be
    /// destroyed or rolled back is in use, and, where nothing is promoted,
    /// whether something hangs on what is to be destroyed, are looked at before
    /// the first operation; a failure there has changed nothing. A power cut leaves all
    /// or nothing. An operation that fails after others leaves those done.
    ///
    /// # Errors
    /// The first failure; `attempted` names the operation.
    fn transact(&self, pool: &PoolName, ops: &[SyncOp]) -> Result<()>;

    /// Makes the clones, several at once; a target's parent must exist, or come
    /// before it among them. The settings of one may come after what is below it
    /// ([`CloneOf::is_set_later`]).
    ///
    /// # Errors
    /// The first failure; others may have been made.
    fn clone_all(&self, clones: &[CloneOf]) -> Result<()>;

    /// The same, and operations that wait for nothing of it ([`Zfs::transact`]): they may
    /// run before a clone is made, after it, or between.
    ///
    /// # Errors
    /// The first failure; the others may have been made, and the operations run.
    fn clone_beside(
        &self,
        clones: &[CloneOf],
        pool: &PoolName,
        operations: &[SyncOp],
    ) -> Result<()> {
        self.transact(pool, operations)?;
        self.clone_all(clones)
    }

    /// Makes an empty file system, not mounted.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn create(&self, target: &DatasetName, settings: &[Setting]) -> Result<()>;

    /// Sets properties of one dataset, without mounting or unmounting it.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn set(&self, dataset: &DatasetName, settings: &[Setting]) -> Result<()>;

    /// Renames a dataset with everything below it, without unmounting (`-u`).
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<()>;

    /// What `zfs diff -FH` prints of what changed from a snapshot to a dataset or
    /// snapshot that came from it. Both datasets have to be mounted where this
    /// thread sees them. Of a dataset ZFS takes a snapshot meanwhile.
    ///
    /// # Errors
    /// Whatever ZFS says; [`ErrorKind::Unsupported`] in a simulation.
    fn changes(&self, from: &SnapshotName, to: &str) -> Result<Vec<u8>> {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("compare {from} with {to}"),
            "this engine has no zfs diff",
        ))
    }

    /// Sets the pool's `bootfs`, or clears it.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn set_bootfs(&self, pool: &PoolName, dataset: Option<&DatasetName>) -> Result<()>;

    /// How many bytes a transfer will take, about.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn transfer_size(&self, transfer: &Transfer) -> Result<u64>;

    /// Sends and receives. The receiving side leaves nothing under the
    /// target's name unless all of it arrived.
    ///
    /// # Errors
    /// What either side said; [`ErrorKind::Interrupted`] where `meter` ended it.
    fn transfer(&self, transfer: &Transfer, meter: &dyn Meter) -> Result<()>;

    /// How many bytes a stream will have, about.
    ///
    /// # Errors
    /// Whatever ZFS says.
    fn send_size(&self, outgoing: &Outgoing) -> Result<u64>;

    /// Has a stream read by `take`: compressed and with large blocks as it lies in the
    /// pool. What `take` said is inside; where it said nothing, the stream was whole.
    ///
    /// # Errors
    /// What the sender said, where it ended before `take` did.
    fn send(&self, outgoing: &Outgoing, take: &mut Taking<'_>) -> Result<io::Result<()>>;

    /// Has a stream written by `give`, which is received without being mounted. What
    /// `give` said is inside; then nothing of the dataset is left, unless the stream was
    /// given to its end, or [`Incoming::keep`] is set and something of it had come.
    ///
    /// # Errors
    /// What the receiver said; then as much is left.
    fn receive(&self, incoming: &Incoming, give: &mut Giving<'_>) -> Result<io::Result<()>>;
}
