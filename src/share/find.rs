//! The shared dataset of a machine.

use camino::{Utf8Path, Utf8PathBuf};

use super::record::Record;
use super::{DATASET, DIRECTORY, KEY};
use crate::be::apart;
use crate::host::Host;
use crate::marker;
use crate::plan::Refusal;
use crate::survey::{Survey, SurveyError};
use crate::zfs::{
    Canmount, Dataset, DatasetName, ErrorKind, Mountpoint, PREFIX, Pool, PoolName, Source,
};

/// The dataset, and what is noted on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The dataset, with its snapshots.
    pub dataset: Dataset,
    /// What is shared; `None` where this program has not adopted it.
    pub record: Option<Record>,
    /// It is mounted on its directory.
    pub mounted: bool,
}

/// Why it is not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The machine cannot be read.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// Several, or one whose record is not understood.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<crate::zfs::Error> for FindError {
    fn from(error: crate::zfs::Error) -> Self {
        Self::Survey(error.into())
    }
}

/// The record of a dataset.
///
/// # Errors
/// Where it cannot be read, or is not understood.
pub fn record(host: &Host, dataset: &Dataset) -> Result<Option<Record>, FindError> {
    let name = format!("{PREFIX}{KEY}");
    let set = match host.zfs.properties(&dataset.name) {
        Ok(set) => set,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let marks = set
        .get(&dataset.name)
        .into_iter()
        .flatten()
        .filter(|property| property.source == Source::Local)
        .map(|property| {
            let key = property.name.trim_start_matches(PREFIX);
            (key.to_owned(), property.value.clone())
        })
        .collect();
    let Some(text) = marker::read(&marks, KEY, dataset.guid) else {
        return Ok(None);
    };
    Record::decode(text).map(Some).map_err(|why| {
        Refusal::new(
            "look at what is shared",
            format!("{name} of {} is not understood: {why}", dataset.name),
        )
        .remedy(format!(
            "use the newer beadm-rs that wrote it; where it is damaged: zfs inherit {name} {}, \
             and beadm-rs share init",
            dataset.name
        ))
        .into()
    })
}

/// Where it can be: directly below each pool that is imported as the environments'
/// is. On a rescue system that system's own pool may have one too.
pub fn candidates<'a>(
    pools: impl IntoIterator<Item = &'a Pool> + Clone,
    beroot: &DatasetName,
) -> Vec<DatasetName> {
    let home = pools
        .clone()
        .into_iter()
        .find(|pool| pool.name == beroot.pool());
    let altroot = home.and_then(|home| home.altroot.as_ref());
    pools
        .into_iter()
        .filter(|pool| pool.altroot.as_ref() == altroot)
        .filter_map(|pool| DatasetName::from(pool.name.clone()).child(DATASET).ok())
        .collect()
}

/// What is mounted on its directory.
#[must_use]
pub fn mounted(survey: &Survey) -> Option<DatasetName> {
    let directory = directory(survey);
    survey
        .own_mounts()
        .filter(|mount| mount.directory == directory)
        .last()
        .map(|mount| mount.dataset.clone())
}

/// Its directory, below where the environments' pool is mounted.
fn directory(survey: &Survey) -> Utf8PathBuf {
    match survey.altroot_of(&survey.beroot) {
        Some(altroot) => altroot.join(DIRECTORY.trim_start_matches('/')),
        None => Utf8Path::new(DIRECTORY).to_owned(),
    }
}

/// What all environments share, of which an activation takes snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The shared dataset first, then those outside of all environments that the
    /// machine mounts, with their snapshots; none where it is in doubt which it is.
    pub datasets: Vec<Dataset>,
    /// What is noted on the first.
    pub record: Record,
    /// Why it is in doubt.
    pub doubt: Option<String>,
}

/// What all environments share; `None` where this program has not adopted any.
///
/// # Errors
/// Where ZFS cannot be read.
pub fn shared(host: &Host, survey: &Survey) -> Result<Option<Shared>, SurveyError> {
    let found = match find(host, survey, None) {
        Ok(found) => found,
        Err(FindError::Refused(refusal)) => {
            return Ok(Some(Shared {
                datasets: Vec::new(),
                record: Record::default(),
                doubt: Some(refusal.reason),
            }));
        }
        Err(FindError::Survey(error)) => return Err(error),
    };
    let Some((share, record)) = found.and_then(|found| Some((found.dataset, found.record?))) else {
        return Ok(None);
    };
    let mut datasets = outside(host, survey, &share.name)?;
    datasets.insert(0, share);
    Ok(Some(Shared {
        datasets,
        record,
        doubt: None,
    }))
}

/// The file systems beside the shared dataset that the machine mounts whichever
/// environment runs: of the same pools, mounted by their own properties, no
/// clones, and not excluded.
fn outside(host: &Host, survey: &Survey, share: &DatasetName) -> Result<Vec<Dataset>, SurveyError> {
    let pools = [survey.beroot.pool(), share.pool()];
    let roots: Vec<&DatasetName> = std::iter::once(&survey.beroot)
        .chain(&survey.boot_roots)
        .chain([share])
        .collect();
    let mut mounts: Vec<(DatasetName, Utf8PathBuf)> = survey
        .own_mounts()
        .filter(|mount| pools.contains(&mount.dataset.pool()))
        .filter(|mount| mount.dataset.parent().is_some())
        .filter(|mount| !roots.iter().any(|root| mount.dataset.is_within(root)))
        .map(|mount| (mount.dataset.clone(), mount.directory.clone()))
        .collect();
    mounts.sort();
    mounts.dedup();
    let names: Vec<DatasetName> = mounts.iter().map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = host.zfs.tree(&tops(&names), true)?;
    found.retain(|dataset| {
        let mounted = mounts.iter().any(|(name, directory)| {
            *name == dataset.name && dataset.mountpoint == Mountpoint::Path(directory.clone())
        });
        mounted
            && dataset.canmount == Canmount::On
            && dataset.origin.is_none()
            && !dataset.receiving()
            && apart(dataset).is_none()
    });
    Ok(found)
}

/// Those that lie below none of the others.
fn tops(names: &[DatasetName]) -> Vec<DatasetName> {
    let below = |name: &&DatasetName| {
        !names
            .iter()
            .any(|other| other != *name && name.is_within(other))
    };
    names.iter().filter(below).cloned().collect()
}

/// The shared dataset of the running machine: what is mounted on its directory,
/// else the one of that name, in one pool or in the one named.
///
/// # Errors
/// Where there are several, or the machine cannot be read.
pub fn find(
    host: &Host,
    survey: &Survey,
    pool: Option<&PoolName>,
) -> Result<Option<Share>, FindError> {
    let mounted = mounted(survey);
    let mut names = candidates(survey.pools.values(), &survey.beroot);
    names.retain(|name| pool.is_none_or(|pool| name.pool() == *pool));
    if let Some(name) = &mounted {
        if pool.is_some_and(|pool| *pool != name.pool()) {
            return Err(Refusal::new(
                "share in another pool",
                format!("{name} is mounted on {DIRECTORY} already"),
            )
            .remedy("leave -p out, or unmount it first")
            .into());
        }
        names = vec![name.clone()];
    }
    let mut found: Vec<Dataset> = host
        .zfs
        .tree(&names, true)?
        .into_iter()
        .filter(|dataset| names.contains(&dataset.name))
        .collect();
    if found.len() > 1 {
        let here = survey.beroot.pool();
        let all: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
        let refusal = Refusal::new(
            "look for the shared dataset",
            format!("there are several, and none is mounted: {}", all.join(", ")),
        )
        .remedy(format!(
            "zfs mount {here}/{DATASET}, or name its pool: beadm-rs share init -p {here}"
        ));
        return Err(refusal.into());
    }
    let Some(dataset) = found.pop() else {
        return Ok(None);
    };
    Ok(Some(Share {
        record: record(host, &dataset)?,
        mounted: mounted.as_ref() == Some(&dataset.name),
        dataset,
    }))
}

/// The root dataset of a pool; `None` where there is none.
///
/// # Errors
/// Whatever ZFS says.
pub fn parent(host: &Host, pool: &PoolName) -> Result<Option<Dataset>, FindError> {
    let root = DatasetName::from(pool.clone());
    let found = host.zfs.children(std::slice::from_ref(&root))?;
    Ok(found.into_iter().find(|dataset| dataset.name == root))
}
