//! One side of a comparison: which datasets or snapshots make up the tree, and
//! where in it each one lies.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::be::BootEnvironment;
use crate::execute::mount;
use crate::os::Object;
use crate::survey::Survey;
use crate::zfs::DatasetName;

/// A dataset or snapshot in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its directory, without the leading slash; empty for the root.
    pub place: Utf8PathBuf,
    /// What is read.
    pub object: Object,
}

/// A dataset as it is now, or as it was in a snapshot, where it has that.
fn object(survey: &Survey, snapshot: Option<&str>, dataset: &DatasetName) -> Option<Object> {
    match snapshot {
        None => Some(Object::Dataset(dataset.clone())),
        Some(snapshot) => {
            let name = dataset.snapshot(snapshot).ok()?;
            survey.snapshot(&name)?;
            Some(Object::Snapshot(name))
        }
    }
}

/// One side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// `NAME` or `NAME@SNAPSHOT`.
    pub name: String,
    /// The machine runs from it.
    pub running: bool,
    /// What makes it up, the root first.
    pub parts: Vec<Part>,
    /// What a person should know about it.
    pub notes: Vec<String>,
}

impl Side {
    /// Its root; `None` where that has no such snapshot.
    #[must_use]
    pub fn root(
        survey: &Survey,
        environment: &BootEnvironment<'_>,
        snapshot: Option<&str>,
    ) -> Option<Object> {
        object(survey, snapshot, &environment.root.name)
    }

    /// An environment as it is now, or as it was in a snapshot; `None` where its
    /// root has no such snapshot.
    ///
    /// A child without that snapshot did not exist then, or was not meant; it is
    /// left out and said so. Children with `mountpoint=legacy` stand where
    /// `fstab` puts them.
    ///
    /// # Errors
    /// Where it puts one in a place that cannot be written down.
    pub fn new(
        survey: &Survey,
        environment: &BootEnvironment<'_>,
        snapshot: Option<&str>,
        fstab: &[u8],
    ) -> io::Result<Option<Self>> {
        let Some(root) = Self::root(survey, environment, snapshot) else {
            return Ok(None);
        };
        let mut parts = vec![Part {
            place: Utf8PathBuf::new(),
            object: root,
        }];
        let mut notes = Vec::new();
        for (dataset, place) in mount::all_places(survey, environment, fstab)? {
            match object(survey, snapshot, &dataset) {
                Some(object) => parts.push(Part { place, object }),
                None => notes.push(format!(
                    "{dataset} has no snapshot @{}; it is left out",
                    snapshot.unwrap_or_default()
                )),
            }
        }
        Ok(Some(Self {
            name: match snapshot {
                None => environment.name().to_owned(),
                Some(snapshot) => format!("{}@{snapshot}", environment.name()),
            },
            running: environment.is_running() && snapshot.is_none(),
            parts,
            notes,
        }))
    }

    /// What lies at a place; the last one where several do, as when mounted.
    #[must_use]
    pub fn at(&self, place: &Utf8Path) -> Option<&Part> {
        self.parts.iter().rfind(|part| part.place == place)
    }
}
