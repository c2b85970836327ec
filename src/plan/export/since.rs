//! What was sent before, and so need not be sent again.

use std::collections::BTreeSet;

use super::super::{Refusal, environment};
use super::Since;
use crate::archive::manifest::{Base, Tree};
use crate::be::{BeName, BootEnvironment};
use crate::diff::lineage::ancestors;
use crate::os::Object;
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Guid, SnapshotName};

/// Where a dataset is in an environment: in which tree, and below the root of that.
type Place = (Tree, String);

/// What `--since` stands for.
pub(super) enum Before {
    /// Whatever these datasets, by their places, have come from too.
    Environment(Vec<(Place, BTreeSet<Guid>)>),
    /// These snapshots, by the places of their datasets.
    Snapshots(Vec<(Place, Guid)>),
}

/// The datasets of an environment by their places.
fn places<'a>(
    survey: &'a Survey,
    of: &BootEnvironment<'a>,
) -> impl Iterator<Item = (Place, &'a Dataset)> {
    let roots = of.roots().into_iter().enumerate();
    roots.flat_map(|(index, root)| {
        let tree = if index == 0 { Tree::Root } else { Tree::Boot };
        let datasets = survey.within(&root.name);
        datasets.map(move |dataset| ((tree, place(&root.name, dataset)), dataset))
    })
}

impl Before {
    pub(super) fn find(
        survey: &Survey,
        attempted: &str,
        source: &BootEnvironment<'_>,
        since: &Since,
    ) -> Result<Self, Refusal> {
        match since {
            Since::Snapshot(name, component) => {
                let of = environment(survey, attempted, name)?;
                Self::snapshots(survey, attempted, &of, component)
            }
            Since::Named(text) => {
                let named: Option<BeName> = text.parse().ok();
                let other = named.and_then(|name| survey.environment(&name));
                match other {
                    Some(other) => Ok(Self::environment(survey, &other)),
                    None => Self::snapshots(survey, attempted, source, text),
                }
            }
        }
    }

    fn environment(survey: &Survey, other: &BootEnvironment<'_>) -> Self {
        let places = places(survey, other).map(|(place, dataset)| {
            let object = Object::Dataset(dataset.name.clone());
            let guids = ancestors(survey, &object).into_iter().map(|(guid, _)| guid);
            (place, guids.collect())
        });
        Self::Environment(places.collect())
    }

    fn snapshots(
        survey: &Survey,
        attempted: &str,
        of: &BootEnvironment<'_>,
        component: &str,
    ) -> Result<Self, Refusal> {
        let found: Vec<(Place, Guid)> = places(survey, of)
            .filter_map(|(place, dataset)| {
                let mut snapshots = dataset.snapshots.iter();
                let snapshot = snapshots.find(|it| it.name.component() == component)?;
                Some((place, snapshot.guid))
            })
            .collect();
        let is_root = |(tree, path): &Place| *tree == Tree::Root && path.is_empty();
        if found.iter().any(|(place, _)| is_root(place)) {
            return Ok(Self::Snapshots(found));
        }
        Err(Refusal::new(
            attempted,
            format!(
                "there is neither an environment nor a snapshot of {} called '{component}' to \
                 tell the difference to",
                of.name()
            ),
        )
        .remedy("beadm-rs list -a shows what there is"))
    }

    /// The newest snapshot a dataset came from that was sent before.
    pub(super) fn base(
        &self,
        survey: &Survey,
        dataset: &Dataset,
        at: (Tree, &str),
        sent: Option<&SnapshotName>,
    ) -> Option<Base> {
        let object = match sent {
            Some(snapshot) => Object::Snapshot(snapshot.clone()),
            None => Object::Dataset(dataset.name.clone()),
        };
        let here = |place: &Place| (place.0, place.1.as_str()) == at;
        let wanted = |guid: &Guid| match self {
            Self::Environment(places) => places
                .iter()
                .any(|(place, guids)| here(place) && guids.contains(guid)),
            Self::Snapshots(places) => places
                .iter()
                .any(|(place, snapshot)| here(place) && snapshot == guid),
        };
        ancestors(survey, &object)
            .into_iter()
            .filter(|(_, name)| Some(name) != sent)
            .find(|(guid, _)| wanted(guid))
            .map(|(guid, name)| Base { name, guid })
    }
}

/// Below a root.
pub(super) fn place(root: &DatasetName, dataset: &Dataset) -> String {
    let below = dataset.name.as_str().strip_prefix(root.as_str());
    below.unwrap_or_default().trim_start_matches('/').to_owned()
}
