//! What `zfs send -R` and `-p` put before their streams: a list of all that comes
//! (`send_prelim_records` and `gather_nvlist` in `libzfs_sendrecv.c`).

use std::collections::BTreeSet;

use super::manifest::{Encryption, Tree};
use super::nvlist::{self, List, Value};
use super::offer::Offered;
use super::policy;
use super::stream::Begin;
use super::{Error, Result};
use crate::be::NewBeName;
use crate::marker;
use crate::zfs::{Canmount, DatasetName, Guid};

/// The most datasets of one.
const MAX_DATASETS: usize = 10_000;

/// What a package says it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its first record.
    pub begin: Begin,
    /// Its datasets, the root first, parents before children.
    pub datasets: Vec<Offered>,
    /// What is in it and is not taken.
    pub notes: Vec<String>,
}

/// Of a stream nothing is known but that it is encrypted.
#[must_use]
pub fn encryption(raw: bool, root: &DatasetName) -> Option<Encryption> {
    raw.then(|| Encryption {
        root: root.clone(),
        location: None,
    })
}

/// Reads the list.
///
/// # Errors
/// Where it is none, or holds what no environment is made of.
pub fn parse(begin: Begin, list: &[u8]) -> Result<Package> {
    let list = nvlist::parse(list)?;
    if list.text("fromsnap").is_some() {
        return Err(Error::refused(
            "it is what zfs send -R -i or -I writes, which changes datasets that are there; an \
             environment is imported from a whole one (zfs send -R), or from an archive",
        ));
    }
    let file_systems = list
        .list("fss")
        .ok_or_else(|| Error::refused("the stream does not say which datasets are in it"))?;
    if file_systems.0.len() > MAX_DATASETS {
        return Err(Error::refused("there are too many datasets in it"));
    }
    let root = begin.name.dataset();
    let mut notes = Vec::new();
    let mut datasets = Vec::new();
    for (_, value) in &file_systems.0 {
        let Value::List(one) = value else {
            return Err(Error::refused("the list of its datasets is not understood"));
        };
        datasets.push(dataset(one, &root, &mut notes)?);
    }
    datasets.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
    let paths: BTreeSet<&str> = datasets.iter().map(|it| it.path.as_str()).collect();
    if paths.len() != datasets.len() || !paths.contains("") {
        return Err(Error::refused(
            "the list of its datasets is not that of a tree",
        ));
    }
    for path in &paths {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if !paths.contains(parent) {
            return Err(Error::refused(format!(
                "'{path}' is in it without its parent"
            )));
        }
    }
    // An empty path sorts as one empty part, before every other.
    Ok(Package {
        begin,
        datasets,
        notes,
    })
}

fn dataset(list: &List, root: &DatasetName, notes: &mut Vec<String>) -> Result<Offered> {
    let name = list.text("name").unwrap_or_default();
    let source: DatasetName = name
        .parse()
        .map_err(|error| Error::refused(format!("a dataset in it is called {error}")))?;
    let Some(path) = source.as_str().strip_prefix(root.as_str()) else {
        return Err(Error::refused(format!(
            "{source} is in it, and not below {root}"
        )));
    };
    let path = match path.strip_prefix('/') {
        Some(path) => path.to_owned(),
        None if path.is_empty() => String::new(),
        None => {
            return Err(Error::refused(format!(
                "{source} is in it, and not below {root}"
            )));
        }
    };
    // What the root is called is decided here.
    if path.is_empty() && source.leaf().parse::<NewBeName>().is_err() {
        notes.push(format!("{source} is no name of an environment"));
    }
    let mut offered = Offered {
        tree: Tree::Root,
        mountpoint: path.is_empty().then(|| "/".to_owned()),
        path,
        snapshots: Vec::new(),
        base: None,
        canmount: Canmount::Noauto,
        properties: Vec::new(),
        encryption: None,
        source,
        bytes: 0,
    };
    for (snapshot, guid) in list.list("snaps").map(|list| &list.0).into_iter().flatten() {
        let named = offered.source.snapshot(snapshot).map_err(Error::refused)?;
        if let Value::Number(guid) = guid {
            let component = named.component().to_owned();
            offered.snapshots.push((component, Guid(*guid)));
        }
    }
    for (name, value) in list.list("props").map(|list| &list.0).into_iter().flatten() {
        property(&mut offered, name, value, notes);
    }
    Ok(offered)
}

fn property(offered: &mut Offered, name: &str, value: &Value, notes: &mut Vec<String>) {
    match (name, value) {
        ("mountpoint", Value::Text(mountpoint)) => {
            match policy::check_mountpoint(mountpoint, offered.path.is_empty()) {
                Ok(()) => offered.mountpoint = Some(mountpoint.clone()),
                Err(why) => notes.push(format!("{}: {why}; it is not taken", offered.source)),
            }
        }
        // `ZFS_CANMOUNT_OFF`.
        ("canmount", Value::Number(0)) => offered.canmount = Canmount::Off,
        (name, Value::Text(value)) if name.contains(':') => {
            if policy::travels(name, value) {
                offered.properties.push((name.to_owned(), value.clone()));
            } else if !marker::is_identity(name) {
                notes.push(format!("{}: {name} is not taken", offered.source));
            }
        }
        _ => {}
    }
}
