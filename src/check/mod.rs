//! Whether an environment can boot, as far as can be told without booting it.
//!
//! A fixed list of named findings ([`finding::REGISTRY`]), each with a severity
//! and a remedy. `activate` asks before it changes anything; `check` prints.
//!
//! - [`finding`]: the names; `datasets`: what the pools show.
//! - [`tree`]: the environment's files; `kernels`, `contents`, `system`, `names`, `hidden`,
//!   `shared`, `grub`, `zfsbootmenu`: what they show.
//! - [`initramfs`], `compressed`, [`image`]: readers of kernels' formats.
//! - [`stand_in`]: files that pass, for pools without a system.

mod compressed;
mod contents;
mod datasets;
pub mod finding;
mod grub;
mod hidden;
pub mod image;
pub mod initramfs;
mod kernels;
mod names;
mod shared;
pub mod stand_in;
mod system;
#[cfg(test)]
mod tests;
pub mod tree;
mod zfsbootmenu;

use std::collections::BTreeSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;

use self::finding::{
    FILES_UNREADABLE, Findings, GRUB_NOT_TAKEN_OVER, KERNELS_OUTSIDE, LAYOUT_UNKNOWN,
    LOADER_FILES_DAMAGED, MIRROR_LOST,
};
use self::kernels::Newest;
use self::tree::{Part, Tree};
use crate::adopt::boot::{Verdict, Way, ways};
use crate::be::{BootEnvironment, rewrite};
use crate::boot::grub::names_what_runs;
use crate::config::{LoaderName, PATH};
use crate::execute::mount;
use crate::host::Host;
use crate::os::Facts;
use crate::survey::Survey;
use crate::zfs::{DatasetName, Mountpoint, Pool, PoolName};

pub use finding::{Finding, Severity};
pub(crate) use names::root_of;

/// An environment and what is known around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// The picture.
    pub survey: &'a Survey,
    /// The environment.
    pub environment: &'a BootEnvironment<'a>,
    /// The machine it would boot.
    pub facts: &'a Facts,
    /// The files the environment's keys are read from, each with the dataset
    /// whose key it is; paths without the leading slash.
    pub key_files: &'a [(DatasetName, String)],
    /// ZFSBootMenu would start it.
    pub by_zfsbootmenu: bool,
}

impl Subject<'_> {
    /// The name of another environment a dataset belongs to.
    fn other_environment(&self, dataset: &DatasetName) -> Option<String> {
        let beroot = std::iter::once(&self.survey.beroot);
        beroot.chain(&self.survey.boot_roots).find_map(|root| {
            let below = dataset.as_str().strip_prefix(root.as_str())?;
            let name = below.strip_prefix('/')?.split('/').next()?;
            (name != self.environment.name()).then(|| name.to_owned())
        })
    }

    /// A dataset would be the environment's own, were it there.
    fn is_own_but_missing(&self, dataset: &DatasetName) -> bool {
        let mut roots = self.environment.roots().into_iter();
        roots.any(|root| dataset.is_within(&root.name))
            && !self.survey.datasets.contains_key(dataset)
    }
}

/// What is known of the machine that would boot: this one, where it runs from
/// one of the environments. A rescue system's hostid and ESP say nothing about
/// the machine whose pool it looks at.
#[must_use]
pub fn facts(host: &Host, survey: &Survey) -> Facts {
    if host.altroot.is_none() && survey.running.is_some() {
        host.platform.facts()
    } else {
        Facts::default()
    }
}

/// What the machine shows beside its environments.
#[must_use]
pub fn machine(host: &Host, survey: &Survey) -> Vec<Finding> {
    let mut found = Findings::about(None);
    datasets::machine(survey, &mut found);
    let answering = |pool: &&Pool| matches!(pool.health.as_str(), "ONLINE" | "DEGRADED");
    for pool in survey.own_pools().filter(answering) {
        // A pool that does not answer is told of elsewhere.
        let errors = host.zfs.data_errors(&pool.name).unwrap_or_default();
        datasets::data_errors(&pool.name, errors.as_deref(), &mut found);
    }
    mirrors(host.loader.lost(), &mut found);
    if host.altroot.is_none() && survey.running.is_some() {
        outside(host, &mut found);
        not_taken_over(host, &mut found);
    }
    if let Some((what, remedy)) = host.loader.trouble() {
        found.add(&LOADER_FILES_DAMAGED, what, remedy);
    }
    found.list
}

/// The loader's partitions to which its files cannot be copied.
fn mirrors(lost: &[Utf8PathBuf], found: &mut Findings) {
    for place in lost {
        found.add(
            &MIRROR_LOST,
            format!("{place} is one of mirrors in {PATH}, and nothing can be written there"),
            format!("mount it, then: beadm-rs boot; or take it out of {PATH}"),
        );
    }
}

/// How the running system keeps its kernels, where that is known and not in the
/// environment. What cannot be read is told of elsewhere, and a system that is not
/// supported (`layout-unknown`) too.
fn outside(host: &Host, found: &mut Findings) {
    let files = host.platform.running_files().ok().flatten();
    let around = host.platform.surroundings().ok();
    if let (Some(files), Some(around)) = (files, around) {
        let kept = |way: &&Way| way.verdict != Verdict::Refused;
        for way in ways(&files.root, &around.loader).into_iter().filter(kept) {
            found.add(&KERNELS_OUTSIDE, way.text, way.remedy);
        }
    }
}

/// Whether GRUB starts what runs by its name, and this program has no part in it:
/// nothing that is activated is booted then.
#[must_use]
pub fn grub_not_taken_over(host: &Host) -> bool {
    // Whoever says which loader it is knows what that does.
    let is_said = host.config.boot.loader != LoaderName::Auto;
    // Whether it is taken over is for root to see.
    let seen = || {
        host.platform
            .partitions(Utf8Path::new("/"), host.config.boot.esp.as_deref())
    };
    let is_followed = is_said || host.loader.copies() || seen().is_err();
    host.altroot.is_none() && !is_followed && names_what_runs(host.platform.as_ref())
}

/// GRUB that was not taken over.
fn not_taken_over(host: &Host, found: &mut Findings) {
    if grub_not_taken_over(host) {
        found.add(
            &GRUB_NOT_TAKEN_OVER,
            "GRUB started this machine by an entry that names its root, and does so again \
             whatever is activated",
            "beadm-rs init has GRUB boot by a menu of beadm-rs; where it was done, mount the \
             partition that GRUB is on",
        );
    }
}

/// The files from which the keys of an environment are read.
fn key_files(host: &Host, environment: &BootEnvironment<'_>) -> Vec<(DatasetName, String)> {
    let datasets = environment.datasets();
    let roots: BTreeSet<&DatasetName> = datasets
        .iter()
        .filter_map(|dataset| dataset.encryption_root.as_ref())
        .collect();
    let file = |root: &DatasetName| {
        let location = host.zfs.key_location(root).ok().flatten()?;
        let path = location.strip_prefix("file:///")?.to_owned();
        Some((root.clone(), path))
    };
    roots.into_iter().filter_map(file).collect()
}

/// Looks at one environment: its datasets, and its files where its key is
/// there. Nothing is changed, and nothing stays mounted.
#[must_use]
pub fn environment(
    host: &Host,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
    facts: &Facts,
) -> Vec<Finding> {
    let mut found = Findings::about(Some(environment.name()));
    datasets::environment(survey, environment, &mut found);
    let by_zfsbootmenu = !host.loader.copies() && zfsbootmenu::starts(facts);
    if by_zfsbootmenu {
        let root = &environment.root;
        let active = host.zfs.effective(&root.name, &[zfsbootmenu::ACTIVE]);
        let active = active
            .ok()
            .and_then(|mut set| set.remove(&root.name)?.pop());
        let active = active.map_or_else(|| "-".to_owned(), |property| property.value);
        zfsbootmenu::menu(root, &active, &mut found);
    }
    if environment
        .datasets()
        .iter()
        .all(|dataset| dataset.key_loaded)
    {
        let subject = Subject {
            survey,
            environment,
            facts,
            key_files: &key_files(host, environment),
            by_zfsbootmenu,
        };
        let looked = shared::findings(host, &subject, &mut found)
            .and_then(|()| files(host, &subject, &mut found));
        match looked {
            Ok(None) => {}
            // A pool that does not tell its features is told of elsewhere.
            Ok(Some(pool)) => {
                let active = host.zfs.active_features(&pool).unwrap_or_default();
                grub::findings(&pool, &active, &mut found);
            }
            Err(error) => found.add(
                &FILES_UNREADABLE,
                error.to_string(),
                format!("beadm-rs mount {} says more", environment.name()),
            ),
        }
    }
    found.list
}

/// Where files are looked for, without the leading slash.
const LOOKED_INTO: [&str; 13] = [
    "efi",
    "etc/zfs",
    "etc/kernel",
    "etc/default",
    "etc/initramfs-tools",
    "usr/lib/modules",
    "usr/lib/systemd",
    "usr/lib/kernel",
    "usr/sbin",
    "usr/bin",
    "usr/local/sbin",
    "lib/modules",
    "sbin",
];

/// The children that have to be looked at, and where they belong: those that
/// hold what is looked for, or the directories other datasets are mounted on.
fn children(subject: &Subject<'_>, fstab: &str) -> Vec<(DatasetName, Utf8PathBuf)> {
    let mountpoints = hidden::mountpoints(subject, fstab);
    let holds = |at: &Utf8Path| {
        at.starts_with("boot")
            || LOOKED_INTO
                .iter()
                .any(|path| Utf8Path::new(path).starts_with(at))
            || mountpoints
                .iter()
                .any(|(below, _)| below.starts_with(at) && below != at)
    };
    let mut placed = mount::places(subject.survey, subject.environment);
    placed.extend(hidden::legacy_places(subject, fstab));
    placed.retain(|(_, at)| holds(at));
    placed
}

/// Looks at the files; the pool that GRUB would have to read, if any.
fn files(
    host: &Host,
    subject: &Subject<'_>,
    found: &mut Findings,
) -> crate::os::Result<Option<PoolName>> {
    let root = &subject.environment.root.name;
    let mut fstab = String::new();
    let legacy = |dataset: &&crate::zfs::Dataset| dataset.mountpoint == Mountpoint::Legacy;
    if subject.environment.datasets().iter().any(legacy) {
        host.platform.with_files(root, false, &mut |dir| {
            let tree = Tree::new(vec![part(root.as_str(), "".into(), dir)]);
            fstab = tree.text(rewrite::FSTAB).unwrap_or_default();
            Ok(())
        })?;
    }
    let children = children(subject, &fstab);
    let mut datasets = vec![root.clone()];
    datasets.extend(children.iter().map(|(dataset, _)| dataset.clone()));
    let mut grub = None;
    host.platform.with_each(&datasets, &mut |dirs| {
        grub = look(subject, &children, dirs, found);
        Ok(())
    })?;
    Ok(grub)
}

/// A file of an environment: the dataset it is in, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnFile {
    /// The dataset.
    pub dataset: DatasetName,
    /// The file in it, without links on the way.
    pub file: Utf8PathBuf,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub digest: String,
}

/// A kernel of an environment's own, and what it needs to boot that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OwnKernel {
    /// A kernel and its initramfs.
    Pair(OwnFile, OwnFile),
    /// A unified kernel image, and the command line in it, which names the
    /// environment.
    Unified(OwnFile, String),
}

impl OwnKernel {
    /// What is started.
    pub(crate) fn image(&self) -> &OwnFile {
        match self {
            Self::Pair(image, _) | Self::Unified(image, _) => image,
        }
    }
}

/// What a loader needs to know of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bootable {
    /// Its newest kernel that could be booted.
    pub kernel: Option<OwnKernel>,
    /// It has the unit that confirms a trial, and starts it.
    pub confirms: bool,
    /// It has a beadm-rs that ends the dead man's switch of its boot.
    pub disarms: bool,
}

/// Where the program of the switch is in a system that has it: its beadm-rs ends
/// what it has itself. An older one would confirm, and be restarted all the same.
const WATCH: [&str; 2] = ["usr/lib/beadm-rs/watch", "usr/local/lib/beadm-rs/watch"];

/// Where systemd looks for the units of a system.
const UNITS: [&str; 3] = [
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "etc/systemd/system",
];

/// The unit that confirms a trial.
pub(crate) const CONFIRMS: &str = "beadm-rs-confirm.service";

/// Where the links to units that are enabled lie: what confirms is wanted by
/// this target.
pub(crate) const WANTED: &str = "multi-user.target.wants";

/// Looks for an environment's own kernel.
///
/// # Errors
/// Where its files cannot be read.
pub(crate) fn bootable(
    platform: &dyn crate::os::Platform,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
) -> crate::os::Result<Bootable> {
    let facts = Facts::default();
    let subject = Subject {
        survey,
        environment,
        facts: &facts,
        key_files: &[],
        by_zfsbootmenu: false,
    };
    let root = &environment.root.name;
    let mut fstab = String::new();
    platform.with_files(root, false, &mut |dir| {
        let tree = Tree::new(vec![part(root.as_str(), "".into(), dir)]);
        fstab = tree.text(rewrite::FSTAB).unwrap_or_default();
        Ok(())
    })?;
    let children = children(&subject, &fstab);
    let mut placed = vec![(root.clone(), Utf8PathBuf::new())];
    placed.extend(children);
    let datasets: Vec<DatasetName> = placed.iter().map(|(name, _)| name.clone()).collect();
    let mut found = Bootable {
        kernel: None,
        confirms: false,
        disarms: false,
    };
    platform.with_each(&datasets, &mut |dirs| {
        let parts = placed
            .iter()
            .zip(dirs)
            .map(|((name, at), dir)| part(name.as_str(), at.clone(), dir))
            .collect();
        let tree = Tree::new(parts);
        found.confirms = UNITS
            .iter()
            .any(|place| tree.file(format!("{place}/{WANTED}/{CONFIRMS}")).is_some());
        found.disarms = found.confirms && WATCH.iter().any(|program| tree.file(program).is_some());
        let own = |entry: &tree::Entry| -> io::Result<Option<OwnFile>> {
            let (Some(part), Some(file)) = (tree.part_of(entry), tree.open(&entry.path)) else {
                return Ok(None);
            };
            let (Ok(dataset), Ok(below)) = (part.name.parse(), entry.path.strip_prefix(&part.at))
            else {
                return Ok(None);
            };
            Ok(Some(OwnFile {
                dataset,
                file: below.to_owned(),
                size: entry.size,
                digest: crate::os::loader::digest_of(file)?,
            }))
        };
        found.kernel = match kernels::newest_own(&tree, root) {
            Some(Newest::Pair(kernel, initramfs)) => {
                let pair = own(&kernel)?.zip(own(&initramfs)?);
                pair.map(|(kernel, initramfs)| OwnKernel::Pair(kernel, initramfs))
            }
            Some(Newest::Unified(image, line)) => {
                own(&image)?.map(|image| OwnKernel::Unified(image, line))
            }
            None => None,
        };
        Ok(())
    })?;
    Ok(found)
}

fn part<'a>(name: &str, at: Utf8PathBuf, dir: &'a Dir) -> Part<'a> {
    Part {
        at,
        name: name.to_owned(),
        dir,
        foreign: false,
    }
}

/// Looks at the files: the root's directory first, then those of the children.
fn look(
    subject: &Subject<'_>,
    children: &[(DatasetName, Utf8PathBuf)],
    dirs: &[Dir],
    found: &mut Findings,
) -> Option<PoolName> {
    let placed = std::iter::once((subject.environment.root.name.as_str(), Utf8PathBuf::new()))
        .chain(
            children
                .iter()
                .map(|(name, at)| (name.as_str(), at.clone())),
        );
    let own = || {
        placed
            .clone()
            .zip(dirs)
            .map(|((name, at), dir)| part(name, at, dir))
            .collect::<Vec<_>>()
    };
    let tree = Tree::new(own());
    let fstab = tree.text(rewrite::FSTAB).unwrap_or_default();
    let (boot, unseen) = foreign(subject, &tree, &fstab);
    let troubles = tree.troubles();
    let mut parts = own();
    parts.extend(boot);
    let tree = Tree::new(parts);
    hidden::findings(subject, &tree, &fstab, found);
    match system::unknown_layout(&tree) {
        None => kernels::findings(subject, &tree, &unseen, found),
        Some(system) => found.add(
            &LAYOUT_UNKNOWN,
            format!("it is {system}, whose kernels and init are not looked for"),
            "look yourself whether it can boot",
        ),
    }
    if subject.by_zfsbootmenu {
        let root = &subject.environment.root;
        let alone = own().into_iter().take(1).collect();
        zfsbootmenu::files(root, &Tree::new(alone), found);
    }
    system::findings(subject, &tree, found);
    names::findings(subject, &tree, found);
    let all: BTreeSet<String> = troubles.into_iter().chain(tree.troubles()).collect();
    for trouble in all {
        found.add(
            &FILES_UNREADABLE,
            format!("cannot read {trouble}"),
            format!("zpool status -v {}", subject.environment.root.name.pool()),
        );
    }
    grub::pool(&tree)
}

/// What the environment will mount on `/boot` and for the ESP that is no
/// dataset: as it is mounted here now, and where it is not.
fn foreign<'a>(
    subject: &Subject<'a>,
    tree: &Tree<'_>,
    fstab: &str,
) -> (Vec<Part<'a>>, Vec<String>) {
    let lines = names::fstab(fstab);
    let said = |at: &Utf8Path| {
        lines
            .iter()
            .find(|line| Utf8Path::new(&line.directory).strip_prefix("/") == Ok(at))
            .filter(|line| line.kind != "zfs")
    };
    let mut parts = Vec::new();
    for (at, dir) in &subject.facts.boot {
        // systemd's gpt-auto-generator mounts without an fstab, on what is empty.
        if said(at).is_some() || tree.names(at).is_empty() {
            parts.push(Part {
                foreign: true,
                ..part(at.as_str(), at.clone(), dir)
            });
        }
    }
    let unseen = kernels::PLACES
        .iter()
        .filter(|place| !parts.iter().any(|part| part.at == **place))
        .filter_map(|place| Some(format!("/{place} ({})", said(Utf8Path::new(place))?.device)))
        .collect();
    (parts, unseen)
}

/// Whether reading failed because it is not there.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
