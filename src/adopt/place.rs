//! Where the environments of a system are.

use std::collections::BTreeSet;

use super::{Look, layouts, refused};
use crate::plan::Refusal;
use crate::zfs::{Canmount, Dataset, DatasetName, Kind, Mountpoint, Pool};

impl Look {
    /// The beroot: the one named; the parent of what `/` is mounted from; on a
    /// rescue system the one place in the pools below the altroot where root
    /// file systems are.
    ///
    /// Stricter than what other commands go by, which take a pool's bootfs
    /// without being asked: what is found here is written down.
    ///
    /// # Errors
    /// None, or several; with what to do.
    pub fn place(&self) -> Result<DatasetName, Refusal> {
        if let Some(named) = &self.named {
            return self.named_place(named);
        }
        if self.pools.is_empty() {
            return Err(refused(
                "no ZFS pool is imported",
                "on a rescue system: zpool import -N -R /mnt POOL, and then beadm-rs -R /mnt init",
            ));
        }
        match &self.altroot {
            Some(altroot) => {
                let pools: Vec<&Pool> = self
                    .pools
                    .values()
                    .filter(|pool| pool.altroot.as_ref() == Some(altroot))
                    .collect();
                if pools.is_empty() {
                    return Err(refused(
                        format!("no pool is imported with the altroot {altroot}"),
                        format!("zpool import -N -R {altroot} POOL"),
                    ));
                }
                self.only(&pools)
            }
            None => match &self.root {
                Some(root) => root.parent().ok_or_else(|| whole_pool(root)),
                None => Err(self.not_on_zfs()),
            },
        }
    }

    fn named_place(&self, named: &DatasetName) -> Result<DatasetName, Refusal> {
        match self.datasets.get(named) {
            Some(dataset) if dataset.kind == Kind::Filesystem => Ok(named.clone()),
            Some(_) => Err(refused(
                format!("{named} is a volume"),
                "name the parent of the root file systems with -r",
            )),
            None => {
                let pools: Vec<&Pool> = self.pools.values().collect();
                let found = list(&self.candidates(&pools));
                let remedy = if found.is_empty() {
                    format!("zpool import -N -R /mnt {}", named.pool())
                } else {
                    format!("there are root file systems below: {found}")
                };
                Err(refused(format!("there is no dataset {named}"), remedy))
            }
        }
    }

    fn only(&self, pools: &[&Pool]) -> Result<DatasetName, Refusal> {
        let candidates = self.candidates(pools);
        let mut found = candidates.iter();
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only.clone()),
            (None, _) => {
                let whole = pools
                    .iter()
                    .filter_map(|pool| self.datasets.get(&DatasetName::from(pool.name.clone())))
                    .find(|dataset| self.is_mounted_root(dataset));
                Err(match whole {
                    Some(dataset) => whole_pool(&dataset.name),
                    None => refused(
                        "there is no root file system in these pools: no bootfs, and no dataset \
                         with the mountpoint /",
                        "import the pool the system is in, or name the parent of its root file \
                         systems with -r",
                    ),
                })
            }
            _ => {
                let options: Vec<String> =
                    candidates.iter().map(|name| format!("-r {name}")).collect();
                Err(refused(
                    format!(
                        "there are root file systems in several places: {}",
                        list(&candidates)
                    ),
                    format!("say which: {}", options.join(", or ")),
                ))
            }
        }
    }

    fn is_mounted_root(&self, dataset: &Dataset) -> bool {
        self.is_root(dataset) && dataset.canmount != Canmount::Off
    }

    /// The parents of everything that could be a root file system.
    fn candidates(&self, pools: &[&Pool]) -> BTreeSet<DatasetName> {
        let mut found: BTreeSet<DatasetName> = pools
            .iter()
            .filter_map(|pool| pool.bootfs.as_ref().and_then(DatasetName::parent))
            .collect();
        let likely = self.datasets.values().filter(|dataset| {
            dataset.kind == Kind::Filesystem
                && pools.iter().any(|pool| pool.name == dataset.name.pool())
                && (self.is_mounted_root(dataset) || self.is_legacy_root(dataset))
        });
        found.extend(likely.filter_map(|dataset| dataset.name.parent()));
        // What is below a root file system is a part of it.
        let tops: Vec<DatasetName> = found.iter().cloned().collect();
        found.retain(|name| {
            !tops.iter().any(|top| {
                top != name
                    && name.is_within(top)
                    && self.below(top).any(|root| {
                        name.is_within(&root.name)
                            && (self.is_mounted_root(root) || self.is_legacy_root(root))
                    })
            })
        });
        found
    }

    /// One with `mountpoint=legacy` that its place or name says is one.
    fn is_legacy_root(&self, dataset: &Dataset) -> bool {
        self.mountpoint(dataset) == Mountpoint::Legacy
            && (dataset.name.leaf() == "root"
                || dataset
                    .name
                    .parent()
                    .is_some_and(|parent| parent.leaf() == "ROOT"))
    }

    fn not_on_zfs(&self) -> Refusal {
        let pools: Vec<&Pool> = self.pools.values().collect();
        let found = self.candidates(&pools);
        let remedy = match found.iter().next() {
            None => "a system is adopted while it runs from ZFS, or from a rescue system with -R"
                .to_owned(),
            Some(first) => {
                let altroot = self
                    .pools
                    .get(&first.pool())
                    .and_then(|pool| pool.altroot.as_ref());
                match altroot {
                    Some(altroot) => format!(
                        "root file systems were found below {}; from a rescue system: \
                         beadm-rs -R {altroot} init",
                        list(&found)
                    ),
                    None => format!(
                        "root file systems were found below {}; if this is a rescue system, say \
                         which one is meant with -r",
                        list(&found)
                    ),
                }
            }
        };
        refused("this machine's root file system is not on ZFS", remedy)
    }
}

fn list(names: &BTreeSet<DatasetName>) -> String {
    names
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn whole_pool(root: &DatasetName) -> Refusal {
    refused(
        layouts::WHOLE_POOL.0,
        layouts::WHOLE_POOL.1.replace("<pool>", root.as_str()),
    )
}
