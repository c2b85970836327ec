//! The four trees walked side by side, and what is decided about each path by itself.

use std::collections::BTreeMap;
use std::io;

use rustix::fs::Statx;

use super::decide::{self, Decision, Four, Kind, Version};
use super::list::{Policy, Synclist};
use super::read::{Decided, Met, Opened, Skipped, see, told};
use super::version::{self, Seen};
use super::{kept, resolve};
use crate::diff::Watch;
use crate::diff::entry::untouched;
use crate::diff::tree::{Located, Tree, below, join};

/// What a path is on the four sides: source, target and their bases.
type Places = [Option<Located>; 4];

/// What is found at a path.
enum Reached {
    Found(Option<Box<Located>>),
    /// A symbolic link stands on the way.
    Behind(Vec<u8>),
}

fn reach(tree: &Tree, path: &[u8]) -> io::Result<Reached> {
    let mut found = tree.root()?;
    let mut at = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        let Some(here) = found else {
            return Ok(Reached::Found(None));
        };
        if here.kind() == rustix::fs::FileType::Symlink {
            return Ok(Reached::Behind(at));
        }
        let Some(directory) = here.enter()? else {
            return Ok(Reached::Found(None));
        };
        found = tree.locate(&directory, &at, name)?;
        at = join(&at, name);
    }
    Ok(Reached::Found(found.map(Box::new)))
}

/// All of it, on the way.
pub(super) struct Walk<'a> {
    pub(super) opened: &'a Opened,
    pub(super) list: &'a Synclist,
    pub(super) shared: &'a BTreeMap<Vec<u8>, String>,
    pub(super) watch: &'a dyn Watch,
    pub(super) met: BTreeMap<Vec<u8>, Met>,
    pub(super) decisions: BTreeMap<Vec<u8>, Decision>,
    pub(super) done: Decided,
}

impl Walk<'_> {
    fn skip(&mut self, path: &[u8], why: String) {
        self.done.skipped.push(Skipped {
            path: path.to_owned(),
            why,
        });
    }

    /// One path that the list begins at.
    pub(super) fn top(&mut self, path: &[u8]) -> io::Result<()> {
        let above = self
            .shared
            .iter()
            .find(|(place, _)| below(place, path).is_some());
        if let Some((_, name)) = above {
            let why = format!("it lies on {name}, which both share");
            self.skip(path, why);
            return Ok(());
        }
        let at = |tree: &Tree| reach(tree, path).map_err(|error| told(path, error));
        let trees = [&self.opened.source, &self.opened.target];
        let mut places: Places = [const { None }; 4];
        for (place, tree) in places.iter_mut().zip(trees) {
            match at(tree)? {
                Reached::Found(found) => *place = found.map(|found| *found),
                Reached::Behind(link) => {
                    let link = String::from_utf8_lossy(&link).into_owned();
                    self.skip(path, format!("it lies behind the symbolic link /{link}"));
                    return Ok(());
                }
            }
        }
        let bases = [&self.opened.base_source, &self.opened.base_target];
        for (place, tree) in places.iter_mut().skip(2).zip(bases) {
            if let Reached::Found(found) = at(tree)? {
                *place = found.map(|found| *found);
            }
        }
        self.visit(path, &places)
    }

    fn visit(&mut self, path: &[u8], places: &Places) -> io::Result<()> {
        let [_, target, ..] = places;
        if path == kept::DIRECTORY.as_bytes() {
            // Each environment's own.
            self.stays(path, target.as_ref());
            return Ok(());
        }
        let Some(policy) = self.list.policy_of(path) else {
            self.stays(path, target.as_ref());
            return Ok(());
        };
        if let Some(name) = self.shared.get(path) {
            let why = format!("it lies on {name}, which both share");
            self.skip(path, why);
            self.stays(path, target.as_ref());
            return Ok(());
        }
        if !self.watch.looked_at(path) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.one(path, policy, places)
            .map_err(|error| told(path, error))?;
        let is_directory = |place: &Option<Located>| {
            place
                .as_ref()
                .is_some_and(|found| found.kind() == rustix::fs::FileType::Directory)
        };
        if places.iter().take(2).any(is_directory) {
            self.inside(path, places)?;
        }
        Ok(())
    }

    /// One path by itself.
    fn one(&mut self, path: &[u8], policy: Policy, places: &Places) -> io::Result<()> {
        let [source, target, base_source, base_target] = places;
        let stat = |place: &Option<Located>| place.as_ref().and_then(|found| found.stat);
        let special = [source, target]
            .into_iter()
            .filter_map(stat)
            .any(|stat| version::kind_of(&stat) == Kind::Special);
        if special {
            self.skip(path, "it is a device, a pipe or a socket".to_owned());
            self.stays(path, target.as_ref());
            return Ok(());
        }
        let same = |base: Option<Statx>, now: Option<Statx>| match (base, now) {
            (None, None) => true,
            (Some(base), Some(now)) => untouched(&base, &now),
            _ => false,
        };
        let source_same = same(stat(base_source), stat(source));
        let target_same = same(stat(base_target), stat(target));
        if source_same && target_same {
            self.stays(path, target.as_ref());
            return Ok(());
        }
        let (links, there) = (stat(target).map_or(0, |stat| stat.stx_nlink), target);
        let source = see(source)?;
        let target_seen = see(target)?;
        let base_source = if source_same {
            source.clone()
        } else {
            see(base_source)?
        };
        let base_target = match (target_same, self.opened.one_base) {
            (true, _) => target_seen.clone(),
            (false, true) => base_source.clone(),
            (false, false) => see(base_target)?,
        };
        if base_source == source && base_target == target_seen {
            self.stays(path, there.as_ref());
            return Ok(());
        }
        let versions: Vec<Option<Version>> = [&base_source, &source, &base_target, &target_seen]
            .map(|seen| seen.as_ref().map(Seen::version))
            .into();
        let [
            base_source_version,
            source_version,
            base_target_version,
            target_version,
        ] = versions.as_slice()
        else {
            return Ok(());
        };
        let decision = decide::decide(
            policy,
            path,
            &Four {
                base_source: base_source_version.as_ref(),
                source: source_version.as_ref(),
                base_target: base_target_version.as_ref(),
                target: target_version.as_ref(),
            },
        );
        let met = Met {
            policy,
            base_source,
            source,
            base_target,
            target: target_seen,
            links,
            part: self.opened.target.part_of(path),
        };
        let decision = resolve::same_kind(decision, &met);
        self.decisions.insert(path.to_owned(), decision);
        self.met.insert(path.to_owned(), met);
        Ok(())
    }

    /// What the target has there is not touched: no directory is deleted over it.
    fn stays(&mut self, path: &[u8], target: Option<&Located>) {
        if let Some(target) = target {
            let kind = match &target.stat {
                Some(stat) => version::kind_of(stat),
                None => Kind::Directory,
            };
            self.decisions
                .insert(path.to_owned(), Decision::not_carried(Some(kind)));
        }
    }

    fn inside(&mut self, path: &[u8], places: &Places) -> io::Result<()> {
        let trees = [
            &self.opened.source,
            &self.opened.target,
            &self.opened.base_source,
            &self.opened.base_target,
        ];
        let looked = if self.opened.one_base { 3 } else { 4 };
        let mut names: BTreeMap<Vec<u8>, ()> = BTreeMap::new();
        let mut directories = [const { None }; 4];
        for ((tree, place), directory) in
            trees.iter().zip(places).zip(&mut directories).take(looked)
        {
            let entered = match place {
                Some(place) => place.enter().map_err(|error| told(path, error))?,
                None => None,
            };
            if let Some(entered) = entered {
                let found = tree
                    .names(&entered, path)
                    .map_err(|error| told(path, error))?;
                names.extend(found.into_iter().map(|name| (name.name, ())));
                *directory = Some(entered);
            }
        }
        for name in names.into_keys() {
            let full = join(path, &name);
            let mut below: Places = [const { None }; 4];
            for ((tree, directory), place) in trees.iter().zip(&directories).zip(&mut below) {
                if let Some(directory) = directory {
                    *place = tree
                        .locate(directory, path, &name)
                        .map_err(|error| told(&full, error))?;
                }
            }
            if self.opened.one_base {
                let [_, _, base, other] = &mut below;
                other.clone_from(base);
            }
            self.visit(&full, &below)?;
        }
        Ok(())
    }
}
