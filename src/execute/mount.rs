//! A boot environment mounted somewhere, whole: its root, its children at their
//! own places below it, legacy children where its fstab says; all or nothing.

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;

use super::Cause;
use crate::be::{BootEnvironment, rewrite};
use crate::host::Host;
use crate::os::{Error, MountRequest};
use crate::survey::Survey;
use crate::zfs::{Canmount, DatasetName, Mountpoint};

/// A dataset and its place below the environment's root, without the leading
/// slash.
type Placed = (DatasetName, Utf8PathBuf);

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

/// Where an fstab puts legacy datasets of the environment.
#[must_use]
pub fn legacy_places(fstab: &str, environment: &BootEnvironment<'_>) -> Vec<Placed> {
    let legacy: Vec<&DatasetName> = environment
        .datasets()
        .into_iter()
        .filter(|dataset| {
            dataset.mountpoint == Mountpoint::Legacy && dataset.guid != environment.guid()
        })
        .map(|dataset| &dataset.name)
        .collect();
    fstab
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [device, directory, "zfs", ..] = fields.as_slice() else {
                return None;
            };
            let device = device.replace("\\040", " ");
            let dataset = legacy.iter().find(|name| name.as_str() == device)?;
            let below = Utf8Path::new(directory).strip_prefix("/").ok()?;
            Some(((*dataset).clone(), below.to_owned()))
        })
        .collect()
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
    let fstab = root.read_to_string(rewrite::FSTAB).unwrap_or_default();
    let mut placed = places(survey, environment);
    placed.extend(legacy_places(&fstab, environment));
    placed.sort_by(|(_, one), (_, other)| one.cmp(other));
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
fn prepare(root: &Dir, below: &Utf8Path, readonly: bool) -> std::io::Result<()> {
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
