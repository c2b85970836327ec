//! A loader whose files are on more than one partition, so that the machine
//! starts from whichever disk is left.
//!
//! The partition it was started from counts; the others are made what that one
//! is: before the commit, so that what would not fit there is found out while
//! nothing has changed, after it, and at every boot, since the loader itself
//! counts tries on the one it was started from.

use camino::{Utf8Path, Utf8PathBuf};

use super::{BootState, Capabilities, Forgotten, Loader, Switch};
use crate::config;
use crate::os::Platform;
use crate::os::loader::{LoaderChange, LoaderPartition};
use crate::plan::{Action, Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Guid, Pool};

/// Where the partitions are.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Partitions {
    /// The one that counts; `None` where it is looked for.
    pub first: Option<Utf8PathBuf>,
    /// The others.
    pub others: Vec<Utf8PathBuf>,
    /// Those that are not mounted, or cannot be written.
    pub lost: Vec<Utf8PathBuf>,
    /// The first is known to be the one the machine was started from.
    pub started: bool,
}

impl Partitions {
    /// Of those that are configured, the one the machine was started from is the
    /// first; else the first one that is mounted.
    pub fn find(
        platform: &dyn Platform,
        config: &config::Boot,
        altroot: Option<&Utf8Path>,
    ) -> Self {
        if config.mirrors.is_empty() {
            return Self {
                first: config.esp.clone(),
                ..Self::default()
            };
        }
        let root = altroot.unwrap_or(Utf8Path::new("/"));
        let mut named = vec![config.esp.as_deref()];
        named.extend(config.mirrors.iter().map(|mirror| Some(mirror.as_path())));
        let mut found = Self::default();
        let mut mounted: Vec<LoaderPartition> = Vec::new();
        for place in named {
            // One that cannot be read is as good as one that is not there.
            let partitions = platform.partitions(root, place).unwrap_or_default();
            match partitions.into_iter().next() {
                Some(partition) => mounted.push(partition),
                None => found.lost.extend(place.map(Utf8Path::to_owned)),
            }
        }
        let started_from = platform.variable("LoaderDevicePartUUID");
        let started_from = started_from.map(|uuid| uuid.to_ascii_lowercase());
        let is_it =
            |partition: &LoaderPartition| started_from.is_some() && partition.uuid == started_from;
        let started = mounted.iter().position(is_it);
        found.started = started.is_some();
        let index = started.unwrap_or(0);
        if index < mounted.len() {
            found.first = Some(mounted.remove(index).directory);
        }
        for other in mounted {
            if other.readonly {
                found.lost.push(other.directory);
            } else {
                found.others.push(other.directory);
            }
        }
        found
    }
}

/// A loader and the partitions that get its files.
pub(super) struct Mirrored {
    inner: Box<dyn Loader>,
    first: Utf8PathBuf,
    others: Vec<Utf8PathBuf>,
    lost: Vec<Utf8PathBuf>,
    started: bool,
}

impl Mirrored {
    /// The loader itself where there is no more than one.
    pub fn around(inner: impl Loader + 'static, partitions: Partitions) -> Box<dyn Loader> {
        let inner = Box::new(inner);
        match partitions {
            Partitions {
                first: Some(first),
                others,
                lost,
                started,
            } if !(others.is_empty() && lost.is_empty()) => Box::new(Self {
                inner,
                first,
                others,
                lost,
                started,
            }),
            _ => inner,
        }
    }

    fn equalized(&self) -> impl Iterator<Item = Step> + '_ {
        self.others.iter().map(|other| {
            let change = LoaderChange::Mirror {
                partition: self.first.clone(),
                to: other.clone(),
            };
            Step::new("mirror", Action::Loader(change))
        })
    }

    /// The others follow where anything was changed.
    fn followed(&self, mut steps: Vec<Step>) -> Vec<Step> {
        if !steps.is_empty() {
            steps.extend(self.equalized());
        }
        steps
    }
}

impl Loader for Mirrored {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn tries(&self) -> u32 {
        self.inner.tries()
    }

    fn state(&self, beroot: &DatasetName, pools: &[Pool]) -> BootState {
        self.inner.state(beroot, pools)
    }

    fn stage(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
        back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        let steps = self.inner.stage(survey, target, switch, back)?;
        Ok(self.followed(steps))
    }

    fn commit(&self, survey: &Survey, target: &Dataset, switch: Switch) -> Result<Step, Refusal> {
        self.inner.commit(survey, target, switch)
    }

    fn trouble(&self) -> Option<(String, String)> {
        self.inner.trouble()
    }

    fn copies(&self) -> bool {
        self.inner.copies()
    }

    fn is_current(&self, survey: &Survey, next: &Dataset) -> Result<bool, Refusal> {
        self.inner.is_current(survey, next)
    }

    fn after(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
        back: Option<Guid>,
    ) -> Vec<Step> {
        let mut steps = self.inner.after(survey, target, switch, back);
        steps.extend(self.equalized());
        steps
    }

    fn recovered(&self, survey: &Survey, done: Option<(&Dataset, Switch)>) -> Vec<Step> {
        let mut steps = self.inner.recovered(survey, done);
        steps.extend(self.equalized());
        steps
    }

    fn confirm(
        &self,
        survey: &Survey,
        target: &Dataset,
        back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        let steps = self.inner.confirm(survey, target, back)?;
        Ok(self.followed(steps))
    }

    fn forget(&self, survey: &Survey, gone: &Dataset) -> Forgotten {
        let Forgotten { before, after } = self.inner.forget(survey, gone);
        Forgotten {
            before: self.followed(before),
            after: self.followed(after),
        }
    }

    fn renamed(
        &self,
        survey: &Survey,
        root: &Dataset,
        to: &DatasetName,
    ) -> Result<Vec<Step>, Refusal> {
        let steps = self.inner.renamed(survey, root, to)?;
        Ok(self.followed(steps))
    }

    fn notes(&self) -> Vec<String> {
        self.inner.notes()
    }

    fn cancel_once(&self, survey: &Survey) -> Option<Step> {
        self.inner.cancel_once(survey)
    }

    fn put_right(&self) -> Vec<Step> {
        // Tries that were counted on another one would be given back.
        self.equalized().filter(|_| self.started).collect()
    }

    fn lost(&self) -> &[Utf8PathBuf] {
        &self.lost
    }
}
