//! Copies of kernels and initramfs on a loader's partition: each pair, or unified
//! image, in a directory of its own, `beadm-rs/HASH/{linux,initrd}`, shared where
//! they are identical. And what else is done with the files of such a partition.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use sha2::{Digest as _, Sha256};

use crate::be::BootEnvironment;
use crate::check::{self, CONFIRMS, OwnFile, OwnKernel};
use crate::os::loader::{LoaderChange, LoaderPartition, hexadecimal};
use crate::os::{Error, Platform, Result};
use crate::plan::{Action, Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, Guid};

use super::Switch;
use super::watch::{self, Watch, is_archive};

/// Where this program's copies are, from the partition's root.
pub(super) const IMAGES: &str = "beadm-rs";

/// A longer file is none that a loader is configured by, bytes.
const MAX_TEXT: u64 = 1 << 20;

/// More files than this in a directory are not looked at.
const MAX_FILES: usize = 10_000;

/// What directories and other files may take beside the copies, bytes.
const SLACK: u64 = 256 << 10;

/// Reads a file of a partition; `None` where there is no such regular file.
pub(super) fn read(dir: &Dir, file: &Utf8Path) -> Option<Vec<u8>> {
    let flags = (nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOFOLLOW).bits();
    let opened = dir.open_with(file, OpenOptions::new().read(true).custom_flags(flags));
    let mut bytes = Vec::new();
    let file = opened.ok()?.into_std();
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.take(MAX_TEXT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The names in a directory of a partition, sorted; none where it is not there.
pub(super) fn names(dir: &Dir, directory: &str) -> io::Result<Vec<String>> {
    let entries = match dir.read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names: Vec<String> = entries
        .take(MAX_FILES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// A partition for copies.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    /// Where it is mounted.
    pub directory: Utf8PathBuf,
    /// Its free bytes.
    pub free: u64,
    /// It cannot be written to.
    pub readonly: bool,
    /// A loader sees other devices than this system does.
    pub layered: bool,
    /// The copies that are there, by their directory's name, and their bytes.
    pub images: BTreeMap<String, u64>,
    /// The files of dead man's switches that are there beside them, by name,
    /// finished or not.
    pub switches: Vec<String>,
}

/// An environment's copies, and what makes them.
pub(super) struct Copied {
    /// The name of their directory.
    pub image: String,
    /// The steps.
    pub steps: Vec<Step>,
    /// The dead man's switch it gets; its file is among what the steps make.
    pub watch: Option<Watch>,
    /// What an administrator has to know about that.
    pub notes: Vec<String>,
    /// The kernel that is copied.
    pub kernel: OwnKernel,
}

/// How an environment is to boot by its copies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose {
    /// For good, on trial, once.
    pub switch: Switch,
    /// How long what is not for good may take, seconds; 0 for as long as it does.
    pub watch: u64,
    /// The loader starts unified images too.
    pub unified: bool,
}

impl Store {
    /// Looks at a partition.
    ///
    /// # Errors
    /// Where the copies' directory is there and cannot be read.
    pub(super) fn of(partition: &LoaderPartition) -> Result<Self> {
        let attempted = Error::io(format!("read {}", partition.directory.join(IMAGES)));
        let copies = names(&partition.dir, IMAGES).map_err(attempted)?;
        let switches = copies.iter().filter(|name| is_archive(name));
        let switches = switches.cloned().collect();
        let images = copies
            .into_iter()
            .filter(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .map(|name| {
                let size = |file| {
                    let path = Utf8Path::new(IMAGES).join(&name).join(file);
                    let found = partition.dir.symlink_metadata(path);
                    found.map_or(0, |found| found.len())
                };
                let bytes = size("linux") + size("initrd");
                (name, bytes)
            })
            .collect();
        Ok(Self {
            directory: partition.directory.clone(),
            free: partition.free,
            readonly: partition.readonly,
            layered: partition.layered,
            images,
            switches,
        })
    }

    /// Refuses where nothing can be written to it.
    ///
    /// # Errors
    /// It is mounted read-only.
    pub(super) fn writable(&self, attempted: &str) -> std::result::Result<(), Refusal> {
        if self.readonly {
            return Err(Refusal::new(
                attempted,
                format!("{} is mounted read-only", self.directory),
            )
            .remedy(format!("mount -o remount,rw {}", self.directory)));
        }
        Ok(())
    }

    pub(super) fn write(&self, file: Utf8PathBuf, text: String) -> Action {
        Action::Loader(LoaderChange::Write {
            partition: self.directory.clone(),
            file,
            text,
        })
    }

    pub(super) fn rename(&self, from: Utf8PathBuf, to: Utf8PathBuf) -> Action {
        Action::Loader(LoaderChange::Rename {
            partition: self.directory.clone(),
            from,
            to,
        })
    }

    pub(super) fn remove(&self, files: Vec<Utf8PathBuf>) -> Action {
        Action::Loader(LoaderChange::Remove {
            partition: self.directory.clone(),
            files,
        })
    }

    /// The removal of what is left over, if anything is.
    pub(super) fn sweep(&self, name: &'static str, files: Vec<Utf8PathBuf>) -> Option<Step> {
        (!files.is_empty()).then(|| Step::new(name, self.remove(files)))
    }

    /// The files of the copies, and of dead man's switches, that are not needed.
    pub(super) fn unneeded(&self, needed: &BTreeSet<&str>) -> Vec<Utf8PathBuf> {
        let switches = self.switches.iter();
        let switches = switches
            .filter(|name| !needed.contains(name.as_str()))
            .map(|name| Utf8Path::new(IMAGES).join(name));
        let images = self.images.keys();
        images
            .filter(|image| !needed.contains(image.as_str()))
            .flat_map(|image| files(image))
            .chain(switches)
            .collect()
    }

    /// The copies of an environment's kernel and initramfs, which boot it by
    /// `loader`, and its dead man's switch. `orphans` is what nothing needs; it goes first.
    ///
    /// # Errors
    /// Why it cannot be booted by them.
    pub(super) fn copied(
        &self,
        platform: &dyn Platform,
        survey: &Survey,
        environment: &BootEnvironment<'_>,
        purpose: Purpose,
        orphans: Vec<Utf8PathBuf>,
        said: Said<'_>,
    ) -> std::result::Result<Copied, Refusal> {
        let Said { loader, attempted } = said;
        let name = environment.name();
        let bootable = check::bootable(platform, survey, environment)
            .map_err(|error| Refusal::new(attempted, error))?;
        if purpose.switch.tries().is_some() && !bootable.confirms {
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
        let bootable_by = |kernel: &OwnKernel| match kernel {
            OwnKernel::Pair(..) => true,
            OwnKernel::Unified(..) => purpose.unified,
        };
        let Some(kernel) = bootable.kernel.filter(bootable_by) else {
            let or_image = if purpose.unified {
                format!(
                    ", nor a unified image whose command line says root=ZFS={}",
                    environment.root.name
                )
            } else {
                String::new()
            };
            return Err(Refusal::new(
                attempted,
                format!(
                    "{loader} boots copies, and {name} has no kernel with an initramfs of \
                     its own in a dataset to copy{or_image}"
                ),
            )
            .remedy("install a kernel in it, with /boot in one of its datasets"));
        };
        let fitted = match &kernel {
            OwnKernel::Unified(..) if purpose.switch != Switch::Good => {
                Err("a unified kernel image takes no other initramfs".to_owned())
            }
            _ => watch::fitted(platform, purpose.watch, purpose.switch, bootable.disarms),
        };
        let notes = watch::notes(platform, &fitted);
        let watch = fitted.ok().flatten();
        let image = image_name(&kernel);
        let files_of_it = staged(&kernel);
        let bytes = files_of_it.iter().map(|(_, file, _)| file.size).sum();
        let is_there = self.images.get(&image) == Some(&bytes);
        let orphans: Vec<Utf8PathBuf> = orphans
            .into_iter()
            .filter(|file| !file.as_str().contains(&image))
            .filter(|file| watch.as_ref().is_none_or(|watch| watch.file != *file))
            .collect();
        let freed: u64 = self
            .images
            .iter()
            .filter(|(name, _)| orphans.iter().any(|file| file.as_str().contains(*name)))
            .map(|(_, bytes)| bytes)
            .sum();
        let new_watch = watch.as_ref().filter(|watch| {
            let name = watch.file.file_name();
            !self.switches.iter().any(|there| name == Some(there))
        });
        let more = new_watch.map_or(0, |watch| watch.bytes);
        let needed = if is_there { 0 } else { bytes } + more + SLACK;
        if needed > self.free + freed {
            return Err(Refusal::new(
                attempted,
                format!(
                    "its kernel and initramfs need {} KiB on {}, and {} KiB are free there",
                    needed.div_ceil(1024),
                    self.directory,
                    (self.free + freed) / 1024
                ),
            )
            .remedy("destroy an environment with a kernel of its own, or make room there"));
        }
        let mut steps: Vec<Step> = self.sweep("sweep", orphans).into_iter().collect();
        let undo = if is_there {
            Vec::new()
        } else {
            vec![self.remove(files(&image).to_vec())]
        };
        let directory = Utf8Path::new(IMAGES).join(&image);
        for (step, source, to) in files_of_it {
            let copy = Action::Loader(LoaderChange::Copy {
                dataset: source.dataset.clone(),
                file: source.file.clone(),
                partition: self.directory.clone(),
                to: directory.join(to),
                digest: source.digest.clone(),
            });
            steps.push(Step::new(step, copy).undone_by(undo.clone()));
        }
        if let Some(watch) = &watch {
            let begun = Utf8PathBuf::from(format!("{}.new", watch.file));
            let undo = new_watch.map(|new| self.remove(vec![begun, new.file.clone()]));
            let put = watch.step(&self.directory);
            steps.push(put.undone_by(undo.into_iter().collect()));
        }
        Ok(Copied {
            image,
            steps,
            watch,
            notes,
            kernel,
        })
    }
}

/// Who boots, and what for: for the messages of a refusal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    /// The loader.
    pub loader: &'a str,
    /// What was attempted.
    pub attempted: &'a str,
}

/// Everything that may be in the directory of a pair of copies, and that itself.
fn files(image: &str) -> [Utf8PathBuf; 5] {
    let directory = Utf8Path::new(IMAGES).join(image);
    ["linux", "linux.new", "initrd", "initrd.new", ""].map(|file| match file {
        "" => directory.clone(),
        file => directory.join(file),
    })
}

/// The files that are copied: the step, the file, and what its copy is called.
fn staged(kernel: &OwnKernel) -> Vec<(&'static str, &OwnFile, &'static str)> {
    match kernel {
        OwnKernel::Pair(kernel, initramfs) => vec![
            ("stage-kernel", kernel, "linux"),
            ("stage-initramfs", initramfs, "initrd"),
        ],
        OwnKernel::Unified(image, _) => vec![("stage-kernel", image, "linux")],
    }
}

/// Under which name identical copies are shared.
fn image_name(kernel: &OwnKernel) -> String {
    let mut name = Sha256::new();
    for (_, file, _) in staged(kernel) {
        name.update(format!("{}\n", file.digest));
    }
    hexadecimal(&name.finalize())
}

/// The copies that are those of an environment's newest kernel, there or not;
/// `None` where it has no kernel of its own.
///
/// # Errors
/// Where its files cannot be read.
pub(super) fn newest(
    platform: &dyn Platform,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
) -> Result<Option<String>> {
    let bootable = check::bootable(platform, survey, environment)?;
    Ok(bootable.kernel.as_ref().map(image_name))
}

/// Which of the environments a guid is.
pub(super) fn known(survey: &Survey) -> impl Fn(Guid) -> bool + use<'_> {
    |guid| survey.environment_with(guid).is_some()
}

/// What the entry is called that fails back to an environment.
pub(super) fn failback_title(name: &str) -> String {
    format!("Fail back to {name}")
}

/// The environment that is on trial by the pool's record.
pub(super) fn tried(survey: &Survey) -> Option<Guid> {
    survey.trial().ok().flatten().map(|trial| trial.target)
}

/// What a loader boots by its name keeps it.
///
/// # Errors
/// It is booted next, once, on trial, or after that.
pub(super) fn may_be_renamed(
    survey: &Survey,
    root: &Dataset,
    loader: &str,
    attempted: &str,
) -> std::result::Result<(), Refusal> {
    let boot = &survey.boot;
    let trial = boot.trial.as_ref().map(|trial| &trial.dataset);
    let booted = [&boot.next, &boot.once, &boot.back]
        .into_iter()
        .filter_map(Option::as_ref)
        .chain(trial)
        .any(|booted| *booted == root.name);
    if !booted {
        return Ok(());
    }
    Err(Refusal::new(
        attempted,
        format!(
            "{loader} boots it by its name, and a machine that stopped between the two changes \
             would find neither"
        ),
    )
    .remedy("activate another one first, rename this one, and activate it again"))
}

/// `bootfs` after a loader that does not follow it itself, where what boots is to
/// stay.
pub(super) fn bootfs(survey: &Survey, target: &Dataset, switch: Switch) -> Option<Step> {
    let pool = target.name.pool();
    let before = survey.pools.get(&pool).and_then(|pool| pool.bootfs.clone());
    let due = switch == Switch::Good && before.as_ref() != Some(&target.name);
    due.then(|| {
        let dataset = Some(target.name.clone());
        Step::new("bootfs", Action::SetBootfs { pool, dataset })
    })
}
