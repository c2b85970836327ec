//! One picture of what is there, taken before anything is decided.
//!
//! For a listing, two child processes however many environments there are: one
//! `zpool list`, one `zfs list`. For a change, one `zpool list`, one `zfs list`
//! of the roots and, at the same time, one of the environments it is about;
//! another only where those hang on something else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};

use crate::be::{BeName, BootEnvironment};
use crate::boot::{BootState, Capabilities};
use crate::host::Host;
use crate::intent::{Intent, OpId, Undertaking};
use crate::marker;
use crate::os::{Mount, Namespace};
use crate::zfs::{
    Dataset, DatasetName, ErrorKind, Guid, Kind, Pool, PoolName, Property, Snapshot, SnapshotName,
};

/// The version of what this program keeps in a pool (`org.beadm-rs:schema`).
pub const SCHEMA: u32 = 1;

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
    /// The mounts of ZFS datasets.
    pub mounts: Vec<Mount>,
    /// The root other pools are mounted under, where one was given.
    pub altroot: Option<Utf8PathBuf>,
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
    /// Several such datasets.
    #[error("there are several places boot environments could be: {}; name one with -r", list(.0))]
    Ambiguous(Vec<DatasetName>),
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The environments a change is about: what is looked at closely, so that a
/// change costs the same however many others there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Around {
    /// These.
    pub named: Vec<BeName>,
    /// The running one too.
    pub running: bool,
    /// The one that boots next too.
    pub next: bool,
    /// With the properties set on the first of them.
    pub properties: bool,
    /// What there is in another pool, directly below this dataset, too.
    pub elsewhere: Option<DatasetName>,
}

impl Around {
    /// Of one environment.
    #[must_use]
    pub fn one(name: &BeName) -> Self {
        Self {
            named: vec![name.clone()],
            ..Self::default()
        }
    }

    /// Of one environment, or the running one.
    #[must_use]
    pub fn one_or_running(name: Option<&BeName>) -> Self {
        Self {
            named: name.into_iter().cloned().collect(),
            running: name.is_none(),
            ..Self::default()
        }
    }
}

/// What is known before any dataset is looked at.
struct Start {
    pools: Vec<Pool>,
    root: Option<DatasetName>,
    beroot: DatasetName,
    /// Where `/boot` of environments could be.
    boots: Vec<DatasetName>,
}

impl Start {
    fn read(host: &Host) -> Result<Self, SurveyError> {
        let pools = host.zfs.pools()?;
        let root = host.platform.root_dataset()?;
        let beroot = find_beroot(host, &pools, root.as_ref())?;
        let boots = pools
            .iter()
            .filter(|pool| pool.name != beroot.pool())
            .filter_map(|pool| DatasetName::from(pool.name.clone()).child("BOOT").ok())
            .collect();
        Ok(Self {
            pools,
            root,
            beroot,
            boots,
        })
    }

    fn roots(&self) -> Vec<DatasetName> {
        let mut roots = vec![self.beroot.clone()];
        roots.extend(self.boots.iter().cloned());
        roots
    }

    /// The environments' roots, in every pool they could lie in.
    fn trees(&self, host: &Host, around: &Around) -> Vec<DatasetName> {
        let next = host.loader.state(&self.beroot, &self.pools).next;
        let also = [
            around.running.then_some(self.root.as_ref()).flatten(),
            around.next.then_some(next.as_ref()).flatten(),
        ];
        let names: BTreeSet<&str> = around
            .named
            .iter()
            .map(BeName::as_str)
            .chain(
                also.into_iter()
                    .flatten()
                    .filter(|root| root.parent().as_ref() == Some(&self.beroot))
                    .map(DatasetName::leaf),
            )
            .collect();
        names
            .iter()
            .flat_map(|name| self.roots().into_iter().map(move |root| root.child(name)))
            .filter_map(Result::ok)
            .collect()
    }

    fn finish(
        self,
        host: &Host,
        datasets: BTreeMap<DatasetName, Dataset>,
        mounts: Vec<Mount>,
    ) -> Result<Survey, SurveyError> {
        if !datasets.contains_key(&self.beroot) {
            return Err(SurveyError::NoBeroot(format!(
                "there is no dataset {}; name the parent of the boot environments with -r",
                self.beroot
            )));
        }
        Ok(Survey {
            now: Utc::now(),
            id: OpId::random(),
            boot: host.loader.state(&self.beroot, &self.pools),
            capabilities: host.loader.capabilities(),
            loader: host.loader.name(),
            running: self
                .root
                .filter(|root| root.parent().as_ref() == Some(&self.beroot)),
            mounts,
            pools: self
                .pools
                .into_iter()
                .map(|pool| (pool.name.clone(), pool))
                .collect(),
            properties: BTreeMap::new(),
            altroot: host.altroot.clone(),
            boot_roots: self
                .boots
                .into_iter()
                .filter(|root| datasets.contains_key(root))
                .collect(),
            beroot: self.beroot,
            datasets,
        })
    }
}

impl Survey {
    /// Takes the picture of everything.
    ///
    /// # Errors
    /// Where ZFS or the system cannot be read, or the beroot not be found.
    pub fn take(host: &Host, scope: Scope) -> Result<Self, SurveyError> {
        let start = Start::read(host)?;
        let snapshots = scope >= Scope::Listing;
        let mut datasets = index(host.zfs.tree(&start.roots(), snapshots)?);
        if scope >= Scope::Change {
            let complete = datasets.keys().cloned().collect();
            add_relatives(host, &mut datasets, complete)?;
        }
        let mounts = host.platform.mounts(scope >= Scope::Change)?;
        let mut survey = start.finish(host, datasets, mounts)?;
        survey.add_unfinished_copy(host, scope)?;
        Ok(survey)
    }

    /// The dataset whose children are the environments.
    ///
    /// # Errors
    /// As [`Survey::take`].
    pub fn beroot(host: &Host) -> Result<DatasetName, SurveyError> {
        Ok(Start::read(host)?.beroot)
    }

    /// Takes the picture for a change: every environment's root, and all there
    /// is to the ones the change is about. Where an operation did not end, of
    /// everything.
    ///
    /// # Errors
    /// As [`Survey::take`].
    pub fn around(host: &Host, around: &Around) -> Result<Self, SurveyError> {
        let start = Start::read(host)?;
        let trees = start.trees(host, around);
        let mut roots = start.roots();
        roots.extend(around.elsewhere.clone());
        let (roots, close, properties) = std::thread::scope(|scope| {
            let roots = scope.spawn(|| host.zfs.children(&roots));
            let properties = scope.spawn(|| {
                let trees = around.properties.then_some(trees.as_slice());
                set_properties(host, trees.unwrap_or_default())
            });
            let close = host.zfs.tree(&trees, true);
            (joined(roots.join()), close, joined(properties.join()))
        });
        let mut datasets = index(roots?);
        let close = index(close?);
        let complete = close.keys().cloned().collect();
        datasets.extend(close);
        add_relatives(host, &mut datasets, complete)?;
        let mounts = host.platform.mounts(true)?;
        let mut survey = start.finish(host, datasets, mounts)?;
        if survey.intent().is_some() {
            survey = Self::take(host, Scope::Change)?;
        }
        survey.properties = properties?;
        Ok(survey)
    }

    /// What an unfinished copy made lies in a pool that is not looked at else.
    fn add_unfinished_copy(&mut self, host: &Host, scope: Scope) -> Result<(), SurveyError> {
        if let Some(Found::Intent(intent)) = self.intent()
            && let Undertaking::Copy { root, .. } = intent.undertaking
            && !self.datasets.contains_key(&root)
        {
            self.datasets
                .extend(index(host.zfs.tree(&[root], scope >= Scope::Listing)?));
        }
        Ok(())
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

    /// The dataset or snapshot the beroot's own record names as last good.
    #[must_use]
    pub fn last_good(&self) -> Option<Guid> {
        self.beroot_mark("confirmed")?.parse().ok()
    }

    fn beroot_mark(&self, key: &str) -> Option<&str> {
        let beroot = self.datasets.get(&self.beroot)?;
        marker::read(&beroot.marks, key, beroot.guid)
    }

    /// The operation that began and did not end.
    #[must_use]
    pub fn intent(&self) -> Option<Found> {
        self.beroot_mark("op")
            .map(|text| match Intent::decode(text) {
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
                Undertaking::Destroy { roots, .. } => roots.iter().any(|(name, _)| name == root),
                Undertaking::Rollback { root: back, .. } => back == *root,
                Undertaking::Activate { .. } | Undertaking::Rename { .. } => false,
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

fn index(datasets: Vec<Dataset>) -> BTreeMap<DatasetName, Dataset> {
    datasets
        .into_iter()
        .map(|dataset| (dataset.name.clone(), dataset))
        .collect()
}

/// The properties set on the datasets at and below roots, of which some may not
/// exist.
fn set_properties(
    host: &Host,
    roots: &[DatasetName],
) -> crate::zfs::Result<BTreeMap<DatasetName, Vec<Property>>> {
    let mut found = BTreeMap::new();
    for root in roots {
        match host.zfs.properties(root) {
            Ok(properties) => found.extend(properties),
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn joined<T>(result: std::thread::Result<crate::zfs::Result<T>>) -> crate::zfs::Result<T> {
    result.unwrap_or_else(|_| {
        Err(crate::zfs::Error::new(
            ErrorKind::Other,
            "look at the pools",
            "the thread that did it panicked",
        ))
    })
}

/// Adds what clones were made from, and what was cloned, with its snapshots;
/// `complete` are the datasets that have theirs.
fn add_relatives(
    host: &Host,
    datasets: &mut BTreeMap<DatasetName, Dataset>,
    mut complete: BTreeSet<DatasetName>,
) -> Result<(), SurveyError> {
    loop {
        let looked_at = || {
            datasets
                .values()
                .filter(|dataset| complete.contains(&dataset.name))
        };
        let origins =
            looked_at().filter_map(|dataset| dataset.origin.as_ref().map(SnapshotName::dataset));
        let clones = looked_at()
            .flat_map(|dataset| &dataset.snapshots)
            .flat_map(|snapshot| snapshot.clones.iter().cloned());
        let missing: BTreeSet<DatasetName> = origins
            .chain(clones)
            .filter(|name| !complete.contains(name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        // Recursive: the children of one are most often relatives of the others.
        let tops: Vec<DatasetName> = missing
            .iter()
            .filter(|name| {
                !missing
                    .iter()
                    .any(|other| other != *name && name.is_within(other))
            })
            .cloned()
            .collect();
        let found = index(host.zfs.tree(&tops, true)?);
        complete.extend(found.keys().cloned());
        complete.extend(missing);
        datasets.extend(found);
    }
}

/// The dataset whose children are the boot environments: the one named; the
/// parent of what `/` is mounted from; the parent of a pool's bootfs; a
/// `<pool>/ROOT`.
fn find_beroot(
    host: &Host,
    pools: &[Pool],
    root: Option<&DatasetName>,
) -> Result<DatasetName, SurveyError> {
    if let Some(named) = &host.beroot {
        return Ok(named.clone());
    }
    if pools.is_empty() {
        return Err(SurveyError::NoBeroot(
            "no ZFS pool is imported; on a rescue system import it first: \
             zpool import -N -R /mnt POOL"
                .to_owned(),
        ));
    }
    if let Some(parent) = root.and_then(DatasetName::parent)
        && host.altroot.is_none()
    {
        return Ok(parent);
    }
    let candidates: BTreeSet<DatasetName> = pools
        .iter()
        .filter(|pool| host.altroot.is_none() || pool.altroot == host.altroot)
        .filter_map(|pool| pool.bootfs.as_ref().and_then(DatasetName::parent))
        .filter(|parent| parent.parent().is_some())
        .collect();
    let candidates: Vec<DatasetName> = if candidates.is_empty() {
        let conventional: Vec<DatasetName> = pools
            .iter()
            .filter(|pool| host.altroot.is_none() || pool.altroot == host.altroot)
            .filter_map(|pool| DatasetName::from(pool.name.clone()).child("ROOT").ok())
            .collect();
        let found = host
            .zfs
            .tree(&conventional, false)
            .or_else(|error| match error.kind {
                ErrorKind::NotFound => Ok(Vec::new()),
                _ => Err(error),
            })?;
        conventional
            .into_iter()
            .filter(|name| found.iter().any(|dataset| dataset.name == *name))
            .collect()
    } else {
        candidates.into_iter().collect()
    };
    match candidates.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(SurveyError::NoBeroot(
            "the root file system is not on ZFS and no pool has a bootfs or a dataset ROOT; \
             name the parent of the boot environments with -r"
                .to_owned(),
        )),
        _ => Err(SurveyError::Ambiguous(candidates)),
    }
}
