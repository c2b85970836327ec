//! Where the datasets of an import go.

use std::collections::BTreeMap;
use std::fmt;

use super::super::{Refusal, bad_name};
use super::place::{self, Place};
use super::{Facts, Piece, Request};
use crate::archive::manifest::Tree;
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
    places: &[Place],
    mark: &str,
) -> Result<Pieces, Refusal> {
    let offer = &request.offer;
    let mut found = BTreeMap::new();
    for dataset in places.iter().flat_map(|it| survey.within(&it.staging)) {
        found.insert(dataset.name.clone(), dataset);
    }
    let mut pieces = Vec::new();
    let mut lost = Vec::new();
    for offered in &offer.datasets {
        let place = place::of(places, attempted, offered)?;
        let target = place.staged(offered).map_err(bad_name(attempted))?;
        // The name it gets has to fit too, its snapshots included.
        let named = place.named(offered).map_err(bad_name(attempted))?;
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
                    Err(_) => return Err(in_the_way(attempted, place)),
                }
            }
            Some(dataset) => {
                let whole = offered.snapshots.iter().all(|(component, guid)| {
                    let mut snapshots = dataset.snapshots.iter();
                    snapshots.any(|it| it.name.component() == component && it.guid == *guid)
                });
                if dataset.marks.get("op").map(String::as_str) != Some(mark) || !whole {
                    return Err(in_the_way(attempted, place));
                }
                there = true;
            }
        }
        pieces.push(Piece {
            source: offered.source.clone(),
            settings: settings(offer, offered, facts, mark, place.is_child()),
            snapshots: offered.snapshots.clone(),
            origin: origin(survey, attempted, offered, place)?,
            target,
            there,
            bytes: offered.bytes,
            begun,
        });
    }
    if let Some(other) = found.keys().next() {
        let mut all = places.iter();
        let place = all.find(|place| other.is_within(&place.staging));
        return Err(place.map_or_else(
            || Refusal::new(attempted, format!("{other} is there")),
            |place| in_the_way(attempted, place),
        ));
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

fn in_the_way(attempted: &str, place: &Place) -> Refusal {
    let staging = &place.staging;
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
    place: &Place,
) -> Result<Option<SnapshotName>, Refusal> {
    let Some(base) = &offered.base else {
        return Ok(None);
    };
    let here = &place.pool;
    let found = survey
        .datasets
        .values()
        .filter(|dataset| dataset.name.pool() == *here)
        .filter(|dataset| !dataset.name.is_within(&place.staging))
        .flat_map(|dataset| &dataset.snapshots)
        .find(|snapshot| snapshot.guid == base.guid);
    match found {
        Some(snapshot) => Ok(Some(snapshot.name.clone())),
        None => Err(Refusal::new(
            attempted,
            format!(
                "it holds only what changed since {} (guid {}), and {} has no such snapshot",
                base.name, base.guid, place.parent
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
    child: bool,
) -> Vec<Setting> {
    let mut settings = vec![("canmount".to_owned(), offered.canmount.as_str().to_owned())];
    let properties = offered.properties.iter();
    settings.extend(
        properties
            .filter(|(name, _)| !facts.unknown.contains(name))
            .cloned(),
    );
    let first = offer.datasets.first();
    let is_root = offered.path.is_empty();
    if offered.tree == Tree::Root && is_root {
        settings.push(("mountpoint".to_owned(), "none".to_owned()));
        if let Some(text) = &offer.description {
            settings.push((format!("{PREFIX}description"), text.clone()));
        }
    } else if child && is_root && inherits(first, offered) {
        // Where its place in the root has it mounted.
    } else if let Some(mountpoint) = &offered.mountpoint {
        settings.push(("mountpoint".to_owned(), mountpoint.clone()));
    }
    // What comes unencrypted below what is locked would be encrypted with that key, and
    // zfs receive refuses it: "inherited key must be loaded".
    let is_clear = offered.encryption.is_none() && offered.base.is_none();
    let above = above(offer, offered, child);
    if is_clear && above.is_some_and(|above| above.encryption.is_some()) {
        settings.push(("encryption".to_owned(), "off".to_owned()));
    }
    settings.push((format!("{PREFIX}op"), mark.to_owned()));
    settings
}

/// What it will lie below.
fn above<'a>(offer: &'a Offer, offered: &Offered, child: bool) -> Option<&'a Offered> {
    let mut all = offer.datasets.iter();
    if offered.path.is_empty() {
        return all.next().filter(|_| child);
    }
    let path = offered.path.rsplit_once('/').map_or("", |(path, _)| path);
    all.find(|it| it.tree == offered.tree && it.path == path)
}

/// `/boot` as a child of the root is mounted where the root's mountpoint says.
fn inherits(root: Option<&Offered>, boot: &Offered) -> bool {
    let mountpoint = root.and_then(|root| root.mountpoint.as_deref());
    (mountpoint, boot.mountpoint.as_deref()) == (Some("/"), Some("/boot"))
}
