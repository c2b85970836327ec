//! The four trees, the list that is meant, and what is shared.

use std::collections::BTreeMap;
use std::io::{self, Read as _};

use super::change::Sides;
use super::list::{self, ListError, Source, Synclist};
use crate::diff::lineage::ancestors;
use crate::diff::side::{Part, Side};
use crate::diff::tree::{Located, Tree, below, join};
use crate::host::Host;
use crate::marker;
use crate::os::{self, Object};
use crate::share;
use crate::survey::{Survey, SurveyError};
use crate::zfs::{Snapshot, SnapshotName};

/// What a snapshot's mark ends with that is one of a pair: taken of both sides
/// when they had been synchronized. The two have the same operation before it.
pub const PAIR: &str = "pair";

/// The operation that made a snapshot one of a pair.
#[must_use]
pub fn pair_of(snapshot: &Snapshot) -> Option<&str> {
    let text = marker::read(&snapshot.marks, "op", snapshot.guid)?;
    let (operation, purpose) = text.split_once(' ')?;
    (purpose == PAIR).then_some(operation)
}

/// Both sides with their bases: place by place the newest snapshot that the
/// source came from and that the target came from too, or whose other half it
/// came from.
#[must_use]
pub fn sides(survey: &Survey, source: Side, target: Side) -> Sides {
    let mut bases = [Vec::new(), Vec::new()];
    for part in &source.parts {
        let Some(other) = target.at(&part.place) else {
            continue;
        };
        if let Some(found) = base(survey, &part.object, &other.object) {
            for (parts, name) in bases.iter_mut().zip(found) {
                parts.push(Part {
                    place: part.place.clone(),
                    object: Object::Snapshot(name),
                });
            }
        }
    }
    let [base_source, base_target] = bases.map(|parts| Side {
        name: "the last synchronization".to_owned(),
        running: false,
        parts,
        notes: Vec::new(),
    });
    Sides {
        source,
        target,
        base_source,
        base_target,
    }
}

/// What two datasets are compared with, each with its own: the newest snapshot that both
/// came from, or the newest pair of which each came from a half.
fn base(survey: &Survey, source: &Object, target: &Object) -> Option<[SnapshotName; 2]> {
    let half = |name: &SnapshotName| {
        let snapshot = survey.snapshot(name)?;
        pair_of(snapshot).map(str::to_owned)
    };
    let others: Vec<_> = ancestors(survey, target)
        .into_iter()
        .map(|(guid, name)| (guid, half(&name), name))
        .collect();
    ancestors(survey, source)
        .into_iter()
        .find_map(|(guid, name)| {
            let pair = half(&name);
            let (_, _, other) = others
                .iter()
                .find(|(theirs, half, _)| *theirs == guid || (pair.is_some() && *half == pair))?;
            Some([name, other.clone()])
        })
}

/// What is shared by all environments already, from the root of the tree, and what
/// with: the directories on which the running system has something mounted that is
/// part of no environment, and those that lead to the shared dataset.
///
/// # Errors
/// Where the shared dataset cannot be read.
pub fn shared(host: &Host, survey: &Survey) -> Result<BTreeMap<Vec<u8>, String>, SurveyError> {
    let own: Vec<_> = survey
        .environments()
        .flat_map(|environment| environment.datasets())
        .map(|dataset| &dataset.name)
        .collect();
    let mut found: BTreeMap<Vec<u8>, String> = survey
        .own_mounts()
        .filter(|mount| !own.contains(&&mount.dataset))
        .filter_map(|mount| {
            let root = survey.altroot.as_deref().unwrap_or("/".as_ref());
            let place = mount.directory.strip_prefix(root).ok()?;
            (!place.as_str().is_empty()).then(|| {
                (
                    place.as_str().as_bytes().to_vec(),
                    mount.dataset.to_string(),
                )
            })
        })
        .collect();
    // Not every survey has looked for it.
    let looked = match &survey.shared {
        None if share::find::mounted(survey).is_some() => share::find::shared(host, survey)?,
        _ => None,
    };
    if let Some(known) = survey.shared.as_ref().or(looked.as_ref())
        && let Some(dataset) = known.datasets.first()
    {
        found.extend(known.record.shared.iter().map(|entry| {
            let path = entry.path.as_str().trim_start_matches('/');
            (path.as_bytes().to_vec(), dataset.name.to_string())
        }));
    }
    Ok(found)
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListTrouble {
    /// It cannot be read.
    #[error(transparent)]
    Os(#[from] os::Error),
    /// There are lines in it that are none.
    #[error(transparent)]
    Wrong(#[from] ListError),
}

/// The largest file of the list, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The list of an environment, from its own files.
///
/// # Errors
/// Where a file of it cannot be read, is none, or has a line that is none.
pub fn list(host: &Host, side: &Side) -> Result<Synclist, ListTrouble> {
    let main = list::PATH.trim_start_matches('/');
    let directory = list::DIRECTORY.trim_start_matches('/').as_bytes();
    let mut above = side.clone();
    above.parts.retain(|part| {
        let place = part.place.as_str().as_bytes();
        below(place, main.as_bytes()).is_some() || below(place, directory).is_some()
    });
    let tree = Tree::open(host, &above)?;
    let told = |path: &str| {
        let attempted = format!("read {path} of {}", side.name);
        os::Error::io::<io::Error>(attempted)
    };
    let first = tree
        .find(main.as_bytes())
        .and_then(|found| text(found.as_ref()))
        .map_err(told(list::PATH))?;
    let more = more(&tree, directory).map_err(told(list::DIRECTORY))?;
    let first = first.as_deref().map(|text| Source {
        file: list::PATH,
        text,
    });
    let more: Vec<Source<'_>> = more
        .iter()
        .map(|(file, text)| Source { file, text })
        .collect();
    Ok(Synclist::parse(first, &more)?)
}

fn text(found: Option<&Located>) -> io::Result<Option<Vec<u8>>> {
    let Some(found) = found else { return Ok(None) };
    let none = || io::Error::other(format!("it is no file of at most {MAX_BYTES} bytes"));
    let file = found.open()?.ok_or_else(none)?;
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(none());
    }
    Ok(Some(text))
}

fn more(tree: &Tree, path: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
    let Some(found) = tree.find(path)? else {
        return Ok(Vec::new());
    };
    let none = || io::Error::other("it is no directory");
    let directory = found.enter()?.ok_or_else(none)?;
    let mut texts = Vec::new();
    for name in tree.names(&directory, path)? {
        if !name.name.ends_with(b".conf") {
            continue;
        }
        let shown = String::from_utf8_lossy(&join(path, &name.name)).into_owned();
        let found = tree.locate(&directory, path, &name.name)?;
        if let Some(text) =
            text(found.as_ref()).map_err(|error| io::Error::other(format!("/{shown}: {error}")))?
        {
            texts.push((format!("/{shown}"), text));
        }
    }
    Ok(texts)
}
