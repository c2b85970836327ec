//! The pairs of snapshots that synchronizations leave: which there are, and which are
//! kept; pure.

use std::collections::{BTreeMap, BTreeSet};

use super::sides::pair_of;
use crate::diff::lineage::ancestors;
use crate::os::Object;
use crate::survey::Survey;
use crate::zfs::{DatasetName, Snapshot};

/// The synchronizations whose pairs are kept in any case.
pub const KEPT: usize = 3;

/// What is left of one synchronization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base<'a> {
    /// Its id.
    pub operation: &'a str,
    /// The environments that have its snapshots now, which may be others than those that
    /// were synchronized: a promotion takes snapshots along.
    pub environments: Vec<&'a str>,
    /// Its snapshots of all datasets of both sides.
    pub snapshots: Vec<&'a Snapshot>,
}

impl Base<'_> {
    /// Bytes that only one of them refers to: so much at least comes free.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.snapshots.iter().map(|snapshot| snapshot.used).sum()
    }

    /// When the synchronization was, seconds since the epoch.
    #[must_use]
    pub fn creation(&self) -> i64 {
        let times = self.snapshots.iter().map(|snapshot| snapshot.creation);
        times.max().unwrap_or_default()
    }

    /// Something can be compared with it: of both sides there is something left.
    fn is_pair(&self) -> bool {
        let is = |half: &str| {
            let mut names = self.snapshots.iter().map(|snapshot| &snapshot.name);
            names.any(|name| name.component().ends_with(half))
        };
        is(".from") && is(".to")
    }
}

/// What synchronizations left, the newest first.
#[must_use]
pub fn bases(survey: &Survey) -> Vec<Base<'_>> {
    let mut found: BTreeMap<&str, Base<'_>> = BTreeMap::new();
    for environment in survey.environments() {
        let datasets = environment.everything();
        for snapshot in datasets.flat_map(|dataset| &dataset.snapshots) {
            let Some(operation) = pair_of(snapshot) else {
                continue;
            };
            let one = found.entry(operation).or_insert_with(|| Base {
                operation,
                environments: Vec::new(),
                snapshots: Vec::new(),
            });
            if !one.environments.contains(&environment.name()) {
                one.environments.push(environment.name());
            }
            one.snapshots.push(snapshot);
        }
    }
    let mut bases: Vec<Base<'_>> = found.into_values().collect();
    let pool = survey.beroot.pool();
    // Of one pool: the numbers of others do not compare.
    bases.sort_by_cached_key(|base| {
        let own = base.snapshots.iter();
        let groups = own
            .filter(|snapshot| snapshot.name.dataset().pool() == pool)
            .map(|snapshot| snapshot.createtxg);
        std::cmp::Reverse((groups.max(), base.creation()))
    });
    bases
}

/// The snapshots of synchronizations before the last few that no two environments would
/// be compared with, and those whose other half is gone: what may go, if nobody holds it.
#[must_use]
pub fn outdated(survey: &Survey) -> Vec<&Snapshot> {
    let bases = bases(survey);
    let (pairs, halves): (Vec<_>, Vec<_>) = bases.into_iter().partition(Base::is_pair);
    let former = pairs.into_iter().skip(KEPT).chain(halves);
    let mut former: Vec<Base<'_>> = former.collect();
    if !former.is_empty() {
        let needed = needed(survey);
        former.retain(|base| !needed.contains(base.operation));
    }
    let snapshots = former.into_iter().flat_map(|base| base.snapshots);
    snapshots
        .filter(|snapshot| snapshot.holds == 0 && snapshot.clones.is_empty())
        .collect()
}

/// Of the pairs of which a dataset came from a half: the operation and which half, newest first.
type Halves<'a> = Vec<(&'a str, &'a str)>;

/// What any two environments would be compared with ([`super::sides`]), as far as it is a pair.
/// A snapshot that both came from itself has a clone, and stays for that.
fn needed(survey: &Survey) -> BTreeSet<&str> {
    // Most environments came from the same halves, so that there are few to compare with each
    // other.
    let mut places: BTreeMap<(usize, &str), BTreeSet<Halves<'_>>> = BTreeMap::new();
    for environment in survey.environments() {
        for (number, root) in environment.roots().into_iter().enumerate() {
            let datasets = environment.datasets();
            for dataset in datasets.iter().filter(|one| one.name.is_within(&root.name)) {
                let name = dataset.name.as_str();
                let place = name.strip_prefix(root.name.as_str()).unwrap_or_default();
                let halves = halves(survey, &dataset.name);
                places.entry((number, place)).or_default().insert(halves);
            }
        }
    }
    let mut needed = BTreeSet::new();
    for lineages in places.values() {
        for (number, one) in lineages.iter().enumerate() {
            for other in lineages.iter().skip(number + 1) {
                let newest = one.iter().find(|(operation, half)| {
                    let counterpart =
                        |(its, which): &&(&str, &str)| its == operation && which != half;
                    other.iter().any(|of_other| counterpart(&of_other))
                });
                needed.extend(newest.map(|(operation, _)| *operation));
            }
        }
    }
    needed
}

fn halves<'a>(survey: &'a Survey, dataset: &DatasetName) -> Halves<'a> {
    let came_from = ancestors(survey, &Object::Dataset(dataset.clone()));
    let snapshots = came_from
        .iter()
        .filter_map(|(_, name)| survey.snapshot(name));
    snapshots
        .filter_map(|snapshot| {
            let (_, half) = snapshot.name.component().rsplit_once('.')?;
            Some((pair_of(snapshot)?, half))
        })
        .collect()
}
