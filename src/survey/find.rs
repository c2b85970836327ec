//! Where the environments and their `/boot` are.

use std::collections::BTreeSet;

use super::SurveyError;
use crate::host::Host;
use crate::zfs::{DatasetName, ErrorKind, Pool};

/// Where `/boot` of environments is: where the running system has it mounted
/// from; else `BOOT` of every other pool with the same altroot. That a pool has
/// a dataset of that name does not make it this machine's.
pub(super) fn boots(
    host: &Host,
    pools: &[Pool],
    root: Option<&DatasetName>,
    beroot: &DatasetName,
) -> Result<Vec<DatasetName>, SurveyError> {
    if root.and_then(DatasetName::parent).as_ref() == Some(beroot)
        && let Some(mount) = host
            .platform
            .mounts(false)?
            .into_iter()
            .find(|mount| mount.is_boot())
    {
        let parent = mount.dataset.parent();
        return Ok(parent
            .filter(|parent| parent.pool() != beroot.pool())
            .into_iter()
            .collect());
    }
    let home = pools.iter().find(|pool| pool.name == beroot.pool());
    Ok(pools
        .iter()
        .filter(|pool| pool.name != beroot.pool())
        .filter(|pool| home.is_none_or(|home| home.altroot == pool.altroot))
        .filter_map(|pool| DatasetName::from(pool.name.clone()).child("BOOT").ok())
        .collect())
}

/// The beroot, where that can be told without asking what pools there are: the one named;
/// the parent of what `/` is mounted from.
pub(super) fn known_beroot(host: &Host, root: Option<&DatasetName>) -> Option<DatasetName> {
    let of_root = || root.filter(|_| host.altroot.is_none())?.parent();
    host.beroot.clone().or_else(of_root)
}

/// The dataset whose children are the boot environments: the one named; the
/// parent of what `/` is mounted from; the parent of a pool's bootfs; a
/// `<pool>/ROOT`.
pub(super) fn beroot(
    host: &Host,
    pools: &[Pool],
    root: Option<&DatasetName>,
) -> Result<DatasetName, SurveyError> {
    if host.beroot.is_none() && pools.is_empty() {
        return Err(SurveyError::NoBeroot(
            "no ZFS pool is imported; on a rescue system import it first: \
             zpool import -N -R /mnt POOL"
                .to_owned(),
        ));
    }
    if let Some(known) = known_beroot(host, root) {
        return Ok(known);
    }
    let candidates: BTreeSet<DatasetName> = pools
        .iter()
        .filter(|pool| host.altroot.is_none() || pool.altroot == host.altroot)
        .filter_map(|pool| pool.bootfs.as_ref().and_then(DatasetName::parent))
        .filter(|parent| parent.parent().is_some())
        .collect();
    let candidates: Vec<DatasetName> = if candidates.is_empty() {
        let conventional: Vec<DatasetName> = pools
            .iter()
            .filter(|pool| host.altroot.is_none() || pool.altroot == host.altroot)
            .filter_map(|pool| DatasetName::from(pool.name.clone()).child("ROOT").ok())
            .collect();
        let found = host
            .zfs
            .tree(&conventional, false)
            .or_else(|error| match error.kind {
                ErrorKind::NotFound => Ok(Vec::new()),
                _ => Err(error),
            })?;
        conventional
            .into_iter()
            .filter(|name| found.iter().any(|dataset| dataset.name == *name))
            .collect()
    } else {
        candidates.into_iter().collect()
    };
    match candidates.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(SurveyError::NoBeroot(
            "the root file system is not on ZFS and no pool has a bootfs or a dataset ROOT; \
             name the parent of the boot environments with -r"
                .to_owned(),
        )),
        _ => Err(SurveyError::Ambiguous(candidates)),
    }
}
