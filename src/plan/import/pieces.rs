//! Where the datasets of an import go.

use std::collections::BTreeMap;

use super::super::{Refusal, bad_name};
use super::{Facts, Piece, Request};
use crate::archive::offer::{Offer, Offered};
use crate::survey::Survey;
use crate::zfs::{DatasetName, PREFIX, Setting, SnapshotName};

/// Where each dataset goes, with what settings, and what it is received as a clone of.
///
/// # Errors
/// Where one cannot, or something else is there.
pub(super) fn pieces(
    survey: &Survey,
    request: &Request,
    facts: &Facts,
    attempted: &str,
    [root, staging]: [&DatasetName; 2],
    mark: &str,
) -> Result<Vec<Piece>, Refusal> {
    let offer = &request.offer;
    let mut found = BTreeMap::new();
    for dataset in survey.within(staging) {
        found.insert(dataset.name.clone(), dataset);
    }
    let mut pieces = Vec::new();
    for (index, offered) in offer.datasets.iter().enumerate() {
        let target = offered.below(staging).map_err(bad_name(attempted))?;
        // The name it gets has to fit too, its snapshots included.
        let named = offered.below(root).map_err(bad_name(attempted))?;
        for (component, _) in &offered.snapshots {
            for name in [&target, &named] {
                name.snapshot(component).map_err(bad_name(attempted))?;
            }
        }
        let there = match found.remove(&target) {
            None => false,
            Some(dataset) => {
                let whole = offered.snapshots.iter().all(|(component, guid)| {
                    let mut snapshots = dataset.snapshots.iter();
                    snapshots.any(|it| it.name.component() == component && it.guid == *guid)
                });
                if dataset.marks.get("op").map(String::as_str) != Some(mark) || !whole {
                    return Err(in_the_way(attempted, staging));
                }
                true
            }
        };
        pieces.push(Piece {
            source: offered.source.clone(),
            settings: settings(offer, offered, facts, mark, index == 0),
            snapshots: offered.snapshots.clone(),
            origin: origin(survey, attempted, offered, staging)?,
            target,
            there,
        });
    }
    if !found.is_empty() {
        return Err(in_the_way(attempted, staging));
    }
    Ok(pieces)
}

fn in_the_way(attempted: &str, staging: &DatasetName) -> Refusal {
    Refusal::new(
        attempted,
        format!("{staging} is there, and is not what an import of this left"),
    )
    .remedy(format!("beadm-rs destroy {}", staging.leaf()))
}

/// The snapshot that a difference is to, wherever it is in this pool.
fn origin(
    survey: &Survey,
    attempted: &str,
    offered: &Offered,
    staging: &DatasetName,
) -> Result<Option<SnapshotName>, Refusal> {
    let Some(base) = &offered.base else {
        return Ok(None);
    };
    let here = survey.beroot.pool();
    let found = survey
        .datasets
        .values()
        .filter(|dataset| dataset.name.pool() == here && !dataset.name.is_within(staging))
        .flat_map(|dataset| &dataset.snapshots)
        .find(|snapshot| snapshot.guid == base.guid);
    match found {
        Some(snapshot) => Ok(Some(snapshot.name.clone())),
        None => Err(Refusal::new(
            attempted,
            format!(
                "it holds only what changed since {} (guid {}), and {} has no such snapshot",
                base.name, base.guid, survey.beroot
            ),
        )
        .remedy("import that first, or export it without --since")),
    }
}

fn settings(
    offer: &Offer,
    offered: &Offered,
    facts: &Facts,
    mark: &str,
    root: bool,
) -> Vec<Setting> {
    let mut settings = vec![("canmount".to_owned(), offered.canmount.as_str().to_owned())];
    let properties = offered.properties.iter();
    settings.extend(
        properties
            .filter(|(name, _)| !facts.unknown.contains(name))
            .cloned(),
    );
    if root {
        settings.push(("mountpoint".to_owned(), "none".to_owned()));
        if let Some(text) = &offer.description {
            settings.push((format!("{PREFIX}description"), text.clone()));
        }
    } else if let Some(mountpoint) = &offered.mountpoint {
        settings.push(("mountpoint".to_owned(), mountpoint.clone()));
    }
    settings.push((format!("{PREFIX}op"), mark.to_owned()));
    settings
}
