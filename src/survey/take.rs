//! How the picture is taken.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;

use super::LOADER;
use super::find;
use super::trial::TRIAL;
use super::{Found, Moving, Scope, Survey, SurveyError};
use crate::be::BeName;
use crate::boot::command_line::is_of_copies;
use crate::config::LoaderName;
use crate::host::Host;
use crate::intent::{Intent, OpId, Undertaking};
use crate::marker;
use crate::os::Mount;
use crate::share;
use crate::zfs::{
    Dataset, DatasetName, ErrorKind, Mountpoint, PREFIX, Pool, Property, SnapshotName,
};

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
    /// What all environments share too.
    pub shared: bool,
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
        let beroot = find::beroot(host, &pools, root.as_ref())?;
        let boots = find::boots(host, &pools, root.as_ref(), &beroot)?;
        Ok(Self {
            pools,
            root,
            beroot,
            boots,
        })
    }

    /// An I/O error, as the pool's state explains it.
    fn explain(pools: &[Pool], error: crate::zfs::Error) -> SurveyError {
        let ill = pools
            .iter()
            .find(|pool| !pool.is_working() && error.kind == ErrorKind::Io);
        match ill {
            Some(pool) => SurveyError::Pool(pool.name.clone(), pool.health.clone()),
            None => SurveyError::Zfs(error),
        }
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
        let mut datasets = datasets;
        if !datasets.contains_key(&self.beroot) {
            return Err(SurveyError::NoBeroot(format!(
                "there is no dataset {}; name the parent of the boot environments with -r",
                self.beroot
            )));
        }
        let assumed = !host.loader.copies() && host.config.boot.loader == LoaderName::Auto;
        // The listing does not ask for it: it matters only where a loader that has
        // entries of its own may be there and is not seen.
        let beroot = datasets.get(&self.beroot);
        if assumed && beroot.is_some_and(|beroot| may_be_unseen(host, beroot)) {
            let name = format!("{PREFIX}{LOADER}");
            let noted = host.zfs.effective(&self.beroot, &[&name])?;
            let noted = noted.get(&self.beroot).into_iter().flatten().next();
            if let (Some(noted), Some(beroot)) = (noted, datasets.get_mut(&self.beroot)) {
                beroot.marks.insert(LOADER.to_owned(), noted.value.clone());
            }
        }
        let beroot = datasets.get(&self.beroot);
        let own = beroot.and_then(|beroot| marker::read(&beroot.marks, "op", beroot.guid));
        let handed_over = datasets
            .values()
            .filter(|_| own.is_none())
            .filter_map(|dataset| Some((!is_handed_over(dataset, &self.beroot)?, dataset)))
            .min_by_key(|(unreadable, _)| *unreadable)
            .map(|(_, dataset)| dataset.name.clone());
        Ok(Survey {
            now: Utc::now(),
            id: OpId::random(),
            boot: host.loader.state(&self.beroot, &self.pools),
            capabilities: host.loader.capabilities(),
            loader: host.loader.name(),
            assumed,
            running: self
                .root
                .filter(|root| root.parent().as_ref() == Some(&self.beroot)),
            mounts,
            pools: self
                .pools
                .into_iter()
                .map(|pool| (pool.name.clone(), pool))
                .collect(),
            close: BTreeSet::new(),
            properties: BTreeMap::new(),
            altroot: host.altroot.clone(),
            moving: None,
            handed_over,
            shared: None,
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

/// Whether the intent to create it is recorded on a dataset, and can be read. That counts
/// as long as it is no environment, for a clone of what the intent says, and for that and
/// its `/boot` alone: whoever may set a property of an environment cannot have that taken
/// away, or another one. One that cannot be read stops changes, as on the beroot.
fn is_handed_over(dataset: &Dataset, beroot: &DatasetName) -> Option<bool> {
    if dataset.mountpoint != Mountpoint::None || dataset.name.parent().as_ref() != Some(beroot) {
        return None;
    }
    let text = marker::read(&dataset.marks, "op", dataset.guid)?;
    let Ok(intent) = Intent::decode(text) else {
        return Some(false);
    };
    let Undertaking::Create {
        roots,
        from,
        snapshot,
        ..
    } = intent.undertaking
    else {
        return None;
    };
    let is_own = roots.first() == Some(&dataset.name)
        && roots.iter().all(|root| root.leaf() == dataset.name.leaf());
    let origin = from.first().and_then(|from| from.snapshot(&snapshot).ok());
    (is_own && origin.is_some() && dataset.origin == origin).then_some(true)
}

/// Whether a loader with entries of its own may be there although nothing of it is
/// seen: its partition is not mounted, and without their modules the kernel reads
/// neither that nor the firmware's variables. Only such a loader counts tries.
fn may_be_unseen(host: &Host, beroot: &Dataset) -> bool {
    host.altroot.is_some()
        || beroot.marks.contains_key(TRIAL)
        || host.platform.variable("LoaderInfo").is_some()
        || is_of_copies(&host.platform.facts().command_line)
}

impl Survey {
    /// Takes the picture of everything.
    ///
    /// # Errors
    /// Where ZFS or the system cannot be read, or the beroot not be found.
    pub fn take(host: &Host, scope: Scope) -> Result<Self, SurveyError> {
        let start = Start::read(host)?;
        let snapshots = scope >= Scope::Listing;
        let told = |error| Start::explain(&start.pools, error);
        let mut datasets = index(host.zfs.tree(&start.roots(), snapshots).map_err(told)?);
        let mut close = BTreeSet::new();
        if scope >= Scope::Change {
            close.extend(datasets.keys().cloned());
            add_relatives(host, &mut datasets, &mut close).map_err(told)?;
        }
        let mounts = host.platform.mounts(scope >= Scope::Change)?;
        let mut survey = start.finish(host, datasets, mounts)?;
        survey.close = close;
        survey.add_unfinished_copy(host, scope)?;
        if scope >= Scope::Change {
            survey.add_unfinished_move(host)?;
            survey.add_unfinished_activation(host)?;
        }
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
        let early = around
            .properties
            .then(|| beforehand(host, around))
            .flatten();
        std::thread::scope(|scope| {
            let properties = scope.spawn(|| set_properties(host, &early));
            Self::look_around(host, around, early.as_ref(), || joined(properties.join()))
        })
    }

    /// The same, while the properties of a tree are asked for.
    fn look_around(
        host: &Host,
        around: &Around,
        early: Option<&DatasetName>,
        properties: impl FnOnce() -> crate::zfs::Result<Properties>,
    ) -> Result<Self, SurveyError> {
        let start = Start::read(host)?;
        let trees = start.trees(host, around);
        let mut roots = start.roots();
        roots.extend(around.elsewhere.clone());
        // In the same listing: a machine without one pays nothing for it.
        let shares = if around.shared {
            share::find::candidates(&start.pools, &start.beroot)
        } else {
            Vec::new()
        };
        roots.extend(shares.iter().cloned());
        let (roots, found) = std::thread::scope(|scope| {
            let roots = scope.spawn(|| host.zfs.children(&roots));
            let found = host.zfs.tree(&trees, true);
            (joined(roots.join()), found)
        });
        let told = |error| Start::explain(&start.pools, error);
        let mut datasets = index(roots.map_err(told)?);
        let is_there = shares.iter().any(|share| datasets.contains_key(share));
        datasets.retain(|name, _| !shares.iter().any(|share| name.is_within(share)));
        let found = index(found.map_err(told)?);
        let mut properties = properties()?;
        // Most other pools have no boot tree: nothing is started to find that out.
        let others = trees
            .iter()
            .filter(|tree| around.properties && Some(*tree) != early && found.contains_key(*tree));
        properties.extend(set_properties(host, others)?);
        let mut close = found.keys().cloned().collect();
        datasets.extend(found);
        add_relatives(host, &mut datasets, &mut close).map_err(told)?;
        let mounts = host.platform.mounts(true)?;
        let mut survey = start.finish(host, datasets, mounts)?;
        survey.close = close;
        if survey.intent().is_some() {
            survey = Self::take(host, Scope::Change)?;
        } else if around.shared && (is_there || share::find::mounted(&survey).is_some()) {
            survey.shared = share::find::shared(host, &survey)?;
        }
        survey.properties = properties;
        Ok(survey)
    }

    /// Looks closely at more environments, whose roots are in the picture; those that were
    /// looked at so before are not looked at again.
    ///
    /// # Errors
    /// As [`Survey::take`].
    pub fn closer(mut self, host: &Host, roots: &[DatasetName]) -> Result<Self, SurveyError> {
        let trees: Vec<DatasetName> = self
            .environments()
            .filter(|environment| roots.contains(&environment.root.name))
            .flat_map(|environment| environment.roots())
            .map(|root| root.name.clone())
            .filter(|root| !self.close.contains(root))
            .collect();
        let pools: Vec<Pool> = self.pools.values().cloned().collect();
        let told = |error| Start::explain(&pools, error);
        let found = index(host.zfs.tree(&trees, true).map_err(told)?);
        self.close.extend(found.keys().cloned());
        self.datasets.extend(found);
        add_relatives(host, &mut self.datasets, &mut self.close).map_err(told)?;
        Ok(self)
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
}

impl Survey {
    /// What an activation that did not end may have taken snapshots of.
    fn add_unfinished_activation(&mut self, host: &Host) -> Result<(), SurveyError> {
        if let Some(Found::Intent(intent)) = self.intent()
            && let Undertaking::Activate { .. } = intent.undertaking
        {
            self.shared = share::find::shared(host, self)?;
        }
        Ok(())
    }

    /// How far a move into the shared dataset or out of it came, which files tell.
    fn add_unfinished_move(&mut self, host: &Host) -> Result<(), SurveyError> {
        let Some(Found::Intent(intent)) = self.intent() else {
            return Ok(());
        };
        let (place, copied) = match intent.undertaking {
            Undertaking::Share { place, .. } => (place, None),
            Undertaking::Unshare { place, copied, .. } => (place, Some(copied)),
            _ => return Ok(()),
        };
        let share = host.zfs.tree(std::slice::from_ref(&place.share), false)?;
        let Some(dataset) = share.iter().find(|found| found.name == place.share) else {
            return Ok(());
        };
        let Ok(record) = share::find::record(host, dataset) else {
            return Ok(());
        };
        // An environment that is gone tells nothing; recovery says what to do.
        let switched = match copied {
            None => share::switch::is_switched(host, &place, intent.id).ok(),
            Some(false) => Some(false),
            Some(true) => share::switch::is_returned(host, &place, intent.id).ok(),
        };
        self.moving = switched.map(|switched| Moving {
            switched,
            record: record.unwrap_or_default(),
        });
        Ok(())
    }
}

fn index(datasets: Vec<Dataset>) -> BTreeMap<DatasetName, Dataset> {
    datasets
        .into_iter()
        .map(|dataset| (dataset.name.clone(), dataset))
        .collect()
}

/// What is set on datasets.
type Properties = BTreeMap<DatasetName, Vec<Property>>;

/// The tree whose properties are asked for, where that can be told without asking what pools
/// there are: `zpool list` and what comes after it need not be waited for.
fn beforehand(host: &Host, around: &Around) -> Option<DatasetName> {
    let root = host.platform.root_dataset().ok()?;
    let beroot = find::known_beroot(host, root.as_ref())?;
    match around.named.first() {
        Some(name) => beroot.child(name.as_str()).ok(),
        None => root.filter(|root| root.parent() == Some(beroot)),
    }
}

/// The properties set on the datasets at and below roots, of which some may not
/// exist.
fn set_properties<'a>(
    host: &Host,
    roots: impl IntoIterator<Item = &'a DatasetName>,
) -> crate::zfs::Result<Properties> {
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
    complete: &mut BTreeSet<DatasetName>,
) -> crate::zfs::Result<()> {
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
