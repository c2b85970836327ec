//! Where the datasets of an import go.

use std::collections::BTreeMap;
use std::fmt;

use super::super::{Refusal, bad_name};
use super::{Facts, Piece, Request};
use crate::archive::offer::{Offer, Offered};
use crate::archive::token::Token;
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Guid, PREFIX, Setting, SnapshotName};

/// What an import makes.
pub(super) struct Pieces {
    pub(super) pieces: Vec<Piece>,
    pub(super) lost: Vec<Lost>,
}

/// What a try before brought in part, and cannot be gone on with.
pub(super) struct Lost {
    pub(super) dataset: DatasetName,
    pub(super) guid: Guid,
    why: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "what had arrived of {} cannot be gone on with ({}); it is received from its \
             beginning",
            self.dataset, self.why
        )
    }
}

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
) -> Result<Pieces, Refusal> {
    let offer = &request.offer;
    let mut found = BTreeMap::new();
    for dataset in survey.within(staging) {
        found.insert(dataset.name.clone(), dataset);
    }
    let mut pieces = Vec::new();
    let mut lost = Vec::new();
    for (index, offered) in offer.datasets.iter().enumerate() {
        let target = offered.below(staging).map_err(bad_name(attempted))?;
        // The name it gets has to fit too, its snapshots included.
        let named = offered.below(root).map_err(bad_name(attempted))?;
        for (component, _) in &offered.snapshots {
            for name in [&target, &named] {
                name.snapshot(component).map_err(bad_name(attempted))?;
            }
        }
        let (mut there, mut begun) = (false, None);
        match found.remove(&target) {
            None => {}
            Some(dataset) if dataset.receiving() && request.resume => {
                let own = dataset.marks.get("op").map(String::as_str) == Some(mark);
                match point(dataset, offered) {
                    Ok(bytes) => begun = Some(bytes),
                    Err(why) if own => lost.push(Lost {
                        dataset: target.clone(),
                        guid: dataset.guid,
                        why,
                    }),
                    Err(_) => return Err(in_the_way(attempted, staging)),
                }
            }
            Some(dataset) => {
                let whole = offered.snapshots.iter().all(|(component, guid)| {
                    let mut snapshots = dataset.snapshots.iter();
                    snapshots.any(|it| it.name.component() == component && it.guid == *guid)
                });
                if dataset.marks.get("op").map(String::as_str) != Some(mark) || !whole {
                    return Err(in_the_way(attempted, staging));
                }
                there = true;
            }
        }
        pieces.push(Piece {
            source: offered.source.clone(),
            settings: settings(offer, offered, facts, mark, index == 0),
            snapshots: offered.snapshots.clone(),
            origin: origin(survey, attempted, offered, staging)?,
            target,
            there,
            begun,
        });
    }
    if !found.is_empty() {
        return Err(in_the_way(attempted, staging));
    }
    Ok(Pieces { pieces, lost })
}

/// How much of a dataset a try before brought, where what comes now is the same stream.
/// The token is of that, whether its dataset was marked yet or not.
fn point(dataset: &Dataset, offered: &Offered) -> Result<u64, String> {
    let token = Token::parse(dataset.token.as_deref().unwrap_or_default());
    let token = token.map_err(|error| error.to_string())?;
    let guid = offered.snapshots.first().map(|(_, guid)| *guid);
    let base = offered.base.as_ref().map(|base| base.guid);
    if Some(token.guid) != guid || token.base != base {
        return Err("it is of another snapshot".to_owned());
    }
    if token.redacted {
        return Err("something was left out of it on purpose".to_owned());
    }
    Ok(token.bytes)
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
