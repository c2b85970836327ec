//! Which pools an import goes to, and under which names.

use super::super::{Refusal, bad_name};
use crate::archive::manifest::Tree;
use crate::archive::offer::{Offer, Offered};
use crate::be::BeName;
use crate::survey::Survey;
use crate::zfs::{DatasetName, Mountpoint, NameError, PoolName};

/// Where a tree goes.
pub(super) struct Place {
    /// Which.
    tree: Tree,
    /// The pool.
    pub(super) pool: PoolName,
    /// Beside what.
    pub(super) parent: DatasetName,
    /// What it will be called.
    pub(super) root: DatasetName,
    /// What it is called until all has arrived.
    pub(super) staging: DatasetName,
}

impl Place {
    /// It is a `/boot` below the root.
    pub(super) fn is_child(&self) -> bool {
        self.root.parent().as_ref() != Some(&self.parent)
    }

    /// The final name of a dataset of this tree.
    pub(super) fn named(&self, offered: &Offered) -> Result<DatasetName, NameError> {
        offered.below(&self.root)
    }

    /// Its name until then.
    pub(super) fn staged(&self, offered: &Offered) -> Result<DatasetName, NameError> {
        offered.below(&self.staging)
    }
}

/// The place of a dataset's tree.
pub(super) fn of<'a>(
    places: &'a [Place],
    attempted: &str,
    offered: &Offered,
) -> Result<&'a Place, Refusal> {
    let mut all = places.iter();
    all.find(|place| place.tree == offered.tree).ok_or_else(|| {
        let source = &offered.source;
        Refusal::new(attempted, format!("there is no place for {source}"))
    })
}

/// The place of `/boot`, where that is a pool of its own.
pub(super) fn in_another_pool(places: &[Place]) -> Option<&Place> {
    let (own, others) = places.split_first()?;
    others.iter().find(|place| place.pool != own.pool)
}

/// `BOOT` of the pool where the environments here have their `/boot`. Where there is no
/// environment yet, as on new disks, it is the only one there is.
///
/// # Errors
/// Those it could be.
fn boot_root(survey: &Survey) -> Result<Option<&DatasetName>, Vec<&DatasetName>> {
    // What an import left is no environment yet.
    let environments = || {
        let all = survey.environments();
        all.filter(|it| it.root.mountpoint != Mountpoint::None)
    };
    let is_used = |root: &DatasetName| {
        let mut boots = environments().flat_map(|environment| environment.other_roots());
        boots.any(|boot| boot.is_within(root))
    };
    let mut found: Vec<&DatasetName> = survey.boot_roots.iter().collect();
    if environments().next().is_some() {
        found.retain(|root| is_used(root));
    }
    match found.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        _ => Err(found),
    }
}

/// Where the trees of an offer go.
///
/// # Errors
/// Where a name is too long, or there is no place for its `/boot`.
pub(super) fn places(
    survey: &Survey,
    attempted: &str,
    offer: &Offer,
    name: &BeName,
    staging: &str,
) -> Result<Vec<Place>, Refusal> {
    let beside = |tree, parent: &DatasetName| -> Result<Place, Refusal> {
        Ok(Place {
            tree,
            pool: parent.pool(),
            parent: parent.clone(),
            root: name.below(parent).map_err(bad_name(attempted))?,
            staging: parent.child(staging).map_err(bad_name(attempted))?,
        })
    };
    let own = beside(Tree::Root, &survey.beroot)?;
    if offer.boot().is_none() {
        return Ok(vec![own]);
    }
    let boot = match boot_root(survey) {
        Ok(Some(root)) => beside(Tree::Boot, root)?,
        Ok(None) => below(attempted, offer, &own)?,
        Err(several) => {
            let several: Vec<&str> = several.into_iter().map(DatasetName::as_str).collect();
            return Err(Refusal::new(
                attempted,
                format!(
                    "its /boot was in a pool of its own, and could go to any of {}",
                    several.join(", ")
                ),
            )
            .remedy("zpool export the pools whose BOOT is another machine's"));
        }
    };
    Ok(vec![own, boot])
}

/// `/boot` as a child of the root.
fn below(attempted: &str, offer: &Offer, own: &Place) -> Result<Place, Refusal> {
    let root = own.root.child("boot").map_err(bad_name(attempted))?;
    let mut datasets = offer.datasets.iter();
    if let Some(other) = datasets.find(|it| it.tree == Tree::Root && it.path == "boot") {
        return Err(Refusal::new(
            attempted,
            format!(
                "its /boot was in a pool of its own, and no pool here has the /boot of \
                 environments; it cannot become {root} either, since {} does",
                other.source
            ),
        )
        .remedy(format!(
            "zfs rename {} where it comes from, and export it again",
            other.source
        )));
    }
    Ok(Place {
        tree: Tree::Boot,
        pool: own.pool.clone(),
        parent: own.parent.clone(),
        staging: own.staging.child("boot").map_err(bad_name(attempted))?,
        root,
    })
}

/// The features that the pools have to have for it.
#[must_use]
pub fn needed(survey: &Survey, offer: &Offer) -> Vec<(PoolName, Vec<String>)> {
    let mut needs = vec![(survey.beroot.pool(), offer.needs.clone())];
    match boot_root(survey) {
        Ok(Some(root)) => needs.push((root.pool(), offer.boot_needs.clone())),
        _ => needs
            .iter_mut()
            .for_each(|(_, needs)| needs.extend(offer.boot_needs.iter().cloned())),
    }
    for (_, needs) in &mut needs {
        needs.sort();
        needs.dedup();
    }
    needs
}

/// What is to be known of the kernels of what arrives.
pub(super) fn notes(survey: &Survey, offer: &Offer, places: &[Place]) -> Option<String> {
    let boot = places.iter().find(|place| place.tree == Tree::Boot);
    match (boot, boot_root(survey)) {
        (Some(boot), _) if in_another_pool(places).is_none() => Some(format!(
            "its /boot was in a pool of its own, and no pool here has the /boot of environments: \
             it becomes {}, and a loader that reads the root's dataset alone, as ZFSBootMenu \
             does, finds no kernel there",
            boot.root
        )),
        (None, Ok(Some(root))) if offer.boot().is_none() => Some(format!(
            "nothing of it goes to {root}, where the environments here have their /boot: it has \
             the kernels in its own root, if any, and a loader that reads {} alone finds none",
            root.pool()
        )),
        _ => None,
    }
}
