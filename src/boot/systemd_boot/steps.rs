//! The steps by which entries and copies are made.

use camino::{Utf8Path, Utf8PathBuf};

use super::entry::{self, Entry, Own, STAGED, Wanted};
use super::intended::{base, boots_as_meant};
use super::picture::{ENTRIES, Picture, leftovers, with};
use super::{SystemdBoot, root_under};
use crate::be::BootEnvironment;
use crate::boot::copies::{self, Copied, IMAGES, Purpose, Said};
use crate::boot::{Loader as _, Switch};
use crate::check::OwnKernel;
use crate::os::loader::LoaderChange;
use crate::plan::{Action, Refusal, Step};
use crate::survey::Survey;
use crate::zfs::Dataset;

/// The variable that names what boots once.
const ONCE: &str = "LoaderEntryOneShot";

/// An entry to be made, and what makes it ready.
struct Prepared {
    /// As it will be.
    entry: Entry,
    steps: Vec<Step>,
}

pub(super) fn path(file: &str) -> Utf8PathBuf {
    Utf8Path::new(ENTRIES).join(file)
}

pub(super) fn staged(file: &str) -> Utf8PathBuf {
    path(&format!("{file}{STAGED}"))
}

/// What brings back an entry that was taken away.
pub(super) fn write_back(picture: &Picture, file: &str, text: &str) -> Vec<Action> {
    vec![
        picture.store.write(staged(file), text.to_owned()),
        picture.store.rename(staged(file), path(file)),
    ]
}

pub(super) fn variable(value: Option<String>) -> Action {
    Action::Loader(LoaderChange::Variable {
        name: ONCE.to_owned(),
        value,
    })
}

impl SystemdBoot {
    /// Makes an entry for an environment ready, under a name that is not read.
    fn prepared(
        &self,
        survey: &Survey,
        picture: &Picture,
        environment: &BootEnvironment<'_>,
        attempted: &str,
        own: Own,
        switch: Switch,
    ) -> Result<Prepared, Refusal> {
        let tries = switch.tries();
        let name = environment.name();
        let orphans = leftovers(picture, &picture.entries, &|_| false, None, &[]);
        let Copied {
            image,
            mut steps,
            watch,
            notes,
            kernel,
        } = picture.store.copied(
            self.site.platform.as_ref(),
            survey,
            environment,
            Purpose {
                switch,
                watch: self.site.watch,
                unified: true,
            },
            orphans,
            Said {
                loader: self.name(),
                attempted,
            },
        )?;
        self.site.told().extend(notes);
        let file = own.file(tries);
        let command_line = self.site.platform.facts().command_line;
        let text = entry::text(&Wanted {
            title: name,
            root: environment.root.name.as_str(),
            own,
            images: &format!("/{IMAGES}/{image}"),
            base: base(survey, picture, environment),
            command_line: &command_line,
            provisional: switch != Switch::Good,
            watch: watch.as_ref(),
            unified: match &kernel {
                OwnKernel::Pair(..) => None,
                OwnKernel::Unified(_, line) => Some(line),
            },
        });
        let entry = Entry::parse(&file, true, &text).unwrap_or_default();
        self.made().push(entry.clone());
        let away = vec![picture.store.remove(vec![staged(&file)])];
        let written = picture.store.write(staged(&file), text);
        steps.push(Step::new("stage-entry", written).undone_by(away));
        Ok(Prepared { entry, steps })
    }

    /// Whether the entry that boots next starts the newest kernel that its
    /// environment has. That of an entry of somebody else's is theirs to keep.
    pub(super) fn has_its_kernel(&self, survey: &Survey, next: &Dataset) -> Result<bool, Refusal> {
        let attempted = format!("look which kernel {} boots with", next.name.leaf());
        let picture = self.changeable(&attempted)?;
        let entry = picture
            .chosen(&picture.entries)
            .filter(|entry| entry.here && entry.own().is_some_and(|own| own.guid == next.guid));
        let (Some(entry), Some(environment)) = (entry, survey.environment_at(&next.name)) else {
            return Ok(true);
        };
        let newest = copies::newest(self.site.platform.as_ref(), survey, &environment)
            .map_err(|error| Refusal::new(&attempted, error))?;
        Ok(newest.is_none_or(|image| entry.image() == Some(&format!("/{IMAGES}/{image}/linux"))))
    }

    /// Which entry a target gets.
    pub(super) fn number(
        picture: &Picture,
        target: &Dataset,
        switch: Switch,
    ) -> (Own, Option<u32>) {
        let guid = target.guid;
        let next = picture.generation.saturating_add(1);
        let own = |generation| Own { guid, generation };
        match switch {
            Switch::Good => (own(next), None),
            Switch::Trial { tries } => (own(next), Some(tries)),
            // Behind all of this program's own.
            Switch::Once => (own(0), None),
        }
    }

    pub(super) fn staged(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
    ) -> Result<Vec<Step>, Refusal> {
        let name = target.name.leaf();
        let attempted = match switch {
            Switch::Once => format!("activate {name} for one boot"),
            Switch::Good | Switch::Trial { .. } => format!("activate {name}"),
        };
        let picture = self.changeable(&attempted)?;
        self.made().clear();
        self.site.told().clear();
        let environment = survey
            .environment_at(&target.name)
            .ok_or_else(|| Refusal::new(&attempted, format!("{} is none", target.name)))?;
        let (own, _) = Self::number(&picture, target, switch);
        let mut steps = Vec::new();
        let mut entries = picture.entries.clone();
        if switch == Switch::Once {
            let before = self.next_as_own(survey, &picture, &attempted)?;
            entries = before.as_ref().map_or(entries, |prepared| {
                with(&picture.entries, prepared.entry.clone())
            });
            if let Some(Prepared { entry, steps: made }) = before {
                let (from, to) = (staged(&entry.file), path(&entry.file));
                let away = vec![picture.store.remove(vec![to.clone()])];
                steps.extend(made);
                steps.push(Step::new("stage-next", picture.store.rename(from, to)).undone_by(away));
            }
        }
        let prepared = self.prepared(survey, &picture, &environment, &attempted, own, switch)?;
        let file = prepared.entry.file.clone();
        let replaced = entries.iter().any(|entry| entry.file == file);
        let after = with(&entries, prepared.entry.clone());
        boots_as_meant(
            &picture,
            &entries,
            &after,
            &prepared.entry,
            switch,
            &attempted,
        )?;
        steps.extend(prepared.steps);
        if switch == Switch::Once {
            if replaced {
                steps.push(Step::new(
                    "replace-entry",
                    picture.store.remove(vec![path(&file)]),
                ));
            }
            let away = vec![picture.store.remove(vec![path(&file)])];
            let placed = picture.store.rename(staged(&file), path(&file));
            steps.push(Step::new("place-entry", placed).undone_by(away));
        } else if picture.once().is_some() {
            // It would boot before what is activated.
            steps.push(
                Step::new("clear-once", variable(None))
                    .undone_by(vec![variable(picture.once.clone())]),
            );
        }
        Ok(steps)
    }

    /// An entry of this program for what boots next, where it has another one: so
    /// that an entry that boots once can stand behind it.
    fn next_as_own(
        &self,
        survey: &Survey,
        picture: &Picture,
        attempted: &str,
    ) -> Result<Option<Prepared>, Refusal> {
        let next = picture
            .chosen(&picture.entries)
            .ok_or_else(|| Refusal::new(attempted, "nothing else boots here"))?;
        if next.here && next.own().is_some_and(|own| own.generation > 0) {
            return Ok(None);
        }
        let environment = root_under(next, &survey.beroot)
            .and_then(|root| survey.environment_at(&root))
            .ok_or_else(|| {
                Refusal::new(
                    attempted,
                    format!("what boots next, {}, is no boot environment", next.file),
                )
                .remedy("activate one for good first")
            })?;
        let own = Own {
            guid: environment.guid(),
            generation: picture.generation.saturating_add(1),
        };
        self.prepared(survey, picture, &environment, attempted, own, Switch::Good)
            .map(Some)
    }

    pub(super) fn committing(&self, target: &Dataset, switch: Switch) -> Result<Step, Refusal> {
        let attempted = format!("activate {}", target.name.leaf());
        let picture = self.changeable(&attempted)?;
        let (own, tries) = Self::number(&picture, target, switch);
        let file = own.file(tries);
        let (action, undo) = match switch {
            Switch::Once => {
                let before = picture.once.clone().filter(|once| !once.is_empty());
                (variable(Some(file)), variable(before))
            }
            Switch::Good | Switch::Trial { .. } => (
                picture.store.rename(staged(&file), path(&file)),
                picture.store.remove(vec![path(&file)]),
            ),
        };
        Ok(Step::new("commit", action).undone_by(vec![undo]).commits())
    }
}
