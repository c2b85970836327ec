//! The steps that follow: after a commit, an interruption, a confirmation, and
//! when an environment goes or is called differently.

use camino::Utf8PathBuf;

use super::SystemdBoot;
use super::entry::{self, Entry, Own};
use super::failback::{followed, leads_to};
use super::picture::{self, Picture, leftovers, with};
use super::steps::{path, staged, variable, write_back};
use crate::boot::copies::{bootfs, known, may_be_renamed, tried};
use crate::boot::{Forgotten, Loader as _, Switch};
use crate::plan::activate::failback_target;
use crate::plan::{Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Guid};

impl SystemdBoot {
    pub(super) fn afterwards(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
        back: Option<Guid>,
    ) -> Vec<Step> {
        let mut steps: Vec<Step> = bootfs(survey, target, switch).into_iter().collect();
        let Ok(picture) = self.picture() else {
            return steps;
        };
        let (own, tries) = Self::number(&picture, target, switch);
        let once = match switch {
            Switch::Once => Some(own.file(tries)),
            Switch::Good | Switch::Trial { .. } => None,
        };
        let trial = match switch {
            Switch::Good => None,
            Switch::Trial { .. } => Some(target.guid),
            Switch::Once => tried(survey),
        };
        let planned = Picture {
            once,
            staged: Vec::new(),
            ..picture.clone()
        };
        let made = self.made();
        let entries = made.iter().fold(picture.entries.clone(), |entries, new| {
            with(&entries, new.clone())
        });
        let (led, entries) = followed(survey, &picture, entries, back);
        steps.extend(led);
        let files = leftovers(&planned, &entries, &known(survey), trial, &[]);
        steps.extend(picture.store.sweep("tidy", files));
        steps
    }

    pub(super) fn tidied(&self, survey: &Survey, done: Option<(&Dataset, Switch)>) -> Vec<Step> {
        let mut steps: Vec<Step> = done
            .and_then(|(target, switch)| bootfs(survey, target, switch))
            .into_iter()
            .collect();
        let Ok(picture) = self.picture() else {
            return steps;
        };
        let trial = match done {
            Some((_, Switch::Good)) => None,
            Some((target, Switch::Trial { .. })) => Some(target.guid),
            _ => tried(survey),
        };
        let mut entries = picture.entries.clone();
        // Where the target booted already it counts as done before its commit.
        if matches!(done, Some((_, Switch::Good))) && picture.once().is_some() {
            steps.push(Step::new("clear-once", variable(None)));
        }
        if done.is_some() {
            // The pool's records are those after the switch already.
            let back = failback_target(survey).ok().map(|back| back.guid());
            let (led, after) = followed(survey, &picture, entries, back);
            steps.extend(led);
            entries = after;
        }
        // What was not committed changes nothing about the entries there are.
        let known = known(survey);
        let known = |guid| done.is_some() && known(guid);
        let files = leftovers(&picture, &entries, &known, trial, &[]);
        steps.extend(picture.store.sweep("tidy", files));
        steps
    }

    pub(super) fn confirmed(
        &self,
        survey: &Survey,
        target: &Dataset,
        back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        let attempted = format!("confirm {}", target.name.leaf());
        let picture = self.changeable(&attempted)?;
        let own = picture.own();
        let Some((newest, own)) = own.iter().find(|(_, own)| own.guid == target.guid) else {
            return Err(Refusal::new(
                attempted,
                format!(
                    "there is no entry of beadm-rs for it in {}",
                    picture.store.directory
                ),
            )
            .remedy(format!(
                "beadm-rs activate --no-trial {}",
                target.name.leaf()
            )));
        };
        let mut file = own.file(None);
        let mut steps = Vec::new();
        let mut entries = picture.entries.clone();
        if newest.is_provisional() {
            // What is in an entry that boots is never changed: another one comes
            // before it.
            let lasting = Own {
                generation: picture.generation.saturating_add(1),
                ..*own
            };
            file = lasting.file(None);
            let text = entry::confirmed(newest, lasting);
            let kept = Entry::parse(&file, true, &text).unwrap_or_default();
            entries = with(&entries, kept);
            let written = picture.store.write(staged(&file), text);
            let placed = picture.store.rename(staged(&file), path(&file));
            for (step, action, made) in [
                ("stage-entry", written, staged(&file)),
                ("confirm-entry", placed, path(&file)),
            ] {
                let undo = vec![picture.store.remove(vec![made])];
                steps.push(Step::new(step, action).undone_by(undo));
            }
        } else if newest.file != file {
            entries.retain(|entry| entry.file != newest.file);
            let kept = Entry {
                file: file.clone(),
                ..(*newest).clone()
            };
            entries = with(&entries, kept);
            let (from, to) = (path(&newest.file), path(&file));
            let undo = vec![picture.store.rename(to.clone(), from.clone())];
            steps.push(Step::new("confirm-entry", picture.store.rename(from, to)).undone_by(undo));
        }
        let boots = picture.chosen(&entries);
        if boots.is_none_or(|entry| entry.file != file) {
            return Err(Refusal::new(
                attempted,
                format!(
                    "{} would boot nevertheless",
                    boots.map_or("nothing", |entry| entry.file.as_str())
                ),
            )
            .remedy(format!(
                "beadm-rs activate --no-trial {}",
                target.name.leaf()
            )));
        }
        steps.extend(bootfs(survey, target, Switch::Good));
        let (led, entries) = followed(survey, &picture, entries, back);
        steps.extend(led);
        let mut files = leftovers(&picture, &entries, &known(survey), None, &[]);
        if newest.is_provisional() {
            // The trial goes on where what follows fails. So its entry can be brought
            // back; its switch could not, and goes with the next activation.
            let tried = path(&newest.file);
            let needed = |file: &Utf8PathBuf| {
                newest
                    .values("initrd")
                    .any(|path| path.trim_start_matches('/') == file)
            };
            files.retain(|file| *file != tried && !needed(file));
            let away = picture.store.remove(vec![tried]);
            let back = write_back(&picture, &newest.file, &newest.text);
            steps.push(Step::new("replace-entry", away).undone_by(back));
        }
        steps.extend(picture.store.sweep("tidy", files));
        Ok(steps)
    }

    pub(super) fn forgotten(&self, survey: &Survey, gone: &Dataset) -> Forgotten {
        let mut forgotten = Forgotten::default();
        let Ok(picture) = self.picture() else {
            return forgotten;
        };
        let mut entries = picture.entries.clone();
        if picture.failback.as_deref().and_then(leads_to) == Some(gone.guid) {
            let (led, rest) = followed(survey, &picture, entries, None);
            forgotten.before.extend(led);
            entries = rest;
        }
        for (entry, own) in picture.own() {
            if own.guid != gone.guid {
                continue;
            }
            entries.retain(|other| other.file != entry.file);
            let back = write_back(&picture, &entry.file, &entry.text);
            let away = picture.store.remove(vec![path(&entry.file)]);
            forgotten
                .before
                .push(Step::new("forget-entry", away).undone_by(back));
        }
        let changed = entries.len() != picture.entries.len();
        let files = leftovers(
            &picture,
            &entries,
            &known(survey),
            tried(survey),
            &[gone.guid],
        );
        if changed {
            forgotten.after.extend(picture.store.sweep("tidy", files));
        }
        forgotten
    }

    pub(super) fn rewritten(
        &self,
        survey: &Survey,
        root: &Dataset,
        to: &DatasetName,
    ) -> Result<Vec<Step>, Refusal> {
        let attempted = format!("rename {} to {}", root.name.leaf(), to.leaf());
        may_be_renamed(survey, root, self.name(), &attempted)?;
        let Ok(picture) = self.picture() else {
            return Ok(Vec::new());
        };
        let own = picture.own().into_iter();
        let mut steps = Vec::new();
        let mut entries = picture.entries.clone();
        for (entry, _) in own.filter(|(entry, own)| {
            own.guid == root.guid && picture::root(entry).as_ref() != Some(to)
        }) {
            let file = &entry.file;
            if entry.is_unified() {
                // The image goes on naming what is no more.
                entries.retain(|other| other.file != *file);
                let away = picture.store.remove(vec![path(file)]);
                let back = write_back(&picture, file, &entry.text);
                steps.push(Step::new("forget-entry", away).undone_by(back));
                continue;
            }
            let text = entry::renamed(entry, to.as_str(), to.leaf());
            let called = Entry::parse(file, true, &text).unwrap_or_default();
            entries = with(&entries, called);
            let written = picture.store.write(staged(file), text);
            let away = picture.store.remove(vec![path(file)]);
            let placed = picture.store.rename(staged(file), path(file));
            steps.push(Step::new("stage-entry", written));
            steps.push(Step::new("replace-entry", away));
            steps.push(Step::new("place-entry", placed));
        }
        let back = failback_target(survey).ok().map(|back| back.guid());
        let led = picture.failback.as_deref().and_then(leads_to);
        if [back, led].contains(&Some(root.guid)) {
            steps.extend(followed(survey, &picture, entries, back).0);
        }
        Ok(steps)
    }

    pub(super) fn once_cancelled(&self) -> Option<Step> {
        let picture = self.picture().ok()?;
        picture.once().filter(|entry| entry.own().is_some())?;
        let undo = vec![variable(picture.once.clone())];
        Some(
            Step::new("commit", variable(None))
                .undone_by(undo)
                .commits(),
        )
    }
}
