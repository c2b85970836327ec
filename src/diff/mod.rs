//! What differs between two environments: their files, and the packages
//! installed in them.
//!
//! - [`side`], [`lineage`]: what is compared with what, and how the two hang
//!   together; pure
//! - [`tree`]: an environment's datasets as one file tree that cannot be left
//! - [`entry`]: two files of the same name
//! - [`walk`]: two trees
//! - [`touched`]: what `zfs diff` says may differ; [`single`]: one dataset by itself
//! - [`inventory`]: the package databases in a tree
//! - [`summary`]: changes counted
//!
//! Nothing is written, but for the snapshot that `zfs diff` takes of a live
//! dataset, and that only where it was asked for.

pub mod entry;
pub mod inventory;
pub mod lineage;
pub mod side;
pub mod single;
pub mod summary;
pub mod touched;
pub mod tree;
pub mod walk;

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use crate::be::BootEnvironment;
use crate::be::rewrite::FSTAB;
use crate::execute::mount;
use crate::host::Host;
use crate::os;
use crate::survey::Survey;
use crate::zfs::Mountpoint;
use lineage::{Pair, Relation};
use side::Side;
use touched::Touched;
use tree::Tree;
use walk::{Change, Problem, Selection, Walker};

/// How files are found that may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Both trees are walked; a file that is the same object of a common origin
    /// and was not changed since is not read
    #[default]
    Lineage,
    /// What `zfs diff` names is looked at, where there is a common origin: much
    /// faster in large trees, takes a snapshot for the moment, and can miss a
    /// file that once had a name in another directory
    ZfsDiff,
    /// Both trees are walked and every file is read
    Content,
}

/// How one dataset was compared with its counterpart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct How {
    /// The directory of it.
    pub place: String,
    /// The dataset or snapshot on the first side, where there is one.
    pub from: Option<String>,
    /// Likewise on the second side.
    pub to: Option<String>,
    /// `same` (nothing was written since a common origin), `lineage`,
    /// `zfs-diff`, `content`, or `one-side`.
    pub how: &'static str,
    /// Why it is not what was asked for.
    pub why: Option<String>,
}

/// Is told how a long comparison goes.
pub trait Watch {
    /// One more name was looked at; `false` ends the comparison.
    fn looked_at(&self, path: &[u8]) -> bool;
}

/// What a comparison of files came to.
#[derive(Debug)]
pub struct Files {
    /// What differs, by path.
    pub changes: Vec<Change>,
    /// What could not be compared.
    pub problems: Vec<Problem>,
    /// How each dataset was compared.
    pub how: Vec<How>,
}

/// Two sides with their files at hand.
pub struct Opened<'a> {
    from: &'a Side,
    to: &'a Side,
    /// The first side's tree.
    pub from_tree: Tree,
    /// The second side's tree.
    pub to_tree: Tree,
}

/// A side, with the fstab of its root read where it has legacy children; `None`
/// where there is no such snapshot.
///
/// # Errors
/// Where the root cannot be mounted.
pub fn side(
    host: &Host,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    snapshot: Option<&str>,
) -> os::Result<Option<Side>> {
    let Some(root) = Side::root(survey, environment, snapshot) else {
        return Ok(None);
    };
    let legacy = environment.datasets().into_iter().any(|dataset| {
        dataset.mountpoint == Mountpoint::Legacy && dataset.guid != environment.guid()
    });
    let fstab = if legacy {
        let files = host.platform.open_files(&root)?;
        mount::read_fstab(&files.root, environment)
            .map_err(os::Error::io(format!("read {FSTAB} of {root}")))?
    } else {
        Vec::new()
    };
    Side::new(survey, environment, snapshot, &fstab)
        .map_err(os::Error::io(format!("read {FSTAB} of {root}")))
}

/// Opens the datasets of both sides.
///
/// # Errors
/// Where one cannot be mounted.
pub fn open<'a>(host: &Host, from: &'a Side, to: &'a Side) -> os::Result<Opened<'a>> {
    Ok(Opened {
        from,
        to,
        from_tree: Tree::open(host, from)?,
        to_tree: Tree::open(host, to)?,
    })
}

impl Opened<'_> {
    /// Compares the files.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] where `watch` ended it. What cannot be
    /// read in a tree is no error; it is among the problems.
    pub fn files(
        &self,
        host: &Host,
        pairs: &[Pair],
        method: Method,
        selection: &Selection,
        watch: &dyn Watch,
    ) -> io::Result<Files> {
        let mut how = Vec::new();
        let mut touched: BTreeMap<Vec<u8>, Touched> = BTreeMap::new();
        let mut related = Vec::new();
        for pair in pairs {
            let place = pair.place.as_str().as_bytes();
            let mut why = None;
            let called = match (&pair.relation, method) {
                (Relation::OneSide, _) => "one-side",
                (_, Method::Content) => "content",
                (Relation::Same, _) => {
                    touched.insert(place.to_owned(), Touched::default());
                    "same"
                }
                (Relation::Unrelated, _) => {
                    why = Some("there is no common origin".to_owned());
                    "content"
                }
                (Relation::Related { .. }, Method::Lineage) => {
                    related.push(place.to_owned());
                    "lineage"
                }
                (Relation::Related { .. }, Method::ZfsDiff) => {
                    related.push(place.to_owned());
                    match touched::find(host, pair, self.from, self.to) {
                        Ok(found) => {
                            touched.insert(place.to_owned(), found);
                            "zfs-diff"
                        }
                        Err(error) => {
                            why = Some(error.to_string());
                            "lineage"
                        }
                    }
                }
            };
            how.push(How {
                place: format!("/{}", pair.place),
                from: self
                    .from
                    .at(&pair.place)
                    .map(|part| part.object.to_string()),
                to: self.to.at(&pair.place).map(|part| part.object.to_string()),
                how: called,
                why,
            });
        }
        let mut walker = Walker::new(
            &self.from_tree,
            &self.to_tree,
            &related,
            &touched,
            selection,
            watch,
        );
        walker.run()?;
        let (mut changes, problems) = walker.finish();
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Files {
            changes,
            problems,
            how,
        })
    }
}
