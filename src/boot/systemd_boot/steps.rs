//! The steps by which entries and copies are made.

use camino::{Utf8Path, Utf8PathBuf};

use super::entry::{self, Entry, Own, STAGED, Wanted};
use super::intended::{base, boots_as_meant};
use super::picture::{ENTRIES, IMAGES, Picture, leftovers, with};
use super::{SystemdBoot, root_under};
use crate::be::BootEnvironment;
use crate::boot::{Switch, watch};
use crate::check::{self, CONFIRMS, OwnFile};
use crate::os::loader::{LoaderChange, hexadecimal};
use crate::plan::{Action, Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, Guid};
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

pub(super) fn path(file: &str) -> Utf8PathBuf {
    Utf8Path::new(ENTRIES).join(file)
}

pub(super) fn staged(file: &str) -> Utf8PathBuf {
    path(&format!("{file}{STAGED}"))
}

pub(super) fn write(picture: &Picture, file: Utf8PathBuf, text: String) -> Action {
    Action::Loader(LoaderChange::Write {
        partition: picture.directory.clone(),
        file,
        text,
    })
}

pub(super) fn rename(picture: &Picture, from: Utf8PathBuf, to: Utf8PathBuf) -> Action {
    Action::Loader(LoaderChange::Rename {
        partition: picture.directory.clone(),
        from,
        to,
    })
}

pub(super) fn remove(picture: &Picture, files: Vec<Utf8PathBuf>) -> Action {
    Action::Loader(LoaderChange::Remove {
        partition: picture.directory.clone(),
        files,
    })
}

pub(super) fn variable(value: Option<String>) -> Action {
    Action::Loader(LoaderChange::Variable {
        name: ONCE.to_owned(),
        value,
    })
}

/// The removal of what is left over, if anything is.
pub(super) fn sweep(
    picture: &Picture,
    name: &'static str,
    files: Vec<Utf8PathBuf>,
) -> Option<Step> {
    (!files.is_empty()).then(|| Step::new(name, remove(picture, files)))
}

/// Under which name identical copies are shared.
fn image_name(kernel: &OwnFile, initramfs: &OwnFile) -> String {
    let both = format!("{}\n{}\n", kernel.digest, initramfs.digest);
    hexadecimal(&Sha256::digest(both.as_bytes()))
}

/// Which of the environments a guid is.
pub(super) fn known(survey: &Survey) -> impl Fn(Guid) -> bool + use<'_> {
    |guid| survey.environment_with(guid).is_some()
}

/// The environment that is on trial by the pool's record.
pub(super) fn tried(survey: &Survey) -> Option<Guid> {
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
        switch: Switch,
    ) -> Result<Prepared, Refusal> {
        let tries = switch.tries();
        let name = environment.name();
        let bootable = check::bootable(self.platform.as_ref(), survey, environment)
            .map_err(|error| Refusal::new(attempted, error))?;
        if tries.is_some() && !bootable.confirms {
            return Err(Refusal::new(
                attempted,
                format!("{CONFIRMS} is not enabled in {name}, so it could not confirm its trial"),
            )
            .remedy(format!(
                "install beadm-rs in it and enable it: beadm-rs run {name} systemctl enable \
                 beadm-rs-boot beadm-rs-health beadm-rs-confirm; or activate it without a trial: \
                 --no-trial {name}"
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
        let (platform, seconds) = (self.platform.as_ref(), self.watch);
        let fitted = watch::fitted(platform, seconds, switch, bootable.disarms);
        self.told().extend(watch::notes(platform, &fitted));
        let watch = fitted.ok().flatten();
        let image = image_name(&kernel, &initramfs);
        let bytes = kernel.size + initramfs.size;
        let is_there = picture.images.get(&image) == Some(&bytes);
        let orphans: Vec<Utf8PathBuf> = leftovers(picture, &picture.entries, &|_| false, None, &[])
            .into_iter()
            .filter(|file| !file.as_str().contains(&image))
            .filter(|file| watch.as_ref().is_none_or(|watch| watch.file != *file))
            .collect();
        let freed: u64 = picture
            .images
            .iter()
            .filter(|(name, _)| orphans.iter().any(|file| file.as_str().contains(*name)))
            .map(|(_, bytes)| bytes)
            .sum();
        let new_watch = watch
            .as_ref()
            .filter(|watch| !picture.has_switch(&watch.file));
        let more = new_watch.map_or(0, |watch| watch.bytes);
        let needed = if is_there { 0 } else { bytes } + more + SLACK;
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
            provisional: switch != Switch::Good,
            watch: watch.as_ref(),
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
        if let Some(watch) = &watch {
            let begun = Utf8PathBuf::from(format!("{}.new", watch.file));
            let undo = new_watch.map(|new| remove(picture, vec![begun, new.file.clone()]));
            let put = watch.step(&picture.directory);
            steps.push(put.undone_by(undo.into_iter().collect()));
        }
        let away = vec![remove(picture, vec![staged(&file)])];
        let written = write(picture, staged(&file), text);
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
        let bootable = check::bootable(self.platform.as_ref(), survey, &environment)
            .map_err(|error| Refusal::new(&attempted, error))?;
        let Some((kernel, initramfs)) = bootable.kernel else {
            return Ok(true);
        };
        let copy = format!("/{IMAGES}/{}/linux", image_name(&kernel, &initramfs));
        Ok(entry.image() == Some(copy.as_str()))
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
        self.told().clear();
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
                let away = vec![remove(&picture, vec![to.clone()])];
                steps.extend(made);
                steps.push(Step::new("stage-next", rename(&picture, from, to)).undone_by(away));
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
                rename(&picture, staged(&file), path(&file)),
                remove(&picture, vec![path(&file)]),
            ),
        };
        Ok(Step::new("commit", action).undone_by(vec![undo]).commits())
    }
}
