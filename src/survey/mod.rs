//! One picture of what is there, taken before anything is decided.
//!
//! For a listing, two child processes however many environments there are: one
//! `zpool list`, one `zfs list`. For a change, one `zpool list`, one `zfs list`
//! of the roots and, at the same time, one of the environments it is about;
//! another only where those hang on something else.

mod boots;
pub mod files;
mod find;
mod take;
pub mod trial;

pub use files::Files;
pub use take::Around;
pub use trial::{FellBack, Trial};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};

use crate::be::{BeName, BootEnvironment};
use crate::boot::{BootState, Capabilities};
use crate::intent::{Intent, OpId, Undertaking};
use crate::marker;
use crate::os::{Mount, Namespace};
use crate::share::find::Shared;
use crate::share::record::Record;
use crate::zfs::{
    Dataset, DatasetName, Guid, Kind, PREFIX, Pool, PoolName, Property, Snapshot, SnapshotName,
};

/// The version of what this program keeps in a pool (`org.beadm-rs:schema`).
pub const SCHEMA: u32 = 1;

/// The property that says which loader has entries of these environments.
pub(crate) const LOADER: &str = "loader";

/// How much to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Datasets: what a listing without sizes needs.
    Names,
    /// Snapshots too: what a listing needs.
    Listing,
    /// What hangs on them elsewhere too, and mounts in other mount namespaces:
    /// what a change needs.
    Change,
}

/// The intent found on the beroot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// One this program understands.
    Intent(Intent),
    /// One it does not: a newer program's, or damaged. Why not.
    Unreadable(String),
}

/// The picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// When it was taken.
    pub now: DateTime<Utc>,
    /// The identity of an operation planned on it.
    pub id: OpId,
    /// The dataset whose children are the boot environments.
    pub beroot: DatasetName,
    /// `BOOT` of other pools that hold `/boot` of environments.
    pub boot_roots: Vec<DatasetName>,
    /// The imported pools.
    pub pools: BTreeMap<PoolName, Pool>,
    /// The datasets at and below the beroot and the boot roots, and what they
    /// hang on or what hangs on them elsewhere.
    pub datasets: BTreeMap<DatasetName, Dataset>,
    /// Those of them that were looked at with their snapshots, and with all that hangs
    /// on them.
    pub close: BTreeSet<DatasetName>,
    /// The properties set on an environment's datasets, where asked for.
    pub properties: BTreeMap<DatasetName, Vec<Property>>,
    /// The root of the running environment; `None` on a rescue system.
    pub running: Option<DatasetName>,
    /// What the loader will do.
    pub boot: BootState,
    /// What the loader can do.
    pub capabilities: Capabilities,
    /// What the loader is called.
    pub loader: &'static str,
    /// That it is this one is assumed, since nothing of another was found.
    pub assumed: bool,
    /// The mounts of ZFS datasets.
    pub mounts: Vec<Mount>,
    /// The root other pools are mounted under, where one was given.
    pub altroot: Option<Utf8PathBuf>,
    /// Where a directory was being moved into the shared dataset, or out of it: how
    /// far that came.
    pub moving: Option<Moving>,
    /// The new root that the intent is recorded on instead of the beroot.
    pub handed_over: Option<DatasetName>,
    /// What all environments share, where it was asked for and there is any.
    pub shared: Option<Shared>,
}

/// A directory that was being moved into the shared dataset, or out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// It has given way to what is there now.
    pub switched: bool,
    /// What is noted there.
    pub record: Record,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// ZFS did not answer.
    #[error(transparent)]
    Zfs(#[from] crate::zfs::Error),
    /// The operating system did not.
    #[error(transparent)]
    Os(#[from] crate::os::Error),
    /// No dataset to look for environments in.
    #[error("{0}")]
    NoBeroot(String),
    /// A pool that does not answer: its name and health.
    #[error("pool {0} is {1}")]
    Pool(PoolName, String),
    /// Several such datasets.
    #[error("there are several places boot environments could be: {}; name one with -r", list(.0))]
    Ambiguous(Vec<DatasetName>),
}

impl SurveyError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Pool(name, _) => {
                Some(format!("zpool status {name} says why; zpool clear {name}"))
            }
            Self::Zfs(_) | Self::Os(_) | Self::NoBeroot(_) | Self::Ambiguous(_) => None,
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Survey {
    /// The pools of the environments: the one with ROOT, those with `/boot`.
    pub fn own_pools(&self) -> impl Iterator<Item = &Pool> {
        let roots = || std::iter::once(&self.beroot).chain(&self.boot_roots);
        self.pools
            .values()
            .filter(move |pool| roots().any(|root| root.pool() == pool.name))
    }

    /// Every boot environment, by name.
    pub fn environments(&self) -> impl Iterator<Item = BootEnvironment<'_>> {
        self.datasets
            .values()
            .filter(|dataset| {
                dataset.kind == Kind::Filesystem
                    && dataset.name.parent().as_ref() == Some(&self.beroot)
            })
            .map(|root| BootEnvironment::new(self, root))
    }

    /// The environment of that name.
    #[must_use]
    pub fn environment(&self, name: &BeName) -> Option<BootEnvironment<'_>> {
        self.environment_at(&name.below(&self.beroot).ok()?)
    }

    /// The environment whose root that is.
    #[must_use]
    pub fn environment_at(&self, root: &DatasetName) -> Option<BootEnvironment<'_>> {
        self.environments()
            .find(|environment| environment.root.name == *root)
    }

    /// The environment with that guid.
    #[must_use]
    pub fn environment_with(&self, guid: Guid) -> Option<BootEnvironment<'_>> {
        self.environments()
            .find(|environment| environment.guid() == guid)
    }

    /// The running environment.
    #[must_use]
    pub fn running(&self) -> Option<BootEnvironment<'_>> {
        self.environment_at(self.running.as_ref()?)
    }

    /// The environment that boots by default.
    #[must_use]
    pub fn next(&self) -> Option<BootEnvironment<'_>> {
        self.environment_at(self.boot.next.as_ref()?)
    }

    /// A dataset and everything below it, parents before children.
    pub fn within(&self, root: &DatasetName) -> impl Iterator<Item = &Dataset> + use<'_> {
        let root = root.clone();
        // Not one range of the map: '-' and ' ' sort before '/'.
        self.datasets
            .range(root.clone()..)
            .take_while({
                let root = root.clone();
                move |(name, _)| name.as_str().starts_with(root.as_str())
            })
            .filter(move |(name, _)| name.is_within(&root))
            .map(|(_, dataset)| dataset)
    }

    /// A snapshot by name.
    #[must_use]
    pub fn snapshot(&self, name: &SnapshotName) -> Option<&Snapshot> {
        self.datasets
            .get(&name.dataset())?
            .snapshots
            .iter()
            .find(|snapshot| snapshot.name == *name)
    }

    /// The marks that hold what this program never writes: the object and the
    /// property, where an inherited one is seen first.
    #[must_use]
    pub fn not_understood(&self) -> Vec<(String, String)> {
        let mut seen = BTreeSet::new();
        self.datasets
            .values()
            .flat_map(|dataset| {
                let own = (dataset.name.as_str(), &dataset.marks, dataset.guid);
                let snapshots = dataset
                    .snapshots
                    .iter()
                    .map(|snapshot| (snapshot.name.as_str(), &snapshot.marks, snapshot.guid));
                std::iter::once(own).chain(snapshots)
            })
            .flat_map(|(object, marks, guid)| {
                marker::not_understood(marks, guid).map(move |mark| (object, mark))
            })
            .filter(|(_, mark)| seen.insert(*mark))
            .map(|(object, (key, _))| (object.to_owned(), format!("{PREFIX}{key}")))
            .collect()
    }

    /// The dataset or snapshot the beroot's own record names as last good.
    #[must_use]
    pub fn last_good(&self) -> Option<Guid> {
        self.beroot_mark("confirmed")?.parse().ok()
    }

    /// The loader with files of its own that an earlier switch was one of.
    #[must_use]
    pub fn recorded_loader(&self) -> Option<&str> {
        self.beroot_mark(LOADER)
    }

    /// The text of a mark on the beroot.
    pub(crate) fn beroot_mark(&self, key: &str) -> Option<&str> {
        let beroot = self.datasets.get(&self.beroot)?;
        marker::read(&beroot.marks, key, beroot.guid)
    }

    /// The operation that began and did not end.
    #[must_use]
    pub fn intent(&self) -> Option<Found> {
        let text = self.beroot_mark("op").or_else(|| {
            let new = self.datasets.get(self.handed_over.as_ref()?)?;
            marker::read(&new.marks, "op", new.guid)
        })?;
        Some(match Intent::decode(text) {
            Ok(intent) => Found::Intent(intent),
            Err(why) => Found::Unreadable(why),
        })
    }

    /// What an undertaking is about, by its name where it still has one.
    #[must_use]
    pub fn object_of(&self, undertaking: &Undertaking) -> String {
        match undertaking {
            Undertaking::Activate { target, .. } => self.environment_with(*target).map_or_else(
                || undertaking.object(),
                |environment| environment.name().to_owned(),
            ),
            other => other.object(),
        }
    }

    /// This program has left a record on the beroot.
    #[must_use]
    pub fn has_records(&self) -> bool {
        let trials = [trial::TRIAL, trial::FELL_BACK];
        ["schema", "confirmed", "op", files::FILES]
            .into_iter()
            .chain(trials)
            .any(|key| self.beroot_mark(key).is_some())
            || self.handed_over.is_some()
    }

    /// The version of the records is noted.
    #[must_use]
    pub fn has_schema(&self) -> bool {
        self.beroot_mark("schema").is_some()
    }

    /// The pool's records are of a newer program, which this one must not
    /// change: their version.
    #[must_use]
    pub fn newer_schema(&self) -> Option<u32> {
        let schema = self.beroot_mark("schema")?.parse().ok()?;
        (schema > SCHEMA).then_some(schema)
    }

    /// Whether a tree's root belongs to an operation that did not end.
    #[must_use]
    pub fn is_unfinished(&self, root: &DatasetName) -> bool {
        match self.intent() {
            Some(Found::Intent(intent)) => match intent.undertaking {
                Undertaking::Create { roots, .. } => roots.contains(root),
                Undertaking::Copy { root: new, .. } => new == *root,
                Undertaking::Import {
                    root: new, staging, ..
                } => new == *root || staging == *root,
                Undertaking::Destroy { roots, .. } => roots.iter().any(|(name, _)| name == root),
                Undertaking::Rollback { root: back, .. } => back == *root,
                Undertaking::Activate { .. }
                | Undertaking::Rename { .. }
                | Undertaking::Snapshot { .. }
                | Undertaking::DestroySnapshot { .. }
                | Undertaking::Restore { .. }
                | Undertaking::Sync { .. } => false,
                Undertaking::Share { root: moved, .. }
                | Undertaking::Unshare { root: moved, .. } => moved == *root,
            },
            _ => false,
        }
    }

    /// Whether this tool took a snapshot for a clone, so that it goes with the
    /// last clone of it.
    #[must_use]
    pub fn is_reclaimable(&self, snapshot: &Snapshot) -> bool {
        snapshot.holds == 0
            && marker::read(&snapshot.marks, "op", snapshot.guid)
                .is_some_and(|text| text.ends_with(" create"))
    }

    /// The altroot of the pool a dataset lies in.
    #[must_use]
    pub fn altroot_of(&self, dataset: &DatasetName) -> Option<&Utf8PathBuf> {
        self.pools.get(&dataset.pool())?.altroot.as_ref()
    }

    /// The mounts in this program's own namespace.
    pub fn own_mounts(&self) -> impl Iterator<Item = &Mount> {
        self.mounts
            .iter()
            .filter(|mount| mount.namespace == Namespace::Own)
    }

    /// The names of all environments, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        list(
            &self
                .environments()
                .map(|environment| environment.name().to_owned())
                .collect::<Vec<_>>(),
        )
    }
}
