//! What packages are installed in a file tree, read from the databases in it
//! and never by running anything that lies there.
//!
//! Every parser here is total: what somebody planted there is an error or
//! passed over, never a panic or an endless loop.

pub mod apk;
pub mod dpkg;
pub mod pacman;
pub mod rpm;
pub mod upgrade;
pub mod version;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// A package system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// Debian's.
    Dpkg,
    /// Red Hat's and SUSE's.
    Rpm,
    /// Arch's.
    Pacman,
    /// Alpine's.
    Apk,
}

impl Manager {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dpkg => "dpkg",
            Self::Rpm => "rpm",
            Self::Pacman => "pacman",
            Self::Apk => "apk",
        }
    }

    /// Compares two versions by its own rules.
    #[must_use]
    pub fn order(self, one: &str, other: &str) -> Ordering {
        match self {
            Self::Dpkg => version::dpkg(one, other),
            Self::Rpm => version::rpm(one, other),
            Self::Pacman => version::pacman(one, other),
            Self::Apk => version::apk(one, other),
        }
    }
}

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// The architecture it is for; empty where the database has none.
    pub architecture: String,
    /// Its version, with epoch and release as its package system writes them.
    pub version: String,
}

/// What became of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// To a newer version.
    Upgraded,
    /// To an older version.
    Downgraded,
    /// To a version that is written differently and neither newer nor older.
    Changed,
    /// Only there afterwards.
    Added,
    /// Only there before.
    Removed,
}

impl Kind {
    /// As a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upgraded => "upgraded",
            Self::Downgraded => "downgraded",
            Self::Changed => "changed",
            Self::Added => "added",
            Self::Removed => "removed",
        }
    }
}

/// One package that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What became of it.
    pub change: Kind,
    /// Whose package it is.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// The version before.
    pub from: Option<String>,
    /// The version afterwards.
    pub to: Option<String>,
}

/// Compares what is installed; sorted by what became of them, then by name.
///
/// Several versions of one package (kernels under rpm) are a set: what is in
/// one only is added or removed, and where exactly one left and one came, it
/// was replaced.
#[must_use]
pub fn compare(manager: Manager, before: &[Package], after: &[Package]) -> Vec<Change> {
    let (before, after) = (by_name(before), by_name(after));
    let none = BTreeSet::new();
    let names: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    let mut changes = Vec::new();
    for key in names {
        let old = before.get(&key).unwrap_or(&none);
        let new = after.get(&key).unwrap_or(&none);
        let gone: Vec<&str> = old.difference(new).copied().collect();
        let come: Vec<&str> = new.difference(old).copied().collect();
        let change = |change, from: Option<&str>, to: Option<&str>| Change {
            change,
            manager,
            name: key.0.to_owned(),
            architecture: key.1.to_owned(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
        };
        if let ([from], [to]) = (gone.as_slice(), come.as_slice()) {
            let kind = match manager.order(from, to) {
                Ordering::Less => Kind::Upgraded,
                Ordering::Equal => Kind::Changed,
                Ordering::Greater => Kind::Downgraded,
            };
            changes.push(change(kind, Some(from), Some(to)));
            continue;
        }
        changes.extend(
            gone.iter()
                .map(|from| change(Kind::Removed, Some(from), None)),
        );
        changes.extend(come.iter().map(|to| change(Kind::Added, None, Some(to))));
    }
    changes.sort_by(|one, other| {
        (one.change, &one.name, &one.architecture, &one.from, &one.to).cmp(&(
            other.change,
            &other.name,
            &other.architecture,
            &other.from,
            &other.to,
        ))
    });
    changes
}

fn by_name(packages: &[Package]) -> BTreeMap<(&str, &str), BTreeSet<&str>> {
    let mut names: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        names
            .entry((package.name.as_str(), package.architecture.as_str()))
            .or_default()
            .insert(&package.version);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(text: &str) -> Vec<Package> {
        text.split_whitespace()
            .map(|word| {
                let (name, version) = word.split_once('=').unwrap();
                Package {
                    name: name.to_owned(),
                    architecture: "amd64".to_owned(),
                    version: version.to_owned(),
                }
            })
            .collect()
    }

    fn told(manager: Manager, before: &str, after: &str) -> String {
        compare(manager, &packages(before), &packages(after))
            .iter()
            .map(|change| {
                format!(
                    "{} {} {} {}\n",
                    change.change.as_str(),
                    change.name,
                    change.from.as_deref().unwrap_or("-"),
                    change.to.as_deref().unwrap_or("-")
                )
            })
            .collect()
    }

    #[test]
    fn what_became_of_each_package_is_told_once_in_order() {
        assert_eq!(
            told(
                Manager::Dpkg,
                "same=1 up=1.9 down=2 gone=1 respelt=1.0",
                "same=1 up=1.10 down=1 come=3 respelt=1.00",
            ),
            "upgraded up 1.9 1.10\n\
             downgraded down 2 1\n\
             changed respelt 1.0 1.00\n\
             added come - 3\n\
             removed gone 1 -\n"
        );
    }

    #[test]
    fn several_versions_of_one_package_are_a_set() {
        assert_eq!(
            told(
                Manager::Rpm,
                "kernel=5-1 kernel=5-2",
                "kernel=5-2 kernel=5-3"
            ),
            "upgraded kernel 5-1 5-3\n"
        );
        assert_eq!(
            told(Manager::Rpm, "kernel=5-1", "kernel=5-1 kernel=5-2"),
            "added kernel - 5-2\n"
        );
        assert_eq!(
            told(Manager::Rpm, "kernel=5-1 kernel=5-2", "kernel=5-3"),
            "added kernel - 5-3\nremoved kernel 5-1 -\nremoved kernel 5-2 -\n"
        );
    }
}
