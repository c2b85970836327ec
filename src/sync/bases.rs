//! The pairs of snapshots that synchronizations leave: which there are, and which are
//! kept; pure.

use std::collections::{BTreeMap, BTreeSet};

use super::sides::{base, pair_of};
use crate::be::BootEnvironment;
use crate::os::Object;
use crate::survey::Survey;
use crate::zfs::{DatasetName, Guid, Snapshot, SnapshotName};

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
        former.retain(|base| {
            let mut guids = base.snapshots.iter().map(|snapshot| snapshot.guid);
            !guids.any(|guid| needed.contains(&guid))
        });
    }
    let snapshots = former.into_iter().flat_map(|base| base.snapshots);
    snapshots
        .filter(|snapshot| snapshot.holds == 0 && snapshot.clones.is_empty())
        .collect()
}

/// The datasets of an environment, by what they are called below its roots.
fn by_place<'a>(environment: &BootEnvironment<'a>) -> BTreeMap<(usize, String), &'a DatasetName> {
    let roots = environment.roots();
    let mut places = BTreeMap::new();
    for dataset in environment.datasets() {
        let within = |root: &&&crate::zfs::Dataset| dataset.name.is_within(&root.name);
        let root = roots.iter().enumerate().find(|(_, root)| within(root));
        if let Some((number, root)) = root {
            let below = dataset.name.as_str().strip_prefix(root.name.as_str());
            places.insert(
                (number, below.unwrap_or_default().to_owned()),
                &dataset.name,
            );
        }
    }
    places
}

/// What any two environments would be compared with.
fn needed(survey: &Survey) -> BTreeSet<Guid> {
    let all: Vec<_> = survey
        .environments()
        .map(|environment| by_place(&environment))
        .collect();
    let mut needed = BTreeSet::new();
    for (number, one) in all.iter().enumerate() {
        for other in all.iter().skip(number + 1) {
            for (place, dataset) in one {
                let Some(counterpart) = other.get(place) else {
                    continue;
                };
                let [one, other] =
                    [*dataset, *counterpart].map(|name| Object::Dataset(name.clone()));
                let both = base(survey, &one, &other).into_iter().flatten();
                let guid = |name: SnapshotName| Some(survey.snapshot(&name)?.guid);
                needed.extend(both.filter_map(guid));
            }
        }
    }
    needed
}
