//! Both sides and their bases read, and what was decided about each path.
//!
//! Metadata first: what is the same object as in its base, changed by nobody
//! since, is not read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::answer::Verdicts;
use super::change::{Change, Contents, Sides, Winner};
use super::decide::{Action, Decision, Kind, Metadata};
use super::list::{Policy, Synclist};
use super::version::{self, Seen};
use super::walk::Walk;
use super::{kept, resolve, settle};
use crate::diff::tree::{Located, Tree, below};
use crate::diff::{Watch, side::Side};
use crate::host::Host;
use crate::os;

/// What a side did since the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Since {
    /// It has none, and had none.
    Absent,
    /// As it was.
    Unchanged,
    /// Another one.
    Changed,
    /// It had none.
    New,
    /// It has none any more.
    Deleted,
}

impl Since {
    /// As a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::New => "new",
            Self::Deleted => "deleted",
        }
    }
}

/// What was decided about a path that is not on both sides as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// From the root of the tree, without a slash at the beginning.
    pub path: Vec<u8>,
    /// By which rule.
    pub policy: Policy,
    /// What there was at the last time; the target's where the source had none.
    pub base: Option<Kind>,
    /// What the source did.
    pub source: Since,
    /// What the target did.
    pub target: Since,
    /// What is done to the target.
    pub action: Action,
    /// Why, as a phrase.
    pub why: String,
    /// Both sides' changes, of a conflict; nothing secret is among them.
    pub details: Vec<String>,
    /// What is written; `None` where nothing is.
    pub change: Option<Change>,
    /// It was in conflict, and the source's version is kept beside.
    pub kept: bool,
    /// The source's version and the target's, as they were looked at.
    pub versions: [Option<Seen>; 2],
}

/// What was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// As in [`Row`].
    pub path: Vec<u8>,
    /// A phrase.
    pub why: String,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decided {
    /// In the order of paths.
    pub rows: Vec<Row>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// What would have to be changed and must not be.
    pub refused: Vec<Skipped>,
    /// How the versions that lost conflicts are kept in the target.
    pub beside: Vec<Change>,
}

impl Decided {
    /// The rows of which the source's version is kept beside.
    pub fn kept(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.kept)
    }

    /// The rows that are in conflict.
    pub fn conflicts(&self) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(|row| row.action == Action::Conflict)
    }

    /// What is written, in an order in which it can be: what is made before what
    /// is in it, what goes after.
    #[must_use]
    pub fn changes(&self) -> Vec<&Change> {
        let rows = || self.rows.iter().filter_map(|row| row.change.as_ref());
        let all = || self.beside.iter().chain(rows());
        let made = all().filter(|change| change.to.is_some());
        let gone = all().filter(|change| change.to.is_none());
        made.chain(gone.rev()).collect()
    }
}

/// The four trees at hand.
#[derive(Debug)]
pub struct Opened {
    pub(super) source: Tree,
    pub(super) target: Tree,
    pub(super) base_source: Tree,
    pub(super) base_target: Tree,
    /// Both bases are the same, as before the first synchronization.
    pub(super) one_base: bool,
    /// What the source is called.
    pub(super) from: String,
    /// What the target is called.
    pub(super) to: String,
}

/// A side with only what the list can reach.
fn reachable(side: &Side, list: &Synclist) -> Side {
    let mut side = side.clone();
    side.parts.retain(|part| {
        let place = part.place.as_str().as_bytes();
        place.is_empty()
            || list.tops().any(|top| {
                let top = relative(top.path.as_str());
                below(place, top).is_some() || below(top, place).is_some()
            })
    });
    side
}

/// A path without the slash at its beginning.
pub(super) fn relative(path: &str) -> &[u8] {
    path.trim_start_matches('/').as_bytes()
}

impl Opened {
    /// Opens what the list can reach of the four trees.
    ///
    /// # Errors
    /// Where one cannot be mounted.
    pub fn open(host: &Host, sides: &Sides, list: &Synclist) -> os::Result<Self> {
        let open = |side: &Side| Tree::open(host, &reachable(side, list));
        Ok(Self {
            source: open(&sides.source)?,
            target: open(&sides.target)?,
            base_source: open(&sides.base_source)?,
            base_target: open(&sides.base_target)?,
            one_base: sides.base_source.parts == sides.base_target.parts,
            from: sides.source.name.clone(),
            to: sides.target.name.clone(),
        })
    }

    /// Decides about everything on the list. `shared` are the directories on
    /// which something is mounted that is part of neither side, with its name.
    ///
    /// # Errors
    /// What cannot be read; [`io::ErrorKind::Interrupted`] where `watch` ended it.
    pub fn decide(
        &self,
        list: &Synclist,
        shared: &BTreeMap<Vec<u8>, String>,
        verdicts: &Verdicts,
        watch: &dyn Watch,
    ) -> io::Result<Decided> {
        let mut walk = Walk {
            opened: self,
            list,
            shared,
            watch,
            met: BTreeMap::new(),
            decisions: BTreeMap::new(),
            done: Decided::default(),
        };
        for top in list.tops() {
            walk.top(relative(top.path.as_str()))?;
        }
        let Walk {
            met,
            mut decisions,
            mut done,
            ..
        } = walk;
        let mut lost = BTreeSet::new();
        let winner = |path: &[u8], met: &Met| verdicts.ruling(path, met);
        resolve::by_answer(&mut decisions, &met, verdicts);
        resolve::by_winner(&mut decisions, &met, &winner, &mut lost);
        settle::settle(&mut decisions, &|path| self.target_kind(path));
        // What stays needs nothing that is not there.
        let stays = |path: &[u8], met: &Met| {
            winner(path, met).filter(|ruling| ruling.winner != Winner::Source)
        };
        resolve::by_winner(&mut decisions, &met, &stays, &mut lost);
        for (path, decision) in decisions {
            let Some(four) = met.get(&path) else {
                // As it was on both sides.
                continue;
            };
            let mut row = self
                .row(&path, four, decision, verdicts)
                .map_err(|error| told(&path, error))?;
            row.kept |= lost.contains(&path);
            if let Some(change) = &row.change
                && let Some(why) = four.untouchable(change)
            {
                if verdicts.all == Some(Winner::Beside) {
                    row.action = Action::Keep;
                    row.change = None;
                    row.kept = true;
                    row.why = why;
                } else {
                    done.refused.push(Skipped {
                        path: path.clone(),
                        why,
                    });
                }
            }
            if row.kept {
                let added = kept::keep(self, &row, four.source.as_ref(), &done.beside);
                match added {
                    Ok(changes) => done.beside.extend(changes),
                    Err(error) => {
                        row.why = format!("{}; it could not be kept beside: {error}", row.why);
                    }
                }
            }
            done.rows.push(row);
        }
        Ok(done)
    }

    /// What the source has at a path.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn find_source(&self, path: &[u8]) -> io::Result<Option<Located>> {
        self.source.find(path)
    }

    /// The text for somebody to decide a conflict in, with markers; `None` where one of the
    /// sides has none, or too much of it.
    ///
    /// # Errors
    /// Where it cannot be read, or was replaced since it was looked at.
    pub fn marked(&self, row: &Row) -> io::Result<Option<Vec<u8>>> {
        resolve::marked(self, row)
    }

    /// The place of the target's dataset that a path is in.
    pub(super) fn target_part(&self, path: &[u8]) -> Vec<u8> {
        self.target.part_of(path)
    }

    /// What the target has at a path.
    pub(super) fn target_seen(&self, path: &[u8]) -> io::Result<Option<Seen>> {
        see(&self.target.find(path)?)
    }

    fn target_kind(&self, path: &[u8]) -> Option<Kind> {
        if path.is_empty() {
            return Some(Kind::Directory);
        }
        let found = self.target.find(path).ok()??;
        Some(match &found.stat {
            Some(stat) => version::kind_of(stat),
            None => Kind::Directory,
        })
    }
}

/// An error with the path it is about.
pub(crate) fn told(path: &[u8], error: io::Error) -> io::Error {
    let path = String::from_utf8_lossy(path);
    io::Error::new(error.kind(), format!("/{path}: {error}"))
}

/// What a path is on the four sides, where it is not as it was.
#[derive(Debug, Clone)]
pub(super) struct Met {
    pub(super) policy: Policy,
    pub(super) base_source: Option<Seen>,
    pub(super) source: Option<Seen>,
    pub(super) base_target: Option<Seen>,
    pub(super) target: Option<Seen>,
    /// How many names the target's file has.
    pub(super) links: u32,
    /// The place of the target's dataset it is in.
    pub(super) part: Vec<u8>,
}

impl Met {
    fn since(base: Option<&Seen>, now: Option<&Seen>) -> Since {
        match (base, now) {
            (None, None) => Since::Absent,
            (None, Some(_)) => Since::New,
            (Some(_), None) => Since::Deleted,
            (Some(base), Some(now)) if base == now => Since::Unchanged,
            (Some(_), Some(_)) => Since::Changed,
        }
    }

    pub(super) fn source_since(&self) -> Since {
        Self::since(self.base_source.as_ref(), self.source.as_ref())
    }

    pub(super) fn target_since(&self) -> Since {
        Self::since(self.base_target.as_ref(), self.target.as_ref())
    }

    /// Why the target's file must not be replaced, where it must not.
    fn untouchable(&self, change: &Change) -> Option<String> {
        let file = change.was.as_ref()?.kind == Kind::File;
        (file && self.links > 1).then(|| {
            format!(
                "it has {} names (hard links) in the target, and a new file would have one of them",
                self.links
            )
        })
    }

    fn base_kind(&self) -> Option<Kind> {
        let base = self.base_source.as_ref().or(self.base_target.as_ref())?;
        Some(base.kind)
    }
}

pub(super) fn see(place: &Option<Located>) -> io::Result<Option<Seen>> {
    let Some(place) = place else {
        return Ok(None);
    };
    match (place.at(), &place.stat) {
        (Some((directory, name)), Some(stat)) => version::seen(directory, name, stat).map(Some),
        _ => Ok(None),
    }
}

impl Opened {
    /// What a decision comes to.
    fn row(
        &self,
        path: &[u8],
        met: &Met,
        decision: Decision,
        verdicts: &Verdicts,
    ) -> io::Result<Row> {
        let Decision {
            action,
            becomes: _,
            metadata,
            why,
        } = decision;
        let mut row = Row {
            path: path.to_owned(),
            policy: met.policy,
            base: met.base_kind(),
            source: met.source_since(),
            target: met.target_since(),
            action,
            why,
            details: Vec::new(),
            change: None,
            kept: false,
            versions: [met.source.clone(), met.target.clone()],
        };
        let made = match action {
            Action::Nothing | Action::Keep => None,
            Action::Conflict => {
                row.details = resolve::details(met);
                None
            }
            Action::Delete => Some((None, Contents::Target)),
            Action::Copy => met.source.clone().map(|source| {
                let directory = source.kind == Kind::Directory && met.target.is_some();
                let contents = match directory {
                    true => Contents::Target,
                    false => Contents::Source,
                };
                (Some(dressed(source, metadata)), contents)
            }),
            Action::Metadata => met
                .target
                .clone()
                .map(|target| (Some(dressed(target, metadata)), Contents::Target)),
            Action::Merge(how) => resolve::merge(self, met, how, metadata, verdicts, &mut row)?,
        };
        row.change = made
            .map(|(to, contents)| Change {
                path: path.to_owned(),
                part: met.part.clone(),
                was: met.target.clone(),
                to,
                contents,
            })
            .filter(|change| change.was != change.to);
        Ok(row)
    }
}

/// The same with other metadata.
pub(super) fn dressed(seen: Seen, metadata: Option<Metadata>) -> Seen {
    let metadata = metadata.unwrap_or_else(|| seen.metadata.clone());
    Seen { metadata, ..seen }
}
