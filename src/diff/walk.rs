//! Two trees compared, name by name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rustix::fs::FileType;

use super::Watch;
use super::entry::{self, Aspect, Buffers};
use super::touched::Touched;
use super::tree::{Directory, Located, Name, Tree, below, join};

/// How many directories deep a tree is followed: each holds two open files. A
/// system has some twenty; what is deeper was made to be.
const MAX_DEPTH: usize = 200;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Only on the second side.
    Added,
    /// Only on the first side.
    Removed,
    /// On both and different.
    Changed,
}

impl Kind {
    /// As a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }

    /// As a sign: those of `zfs diff`.
    #[must_use]
    pub fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => 'M',
        }
    }
}

/// A file that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path from the root, without the leading slash.
    pub path: Vec<u8>,
    /// What became of it.
    pub change: Kind,
    /// What it was.
    pub from: Option<FileType>,
    /// What it is.
    pub to: Option<FileType>,
    /// In what it differs, where it is on both sides.
    pub aspects: Vec<Aspect>,
}

impl Change {
    /// It is a directory, or was one and is gone.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.to.or(self.from) == Some(FileType::Directory)
    }
}

/// What could not be compared, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path, as in [`Change`].
    pub path: Vec<u8>,
    /// Why.
    pub why: String,
}

/// The paths that are asked for, without leading slashes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// These and what lies below; everything where empty.
    pub only: Vec<Vec<u8>>,
    /// But not these and what lies below.
    pub without: Vec<Vec<u8>>,
}

impl Selection {
    /// It is asked for.
    fn holds(&self, path: &[u8]) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| below(only, path).is_some())
    }

    /// It, or something below it, may be asked for.
    fn leads_to(&self, path: &[u8]) -> bool {
        let excluded = self
            .without
            .iter()
            .any(|other| below(other, path).is_some());
        !excluded && (self.holds(path) || self.only.iter().any(|only| below(path, only).is_some()))
    }
}

/// A walk through two trees.
pub struct Walker<'a> {
    from: &'a Tree,
    to: &'a Tree,
    /// Places whose datasets have a common origin.
    related: &'a [Vec<u8>],
    /// Of some places, what alone may differ in the dataset.
    touched: &'a BTreeMap<Vec<u8>, Touched>,
    selection: &'a Selection,
    watch: &'a dyn Watch,
    buffers: Buffers,
    changes: Vec<Change>,
    problems: Vec<Problem>,
}

/// A directory on both sides, or on one.
struct Pair {
    from: Option<Directory>,
    to: Option<Directory>,
    /// Everything below is to be looked at, whatever is known of it.
    all: bool,
}

/// A name to look at, and whether its object may have changed.
struct Step {
    name: Vec<u8>,
    may_differ: bool,
}

impl<'a> Walker<'a> {
    /// A walk that has not begun.
    #[must_use]
    pub fn new(
        from: &'a Tree,
        to: &'a Tree,
        related: &'a [Vec<u8>],
        touched: &'a BTreeMap<Vec<u8>, Touched>,
        selection: &'a Selection,
        watch: &'a dyn Watch,
    ) -> Self {
        Self {
            from,
            to,
            related,
            touched,
            selection,
            watch,
            buffers: Buffers::default(),
            changes: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> (Vec<Change>, Vec<Problem>) {
        (self.changes, self.problems)
    }

    /// Walks.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`]; where a root cannot be read.
    pub fn run(&mut self) -> io::Result<()> {
        let (from, to) = (self.from.root()?, self.to.root()?);
        let all = self.known(from.as_ref(), to.as_ref()).is_none();
        self.entry(b"", from, to, all || self.is_touched(b"", b""), all, 0)
    }

    /// What is known of a pair of things in the same dataset of both sides.
    fn known(&self, from: Option<&Located>, to: Option<&Located>) -> Option<&'a Touched> {
        let (from, to) = (from?, to?);
        if from.part == to.part {
            self.touched.get(&from.part)
        } else {
            None
        }
    }

    fn is_touched(&self, part: &[u8], path: &[u8]) -> bool {
        self.touched
            .get(part)
            .is_some_and(|touched| touched.has(path))
    }

    fn trouble(&mut self, path: &[u8], error: &io::Error) {
        self.problems.push(Problem {
            path: path.to_owned(),
            why: error.to_string(),
        });
    }

    fn record(
        &mut self,
        path: &[u8],
        from: Option<FileType>,
        to: Option<FileType>,
        aspects: Vec<Aspect>,
    ) {
        if self.selection.holds(path) {
            self.changes.push(Change {
                path: path.to_owned(),
                change: match (from, to) {
                    (None, _) => Kind::Added,
                    (_, None) => Kind::Removed,
                    _ => Kind::Changed,
                },
                from,
                to,
                aspects,
            });
        }
    }

    /// Looks at one path and what is below it.
    fn entry(
        &mut self,
        path: &[u8],
        from: Option<Located>,
        to: Option<Located>,
        may_differ: bool,
        all: bool,
        depth: usize,
    ) -> io::Result<()> {
        if !self.watch.looked_at(path) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let kinds = (
            from.as_ref().map(Located::kind),
            to.as_ref().map(Located::kind),
        );
        match (&from, &to) {
            (None, None) => return Ok(()),
            (Some(one), Some(other)) if may_differ => match self.aspects(one, other) {
                Ok(aspects) if aspects.is_empty() => {}
                Ok(aspects) => self.record(path, kinds.0, kinds.1, aspects),
                Err(error) => self.trouble(path, &error),
            },
            (Some(_), Some(_)) => {}
            _ => self.record(path, kinds.0, kinds.1, Vec::new()),
        }
        let directory = Some(FileType::Directory);
        if kinds.0 != directory && kinds.1 != directory {
            return Ok(());
        }
        if depth == MAX_DEPTH {
            self.trouble(
                path,
                &io::Error::other(format!(
                    "it is {MAX_DEPTH} directories deep; not looked into"
                )),
            );
            return Ok(());
        }
        let mut enter = |located: Option<Located>| -> Option<Directory> {
            let located = located.filter(|located| located.kind() == FileType::Directory)?;
            located.enter().unwrap_or_else(|error| {
                self.trouble(path, &error);
                None
            })
        };
        let pair = Pair {
            all: all || kinds.0 != kinds.1,
            from: enter(from),
            to: enter(to),
        };
        self.directory(path, &pair, depth)
    }

    fn aspects(&mut self, from: &Located, to: &Located) -> io::Result<Vec<Aspect>> {
        let related = from.part == to.part && self.related.contains(&from.part);
        if related
            && let (Some(one), Some(other)) = (&from.stat, &to.stat)
            && entry::untouched(one, other)
        {
            return Ok(Vec::new());
        }
        entry::compare(from, to, &mut self.buffers)
    }

    fn directory(&mut self, path: &[u8], pair: &Pair, depth: usize) -> io::Result<()> {
        let steps = match self.steps(path, pair) {
            Ok(steps) => steps,
            Err(error) => {
                self.trouble(path, &error);
                return Ok(());
            }
        };
        for step in steps {
            let full = join(path, &step.name);
            if !self.selection.leads_to(&full) {
                continue;
            }
            let locate = |tree: &Tree, directory: &Option<Directory>| match directory {
                Some(directory) => tree.locate(directory, path, &step.name),
                None => Ok(None),
            };
            let found = locate(self.from, &pair.from)
                .and_then(|from| Ok((from, locate(self.to, &pair.to)?)));
            let (from, to) = match found {
                Ok(found) => found,
                Err(error) => {
                    self.trouble(&full, &error);
                    continue;
                }
            };
            let same_object = match (&from, &to) {
                (Some(from), Some(to)) => {
                    from.part == to.part
                        && from.stat.as_ref().map(|stat| stat.stx_ino)
                            == to.stat.as_ref().map(|stat| stat.stx_ino)
                }
                _ => false,
            };
            let all = match self.known(from.as_ref(), to.as_ref()) {
                None => true,
                // The root of a dataset is what is known of it, not what is
                // known of the one above.
                Some(_) if self.is_place(&full) => false,
                Some(_) => pair.all || !same_object,
            };
            let may_differ = if self.is_place(&full) {
                all || self.is_touched(&full, &full)
            } else {
                step.may_differ || all
            };
            self.entry(&full, from, to, may_differ, all, depth + 1)?;
        }
        Ok(())
    }

    fn is_place(&self, path: &[u8]) -> bool {
        self.touched.contains_key(path)
    }

    /// The names in a directory that have to be looked at.
    fn steps(&self, path: &[u8], pair: &Pair) -> io::Result<Vec<Step>> {
        let known = match (&pair.from, &pair.to) {
            (Some(from), Some(to)) if !pair.all && from.part == to.part => {
                self.touched.get(&from.part)
            }
            _ => None,
        };
        let names = |tree: &Tree, directory: &Option<Directory>| match directory {
            Some(directory) => tree.names(directory, path),
            None => Ok(Vec::new()),
        };
        let Some(known) = known else {
            let mut all: BTreeSet<Vec<u8>> = BTreeSet::new();
            all.extend(
                names(self.from, &pair.from)?
                    .into_iter()
                    .map(|name| name.name),
            );
            all.extend(names(self.to, &pair.to)?.into_iter().map(|name| name.name));
            return Ok(all
                .into_iter()
                .map(|name| Step {
                    name,
                    may_differ: true,
                })
                .collect());
        };
        let mut wanted: BTreeSet<Vec<u8>> = known.names_below(path);
        wanted.extend(self.from.places_in(path));
        wanted.extend(self.to.places_in(path));
        if known.has(path) {
            let from = names(self.from, &pair.from)?;
            let to = names(self.to, &pair.to)?;
            wanted.extend(changed_names(&from, &to));
        }
        Ok(wanted
            .into_iter()
            .map(|name| Step {
                may_differ: known.has(&join(path, &name)),
                name,
            })
            .collect())
    }
}

/// The names that are in one listing only, or lead to different objects.
fn changed_names(from: &[Name], to: &[Name]) -> Vec<Vec<u8>> {
    let objects = |names: &[Name]| -> BTreeSet<(Vec<u8>, u64)> {
        names
            .iter()
            .map(|name| (name.name.clone(), name.inode))
            .collect()
    };
    objects(from)
        .symmetric_difference(&objects(to))
        .map(|(name, _)| name.clone())
        .collect()
}
