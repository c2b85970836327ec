//! The steps by which entries and copies are made, kept and taken away.

use camino::{Utf8Path, Utf8PathBuf};

use super::entry::{self, Entry, Own, STAGED, Wanted};
use super::picture::{self, ENTRIES, IMAGES, Picture, leftovers, with};
use super::{SystemdBoot, lasting, root_under};
use crate::be::BootEnvironment;
use crate::boot::{Forgotten, Switch};
use crate::check::{self, CONFIRMS, OwnFile};
use crate::os::loader::{LoaderChange, hexadecimal};
use crate::plan::{Action, Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Guid};
use sha2::{Digest as _, Sha256};

/// The variable that names what boots once.
const ONCE: &str = "LoaderEntryOneShot";

/// What directories and entries may take beside the copies, bytes.
const SLACK: u64 = 256 << 10;

/// An entry to be made, and what makes it ready.
struct Prepared {
    /// As it will be.
    entry: Entry,
    steps: Vec<Step>,
}

fn path(file: &str) -> Utf8PathBuf {
    Utf8Path::new(ENTRIES).join(file)
}

fn staged(file: &str) -> Utf8PathBuf {
    path(&format!("{file}{STAGED}"))
}

fn write(picture: &Picture, file: Utf8PathBuf, text: String) -> Action {
    Action::Loader(LoaderChange::Write {
        partition: picture.directory.clone(),
        file,
        text,
    })
}

fn rename(picture: &Picture, from: Utf8PathBuf, to: Utf8PathBuf) -> Action {
    Action::Loader(LoaderChange::Rename {
        partition: picture.directory.clone(),
        from,
        to,
    })
}

fn remove(picture: &Picture, files: Vec<Utf8PathBuf>) -> Action {
    Action::Loader(LoaderChange::Remove {
        partition: picture.directory.clone(),
        files,
    })
}

fn variable(value: Option<String>) -> Action {
    Action::Loader(LoaderChange::Variable {
        name: ONCE.to_owned(),
        value,
    })
}

/// The removal of what is left over, if anything is.
fn sweep(picture: &Picture, name: &'static str, files: Vec<Utf8PathBuf>) -> Option<Step> {
    (!files.is_empty()).then(|| Step::new(name, remove(picture, files)))
}

/// Under which name identical copies are shared.
fn image_name(kernel: &OwnFile, initramfs: &OwnFile) -> String {
    let both = format!("{}\n{}\n", kernel.digest, initramfs.digest);
    hexadecimal(&Sha256::digest(both.as_bytes()))
}

/// Which of the environments a guid is.
fn known(survey: &Survey) -> impl Fn(Guid) -> bool + use<'_> {
    |guid| survey.environment_with(guid).is_some()
}

/// The environment that is on trial by the pool's record.
fn tried(survey: &Survey) -> Option<Guid> {
    survey.trial().ok().flatten().map(|trial| trial.target)
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
        tries: Option<u32>,
    ) -> Result<Prepared, Refusal> {
        let name = environment.name();
        let bootable = check::bootable(self.platform.as_ref(), survey, environment)
            .map_err(|error| Refusal::new(attempted, error))?;
        if tries.is_some() && !bootable.confirms {
            return Err(Refusal::new(
                attempted,
                format!("there is no {CONFIRMS} in {name}, so it could not confirm its trial"),
            )
            .remedy(format!(
                "install beadm-rs in it, or activate it without a trial: --no-trial {name}"
            )));
        }
        let Some((kernel, initramfs)) = bootable.kernel else {
            return Err(Refusal::new(
                attempted,
                format!(
                    "systemd-boot boots copies, and {name} has no kernel with an initramfs of \
                     its own in a dataset to copy"
                ),
            )
            .remedy("install a kernel in it, with /boot in one of its datasets"));
        };
        let image = image_name(&kernel, &initramfs);
        let bytes = kernel.size + initramfs.size;
        let is_there = picture.images.get(&image) == Some(&bytes);
        let orphans: Vec<Utf8PathBuf> = leftovers(picture, &picture.entries, &|_| false, None, &[])
            .into_iter()
            .filter(|file| !file.as_str().contains(&image))
            .collect();
        let freed: u64 = picture
            .images
            .iter()
            .filter(|(name, _)| orphans.iter().any(|file| file.as_str().contains(*name)))
            .map(|(_, bytes)| bytes)
            .sum();
        let needed = if is_there { 0 } else { bytes } + SLACK;
        if needed > picture.free + freed {
            return Err(Refusal::new(
                attempted,
                format!(
                    "its kernel and initramfs need {} KiB on {}, and {} KiB are free there",
                    needed.div_ceil(1024),
                    picture.directory,
                    (picture.free + freed) / 1024
                ),
            )
            .remedy("destroy an environment with a kernel of its own, or make room there"));
        }
        let file = own.file(tries);
        let directory = Utf8Path::new(IMAGES).join(&image);
        let command_line = self.platform.facts().command_line;
        let text = entry::text(&Wanted {
            title: name,
            root: environment.root.name.as_str(),
            own,
            images: &format!("/{directory}"),
            base: base(survey, picture, environment),
            command_line: &command_line,
            trial: tries.is_some(),
        });
        let entry = Entry::parse(&file, true, &text).unwrap_or_default();
        self.made().push(entry.clone());
        let mut steps: Vec<Step> = sweep(picture, "sweep", orphans).into_iter().collect();
        let all = ["linux", "linux.new", "initrd", "initrd.new"].map(|file| directory.join(file));
        let undo = if is_there {
            Vec::new()
        } else {
            let files = all.into_iter().chain([directory.clone()]).collect();
            vec![remove(picture, files)]
        };
        for (step, source, to) in [
            ("stage-kernel", kernel, "linux"),
            ("stage-initramfs", initramfs, "initrd"),
        ] {
            let copy = Action::Loader(LoaderChange::Copy {
                dataset: source.dataset,
                file: source.file,
                partition: picture.directory.clone(),
                to: directory.join(to),
                digest: source.digest,
            });
            steps.push(Step::new(step, copy).undone_by(undo.clone()));
        }
        let away = vec![remove(picture, vec![staged(&file)])];
        let written = write(picture, staged(&file), text);
        steps.push(Step::new("stage-entry", written).undone_by(away));
        Ok(Prepared { entry, steps })
    }

    /// Which entry a target gets.
    fn number(picture: &Picture, target: &Dataset, switch: Switch) -> (Own, Option<u32>) {
        let guid = target.guid;
        let next = picture.generation() + 1;
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
        let environment = survey
            .environment_at(&target.name)
            .ok_or_else(|| Refusal::new(&attempted, format!("{} is none", target.name)))?;
        let (own, tries) = Self::number(&picture, target, switch);
        let mut steps = Vec::new();
        let mut entries = picture.entries.clone();
        if switch == Switch::Once {
            let before = self.next_as_own(survey, &picture, &attempted)?;
            entries = before.as_ref().map_or(entries, |prepared| {
                with(&picture.entries, prepared.entry.clone())
            });
            if let Some(Prepared { entry, steps: made }) = before {
                let (from, to) = (staged(&entry.file), path(&entry.file));
                let away = vec![remove(&picture, vec![to.clone()])];
                steps.extend(made);
                steps.push(Step::new("stage-next", rename(&picture, from, to)).undone_by(away));
            }
        }
        let prepared = self.prepared(survey, &picture, &environment, &attempted, own, tries)?;
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
                    remove(&picture, vec![path(&file)]),
                ));
            }
            let away = vec![remove(&picture, vec![path(&file)])];
            let placed = rename(&picture, staged(&file), path(&file));
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
            generation: picture.generation() + 1,
        };
        self.prepared(survey, picture, &environment, attempted, own, None)
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
                rename(&picture, staged(&file), path(&file)),
                remove(&picture, vec![path(&file)]),
            ),
        };
        Ok(Step::new("commit", action).undone_by(vec![undo]).commits())
    }

    /// `bootfs` after the loader, where what boots is to stay.
    fn bootfs(survey: &Survey, target: &Dataset, switch: Switch) -> Option<Step> {
        let pool = target.name.pool();
        let before = survey.pools.get(&pool).and_then(|pool| pool.bootfs.clone());
        let due = switch == Switch::Good && before.as_ref() != Some(&target.name);
        due.then(|| {
            let dataset = Some(target.name.clone());
            Step::new("bootfs", Action::SetBootfs { pool, dataset })
        })
    }

    pub(super) fn afterwards(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
    ) -> Vec<Step> {
        let mut steps: Vec<Step> = Self::bootfs(survey, target, switch).into_iter().collect();
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
        let files = leftovers(&planned, &entries, &known(survey), trial, &[]);
        steps.extend(sweep(&picture, "tidy", files));
        steps
    }

    pub(super) fn tidied(&self, survey: &Survey, done: Option<(&Dataset, Switch)>) -> Vec<Step> {
        let mut steps: Vec<Step> = done
            .and_then(|(target, switch)| Self::bootfs(survey, target, switch))
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
        // What was not committed changes nothing about the entries there are.
        let known = known(survey);
        let known = |guid| done.is_some() && known(guid);
        let files = leftovers(&picture, &picture.entries, &known, trial, &[]);
        steps.extend(sweep(&picture, "tidy", files));
        steps
    }

    pub(super) fn confirmed(
        &self,
        survey: &Survey,
        target: &Dataset,
    ) -> Result<Vec<Step>, Refusal> {
        let attempted = format!("confirm {}", target.name.leaf());
        let picture = self.changeable(&attempted)?;
        let own = picture.own();
        let Some((newest, own)) = own.iter().find(|(_, own)| own.guid == target.guid) else {
            return Err(Refusal::new(
                attempted,
                format!(
                    "there is no entry of beadm-rs for it in {}",
                    picture.directory
                ),
            )
            .remedy(format!(
                "beadm-rs activate --no-trial {}",
                target.name.leaf()
            )));
        };
        let file = own.file(None);
        let mut steps = Vec::new();
        let mut entries = picture.entries.clone();
        if newest.file != file {
            entries.retain(|entry| entry.file != newest.file);
            let kept = Entry {
                file: file.clone(),
                ..(*newest).clone()
            };
            entries = with(&entries, kept);
            let (from, to) = (path(&newest.file), path(&file));
            let undo = vec![rename(&picture, to.clone(), from.clone())];
            steps.push(Step::new("confirm-entry", rename(&picture, from, to)).undone_by(undo));
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
        steps.extend(Self::bootfs(survey, target, Switch::Good));
        let files = leftovers(&picture, &entries, &known(survey), None, &[]);
        steps.extend(sweep(&picture, "tidy", files));
        Ok(steps)
    }

    pub(super) fn forgotten(&self, survey: &Survey, gone: &Dataset) -> Forgotten {
        let mut forgotten = Forgotten::default();
        let Ok(picture) = self.picture() else {
            return forgotten;
        };
        let mut entries = picture.entries.clone();
        for (entry, own) in picture.own() {
            if own.guid != gone.guid {
                continue;
            }
            entries.retain(|other| other.file != entry.file);
            let back = vec![
                write(&picture, staged(&entry.file), entry.text.clone()),
                rename(&picture, staged(&entry.file), path(&entry.file)),
            ];
            let away = remove(&picture, vec![path(&entry.file)]);
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
            forgotten.after.extend(sweep(&picture, "tidy", files));
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
        let boot = &survey.boot;
        let trial = boot.trial.as_ref().map(|trial| &trial.dataset);
        let boots = [
            boot.next.as_ref(),
            boot.once.as_ref(),
            boot.back.as_ref(),
            trial,
        ];
        if boots.contains(&Some(&root.name)) {
            return Err(Refusal::new(
                attempted,
                "systemd-boot boots it by its name, and a machine that stopped between the two \
                 changes would find neither",
            )
            .remedy("activate another one first, rename this one, and activate it again"));
        }
        let Ok(picture) = self.picture() else {
            return Ok(Vec::new());
        };
        let own = picture.own().into_iter();
        let mut steps = Vec::new();
        for (entry, _) in own.filter(|(entry, own)| {
            own.guid == root.guid && picture::root(entry).as_ref() != Some(to)
        }) {
            let file = &entry.file;
            let text = entry::renamed(entry, to.as_str(), to.leaf());
            let written = write(&picture, staged(file), text);
            let away = remove(&picture, vec![path(file)]);
            let placed = rename(&picture, staged(file), path(file));
            steps.push(Step::new("stage-entry", written));
            steps.push(Step::new("replace-entry", away));
            steps.push(Step::new("place-entry", placed));
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

/// The entry whose keys and options a new one keeps: the environment's own
/// newest, another tool's for it, then those of what runs, then what boots.
fn base<'a>(
    survey: &Survey,
    picture: &'a Picture,
    environment: &BootEnvironment<'_>,
) -> Option<&'a Entry> {
    let own = picture.own();
    let of = |environment: &BootEnvironment<'_>| {
        let newest = own
            .iter()
            .find(|(_, own)| own.guid == environment.guid())
            .map(|(entry, _)| *entry);
        let root = &environment.root.name;
        newest.or_else(|| {
            picture
                .entries
                .iter()
                .find(|entry| picture::root(entry).as_ref() == Some(root))
        })
    };
    of(environment)
        .or_else(|| of(&survey.running()?))
        .or_else(|| {
            picture
                .chosen(&picture.entries)
                .filter(|entry| root_under(entry, &survey.beroot).is_some())
        })
}

/// Whether systemd-boot will do what is meant when these are the entries.
fn boots_as_meant(
    picture: &Picture,
    before: &[Entry],
    after: &[Entry],
    new: &Entry,
    switch: Switch,
    attempted: &str,
) -> Result<(), Refusal> {
    let chosen = |entries: &[Entry]| picture.chosen(entries).map(|entry| entry.file.clone());
    let refused = |entries: &[Entry], instead: Option<String>| {
        let instead = instead.unwrap_or_else(|| "nothing".to_owned());
        let refusal = |why: String| Refusal::new(attempted, why);
        match picture.deciding(entries) {
            Some(default) => {
                let remedy = match default.source.rsplit_once(' ') {
                    Some((_, "LoaderEntryDefault")) => "bootctl set-default ''".to_owned(),
                    Some((_, "loader.conf")) => format!(
                        "take that line out of {}, or let it say beadm-rs-*",
                        picture.directory.join("loader/loader.conf")
                    ),
                    _ => "bootctl set-preferred ''".to_owned(),
                };
                refusal(format!(
                    "{} says '{}', so systemd-boot boots {instead} whatever comes first, and \
                     counts no tries",
                    default.source, default.pattern
                ))
                .remedy(remedy)
            }
            None => refusal(format!("systemd-boot would boot {instead} before it"))
                .remedy(format!("give {instead} a sort-key that comes later")),
        }
    };
    match switch {
        Switch::Good => match chosen(after) {
            Some(file) if file == new.file => Ok(()),
            other => Err(refused(after, other)),
        },
        Switch::Once => match (chosen(before), chosen(after)) {
            (before, after) if before == after => Ok(()),
            (_, other) => Err(refused(after, other)),
        },
        Switch::Trial { .. } => {
            match chosen(after) {
                Some(file) if file == new.file => {}
                other => return Err(refused(after, other)),
            }
            // As it is when the tries are used up.
            let back = lasting(before);
            let mut exhausted = new.clone();
            let (name, _) = new.counted();
            exhausted.file = format!("{name}+0-1.conf");
            let later = with(&back, exhausted.clone());
            match (chosen(&back), chosen(&later)) {
                (Some(back), Some(then)) if back == then => Ok(()),
                (None, _) => Err(Refusal::new(
                    attempted,
                    "systemd-boot has no other entry to go back to",
                )
                .remedy("--no-trial")),
                (_, other) => Err(refused(&later, other)),
            }
        }
    }
}
