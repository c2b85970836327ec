//! What has to be true before something is planned, the same for many requests.

use camino::Utf8Path;

use super::{Refusal, Why};
use crate::be::{BeName, BootEnvironment};
use crate::os::Namespace;
use crate::survey::{Found, Survey, SurveyError};
use crate::zfs::{Dataset, Mountpoint, PoolName};

/// The environment of that name, or a refusal that lists the ones there are.
pub(super) fn environment<'a>(
    survey: &'a Survey,
    attempted: &str,
    name: &BeName,
) -> Result<BootEnvironment<'a>, Refusal> {
    survey.environment(name).ok_or_else(|| {
        let refusal = Refusal::new(
            attempted,
            format!(
                "there is no boot environment '{name}' under {}",
                survey.beroot
            ),
        )
        .why(Why::NoEnvironment);
        match survey.names() {
            names if names.is_empty() => refusal,
            names => refusal.remedy(format!("there are: {names}")),
        }
    })
}

/// What boots these environments has to be what did at the last switch. Where its
/// partition is not mounted, as on a rescue system, it looks like a machine whose
/// loader follows `bootfs`, and what boots would not be what is said.
pub(super) fn loader_is_seen(survey: &Survey, attempted: &str) -> Result<(), Refusal> {
    let Some(recorded) = survey.recorded_loader().filter(|_| survey.assumed) else {
        return Ok(());
    };
    let root = survey.altroot.as_deref().unwrap_or(Utf8Path::new("/"));
    let [boot_efi, efi, boot] = ["boot/efi", "efi", "boot"].map(|at| root.join(at));
    Err(Refusal::new(
        attempted,
        format!(
            "{recorded} boots these environments since the last switch, and is not seen here: its \
             partition is not mounted, or something else started this machine"
        ),
    )
    .remedy(format!(
        "mount it where this system has it: {boot_efi}, {efi} or {boot}; or say in \
         /etc/beadm-rs/config.toml which loader boots them ([boot] loader)"
    )))
}

/// What has to be true of the pools and of this program for any change.
pub(super) fn changeable<'a>(
    survey: &Survey,
    attempted: &str,
    pools: impl IntoIterator<Item = &'a PoolName>,
) -> Result<(), Refusal> {
    if let Some(schema) = survey.newer_schema() {
        return Err(Refusal::new(
            attempted,
            format!(
                "{} was written by a newer beadm-rs (schema {schema})",
                survey.beroot
            ),
        )
        .remedy("use that version; this one only reads here"));
    }
    if let Some(Found::Unreadable(why)) = survey.intent() {
        let place = survey.handed_over.iter();
        let place: String = place.map(|root| format!(" on {root}")).collect();
        return Err(Refusal::new(
            attempted,
            format!(
                "an unfinished operation is recorded{place} that this version does not \
                 understand ({why})"
            ),
        )
        .remedy("run 'recover' of the version that began it"));
    }
    if let Some(boot) = survey.doubtful_boot() {
        return Err(Refusal::new(
            attempted,
            format!(
                "{} has the name of the running environment and could be its /boot, but is not \
                 mounted there",
                boot.name
            ),
        )
        .remedy(format!(
            "mount it on /boot; or, if it is another machine's, zpool export {}",
            boot.name.pool()
        )));
    }
    if let Some(boot) = survey.borrowed_boot() {
        let running = survey.running();
        let running = running.as_ref().map_or("", BootEnvironment::name);
        return Err(Refusal::new(
            attempted,
            format!(
                "{} is mounted on /boot, but {running} is running, and by its name it belongs to \
                 another environment",
                boot.name
            ),
        )
        .remedy(
            "give /boot and root the same name with 'zfs rename'; to go to that other \
             environment, unmount /boot first",
        ));
    }
    for name in pools {
        let Some(pool) = survey.pools.get(name) else {
            return Err(
                Refusal::new(attempted, format!("there is no pool '{name}'"))
                    .remedy(format!("zpool import {name}")),
            );
        };
        if pool.readonly {
            return Err(
                Refusal::new(attempted, format!("pool {name} is imported read-only"))
                    .remedy(format!("zpool export {name} && zpool import -N {name}")),
            );
        }
        if !pool.is_working() {
            let ill = SurveyError::Pool(name.clone(), pool.health.clone());
            return Err(Refusal::new(attempted, &ill).remedy(ill.remedy().unwrap_or_default()));
        }
    }
    Ok(())
}

/// Refuses a name of which there is a `/boot` in another pool already: it would be that
/// of the environment that gets the name, whatever is in it.
pub(super) fn no_boot_of(survey: &Survey, attempted: &str, name: &BeName) -> Result<(), Refusal> {
    match survey.boots_of(name.as_str()).next() {
        None => Ok(()),
        Some(boot) => Err(Refusal::new(
            attempted,
            format!(
                "{} is there, and would be the /boot of an environment called {name}",
                boot.name
            ),
        )
        .why(Why::Exists)
        .remedy(format!(
            "another name; or zfs rename {}, or destroy it",
            boot.name
        ))),
    }
}

/// The pools an environment lies in, the beroot's first.
pub(super) fn pools_of(environment: &BootEnvironment<'_>) -> Vec<PoolName> {
    environment
        .roots()
        .iter()
        .map(|root| root.name.pool())
        .collect()
}

/// Refuses an environment that belongs to an operation that did not end.
pub(super) fn finished(
    survey: &Survey,
    attempted: &str,
    environment: &BootEnvironment<'_>,
) -> Result<(), Refusal> {
    if survey.is_unfinished(&environment.root.name) {
        return Err(
            Refusal::new(attempted, "it is part of an operation that did not end")
                .remedy("beadm-rs recover"),
        );
    }
    Ok(())
}

/// Refuses what needs the files of an environment whose key is not there.
pub(super) fn unlocked(attempted: &str, environment: &BootEnvironment<'_>) -> Result<(), Refusal> {
    let datasets = environment.datasets();
    datasets
        .into_iter()
        .try_for_each(|dataset| has_key(attempted, dataset))
}

/// The same of one dataset.
pub(super) fn has_key(attempted: &str, dataset: &Dataset) -> Result<(), Refusal> {
    if dataset.key_loaded {
        return Ok(());
    }
    let root = dataset.encryption_root.as_ref().unwrap_or(&dataset.name);
    Err(Refusal::new(
        attempted,
        format!("{} is encrypted and its key is not loaded", dataset.name),
    )
    .remedy(format!("zfs load-key {root}")))
}

/// Refuses what may have to write names into the root's files, after the commit
/// point, where nothing can be written.
pub(super) fn rewritable(
    attempted: &str,
    environment: &BootEnvironment<'_>,
) -> Result<(), Refusal> {
    unlocked(attempted, environment)?;
    let root = &environment.root;
    if !root.readonly {
        return Ok(());
    }
    Err(Refusal::new(
        attempted,
        format!(
            "{} is read-only, and the names of datasets in its fstab may have to be written anew",
            root.name
        ),
    )
    .remedy(format!(
        "beadm-rs unmount it where it is mounted read-only, or zfs set readonly=off {}",
        root.name
    )))
}

/// Refuses an environment that is mounted in a mount namespace this program
/// cannot unmount it in.
pub(super) fn not_elsewhere(
    survey: &Survey,
    attempted: &str,
    environment: &BootEnvironment<'_>,
) -> Result<(), Refusal> {
    let foreign = survey
        .mounts
        .iter()
        .find_map(|mount| match &mount.namespace {
            Namespace::Of { pid, command }
                if environment
                    .everything()
                    .any(|dataset| dataset.name == mount.dataset) =>
            {
                Some(format!(
                    "{} is mounted on {} in the mount namespace of process {pid} ({command})",
                    mount.dataset, mount.directory
                ))
            }
            _ => None,
        });
    match foreign {
        None => Ok(()),
        Some(foreign) => Err(Refusal::new(attempted, foreign)
            .remedy("stop or restart that process; its view of the mounts is its own")),
    }
}

/// The first dataset of an environment that only its fstab mounts, by its name.
pub(super) fn mounted_by_fstab<'a>(environment: &BootEnvironment<'a>) -> Option<&'a Dataset> {
    environment.datasets().into_iter().find(|dataset| {
        dataset.mountpoint == Mountpoint::Legacy && dataset.guid != environment.guid()
    })
}
