//! Everything a machine is, as far as this program could change it, in a form
//! that two machines can be compared by.
//!
//! Transaction groups and times are left out: undoing takes groups of its own.
//! Guids are in it: the machine is reproducible, so that the same operation
//! gives its new objects the same guids whether it was interrupted or not, and
//! an object that was destroyed and made again is seen to be another one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use beadm_rs::os::Platform as _;
use beadm_rs::zfs::sim::Sim;
use beadm_rs::zfs::{
    Canmount, DatasetName, Guid, Kind, Mountpoint, PREFIX, PoolName, Property, SnapshotName,
    Zfs as _,
};

/// The files that histories write and commands rewrite.
const FILES: [&str; 2] = ["etc/fstab", "etc/version"];

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub bootfs: BTreeMap<PoolName, Option<DatasetName>>,
    pub running: Option<DatasetName>,
    pub mounts: BTreeSet<(DatasetName, String)>,
    pub datasets: BTreeMap<DatasetName, Item>,
}

/// A dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub guid: Guid,
    pub kind: Kind,
    pub origin: Option<SnapshotName>,
    pub canmount: Canmount,
    pub mountpoint: Mountpoint,
    pub properties: Vec<Property>,
    pub referenced: u64,
    pub files: Vec<Option<String>>,
    pub snapshots: Vec<Snap>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snap {
    pub name: SnapshotName,
    pub guid: Guid,
    pub referenced: u64,
    pub holds: Vec<String>,
    pub marks: BTreeMap<String, String>,
    pub clones: BTreeSet<DatasetName>,
    pub files: Vec<Option<String>>,
}

impl Snap {
    /// What this program noted on it when it took it.
    pub fn operation(&self) -> Option<&str> {
        let (guid, text) = self.marks.get("op")?.split_once(' ')?;
        (guid == self.guid.to_string()).then_some(text)
    }
}

fn files(sim: &Sim, object: &str) -> Vec<Option<String>> {
    FILES
        .iter()
        .map(|path| {
            let contents = sim.read_file(object, path).unwrap()?;
            Some(String::from_utf8(contents).unwrap())
        })
        .collect()
}

impl Picture {
    /// Takes the picture.
    pub fn take(sim: &Sim) -> Self {
        let pools = sim.pools().unwrap();
        let roots: Vec<DatasetName> = pools.iter().map(|pool| pool.name.clone().into()).collect();
        let mut properties: BTreeMap<DatasetName, Vec<Property>> = BTreeMap::new();
        for root in &roots {
            properties.extend(sim.properties(root).unwrap());
        }
        let mut datasets = BTreeMap::new();
        for dataset in sim.tree(&roots, true).unwrap() {
            let mut set = properties.remove(&dataset.name).unwrap_or_default();
            set.sort_by(|one, other| one.name.cmp(&other.name));
            // A mark of another object's counts for nothing; it is written over,
            // and undoing that takes it away.
            set.retain(|property| {
                let copied = property
                    .value
                    .split_once(' ')
                    .and_then(|(guid, _)| guid.parse().ok())
                    .is_some_and(|guid: Guid| guid != dataset.guid);
                !(property.name.starts_with(PREFIX) && copied)
            });
            let snapshots = dataset
                .snapshots
                .into_iter()
                .map(|snapshot| Snap {
                    files: files(sim, snapshot.name.as_str()),
                    holds: match snapshot.holds {
                        0 => Vec::new(),
                        _ => sim.holds(&snapshot.name).unwrap(),
                    },
                    name: snapshot.name,
                    guid: snapshot.guid,
                    referenced: snapshot.referenced,
                    marks: snapshot.marks,
                    clones: snapshot.clones.into_iter().collect(),
                })
                .collect();
            let item = Item {
                guid: dataset.guid,
                kind: dataset.kind,
                origin: dataset.origin,
                canmount: dataset.canmount,
                mountpoint: dataset.mountpoint,
                properties: set,
                referenced: dataset.referenced,
                files: files(sim, dataset.name.as_str()),
                snapshots,
            };
            datasets.insert(dataset.name, item);
        }
        Self {
            bootfs: pools
                .into_iter()
                .map(|pool| (pool.name, pool.bootfs))
                .collect(),
            running: sim.root_dataset().unwrap(),
            mounts: sim
                .mounts(true)
                .unwrap()
                .into_iter()
                .map(|mount| (mount.dataset, mount.directory.into_string()))
                .collect(),
            datasets,
        }
    }

    /// The dataset with that guid, and its name.
    pub fn with_guid(&self, guid: Guid) -> Option<(&DatasetName, &Item)> {
        self.datasets.iter().find(|(_, item)| item.guid == guid)
    }

    /// Every snapshot.
    pub fn snapshots(&self) -> impl Iterator<Item = &Snap> {
        self.datasets.values().flat_map(|item| &item.snapshots)
    }

    /// The roots of the boot environments.
    pub fn environments(&self) -> Vec<&DatasetName> {
        let beroot = super::machine::dataset("rpool/ROOT");
        self.datasets
            .keys()
            .filter(|name| name.parent().as_ref() == Some(&beroot))
            .collect()
    }

    /// The root that boots next.
    pub fn next(&self) -> Option<&DatasetName> {
        self.bootfs.values().find_map(Option::as_ref)
    }

    /// The text of `org.beadm-rs:<key>` on a dataset, where it counts.
    pub fn mark(&self, dataset: &DatasetName, key: &str) -> Option<&str> {
        let item = self.datasets.get(dataset)?;
        let property = item
            .properties
            .iter()
            .find(|property| property.name == format!("org.beadm-rs:{key}"))?;
        let (guid, text) = property.value.split_once(' ')?;
        (guid == item.guid.to_string()).then_some(text)
    }

    /// The trees of an environment: under the beroot, and its `/boot`.
    pub fn roots_of(&self, root: &DatasetName) -> Vec<DatasetName> {
        let boot = super::machine::dataset("bpool/BOOT")
            .child(root.leaf())
            .unwrap();
        let mut roots = vec![root.clone()];
        if self.datasets.contains_key(&boot) {
            roots.push(boot);
        }
        roots
    }

    /// An environment's datasets by their place in it, and what makes each of
    /// them come up at boot.
    pub fn shape(&self, root: &DatasetName) -> BTreeMap<String, (Canmount, Mountpoint)> {
        let mut shape = BTreeMap::new();
        for (index, tree) in self.roots_of(root).iter().enumerate() {
            for (name, item) in &self.datasets {
                if let Some(below) = name.below(tree) {
                    shape.insert(
                        format!("{index}/{below}"),
                        (item.canmount, item.mountpoint.clone()),
                    );
                }
            }
        }
        shape
    }

    /// The places of what stands apart from an environment and is not cloned
    /// with it: volumes, and what is excluded, with all below it.
    pub fn apart(&self, root: &DatasetName) -> BTreeSet<String> {
        let excluded = |name: &DatasetName| {
            let above = std::iter::successors(Some(name.clone()), DatasetName::parent);
            let set = above.filter_map(|name| {
                let set = &self.datasets.get(&name)?.properties;
                set.iter().find(|p| p.name == "org.beadm-rs:exclude")
            });
            set.map(|property| property.value == "on").next() == Some(true)
        };
        let mut apart = BTreeSet::new();
        for (index, tree) in self.roots_of(root).iter().enumerate() {
            for (name, item) in &self.datasets {
                // What is excluded takes along what is not, and lies below it.
                let mut within = std::iter::successors(Some(name.clone()), DatasetName::parent)
                    .take_while(|above| above != tree);
                if let Some(below) = name.below(tree).filter(|below| !below.is_empty())
                    && (item.kind == Kind::Volume || within.any(|above| excluded(&above)))
                {
                    apart.insert(format!("{index}/{below}"));
                }
            }
        }
        apart
    }

    /// The lines by which another picture differs from this one.
    pub fn difference(&self, other: &Self) -> String {
        let (one, two) = (self.lines(), other.lines());
        let mut text = String::new();
        for line in one.difference(&two) {
            let _ = writeln!(text, "- {line}");
        }
        for line in two.difference(&one) {
            let _ = writeln!(text, "+ {line}");
        }
        text
    }

    fn lines(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::from([
            format!("bootfs {:?}", self.bootfs),
            format!("running {:?}", self.running),
        ]);
        lines.extend(self.mounts.iter().map(|mount| format!("mount {mount:?}")));
        for (name, item) in &self.datasets {
            let bare = Item {
                snapshots: Vec::new(),
                properties: Vec::new(),
                ..item.clone()
            };
            lines.insert(format!("{name} {bare:?}"));
            lines.extend(item.properties.iter().map(|p| format!("{name} {p:?}")));
            lines.extend(item.snapshots.iter().map(|snap| format!("{snap:?}")));
            let order: Vec<&str> = item.snapshots.iter().map(|s| s.name.component()).collect();
            lines.insert(format!("{name} snapshots {order:?}"));
        }
        lines
    }
}
