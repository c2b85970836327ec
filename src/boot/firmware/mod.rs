//! What follows the pool's `bootfs` (ZFSBootMenu, say), started by UEFI firmware:
//! that itself boots something once, without the loader. A copy of the
//! environment's kernel, which is a program of the firmware's (the kernel's EFI
//! stub, Documentation/admin-guide/efi-stub.rst), becomes a boot option of its
//! own, and `BootNext` names it, which the firmware deletes before it starts it.
//!
//! A kernel it cannot start is passed over, and what always boots does.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use camino::{Utf8Path, Utf8PathBuf};

use super::command_line::{self, PANIC, says_panic, words};
use super::copies::{self, Copied, IMAGES, Purpose, Said, Store};
use super::site::Site;
use super::{
    BootState, Bootfs, Capabilities, Forgotten, Loader, Switch, counts_no_tries, keeps_its_name,
    watch,
};
use crate::check::OwnFile;
use crate::os::firmware::{BootOption, Boots};
use crate::os::loader::{LoaderChange, LoaderPartition, open};
use crate::os::{Object, Platform};
use crate::plan::{Action, Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Guid, Pool};

/// The loader.
pub struct Firmware {
    site: Site,
}

/// What there is of it.
struct Picture {
    store: Store,
    boots: Boots,
}

/// Whether firmware boots this machine by options, and a partition is there for
/// copies, on which no other loader of this program's has its own.
pub(super) fn serves(platform: &dyn Platform, esp: Option<&Utf8Path>) -> bool {
    let boots = platform.firmware().ok().flatten();
    let found = platform.partitions(Utf8Path::new("/"), esp);
    let first = found.ok().and_then(|found| found.into_iter().next());
    boots.is_some() && first.is_some_and(|partition| !is_anothers(&partition))
}

fn is_anothers(partition: &LoaderPartition) -> bool {
    let is_own = |name: &String| name.starts_with("beadm-rs-");
    partition.dir.exists(format!("{IMAGES}/grubenv"))
        || copies::names(&partition.dir, "loader/entries")
            .map_or(true, |names| names.iter().any(is_own))
}

/// A command line without what was added to it for one boot.
fn lasting(options: &str) -> String {
    let once = words(options).contains(&watch::ONCE);
    let of_switch = |word: &str| {
        word == format!("rdinit=/{}", watch::PROGRAM)
            || word.starts_with("beadm-rs.")
            || (once && word == PANIC)
    };
    let kept: Vec<&str> = words(options)
        .into_iter()
        .filter(|word| !of_switch(word))
        .collect();
    kept.join(" ")
}

/// A path as the kernel's EFI stub wants it.
fn initrd(file: &Utf8Path) -> String {
    format!("initrd=\\{}", file.as_str().replace('/', "\\"))
}

/// What an option starts of what is in the directory of copies, by its name there.
fn needed(option: &BootOption) -> BTreeSet<String> {
    let initrds = words(&option.options).into_iter().filter_map(|word| {
        let file = word.strip_prefix("initrd=\\")?;
        Some(Utf8PathBuf::from(file.replace('\\', "/")))
    });
    let below = |file: Utf8PathBuf| {
        let first = file.strip_prefix(IMAGES).ok()?.components().next()?;
        Some(first.to_string())
    };
    initrds
        .chain([option.file.clone()])
        .filter_map(below)
        .collect()
}

/// Whether firmware can start it: a kernel with an EFI stub is a program of
/// Windows' format.
fn is_program(platform: &dyn Platform, kernel: &OwnFile) -> io::Result<bool> {
    let files = platform
        .open_files(&Object::Dataset(kernel.dataset.clone()))
        .map_err(io::Error::other)?;
    let mut begin = [0; 2];
    let mut file = open(&files.root, &kernel.file)?;
    Ok(file.read_exact(&mut begin).is_ok() && begin == *b"MZ")
}

fn next(name: &'static str, from: Option<u16>, to: Option<u16>) -> Step {
    let there = Action::Loader(LoaderChange::BootNext { from, to });
    let back = Action::Loader(LoaderChange::BootNext { from: to, to: from });
    Step::new(name, there).undone_by(vec![back])
}

impl Picture {
    fn option(&self, number: u16, to: Option<BootOption>) -> Action {
        Action::Loader(LoaderChange::BootOption {
            partition: self.store.directory.clone(),
            number,
            to,
        })
    }

    /// What boots once, where it is one of these environments.
    fn once(&self, beroot: &DatasetName) -> Option<(u16, DatasetName)> {
        let (number, option) = self.boots.own_next()?;
        let name = format!("{beroot}/{}", option.environment()?);
        Some((number, name.parse().ok()?))
    }

    /// The files that nothing starts once the others' options are gone.
    fn unneeded(&self, kept: Option<u16>) -> Vec<Utf8PathBuf> {
        let option = kept.and_then(|number| self.boots.own.get(&number));
        let needed = option.map(needed).unwrap_or_default();
        let names = needed.iter().map(String::as_str).collect();
        self.store.unneeded(&names)
    }

    /// The end of every option of this program's but one, and of their files.
    fn swept(&self, kept: Option<u16>) -> Vec<Step> {
        let others = self
            .boots
            .own
            .keys()
            .filter(|number| Some(**number) != kept);
        let mut steps: Vec<Step> = others
            .map(|number| Step::new("tidy-option", self.option(*number, None)))
            .collect();
        if !self.store.readonly {
            steps.extend(self.store.sweep("tidy", self.unneeded(kept)));
        }
        steps
    }
}

impl Firmware {
    /// The one of a machine that [`serves`].
    pub(super) fn new(site: Site) -> Self {
        Self { site }
    }

    fn picture(&self, attempted: &str) -> Result<Picture, Refusal> {
        let platform = self.site.platform.as_ref();
        let refused = |error: crate::os::Error| Refusal::new(attempted, error);
        let partitions = self.site.place.partitions(platform, |_| true);
        let partition = partitions.map_err(refused)?.into_iter().next();
        let partition = partition.ok_or_else(|| {
            Refusal::new(
                attempted,
                format!("no EFI system partition is mounted on {}", self.site.place),
            )
            .remedy("mount it; or say in config.toml, [boot] esp, where it is")
        })?;
        Ok(Picture {
            store: Store::of(&partition).map_err(refused)?,
            boots: platform.firmware().map_err(refused)?.unwrap_or_default(),
        })
    }

    fn seen(&self) -> Option<Picture> {
        self.picture("look what boots once").ok()
    }

    /// What stands in the way of booting something once, whatever it is.
    fn possible(&self, picture: &Picture, attempted: &str) -> Result<(), Refusal> {
        let platform = self.site.platform.as_ref();
        picture.store.writable(attempted)?;
        if platform.facts().secure_boot {
            return Err(Refusal::new(
                attempted,
                "Secure Boot is on, and the firmware would start the kernel itself, without the \
                 program that knows its signature",
            ));
        }
        platform
            .extent(&picture.store.directory)
            .map_err(|error| Refusal::new(attempted, error))?;
        match picture.boots.next {
            Some(number) if picture.boots.own_next().is_none() => Err(Refusal::new(
                attempted,
                format!("something else had the firmware start its option {number:04X} once"),
            )
            .remedy("efibootmgr --delete-bootnext takes that back")),
            _ => Ok(()),
        }
    }

    fn cleared(&self, survey: &Survey, picture: &Picture, name: &'static str) -> Option<Step> {
        let (number, _) = picture.once(&survey.beroot)?;
        Some(next(name, Some(number), None))
    }
}

impl Loader for Firmware {
    fn name(&self) -> &'static str {
        Bootfs.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            counting: false,
            once: true,
        }
    }

    fn state(&self, beroot: &DatasetName, pools: &[Pool]) -> BootState {
        let state = Bootfs.state(beroot, pools);
        let once = self.seen().and_then(|picture| picture.once(beroot));
        BootState {
            back: state.next.clone(),
            once: once.map(|(_, root)| root),
            ..state
        }
    }

    fn stage(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
        _back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        let name = target.name.leaf();
        self.site.told().clear();
        match switch {
            Switch::Good => return Ok(Vec::new()),
            Switch::Trial { .. } => return Err(counts_no_tries(self, target)),
            Switch::Once => {}
        }
        let attempted = format!("activate {name} for one boot");
        let picture = self.picture(&attempted)?;
        self.possible(&picture, &attempted)?;
        let environment = survey
            .environment_at(&target.name)
            .ok_or_else(|| Refusal::new(&attempted, format!("{} is none", target.name)))?;
        let Copied {
            image,
            mut steps,
            watch,
            notes,
            kernel,
        } = picture.store.copied(
            self.site.platform.as_ref(),
            survey,
            &environment,
            Purpose {
                switch,
                watch: self.site.watch,
                unified: false,
            },
            picture.unneeded(picture.boots.next),
            Said {
                loader: "the firmware",
                attempted: &attempted,
            },
        )?;
        self.site.told().extend(notes);
        let kernel = kernel.image();
        match is_program(self.site.platform.as_ref(), kernel) {
            Ok(true) => {}
            Ok(false) => {
                return Err(Refusal::new(
                    attempted,
                    format!(
                        "/{} of {} has no EFI stub, so that the firmware cannot start it",
                        kernel.file, kernel.dataset
                    ),
                ));
            }
            Err(error) => return Err(Refusal::new(attempted, error)),
        }
        let number = free(&picture, &attempted)?;
        let directory = Utf8Path::new(IMAGES).join(&image);
        let lasting = lasting(&self.site.platform.facts().command_line);
        let mut options: Vec<String> = watch
            .iter()
            .map(|watch| initrd(&watch.file))
            .chain([initrd(&directory.join("initrd"))])
            .collect();
        options.push(command_line::with_root(&lasting, target.name.as_str()));
        if !says_panic(&lasting) {
            options.push(PANIC.to_owned());
        }
        options.extend(watch.into_iter().flat_map(|watch| watch.options));
        if !options.iter().any(|option| option == watch::ONCE) {
            options.push(watch::ONCE.to_owned());
        }
        let option = BootOption::of_environment(name, &directory.join("linux"), options.join(" "));
        let away = vec![picture.option(number, None)];
        let made = picture.option(number, Some(option));
        steps.push(Step::new("stage-option", made).undone_by(away));
        Ok(steps)
    }

    fn commit(&self, survey: &Survey, target: &Dataset, switch: Switch) -> Result<Step, Refusal> {
        if switch != Switch::Once {
            return Bootfs.commit(survey, target, switch);
        }
        let attempted = format!("activate {} for one boot", target.name.leaf());
        let picture = self.picture(&attempted)?;
        let number = free(&picture, &attempted)?;
        Ok(next("commit", picture.boots.next, Some(number)).commits())
    }

    /// What is activated for good boots next, and not what was to boot once.
    fn after(
        &self,
        survey: &Survey,
        _target: &Dataset,
        switch: Switch,
        _back: Option<Guid>,
    ) -> Vec<Step> {
        let picture = self.seen().filter(|_| switch == Switch::Good);
        let Some(picture) = picture else {
            return Vec::new();
        };
        let Some(cleared) = self.cleared(survey, &picture, "not-once") else {
            return Vec::new();
        };
        let mut steps = vec![cleared];
        steps.extend(picture.swept(None));
        steps
    }

    fn recovered(&self, survey: &Survey, done: Option<(&Dataset, Switch)>) -> Vec<Step> {
        let steps = done
            .map(|(target, switch)| self.after(survey, target, switch, None))
            .unwrap_or_default();
        if steps.is_empty() {
            return self.put_right();
        }
        steps
    }

    fn forget(&self, survey: &Survey, gone: &Dataset) -> Forgotten {
        let picture = self.seen().filter(|picture| {
            let once = picture.once(&survey.beroot);
            once.is_some_and(|(_, root)| root == gone.name)
        });
        let Some(picture) = picture else {
            return Forgotten::default();
        };
        Forgotten {
            before: self
                .cleared(survey, &picture, "forget-once")
                .into_iter()
                .collect(),
            after: picture.swept(None),
        }
    }

    /// `bootfs` follows by itself, a command line does not.
    fn renamed(
        &self,
        survey: &Survey,
        root: &Dataset,
        to: &DatasetName,
    ) -> Result<Vec<Step>, Refusal> {
        let once = self.seen().and_then(|seen| seen.once(&survey.beroot));
        if once.is_none_or(|(_, once)| once != root.name) {
            return Ok(Vec::new());
        }
        Err(keeps_its_name("the firmware", root, to))
    }

    fn notes(&self) -> Vec<String> {
        self.site.told().clone()
    }

    fn cancel_once(&self, survey: &Survey) -> Option<Step> {
        let cleared = self.cleared(survey, &self.seen()?, "commit")?;
        Some(cleared.commits())
    }

    /// What booted once is not needed any more.
    fn put_right(&self) -> Vec<Step> {
        let Some(picture) = self.seen() else {
            return Vec::new();
        };
        let kept = picture.boots.own_next().map(|(number, _)| number);
        picture.swept(kept)
    }
}

fn free(picture: &Picture, attempted: &str) -> Result<u16, Refusal> {
    picture
        .boots
        .free()
        .ok_or_else(|| Refusal::new(attempted, "the firmware has no number left for an option"))
}
