//! A system that is there already, and was made by somebody else's guide or
//! installer: what it is, and whether it can be taken over as it is.
//!
//! - [`Look`]: what is read for it; [`place`](Look::place): where its
//!   environments are.
//! - [`layouts`]: the table of known layouts, each supported or refused by name.
//! - [`findings`]: what is dangerous about one, with a remedy.
//! - [`boot`]: how the kernels and the loader are kept, told from files.
//! - [`units`]: this project's own units, and whether they are enabled.
//! - [`foreign`]: properties of other tools, which are left alone.

pub mod boot;
pub mod findings;
pub mod foreign;
pub mod grub;
pub mod layouts;
mod place;
pub mod units;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use cap_std_ext::cap_std::fs::Dir;
use serde::Serialize;

use crate::host::Host;
use crate::os::inside::LoaderMount;
use crate::plan::Refusal;
use crate::survey::SurveyError;
use crate::zfs::{
    Canmount, Dataset, DatasetName, ErrorKind, Kind, Mountpoint, Pool, PoolName, Property,
};
use findings::Finding;
use foreign::Foreign;
use layouts::{Layout, Verdict};

/// What is attempted, for messages.
const ATTEMPTED: &str = "adopt the system";

/// A pool with more datasets is asked for the properties of the environments
/// alone: reading those of container layers and volumes by the thousand takes
/// seconds, and they say nothing about the layout.
const MANY_DATASETS: usize = 1000;

/// Everything in the imported pools, without snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// The imported pools.
    pub pools: BTreeMap<PoolName, Pool>,
    /// Every file system and volume in them.
    pub datasets: BTreeMap<DatasetName, Dataset>,
    /// The properties set on the environments' datasets, and on the others of
    /// their pools where these are not too many.
    pub properties: BTreeMap<DatasetName, Vec<Property>>,
    /// What `/` is mounted from.
    pub root: Option<DatasetName>,
    /// The root the pools in question are mounted under.
    pub altroot: Option<Utf8PathBuf>,
    /// The beroot, where it was named.
    pub named: Option<DatasetName>,
}

/// A dataset outside all environments that they have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// The dataset.
    pub dataset: DatasetName,
    /// Where it is mounted on the system it belongs to.
    pub directory: Utf8PathBuf,
}

/// A system that can be adopted.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// Which layout it is.
    pub layout: &'static Layout,
    /// The parent of the environments.
    pub beroot: DatasetName,
    /// `BOOT` of other pools, with `/boot` of environments in it.
    pub boot_roots: Vec<DatasetName>,
    /// What the environments share; never touched.
    pub shared: Vec<Shared>,
    /// What other tools noted; left alone.
    pub foreign: Vec<Foreign>,
    /// What is dangerous, or good to know.
    pub findings: Vec<Finding>,
}

impl Adoption {
    /// Adds what the files of the running system say about its kernels and loader.
    ///
    /// # Errors
    /// A way that is not supported, by its name, with the reason and a remedy.
    pub fn look_at_files(&mut self, root: &Dir, mounts: &[LoaderMount]) -> Result<(), Refusal> {
        for way in boot::ways(root, mounts) {
            let severity = match way.verdict {
                boot::Verdict::Refused => {
                    return Err(refused(format!("{} ({})", way.text, way.name), way.remedy));
                }
                boot::Verdict::Supported { dangerous: true } => findings::Severity::Warning,
                boot::Verdict::Supported { dangerous: false } => findings::Severity::Note,
            };
            self.findings.push(Finding {
                name: way.name,
                severity,
                datasets: Vec::new(),
                text: way.text.to_owned(),
                remedy: way.remedy.to_owned(),
            });
        }
        Ok(())
    }
}

fn refused(reason: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    Refusal::new(ATTEMPTED, reason.into()).remedy(remedy.into())
}

impl Look {
    /// Looks at everything but the properties.
    ///
    /// # Errors
    /// Where ZFS or the system cannot be read.
    pub fn take(host: &Host) -> Result<Self, SurveyError> {
        let pools = host.zfs.pools()?;
        let root = host.platform.root_dataset()?;
        // Listing what is in a pool that lost its disks can take for ever; only
        // one that is needed is worth that.
        let needed = [root.as_ref(), host.beroot.as_ref()];
        let tops: Vec<DatasetName> = pools
            .iter()
            .filter(|pool| {
                matches!(pool.health.as_str(), "ONLINE" | "DEGRADED")
                    || needed.iter().flatten().any(|name| name.pool() == pool.name)
            })
            .map(|pool| DatasetName::from(pool.name.clone()))
            .collect();
        let datasets = host.zfs.tree(&tops, false)?;
        Ok(Self {
            pools: pools
                .into_iter()
                .map(|pool| (pool.name.clone(), pool))
                .collect(),
            datasets: datasets
                .into_iter()
                .map(|dataset| (dataset.name.clone(), dataset))
                .collect(),
            properties: BTreeMap::new(),
            root,
            altroot: host.altroot.clone(),
            named: host.beroot.clone(),
        })
    }

    /// Reads the properties that tell a layout.
    ///
    /// # Errors
    /// Where ZFS cannot be read.
    pub fn read_properties(
        &mut self,
        host: &Host,
        beroot: &DatasetName,
    ) -> Result<(), SurveyError> {
        let mut roots = vec![beroot.clone()];
        roots.extend(self.boot_roots(beroot));
        let mut tops: BTreeSet<DatasetName> = BTreeSet::new();
        for root in roots {
            let pool = root.pool();
            let inside = self
                .datasets
                .keys()
                .filter(|name| name.pool() == pool)
                .count();
            let top = DatasetName::from(pool);
            if inside <= MANY_DATASETS {
                tops.insert(top);
            } else {
                tops.extend(top.child("USERDATA").ok());
                tops.insert(root);
            }
        }
        for top in tops {
            match host.zfs.properties(&top) {
                Ok(found) => self.properties.extend(found),
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Where a dataset is mounted on the system it belongs to.
    fn mountpoint(&self, dataset: &Dataset) -> Mountpoint {
        let altroot = self
            .pools
            .get(&dataset.name.pool())
            .and_then(|pool| pool.altroot.as_ref());
        dataset.mountpoint.clone().without(altroot)
    }

    /// Mounted at `/`, if it is mounted.
    fn is_root(&self, dataset: &Dataset) -> bool {
        self.mountpoint(dataset) == Mountpoint::Path("/".into())
    }

    /// The file systems directly below a dataset.
    fn below<'a>(&'a self, parent: &'a DatasetName) -> impl Iterator<Item = &'a Dataset> + 'a {
        self.datasets.values().filter(move |dataset| {
            dataset.kind == Kind::Filesystem && dataset.name.parent().as_ref() == Some(parent)
        })
    }

    /// `BOOT` of the other pools, where there is one.
    fn boot_roots(&self, beroot: &DatasetName) -> Vec<DatasetName> {
        self.pools
            .keys()
            .filter(|pool| **pool != beroot.pool())
            .filter_map(|pool| DatasetName::from(pool.clone()).child("BOOT").ok())
            .filter(|name| self.datasets.contains_key(name))
            .collect()
    }

    /// What lies in the environments' pools beside them and is mounted
    /// somewhere.
    fn shared(&self, beroot: &DatasetName, boot_roots: &[DatasetName]) -> Vec<Shared> {
        let pools: BTreeSet<PoolName> = std::iter::once(beroot)
            .chain(boot_roots)
            .map(DatasetName::pool)
            .collect();
        let apart = |name: &DatasetName| {
            !name.is_within(beroot) && !boot_roots.iter().any(|root| name.is_within(root))
        };
        self.datasets
            .values()
            .filter(|dataset| {
                dataset.kind == Kind::Filesystem
                    && dataset.canmount != Canmount::Off
                    && pools.contains(&dataset.name.pool())
                    && apart(&dataset.name)
            })
            .filter_map(|dataset| match self.mountpoint(dataset) {
                Mountpoint::Path(directory) => Some(Shared {
                    dataset: dataset.name.clone(),
                    directory,
                }),
                Mountpoint::Legacy | Mountpoint::None => None,
            })
            .collect()
    }

    /// Says what the system is.
    ///
    /// # Errors
    /// A layout that is not supported, by its name, with the reason and a remedy.
    pub fn recognise(&self, beroot: &DatasetName) -> Result<Adoption, Refusal> {
        let layout = layouts::of(self, beroot);
        if let Verdict::Refused { reason, remedy } = layout.verdict {
            let here = |text: &str| text.replace("<pool>", beroot.pool().as_str());
            return Err(refused(
                format!(
                    "its layout is that of {} ({}): {}",
                    layout.title,
                    layout.name,
                    here(reason)
                ),
                here(remedy),
            ));
        }
        if self.below(beroot).next().is_none() {
            return Err(refused(
                format!("there is no boot environment directly below {beroot}"),
                "name the parent of the root file systems with -r",
            ));
        }
        let boot_roots = self.boot_roots(beroot);
        let shared = self.shared(beroot, &boot_roots);
        Ok(Adoption {
            findings: findings::of(self, layout, beroot, &boot_roots, &shared),
            foreign: foreign::of(&self.properties),
            layout,
            beroot: beroot.clone(),
            boot_roots,
            shared,
        })
    }
}
