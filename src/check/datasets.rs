//! What the pools show, without any file: of the machine, and of one
//! environment. Pure functions of a survey.

use camino::Utf8Path;

use super::finding::{
    BOOTFS_NAMES_NO_ENVIRONMENT, CLONE_OF_ANOTHER, FAILBACK_GONE, Findings, INCOMPLETE_RECEIVE,
    KEY_NOT_LOADED, LAST_GOOD_GONE, MOUNTED_BY_OTHERS, POOL_DATA_ERRORS, POOL_DEGRADED,
    POOL_NEARLY_FULL, POOL_UNAVAILABLE, PROPERTY_NOT_UNDERSTOOD, ROOT_CANMOUNT_OFF,
    ROOT_MOUNTPOINT, UNFINISHED_ENVIRONMENT, UNFINISHED_OPERATION,
};
use crate::be::BootEnvironment;
use crate::survey::Survey;
use crate::zfs::{Canmount, Dataset, DatasetName, Mountpoint, Pool, PoolName};

/// How much of a pool may be full, percent: beyond it ZFS finds free space ever
/// more slowly, and an upgrade wants more than is left.
const NEARLY_FULL: u64 = 90;

/// What concerns the machine and none of its environments.
pub(super) fn machine(survey: &Survey, found: &mut Findings) {
    let pool = survey.beroot.pool();
    let named = survey.pools.get(&pool).and_then(|pool| pool.bootfs.clone());
    let is_one = |dataset: &DatasetName| survey.environment_at(dataset).is_some();
    if survey.next().is_none() && !named.as_ref().is_some_and(is_one) {
        let what = match named {
            Some(dataset) => format!("bootfs of pool {pool} is {dataset}, which is no environment"),
            None => format!("bootfs of pool {pool} is not set"),
        };
        let remedy = format!("beadm-rs activate one of: {}", survey.names());
        found.add(&BOOTFS_NAMES_NO_ENVIRONMENT, what, remedy);
    }
    for pool in survey.own_pools() {
        health(pool, found);
    }
    if let Some(guid) = survey.last_good()
        && survey.environment_with(guid).is_none()
    {
        found.add(
            &LAST_GOOD_GONE,
            "the environment last known to work is gone, and nothing protects what runs",
            "beadm-rs activate the one that works",
        );
    }
    let current = survey.next().or_else(|| survey.running());
    if let Some(current) = current
        && let Some(guid) = current.failback()
        && survey.environment_with(guid).is_none()
    {
        found.add(
            &FAILBACK_GONE,
            format!(
                "what was active before {} is gone: there is no failback",
                current.name()
            ),
            "beadm-rs create one that can be gone back to, before the next change",
        );
    }
    if survey.intent().is_some() {
        found.add(
            &UNFINISHED_OPERATION,
            "an operation was interrupted, and neither completed nor taken back",
            "beadm-rs recover",
        );
    }
    for (object, property) in survey.not_understood() {
        found.add(
            &PROPERTY_NOT_UNDERSTOOD,
            format!("{property} of {object} holds what beadm-rs does not write"),
            format!("zfs inherit {property} {object}"),
        );
    }
}

fn health(pool: &Pool, found: &mut Findings) {
    let name = &pool.name;
    let what = format!("pool {name} is {}", pool.health);
    match pool.health.as_str() {
        "ONLINE" => {}
        "DEGRADED" => found.add(&POOL_DEGRADED, what, format!("zpool status -x {name}")),
        _ => found.add(&POOL_UNAVAILABLE, what, format!("zpool status -x {name}")),
    }
    let used = pool.size.saturating_sub(pool.free);
    let percent = used.saturating_mul(100).checked_div(pool.size).unwrap_or(0);
    if percent >= NEARLY_FULL {
        found.add(
            &POOL_NEARLY_FULL,
            format!("pool {name} is {percent}% full"),
            "beadm-rs list shows what each environment would free",
        );
    }
}

/// What `zpool status` says of a pool's data.
pub(super) fn data_errors(pool: &PoolName, errors: Option<&str>, found: &mut Findings) {
    if let Some(errors) = errors {
        found.add(
            &POOL_DATA_ERRORS,
            format!("pool {pool}: {errors}"),
            format!(
                "zpool status -v {pool} names the files; restore them, and: zpool scrub {pool}"
            ),
        );
    }
}

/// What concerns one environment.
pub(super) fn environment(
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    found: &mut Findings,
) {
    let root = environment.root;
    if survey.is_unfinished(&root.name) {
        found.add(
            &UNFINISHED_ENVIRONMENT,
            "it is part of an operation that did not end",
            "beadm-rs recover",
        );
    } else if !has_root_mountpoint(survey, root) {
        found.add(
            &ROOT_MOUNTPOINT,
            format!(
                "the mountpoint of {} is {} and not /",
                root.name, root.mountpoint
            ),
            format!("zfs set mountpoint=/ {}", root.name),
        );
    }
    if root.canmount == Canmount::Off {
        found.add(
            &ROOT_CANMOUNT_OFF,
            format!("canmount of {} is off", root.name),
            format!("zfs set canmount=noauto {}", root.name),
        );
    }
    for dataset in environment
        .everything()
        .filter(|dataset| dataset.receiving())
    {
        found.add(
            &INCOMPLETE_RECEIVE,
            format!("{} was not received to its end", dataset.name),
            format!("resume it, or: zfs receive -A {}", dataset.name),
        );
    }
    others(survey, environment, found);
    if let Some(locked) = environment
        .datasets()
        .iter()
        .find(|dataset| !dataset.key_loaded)
    {
        let key = locked.encryption_root.as_ref().unwrap_or(&locked.name);
        found.add(
            &KEY_NOT_LOADED,
            format!(
                "{} is encrypted, its key is not loaded, and its files were not looked at",
                locked.name
            ),
            format!("zfs load-key {key}"),
        );
    }
    let hanging = environment.datasets().into_iter().find_map(|dataset| {
        let from = dataset.origin.as_ref()?.dataset();
        let own = environment
            .roots()
            .iter()
            .any(|root| from.is_within(&root.name));
        (!own).then_some((&dataset.name, from))
    });
    if let Some((dataset, from)) = hanging
        && (environment.is_running() || environment.is_next())
    {
        found.add(
            &CLONE_OF_ANOTHER,
            format!("{dataset} is a clone of {from}"),
            format!("beadm-rs activate {} promotes it", environment.name()),
        );
    }
}

fn has_root_mountpoint(survey: &Survey, root: &Dataset) -> bool {
    let altroot = survey.altroot_of(&root.name);
    match root.mountpoint.clone().without(altroot) {
        Mountpoint::Path(path) => path == Utf8Path::new("/"),
        Mountpoint::Legacy => true,
        Mountpoint::None => false,
    }
}

/// What `zfs mount -a` would mount while another environment runs. With one
/// environment only there is no other that could.
fn others(survey: &Survey, environment: &BootEnvironment<'_>, found: &mut Findings) {
    if survey.environments().count() < 2 {
        return;
    }
    let mounted: Vec<&Dataset> = environment
        .datasets()
        .into_iter()
        .filter(|dataset| {
            dataset.canmount == Canmount::On && matches!(dataset.mountpoint, Mountpoint::Path(_))
        })
        .collect();
    if let [first, rest @ ..] = mounted.as_slice() {
        let more = match rest.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        found.add(
            &MOUNTED_BY_OTHERS,
            format!(
                "{}{more}: canmount=on mounts it under any environment that boots",
                first.name
            ),
            format!("zfs set canmount=noauto {}", first.name),
        );
    }
}
