//! What an input offers, whatever it is: what a planner decides on.

use super::manifest::{Base, Encryption, Manifest, Tree};
use super::package::{self, Package};
use super::record::Digest;
use super::stream::Begin;
use super::{Error, Result};
use crate::zfs::{Canmount, DatasetName, Guid, NameError, Setting};

/// What kind of input it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// An archive of this program.
    Archive {
        /// The checksum of its manifest.
        identity: Digest,
    },
    /// What `zfs send` or `bectl export` writes: one snapshot.
    Stream,
    /// What `zfs send -R` or `-p` writes.
    Package,
}

/// What can be had from an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What it is.
    pub form: Form,
    /// What it asks to be called.
    pub name: Option<String>,
    /// What is noted about it.
    pub description: Option<String>,
    /// The processor it was made for, where that is known.
    pub architecture: Option<String>,
    /// The features it needs of the pool.
    pub needs: Vec<String>,
    /// Those its `/boot` needs of the pool that goes to.
    pub boot_needs: Vec<String>,
    /// Its snapshots were taken to send it.
    pub temporary: bool,
    /// The datasets, the root first, parents before children; `/boot` last, where that
    /// was in a pool of its own.
    pub datasets: Vec<Offered>,
    /// What somebody who imports it should know.
    pub notes: Vec<String>,
}

/// One dataset that can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// In which tree.
    pub tree: Tree,
    /// Below its tree's root; empty for that.
    pub path: String,
    /// What it was called.
    pub source: DatasetName,
    /// Its snapshots, oldest first: names after the `@`, and guids.
    pub snapshots: Vec<(String, Guid)>,
    /// What has to be there already.
    pub base: Option<Base>,
    /// `mountpoint`, where it is set.
    pub mountpoint: Option<String>,
    /// `canmount`; never `on`.
    pub canmount: Canmount,
    /// Other settings.
    pub properties: Vec<Setting>,
    /// How it is encrypted; it arrives without its key.
    pub encryption: Option<Encryption>,
    /// Bytes of its stream, about; 0 where that is not known.
    pub bytes: u64,
}

impl Offered {
    /// Where it goes, below that root.
    ///
    /// # Errors
    /// Where that is no name.
    pub fn below(&self, root: &DatasetName) -> std::result::Result<DatasetName, NameError> {
        below(&self.path, root)
    }
}

/// A path of an archive below a root.
///
/// # Errors
/// Where that is no name.
pub fn below(path: &str, root: &DatasetName) -> std::result::Result<DatasetName, NameError> {
    if path.is_empty() {
        return Ok(root.clone());
    }
    path.split('/')
        .try_fold(root.clone(), |at, part| at.child(part))
}

impl Offer {
    /// Bytes of it, about; 0 where that is not known.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = self.datasets.iter().map(|offered| offered.bytes);
        bytes.fold(0, u64::saturating_add)
    }

    /// The root of the tree of its `/boot`.
    #[must_use]
    pub fn boot(&self) -> Option<&Offered> {
        self.datasets.iter().find(|it| it.tree == Tree::Boot)
    }

    /// What an archive offers.
    #[must_use]
    pub fn of_archive(manifest: &Manifest, identity: Digest) -> Self {
        let notes = manifest.left_out.iter();
        Self {
            form: Form::Archive { identity },
            name: Some(manifest.name.clone()),
            description: manifest.description.clone(),
            architecture: Some(manifest.machine.architecture.clone()),
            needs: manifest.needs.clone(),
            boot_needs: manifest.boot_needs.clone(),
            temporary: manifest.temporary,
            notes: notes
                .map(|text| format!("not in the archive: {text}"))
                .collect(),
            datasets: manifest
                .datasets
                .iter()
                .map(|entry| Offered {
                    tree: entry.tree,
                    path: entry.path.clone(),
                    source: entry.source.clone(),
                    snapshots: vec![(manifest.snapshot.clone(), entry.guid)],
                    base: entry.base.clone(),
                    mountpoint: entry.mountpoint.clone(),
                    canmount: entry.canmount,
                    properties: entry.properties.clone(),
                    encryption: entry.encryption.clone(),
                    bytes: entry.bytes,
                })
                .collect(),
        }
    }

    /// What a stream of one snapshot offers.
    ///
    /// # Errors
    /// Where it needs what cannot be told.
    pub fn of_stream(begin: &Begin) -> Result<Self> {
        let source = begin.name.dataset();
        let base = begin
            .base
            .map(|guid| -> Result<Base> {
                // Only its guid is known.
                let name = source.snapshot("its-base").map_err(Error::refused)?;
                Ok(Base { name, guid })
            })
            .transpose()?;
        Ok(Self {
            form: Form::Stream,
            name: None,
            description: None,
            architecture: None,
            needs: begin.needs.clone(),
            boot_needs: Vec::new(),
            temporary: false,
            notes: vec![
                "a stream of zfs send says nothing of properties: the root gets mountpoint=/"
                    .to_owned(),
            ],
            datasets: vec![Offered {
                tree: Tree::Root,
                path: String::new(),
                encryption: package::encryption(begin.raw, &source),
                source,
                snapshots: vec![(begin.name.component().to_owned(), begin.guid)],
                base,
                mountpoint: Some("/".to_owned()),
                canmount: Canmount::Noauto,
                properties: Vec::new(),
                bytes: 0,
            }],
        })
    }

    /// What a package offers, whose first stream is that.
    #[must_use]
    pub fn of_package(package: Package, first: &Begin) -> Self {
        let mut needs = package.begin.needs.clone();
        needs.extend(first.needs.iter().cloned());
        needs.sort();
        needs.dedup();
        let root = package.begin.name.dataset();
        let mut notes = package.notes;
        notes.push(
            "of the properties in a zfs send -R only mountpoint, canmount and user properties \
             are taken"
                .to_owned(),
        );
        Self {
            form: Form::Package,
            name: None,
            description: None,
            architecture: None,
            needs,
            boot_needs: Vec::new(),
            temporary: false,
            notes,
            datasets: package
                .datasets
                .into_iter()
                .map(|mut offered| {
                    offered.encryption = package::encryption(first.raw, &root);
                    offered
                })
                .collect(),
        }
    }
}
