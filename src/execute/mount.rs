//! A boot environment mounted somewhere, whole: its root, its children at their
//! own places below it, legacy children where its fstab says; all or nothing.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;

use super::Cause;
use crate::be::{BootEnvironment, rewrite};
use crate::host::Host;
use crate::os::{Error, Mount, MountRequest};
use crate::survey::Survey;
use crate::zfs::{Canmount, DatasetName, Mountpoint};

/// A dataset and its place below the environment's root, without the leading
/// slash.
pub type Placed = (DatasetName, Utf8PathBuf);

/// The children that have a mountpoint, in the order they are mounted.
///
/// `canmount=off` is passed over and what lies below it is not; `legacy` is
/// for [`mount`], which reads the fstab.
#[must_use]
pub fn places(survey: &Survey, environment: &BootEnvironment<'_>) -> Vec<Placed> {
    let mut placed: Vec<Placed> = environment
        .datasets()
        .into_iter()
        .filter(|dataset| dataset.guid != environment.guid() && dataset.canmount != Canmount::Off)
        .filter_map(|dataset| {
            let altroot = survey.altroot_of(&dataset.name);
            match dataset.mountpoint.clone().without(altroot) {
                Mountpoint::Path(path) => {
                    let below = path.strip_prefix("/").ok()?.to_owned();
                    (!below.as_str().is_empty()).then(|| (dataset.name.clone(), below))
                }
                Mountpoint::Legacy | Mountpoint::None => None,
            }
        })
        .collect();
    placed.sort_by(|(_, one), (_, other)| one.cmp(other));
    placed
}

/// The datasets that only an fstab gives a place.
fn legacy<'a>(environment: &BootEnvironment<'a>) -> Vec<&'a DatasetName> {
    environment
        .datasets()
        .into_iter()
        .filter(|dataset| {
            dataset.mountpoint == Mountpoint::Legacy && dataset.guid != environment.guid()
        })
        .map(|dataset| &dataset.name)
        .collect()
}

/// The largest fstab that is read, bytes.
const MAX_FSTAB: u64 = 4 << 20;

/// The fstab of an environment. It is read only where it has legacy datasets,
/// and then it has to be readable: without it the environment would not be
/// whole.
///
/// # Errors
/// Where it cannot be read, is no file, or leads out of the environment.
pub fn read_fstab(root: &Dir, environment: &BootEnvironment<'_>) -> io::Result<Vec<u8>> {
    if legacy(environment).is_empty() {
        return Ok(Vec::new());
    }
    match root.metadata(rewrite::FSTAB) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(found) if found.is_file() && found.len() <= MAX_FSTAB => root.read(rewrite::FSTAB),
        Ok(_) => Err(io::Error::other(format!(
            "it is no file of at most {MAX_FSTAB} bytes"
        ))),
    }
}

/// Where an fstab puts the legacy datasets of an environment.
///
/// # Errors
/// Where one of them has a place that cannot be written down.
pub fn legacy_places(fstab: &[u8], environment: &BootEnvironment<'_>) -> io::Result<Vec<Placed>> {
    let legacy = legacy(environment);
    let mut placed = Vec::new();
    for (dataset, directory) in rewrite::mounts(fstab) {
        if !legacy.contains(&&dataset) {
            continue;
        }
        let directory = String::from_utf8(directory).map_err(|error| {
            let shown = String::from_utf8_lossy(error.as_bytes()).into_owned();
            io::Error::other(format!("{dataset}: its directory {shown} is not UTF-8"))
        })?;
        if let Ok(below) = Utf8Path::new(&directory).strip_prefix("/") {
            placed.push((dataset, below.to_owned()));
        }
    }
    Ok(placed)
}

/// All children that have a place, also those with `mountpoint=legacy` that an
/// fstab gives one, in the order they are mounted.
///
/// # Errors
/// Where one of them has a place that cannot be written down.
pub fn all_places(
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    fstab: &[u8],
) -> io::Result<Vec<Placed>> {
    let mut placed = places(survey, environment);
    placed.extend(legacy_places(fstab, environment)?);
    placed.sort_by(|(_, one), (_, other)| one.cmp(other));
    Ok(placed)
}

/// Mounts an environment on a directory. What was mounted when something fails
/// is unmounted again.
///
/// # Errors
/// What failed first.
pub fn mount(
    host: &Host,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    directory: &Utf8Path,
    readonly: bool,
) -> Result<(), Cause> {
    let mut mounted: Vec<Utf8PathBuf> = Vec::new();
    let done = mount_all(host, survey, environment, directory, readonly, &mut mounted);
    if done.is_err() {
        for directory in mounted.iter().rev() {
            // The first failure is the one to tell.
            let _ = host.platform.unmount(directory, true);
        }
    }
    done
}

fn mount_all(
    host: &Host,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    directory: &Utf8Path,
    readonly: bool,
    mounted: &mut Vec<Utf8PathBuf>,
) -> Result<(), Cause> {
    let mut one = |dataset: &DatasetName, at: Utf8PathBuf| -> Result<(), Cause> {
        let legacy = survey
            .datasets
            .get(dataset)
            .is_some_and(|dataset| dataset.mountpoint == Mountpoint::Legacy);
        host.platform.mount(&MountRequest {
            dataset: dataset.clone(),
            directory: at.clone(),
            readonly,
            legacy,
        })?;
        mounted.push(at);
        Ok(())
    };
    one(&environment.root.name, directory.to_owned())?;
    let root = open(directory)?;
    let placed = read_fstab(&root, environment)
        .and_then(|fstab| all_places(survey, environment, &fstab))
        .map_err(Error::io(format!(
            "read {}",
            directory.join(rewrite::FSTAB)
        )))?;
    for (dataset, below) in placed {
        prepare(&root, &below, readonly).map_err(Error::io(format!(
            "mount {dataset} on {}",
            directory.join(&below)
        )))?;
        one(&dataset, directory.join(&below))?;
    }
    Ok(())
}

fn open(directory: &Utf8Path) -> Result<Dir, Error> {
    Dir::open_ambient_dir(directory, ambient_authority())
        .map_err(Error::io(format!("open {directory}")))
}

/// Makes sure that a place below the root is a directory reached without a
/// symbolic link: a link in the environment could lead to the host's own
/// directories.
pub(crate) fn prepare(root: &Dir, below: &Utf8Path, readonly: bool) -> std::io::Result<()> {
    let mut path = Utf8PathBuf::new();
    for component in below.components() {
        path.push(component);
        match root.symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(found) if found.is_symlink() => {
                return Err(std::io::Error::other(format!(
                    "/{path} in it is a symbolic link"
                )));
            }
            Ok(_) => {
                return Err(std::io::Error::other(format!(
                    "/{path} in it is not a directory"
                )));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !readonly => {
                root.create_dir(&path)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Unmounts everything of an environment in this namespace, the last mount
/// first; returns where its root was.
///
/// # Errors
/// What is in use; what was mounted before it stays.
pub fn unmount(
    host: &Host,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    force: bool,
) -> Result<Option<Utf8PathBuf>, Cause> {
    let root = environment.mounted_at().map(ToOwned::to_owned);
    let directories: Vec<&Utf8PathBuf> = survey
        .own_mounts()
        .filter(|mount| {
            environment
                .everything()
                .any(|dataset| dataset.name == mount.dataset)
        })
        .map(|mount| &mount.directory)
        .collect();
    for directory in directories.into_iter().rev() {
        host.platform.unmount(directory, force)?;
    }
    if let Some(root) = &root
        && host.platform.is_own_mount_directory(root)
    {
        // Empty by now; never more than an empty directory is removed.
        let _ = std::fs::remove_dir(root);
    }
    Ok(root)
}

/// The mounts of their pools outside of all environments: what these have in common, in the
/// order they were mounted.
fn shared(survey: &Survey) -> Vec<&Mount> {
    let beroots: Vec<&DatasetName> = std::iter::once(&survey.beroot)
        .chain(&survey.boot_roots)
        .collect();
    let mounted: Vec<&Mount> = survey
        .own_mounts()
        .filter(|mount| beroots.iter().any(|root| mount.dataset.is_within(root)))
        .collect();
    let is_theirs = |mount: &&Mount| {
        let pool = mount.dataset.pool();
        survey.own_pools().any(|own| own.name == pool)
    };
    survey
        .own_mounts()
        .filter(|mount| !beroots.iter().any(|root| mount.dataset.is_within(root)))
        .filter(is_theirs)
        // Not where it is shown in an environment that is mounted somewhere.
        .filter(|mount| {
            let elsewhere = |other: &&&Mount| other.directory != "/";
            let mut places = mounted.iter().filter(elsewhere);
            !places.any(|other| mount.directory.starts_with(&other.directory))
        })
        .collect()
}

/// Shows what all environments have in common in one that is mounted on a directory.
///
/// # Errors
/// What failed first; nothing of it is shown then.
pub fn show_shared(
    host: &Host,
    survey: &Survey,
    directory: &Utf8Path,
    readonly: bool,
) -> Result<(), Cause> {
    let root = open(directory)?;
    let mut shown: Vec<Utf8PathBuf> = Vec::new();
    let mut one = |mount: &Mount| -> Result<(), Cause> {
        let Ok(below) = mount.directory.strip_prefix("/") else {
            return Ok(());
        };
        let on = directory.join(below);
        prepare(&root, below, false).map_err(Error::io(format!("mount {on}")))?;
        host.platform.show(&mount.directory, &on, readonly)?;
        shown.push(on);
        Ok(())
    };
    let done = shared(survey).into_iter().try_for_each(&mut one);
    if done.is_err() {
        for on in shown.iter().rev() {
            // The first failure is the one to tell.
            let _ = host.platform.unmount(on, true);
        }
    }
    done
}

/// Takes away what is shown in an environment that is mounted on a directory, the last first.
///
/// # Errors
/// What is in use; what was shown before it stays.
pub fn hide_shared(
    host: &Host,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    force: bool,
) -> Result<(), Cause> {
    let Some(root) = environment.mounted_at().filter(|root| *root != "/") else {
        return Ok(());
    };
    let is_its = |mount: &Mount| {
        environment
            .everything()
            .any(|dataset| dataset.name == mount.dataset)
    };
    let shown: Vec<&Mount> = survey
        .own_mounts()
        .filter(|mount| mount.directory.starts_with(root) && !is_its(mount))
        .collect();
    for mount in shown.into_iter().rev() {
        host.platform.unmount(&mount.directory, force)?;
    }
    Ok(())
}
