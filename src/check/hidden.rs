//! Files that will not be seen: they lie in a directory of the environment on
//! which something else is mounted, a child of its own or a shared dataset.

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;

use super::finding::{Findings, HIDDEN_FILES};
use super::tree::Tree;
use super::{Subject, is_absent};
use crate::execute::mount::{self, Placed};

/// More entries than this are not counted.
const MANY: usize = 1000;

/// Where its fstab puts legacy children; what cannot be read out of it is told
/// when they are to be mounted.
pub(super) fn legacy_places(subject: &Subject<'_>, fstab: &str) -> Vec<Placed> {
    mount::legacy_places(fstab.as_bytes(), subject.environment).unwrap_or_default()
}

/// What will be mounted where in the environment: its own children, and the
/// datasets of no environment where they are mounted now.
pub(super) fn mountpoints(subject: &Subject<'_>, fstab: &str) -> Vec<(Utf8PathBuf, String)> {
    let own = mount::places(subject.survey, subject.environment)
        .into_iter()
        .chain(legacy_places(subject, fstab))
        .map(|(dataset, at)| (at, dataset.to_string()));
    let of_environments = |name: &crate::zfs::DatasetName| {
        name.is_within(&subject.survey.beroot)
            || subject
                .survey
                .boot_roots
                .iter()
                .any(|root| name.is_within(root))
    };
    // Mounts of a rescue system say nothing about the one in the pool.
    let booted = subject.survey.running.is_some();
    let shared = subject
        .survey
        .own_mounts()
        .filter(|mount| booted && !of_environments(&mount.dataset))
        .filter_map(|mount| {
            let at = mount.directory.strip_prefix("/").ok()?;
            (!at.as_str().is_empty()).then(|| (at.to_owned(), mount.dataset.to_string()))
        });
    own.chain(shared).collect()
}

pub(super) fn findings(subject: &Subject<'_>, tree: &Tree<'_>, fstab: &str, found: &mut Findings) {
    for (at, dataset) in mountpoints(subject, fstab) {
        let holder = tree
            .parts()
            .iter()
            .filter(|part| !part.foreign && part.at != at)
            .find_map(|part| Some((part, at.strip_prefix(&part.at).ok()?)));
        let Some((part, below)) = holder else {
            continue;
        };
        let count = entries(part.dir, below);
        if count == 0 {
            continue;
        }
        let many = if count >= MANY { " or more" } else { "" };
        found.add(
            &HIDDEN_FILES,
            format!(
                "{count}{many} entries of /{at} in {} lie hidden under {dataset}",
                part.name
            ),
            format!(
                "move them into {dataset}, or remove them from {}",
                part.name
            ),
        );
    }
}

/// How many entries a directory has, if every name on the way is a directory.
fn entries(dir: &Dir, path: &Utf8Path) -> usize {
    let straight = path
        .ancestors()
        .filter(|part| !part.as_str().is_empty())
        .all(|part| match dir.symlink_metadata(part) {
            Ok(metadata) => metadata.is_dir(),
            Err(error) => !is_absent(&error),
        });
    if !straight {
        return 0;
    }
    dir.read_dir(path)
        .map_or(0, |entries| entries.take(MANY).count())
}
