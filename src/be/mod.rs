//! A boot environment as a view on a survey: its datasets, its flags, what it
//! holds.

pub mod made;
pub mod name;
pub mod rewrite;
pub mod space;

use std::collections::BTreeSet;

use crate::marker;
use crate::survey::Survey;
use crate::zfs::{Canmount, Dataset, DatasetName, Guid, Kind, Mountpoint};

pub use name::{BeName, NewBeName};

/// One boot environment: a dataset directly under the beroot, everything below
/// it, and its namesakes under the boot roots of other pools.
#[derive(Debug, Clone, Copy)]
pub struct BootEnvironment<'a> {
    survey: &'a Survey,
    /// The dataset directly under the beroot.
    pub root: &'a Dataset,
}

/// Why a dataset of a boot environment is not cloned with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apart {
    /// A volume.
    Volume,
    /// A layer of a container store: Docker's and Podman's zfs driver make a
    /// legacy dataset of 64 hexadecimal digits per layer.
    Layer,
    /// Marked `org.beadm-rs:exclude`, or below one that is.
    Excluded,
}

impl Apart {
    /// What it is, for messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Volume => "a volume",
            Self::Layer => "a container's layer",
            Self::Excluded => "excluded (org.beadm-rs:exclude)",
        }
    }
}

/// Why a dataset stands apart by itself, without looking at what is above it.
pub(crate) fn apart(dataset: &Dataset) -> Option<Apart> {
    if dataset.kind == Kind::Volume {
        return Some(Apart::Volume);
    }
    let excluded = dataset.marks.get("exclude").map(String::as_str);
    if matches!(excluded, Some("on" | "yes" | "true" | "1")) {
        return Some(Apart::Excluded);
    }
    let leaf = dataset.name.leaf();
    let digits = leaf.strip_suffix("-init").unwrap_or(leaf);
    let layer = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (layer && dataset.mountpoint == Mountpoint::Legacy).then_some(Apart::Layer)
}

impl<'a> BootEnvironment<'a> {
    pub(crate) fn new(survey: &'a Survey, root: &'a Dataset) -> Self {
        Self { survey, root }
    }

    /// Its name, as people write it.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.root.name.leaf()
    }

    /// Its identity.
    #[must_use]
    pub fn guid(&self) -> Guid {
        self.root.guid
    }

    /// The roots of its trees: under the beroot, then under each boot root.
    #[must_use]
    pub fn roots(&self) -> Vec<&'a Dataset> {
        let mut roots = vec![self.root];
        roots.extend(self.survey.boots_of(self.name()));
        roots
    }

    /// The roots of its trees in other pools.
    #[must_use]
    pub fn other_roots(&self) -> Vec<DatasetName> {
        self.roots()
            .into_iter()
            .filter(|root| root.name != self.root.name)
            .map(|root| root.name.clone())
            .collect()
    }

    /// Every dataset in its trees, whatever it is; parents before children.
    pub fn everything(&self) -> impl Iterator<Item = &'a Dataset> + use<'a> {
        let survey = self.survey;
        self.roots()
            .into_iter()
            .flat_map(move |root| survey.within(&root.name))
    }

    /// The datasets that make it up: file systems, without what stands apart.
    #[must_use]
    pub fn datasets(&self) -> Vec<&'a Dataset> {
        let apart: BTreeSet<&DatasetName> = self
            .apart()
            .iter()
            .map(|(dataset, _)| &dataset.name)
            .collect();
        self.everything()
            .filter(|dataset| !apart.contains(&dataset.name))
            .collect()
    }

    /// What lies in its trees and is not cloned with it.
    #[must_use]
    pub fn apart(&self) -> Vec<(&'a Dataset, Apart)> {
        let mut found: Vec<(&Dataset, Apart)> = Vec::new();
        for dataset in self.everything() {
            let above = found
                .iter()
                .find(|(other, _)| dataset.name.is_within(&other.name))
                .map(|(_, why)| *why);
            if dataset.guid == self.root.guid {
                continue;
            }
            if let Some(why) = above.or_else(|| apart(dataset)) {
                found.push((dataset, why));
            }
        }
        found
    }

    /// The machine runs from it.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.survey.running.as_ref() == Some(&self.root.name)
    }

    /// It boots next, if nothing is set for once.
    #[must_use]
    pub fn is_next(&self) -> bool {
        self.survey.boot.next.as_ref() == Some(&self.root.name)
    }

    /// It boots next, and only then.
    #[must_use]
    pub fn is_once(&self) -> bool {
        self.survey.boot.once.as_ref() == Some(&self.root.name)
    }

    /// It is the one last confirmed to work.
    #[must_use]
    pub fn is_last_good(&self) -> bool {
        self.survey.last_good() == Some(self.guid())
    }

    /// Somebody asked that it stays.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        marker::read(&self.root.marks, "pinned", self.guid()).is_some()
    }

    /// The environment that was confirmed when this one was activated.
    #[must_use]
    pub fn failback(&self) -> Option<Guid> {
        marker::read(&self.root.marks, "failback", self.guid())?
            .parse()
            .ok()
    }

    /// What somebody wrote about it.
    #[must_use]
    pub fn description(&self) -> Option<&'a str> {
        self.root.marks.get("description").map(String::as_str)
    }

    /// Why it cannot be booted, as far as the pool shows.
    #[must_use]
    pub fn unbootable(&self) -> Option<String> {
        let altroot = self.survey.altroot_of(&self.root.name);
        if self.survey.is_unfinished(&self.root.name) {
            return Some("it is part of an unfinished operation".to_owned());
        }
        if self.unfinished_upgrade().is_some() {
            return Some("its upgrade did not end".to_owned());
        }
        match self.root.mountpoint.clone().without(altroot) {
            Mountpoint::Path(path) if path == "/" => {}
            Mountpoint::Legacy => {}
            other => return Some(format!("its mountpoint is {other} and not /")),
        }
        if self.root.canmount == Canmount::Off {
            return Some("its canmount is off".to_owned());
        }
        None
    }

    /// The single letters of the listing: `N` now, `R` next boot, `T` once,
    /// `!` not bootable, `P` pinned; `-` where none applies.
    #[must_use]
    pub fn flags(&self) -> String {
        let flags: String = [
            (self.is_running(), 'N'),
            (self.is_next(), 'R'),
            (self.is_once(), 'T'),
            (self.unbootable().is_some(), '!'),
            (self.is_pinned(), 'P'),
        ]
        .into_iter()
        .filter_map(|(set, flag)| set.then_some(flag))
        .collect();
        if flags.is_empty() {
            "-".to_owned()
        } else {
            flags
        }
    }

    /// Where its root is mounted in this namespace now.
    #[must_use]
    pub fn mounted_at(&self) -> Option<&'a camino::Utf8Path> {
        self.survey
            .own_mounts()
            .find(|mount| mount.dataset == self.root.name)
            .map(|mount| mount.directory.as_path())
    }
}
