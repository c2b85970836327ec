//! What `zfs diff` says of a dataset: the paths that may differ.
//!
//! It compares a snapshot with what came from it, so two clones are compared by
//! asking it twice: what changed from the common origin to the one, and to the
//! other. What either names is then looked at on both sides; the rest is the
//! same on both. Three things have to be added to what it prints:
//!
//! - What moved with a renamed directory is not printed. The directories it
//!   moved between are, and the names in those are compared by object.
//! - Of a file with several names one is printed. The others are found by
//!   looking for the object's number in all directories.
//! - A file whose newest name was removed, in another directory than the one
//!   that is left, is not printed at all: `zfs_obj_to_path` asks the directory
//!   the newest name was in, finds none, and `zfs diff` takes the object for one
//!   that is not there. Nothing in its output shows that. It is why this is not
//!   the method of choice.

use std::collections::BTreeSet;

use rustix::fs::FileType;

use super::lineage::{Pair, Relation};
use super::side::Side;
use super::single::Single;
use super::tree::{below, join};
use crate::host::Host;
use crate::os::Object;
use crate::zfs::{SnapshotName, parse};

/// The paths in one dataset that may differ, from the root of the whole tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    paths: BTreeSet<Vec<u8>>,
}

/// Why `zfs diff` cannot tell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system.
    #[error(transparent)]
    Os(#[from] crate::os::Error),
    /// ZFS.
    #[error(transparent)]
    Zfs(#[from] crate::zfs::Error),
    /// What it printed.
    #[error("cannot read what zfs diff printed: {0}")]
    Parse(#[from] parse::ParseError),
    /// A file.
    #[error("cannot look at what zfs diff named: {0}")]
    Io(#[from] std::io::Error),
}

impl Touched {
    /// The path itself may differ.
    #[must_use]
    pub fn has(&self, path: &[u8]) -> bool {
        self.paths.contains(path)
    }

    /// The names in a directory that are, or lead to, what may differ.
    #[must_use]
    pub fn names_below(&self, path: &[u8]) -> BTreeSet<Vec<u8>> {
        let mut names = BTreeSet::new();
        // '/' is not the smallest byte: "a-b" stands between "a" and "a/b".
        let begin = if path.is_empty() {
            Vec::new()
        } else {
            join(path, b"")
        };
        for other in self.paths.range(begin.clone()..) {
            if !other.starts_with(&begin) {
                break;
            }
            if let Some(rest) = below(path, other)
                && let Some(name) = rest.split(|byte| *byte == b'/').next()
                && !name.is_empty()
            {
                names.insert(name.to_owned());
            }
        }
        names
    }
}

/// Asks `zfs diff` about the datasets at one place.
///
/// # Errors
/// Why it cannot tell; the trees can be walked then.
pub fn find(host: &Host, pair: &Pair, from: &Side, to: &Side) -> Result<Touched, Error> {
    let mut touched = Touched::default();
    let Relation::Related {
        from: from_base,
        to: to_base,
    } = &pair.relation
    else {
        return Ok(touched);
    };
    let place = pair.place.as_str().as_bytes();
    let mut numbers = BTreeSet::new();
    let mut sides = Vec::new();
    for (side, base) in [(from, from_base), (to, to_base)] {
        let Some(part) = side.at(&pair.place) else {
            continue;
        };
        let now = Single::open(host, &part.object)?;
        if part.object != Object::Snapshot(base.clone()) {
            let before = Single::open(host, &Object::Snapshot(base.clone()))?;
            for path in ask(host, base, &part.object)? {
                for tree in [&before, &now] {
                    if let Some(stat) = tree.stat(&path)?
                        && stat.stx_nlink > 1
                        && FileType::from_raw_mode(u32::from(stat.stx_mode)) != FileType::Directory
                    {
                        numbers.insert(stat.stx_ino);
                    }
                }
                touched.paths.insert(whole(place, &path));
            }
        }
        sides.push(now);
    }
    if !numbers.is_empty() {
        for side in &sides {
            side.paths_of(&|number| numbers.contains(&number), &mut |path| {
                touched.paths.insert(whole(place, &path));
            })?;
        }
    }
    Ok(touched)
}

fn whole(place: &[u8], path: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        place.to_owned()
    } else {
        join(place, path)
    }
}

/// The paths `zfs diff` names, from the dataset's own root.
fn ask(host: &Host, base: &SnapshotName, object: &Object) -> Result<Vec<Vec<u8>>, Error> {
    let head = object.dataset();
    let mut needed = vec![head.clone()];
    if base.dataset() != head {
        // "Cannot diff an unmounted snapshot" (libzfs_diff.c, get_mountpoints).
        needed.push(base.dataset());
    }
    let mut answer = None;
    host.platform.with_mounted(&needed, &mut |directories| {
        let at = directories.first().cloned().unwrap_or_default();
        answer = Some(
            host.zfs
                .changes(base, &object.to_string())
                .map(|text| (at, text)),
        );
    })?;
    let Some(answer) = answer else {
        return Ok(Vec::new());
    };
    let (at, text) = answer?;
    Ok(parse::changes(&text, at.as_str().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_a_directory_are_not_those_of_its_neighbours() {
        let touched = Touched {
            paths: ["a", "a/b/c", "a/b!", "a-b/x", "ab/y"]
                .map(|path| path.as_bytes().to_vec())
                .into(),
        };
        let names = |path: &[u8]| -> Vec<String> {
            touched
                .names_below(path)
                .into_iter()
                .map(|name| String::from_utf8(name).unwrap())
                .collect()
        };
        assert_eq!(names(b""), ["a", "a-b", "ab"]);
        assert_eq!(names(b"a"), ["b", "b!"]);
        assert_eq!(names(b"a/b"), ["c"]);
        assert_eq!(names(b"a/b/c"), [""; 0]);
    }
}
