//! What the manifest says of one dataset.

use super::super::{Refusal, create};
use super::Facts;
use crate::archive::manifest::{Base, Encryption, Entry, Tree};
use crate::archive::policy;
use crate::marker;
use crate::survey::Survey;
use crate::zfs::{Canmount, Dataset, Guid, SnapshotName};

/// A dataset that is sent.
pub(super) struct Placed<'a> {
    pub(super) tree: Tree,
    /// Below the root of that.
    pub(super) path: String,
    pub(super) dataset: &'a Dataset,
    pub(super) snapshot: SnapshotName,
    pub(super) base: Option<Base>,
}

/// Its entry; what does not travel is added to `left_out`.
///
/// # Errors
/// Where it is a root of which nothing could be made.
pub(super) fn entry(
    survey: &Survey,
    attempted: &str,
    facts: &Facts,
    place: Placed<'_>,
    left_out: &mut Vec<String>,
) -> Result<Entry, Refusal> {
    let Placed {
        tree,
        path,
        dataset,
        snapshot,
        base,
    } = place;
    let (properties, without) = travelling(survey, dataset);
    left_out.extend(without);
    let at = (tree, path.is_empty());
    Ok(Entry {
        tree,
        path,
        source: dataset.name.clone(),
        // Where it is not known yet: 0, which no snapshot has.
        guid: survey.snapshot(&snapshot).map_or(Guid(0), |it| it.guid),
        base,
        mountpoint: mountpoint(survey, attempted, dataset, at, left_out)?,
        canmount: match dataset.canmount {
            Canmount::Off => Canmount::Off,
            Canmount::On | Canmount::Noauto => Canmount::Noauto,
        },
        properties,
        encryption: dataset.encryption_root.as_ref().map(|root| Encryption {
            root: root.clone(),
            location: key_location(facts, root),
        }),
        bytes: 0,
    })
}

fn key_location(facts: &Facts, root: &crate::zfs::DatasetName) -> Option<String> {
    let mut known = facts.key_locations.iter();
    known
        .find(|(of, _)| of == root)
        .map(|(_, location)| location.clone())
}

/// The settings that an archive may say, and what it does not say.
fn travelling(survey: &Survey, dataset: &Dataset) -> (Vec<(String, String)>, Vec<String>) {
    let own = create::own_settings(survey, dataset);
    let (kept, rest): (Vec<_>, Vec<_>) = own
        .into_iter()
        .partition(|(name, value)| policy::travels(name, value));
    let without = rest
        .into_iter()
        .filter(|(name, _)| !marker::is_identity(name))
        .map(|(name, value)| {
            let value: String = value.chars().take(60).collect();
            format!("{name}={value} of {}", dataset.name)
        });
    (kept, without.collect())
}

fn mountpoint(
    survey: &Survey,
    attempted: &str,
    dataset: &Dataset,
    (tree, root): (Tree, bool),
    left_out: &mut Vec<String>,
) -> Result<Option<String>, Refusal> {
    let own = survey.properties.get(&dataset.name).into_iter().flatten();
    let set = own
        .into_iter()
        .any(|property| property.name == "mountpoint");
    if !root && !set {
        return Ok(None);
    }
    let mountpoint = create::mountpoint_of(survey, dataset);
    match policy::check_mountpoint_in(tree, &mountpoint, root) {
        Ok(()) => Ok(Some(mountpoint)),
        Err(why) if root => {
            Err(Refusal::new(attempted, why)
                .remedy(format!("zfs set mountpoint=/ {}", dataset.name)))
        }
        Err(_) => {
            left_out.push(format!("mountpoint={mountpoint} of {}", dataset.name));
            Ok(None)
        }
    }
}
