//! How the datasets of two sides hang together: by origins and snapshots.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;

use super::side::Side;
use crate::os::Object;
use crate::survey::Survey;
use crate::zfs::{Dataset, Guid, SnapshotName};

/// How two datasets hang together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// Both are what one snapshot is: nothing was written since.
    Same,
    /// Both came from a snapshot, which each has under its own name (they differ
    /// where one side was received).
    Related {
        /// As the first side knows it.
        from: SnapshotName,
        /// As the second side knows it.
        to: SnapshotName,
    },
    /// They have nothing in common.
    Unrelated,
    /// There is one on one side only.
    OneSide,
}

/// What lies at one place on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The place, as in [`super::side::Part`].
    pub place: Utf8PathBuf,
    /// How they hang together.
    pub relation: Relation,
}

/// The places of both sides, and how what lies there hangs together.
#[must_use]
pub fn pairs(survey: &Survey, from: &Side, to: &Side) -> Vec<Pair> {
    let places: BTreeSet<&Utf8PathBuf> = from
        .parts
        .iter()
        .chain(&to.parts)
        .map(|part| &part.place)
        .collect();
    places
        .into_iter()
        .map(|place| Pair {
            place: place.clone(),
            relation: match (from.at(place), to.at(place)) {
                (Some(from), Some(to)) => relation(survey, &from.object, &to.object),
                _ => Relation::OneSide,
            },
        })
        .collect()
}

fn relation(survey: &Survey, from: &Object, to: &Object) -> Relation {
    if let (Some(one), Some(other)) = (at_rest(survey, from), at_rest(survey, to))
        && one == other
    {
        return Relation::Same;
    }
    let others: BTreeMap<Guid, SnapshotName> = ancestors(survey, to).into_iter().collect();
    for (guid, name) in ancestors(survey, from) {
        if let Some(other) = others.get(&guid) {
            return Relation::Related {
                from: name,
                to: other.clone(),
            };
        }
    }
    Relation::Unrelated
}

/// The snapshot an object is, byte for byte.
///
/// A dataset that is mounted somewhere may have changes that are not in a
/// transaction group yet, which `written` does not count.
fn at_rest(survey: &Survey, object: &Object) -> Option<Guid> {
    match object {
        Object::Snapshot(name) => survey.snapshot(name).map(|snapshot| snapshot.guid),
        Object::Dataset(name) => {
            let dataset = survey.datasets.get(name)?;
            let mounted = survey.mounts.iter().any(|mount| mount.dataset == *name);
            if mounted || dataset.written != 0 {
                return None;
            }
            ancestors(survey, object).first().map(|(guid, _)| *guid)
        }
    }
}

/// The snapshots an object came from (itself, where it is one), newest first:
/// those of its dataset up to it, then its origin and those before that.
pub(crate) fn ancestors(survey: &Survey, object: &Object) -> Vec<(Guid, SnapshotName)> {
    let (mut dataset, mut until) = match object {
        Object::Dataset(name) => (survey.datasets.get(name), u64::MAX),
        Object::Snapshot(name) => (
            survey.datasets.get(&name.dataset()),
            survey
                .snapshot(name)
                .map_or(0, |snapshot| snapshot.createtxg),
        ),
    };
    let mut found = Vec::new();
    let mut seen: BTreeSet<Guid> = BTreeSet::new();
    while let Some(Dataset {
        guid,
        snapshots,
        origin,
        ..
    }) = dataset
    {
        // ZFS has no circles; a survey taken during a promotion could show one.
        if !seen.insert(*guid) {
            break;
        }
        found.extend(
            snapshots
                .iter()
                .rev()
                .filter(|snapshot| snapshot.createtxg <= until)
                .map(|snapshot| (snapshot.guid, snapshot.name.clone())),
        );
        let snapshot = origin.as_ref().and_then(|origin| survey.snapshot(origin));
        until = snapshot.map_or(0, |snapshot| snapshot.createtxg);
        dataset = snapshot.and_then(|snapshot| survey.datasets.get(&snapshot.name.dataset()));
    }
    found
}
