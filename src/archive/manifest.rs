//! What is in an archive, said before it comes.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::policy;
use super::record::MAX_MANIFEST;
use super::{Error, Result};
use crate::be::BeName;
use crate::zfs::{Canmount, DatasetName, Guid, Setting, SnapshotName};

/// The version of the format.
pub const FORMAT: u32 = 1;

/// The most datasets, and the most properties of one.
const MAX_DATASETS: usize = 10_000;
const MAX_PROPERTIES: usize = 1_000;

/// The longest text that is only to be read.
const MAX_TEXT: usize = 8191;

/// What kind of tree it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A boot environment.
    Environment,
}

/// Which of an environment's trees a dataset is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tree {
    /// The one of its root.
    #[default]
    Root,
    /// The one of its `/boot`, where that is in a pool of its own.
    Boot,
}

impl Tree {
    /// For serde, which asks by reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_root(&self) -> bool {
        *self == Self::Root
    }
}

/// Where it comes from: for people, and to warn of another architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its name.
    pub hostname: Option<String>,
    /// Its kernel: "Linux".
    pub system: String,
    /// Its processor: `x86_64`.
    pub architecture: String,
}

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The program and its version.
    pub program: String,
    /// What kind of tree it is.
    pub kind: Kind,
    /// What it was called, and is called where no other name is asked for.
    pub name: String,
    /// What somebody noted about it.
    pub description: Option<String>,
    /// When it was begun.
    pub created: DateTime<Utc>,
    /// Where.
    pub machine: Machine,
    /// The operating system in it (`PRETTY_NAME` of os-release(5)).
    pub release: Option<String>,
    /// What its snapshots are called, after the `@`.
    pub snapshot: String,
    /// They were taken for it alone, and go when it has arrived.
    pub temporary: bool,
    /// Its streams are packed by zstd.
    pub zstd: bool,
    /// What the receiving pool's features have to be (zpool-features(7)).
    pub needs: Vec<String>,
    /// What those of the pool have to be that gets `/boot`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot_needs: Vec<String>,
    /// The datasets: those of the root's tree, then those of the tree of `/boot`; in
    /// either the root first, parents before children.
    pub datasets: Vec<Entry>,
    /// What was not taken along, and why, one sentence each.
    pub left_out: Vec<String>,
}

/// One dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// In which tree.
    #[serde(default, skip_serializing_if = "Tree::is_root")]
    pub tree: Tree,
    /// Below its tree's root, without a slash at the beginning; empty for that root.
    pub path: String,
    /// What it was called.
    pub source: DatasetName,
    /// The guid of its snapshot.
    pub guid: Guid,
    /// What its stream is the difference to.
    pub base: Option<Base>,
    /// `mountpoint`, where it is set.
    pub mountpoint: Option<String>,
    /// `canmount`; never `on`.
    pub canmount: Canmount,
    /// The other settings.
    pub properties: Vec<Setting>,
    /// How it is encrypted.
    pub encryption: Option<Encryption>,
    /// Bytes of its stream, about.
    pub bytes: u64,
}

/// A snapshot that has to be there to receive the difference to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// What it was called.
    pub name: SnapshotName,
    /// Its guid, which it has wherever it was received.
    pub guid: Guid,
}

/// What is needed to open it after it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encryption {
    /// The dataset its key belonged to.
    pub root: DatasetName,
    /// Where that key was (`keylocation`).
    pub location: Option<String>,
}

impl Manifest {
    /// As it is written.
    ///
    /// # Errors
    /// Where it could not be read again.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check()?;
        let text = serde_json::to_vec(self).map_err(Error::refused)?;
        if text.len() > MAX_MANIFEST {
            return Err(Error::refused("its list of datasets would be too long"));
        }
        Ok(text)
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// Where it says what it may not.
    pub fn decode(text: &[u8]) -> Result<Self> {
        let wrong = |error| Error::refused(format!("its manifest is not understood: {error}"));
        let manifest: Self = serde_json::from_slice(text).map_err(wrong)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The root's entry.
    #[must_use]
    pub fn root(&self) -> Option<&Entry> {
        self.datasets.first()
    }

    /// Bytes of all streams, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = self.datasets.iter().map(|entry| entry.bytes);
        bytes.fold(0, u64::saturating_add)
    }

    fn check(&self) -> Result<()> {
        let refused = |why: String| Err(Error::refused(format!("its manifest {why}")));
        if self.format != FORMAT {
            return refused(format!("is of format {}, not {FORMAT}", self.format));
        }
        if let Err(error) = self.name.parse::<BeName>() {
            return refused(format!("names it wrongly: {error}"));
        }
        let machine = &self.machine;
        let texts = [&self.program, &machine.system, &machine.architecture]
            .into_iter()
            .chain(&machine.hostname)
            .chain(&self.release)
            .chain(&self.left_out)
            .chain(&self.needs)
            .chain(&self.boot_needs);
        for text in texts.chain(&self.description) {
            if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
                return refused("has a text that is none".to_owned());
            }
        }
        let needs = self.needs.len().max(self.boot_needs.len());
        if self.datasets.len() > MAX_DATASETS || needs > MAX_PROPERTIES {
            return refused("has too many datasets".to_owned());
        }
        let is_root = |root: &Entry| root.path.is_empty() && root.tree == Tree::Root;
        if !self.root().is_some_and(is_root) {
            return refused("does not begin with a root".to_owned());
        }
        if !self.datasets.is_sorted_by_key(|entry| entry.tree) {
            return refused("does not end with the datasets of /boot".to_owned());
        }
        let mut paths = BTreeSet::new();
        let mut guids = BTreeSet::new();
        for entry in &self.datasets {
            let of_boot = match entry.tree {
                Tree::Root => "",
                Tree::Boot => " of /boot",
            };
            let what = format!("has a dataset '{}'{of_boot}", entry.path);
            let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
            if !entry.path.is_empty() && !paths.contains(&(entry.tree, parent)) {
                return refused(format!("{what} that is in nothing before it"));
            }
            if !paths.insert((entry.tree, entry.path.as_str())) || !guids.insert(entry.guid) {
                return refused(format!("{what} twice"));
            }
            if let Err(why) = entry.check(&self.snapshot) {
                return refused(format!("{what} that cannot be: {why}"));
            }
        }
        Ok(())
    }
}

impl Entry {
    /// Where it is, below that root.
    ///
    /// # Errors
    /// Where its path is none.
    pub fn below(
        &self,
        root: &DatasetName,
    ) -> std::result::Result<DatasetName, crate::zfs::NameError> {
        super::offer::below(&self.path, root)
    }

    fn check(&self, snapshot: &str) -> std::result::Result<(), String> {
        let shortest: DatasetName = "p".parse().map_err(|error| format!("{error}"))?;
        let place = self.below(&shortest).map_err(|error| error.to_string())?;
        place
            .snapshot(snapshot)
            .map_err(|error| error.to_string())?;
        if self.guid == Guid(0) || self.base.as_ref().is_some_and(|base| base.guid == Guid(0)) {
            return Err("it has no guid".to_owned());
        }
        if self.canmount == Canmount::On {
            return Err("it would be mounted at every boot (canmount=on)".to_owned());
        }
        match &self.mountpoint {
            Some(mountpoint) => {
                policy::check_mountpoint_in(self.tree, mountpoint, self.path.is_empty())?;
            }
            None if self.path.is_empty() => return Err("it has no mountpoint".to_owned()),
            None => {}
        }
        if self.properties.len() > MAX_PROPERTIES {
            return Err("it has too many properties".to_owned());
        }
        let mut names = BTreeSet::new();
        for (name, value) in &self.properties {
            if !policy::travels(name, value) {
                let value: String = value.chars().take(40).collect();
                return Err(format!("it sets {name}={}", value.escape_debug()));
            }
            if !names.insert(name) {
                return Err(format!("it sets {name} twice"));
            }
        }
        if let Some(location) = self.encryption.as_ref().and_then(|it| it.location.as_ref())
            && (location.len() > MAX_TEXT || location.chars().any(char::is_control))
        {
            return Err("its key's place is none".to_owned());
        }
        Ok(())
    }
}
