//! What a side shows of its pools: all but sizes, times and guids.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use beadm_rs::os::Platform;
use beadm_rs::zfs::{Dataset, DatasetName, Pool, Property, Zfs};

/// What is shown, a line each, in the order of the engine.
pub type Picture = Vec<String>;

/// Whose guids stand for what.
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(datasets: &[Dataset]) -> Self {
        let mut names = BTreeMap::new();
        for dataset in datasets {
            names.insert(dataset.guid.to_string(), dataset.name.to_string());
            for snapshot in &dataset.snapshots {
                names.insert(snapshot.guid.to_string(), snapshot.name.to_string());
            }
        }
        Self(names)
    }

    /// A text in which guids are the names of what has them.
    fn in_words(&self, text: &str) -> String {
        text.split_inclusive(|c: char| !c.is_ascii_digit())
            .map(|piece| {
                let digits = piece.trim_end_matches(|c: char| !c.is_ascii_digit());
                let rest = &piece[digits.len()..];
                match self.0.get(digits) {
                    Some(name) => format!("<{name}>{rest}"),
                    None if digits.len() > 14 => format!("<gone>{rest}"),
                    None => piece.to_owned(),
                }
            })
            .collect()
    }

    fn marks(&self, marks: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        marks
            .iter()
            .map(|(key, value)| (key.clone(), self.in_words(value)))
            .collect()
    }
}

/// What of it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// The ages of datasets: not where several clones are made at once.
    pub ages: bool,
    /// All that is set: most of what a picture costs.
    pub properties: bool,
}

/// Takes the picture of these pools.
pub fn take(zfs: &dyn Zfs, platform: &dyn Platform, pools: &[&str], shown: Shown) -> Picture {
    let Shown { ages, properties } = shown;
    let roots: Vec<DatasetName> = pools.iter().map(|pool| pool.parse().unwrap()).collect();
    let datasets = zfs.tree(&roots, true).unwrap();
    let names = Names::of(&datasets);
    let mut lines: Picture = zfs
        .pools()
        .unwrap()
        .iter()
        .filter(|pool| pools.contains(&pool.name.as_str()))
        .map(pool_line)
        .collect();
    for root in &roots {
        let groups: BTreeSet<u64> = datasets
            .iter()
            .filter(|dataset| dataset.name.is_within(root))
            .flat_map(|dataset| {
                let snapshots = dataset.snapshots.iter().map(|s| s.createtxg);
                snapshots.chain(ages.then_some(dataset.createtxg))
            })
            .collect();
        let age = |group: u64| groups.range(..group).count();
        for dataset in datasets.iter().filter(|d| d.name.is_within(root)) {
            let own = ages.then(|| age(dataset.createtxg));
            lines.push(dataset_line(dataset, &names, own));
            for snapshot in &dataset.snapshots {
                let clones: BTreeSet<String> =
                    snapshot.clones.iter().map(ToString::to_string).collect();
                let tags = match snapshot.holds {
                    0 => Vec::new(),
                    _ => zfs.holds(&snapshot.name).unwrap(),
                };
                lines.push(format!(
                    "{} age {} clones {clones:?} holds {} {tags:?} marks {:?}",
                    snapshot.name,
                    age(snapshot.createtxg),
                    snapshot.holds,
                    names.marks(&snapshot.marks),
                ));
            }
        }
        if !properties {
            continue;
        }
        for (dataset, mut set) in zfs.properties(root).unwrap() {
            set.sort_by(|one, other| one.name.cmp(&other.name));
            for property in set {
                lines.push(property_line(&dataset, &property, &names));
            }
        }
    }
    let mounts = platform.mounts(false).unwrap();
    let mut mounts: Vec<String> = mounts
        .iter()
        .filter(|mount| roots.iter().any(|root| mount.dataset.is_within(root)))
        .map(|mount| format!("mount {} on {}", mount.dataset, mount.directory))
        .collect();
    mounts.sort();
    lines.extend(mounts);
    lines
}

/// The shorter listings say the same as the long one.
pub fn listings_agree(zfs: &dyn Zfs, pools: &[&str]) {
    // Sizes settle some transaction groups later.
    let bare = |mut datasets: Vec<Dataset>| {
        for dataset in &mut datasets {
            dataset.snapshots.clear();
            [dataset.used, dataset.referenced, dataset.written] = [0; 3];
        }
        datasets
    };
    let roots: Vec<DatasetName> = pools.iter().map(|pool| pool.parse().unwrap()).collect();
    let long = bare(zfs.tree(&roots, true).unwrap());
    assert_eq!(long, bare(zfs.tree(&roots, false).unwrap()));
    let near: Vec<Dataset> = long
        .into_iter()
        .filter(|dataset| dataset.name.depth() < 2)
        .collect();
    assert_eq!(near, bare(zfs.children(&roots).unwrap()));
}

fn pool_line(pool: &Pool) -> String {
    format!(
        "pool {} {} readonly {} altroot {:?} bootfs {:?}",
        pool.name,
        pool.health,
        pool.readonly,
        pool.altroot,
        pool.bootfs.as_ref().map(ToString::to_string),
    )
}

fn dataset_line(dataset: &Dataset, names: &Names, age: Option<usize>) -> String {
    let mut line = format!("{} {:?} age {age:?}", dataset.name, dataset.kind);
    if let Some(origin) = &dataset.origin {
        let _ = write!(line, " origin {origin}");
    }
    let _ = write!(
        line,
        " canmount {} mountpoint {} mounted {} readonly {} key {:?} {} receiving {} marks {:?}",
        dataset.canmount.as_str(),
        dataset.mountpoint,
        dataset.mounted,
        dataset.readonly,
        dataset.encryption_root.as_ref().map(ToString::to_string),
        dataset.key_loaded,
        dataset.receiving(),
        names.marks(&dataset.marks),
    );
    line
}

fn property_line(dataset: &DatasetName, property: &Property, names: &Names) -> String {
    format!(
        "{dataset} {:?} {:?} {:?}",
        property.source,
        property.name,
        names.in_words(&property.value),
    )
}
