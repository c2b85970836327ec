//! Which kernels there are, and whether each has its modules and its initramfs.
//!
//! Which of several kernels boots is the loader's to decide; all of them take
//! the newest by default. So the newest has to be whole, and another one that
//! is not is worth a warning.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::iter::Peekable;
use std::str::Chars;

use super::Subject;
use super::contents::{contents, unified_contents};
use super::finding::{
    BOOT_NOT_VISIBLE, Definition, Findings, INITRAMFS_MISSING, KERNEL_COPY_DIFFERS, KERNEL_MISSING,
    KERNEL_UNSIGNED, KERNEL_WITHOUT_MODULES, OLDER_KERNEL_INCOMPLETE, UNIFIED_IMAGE_OTHER_ROOT,
};
use super::tree::{Entry, Tree};
use super::{image, names};
use crate::zfs::DatasetName;

/// Where kernels are: `/boot`, and where the ESP may be mounted.
pub(super) const PLACES: [&str; 3] = ["boot", "efi", "boot/efi"];

/// How the file of a kernel begins, before its version.
const IMAGES: [&str; 5] = ["vmlinuz-", "vmlinux-", "kernel-", "bzImage-", "Image-"];

/// A kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Its version, `uname -r`, as far as it is known.
    pub(super) version: String,
    /// Its file.
    pub(super) image: Entry,
    /// What lies beside it, if anything does.
    pub(super) initramfs: Option<Entry>,
}

/// Compares versions as people do: numbers by value, the rest by letter.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.chars().peekable(), other.chars().peekable());
    loop {
        let order = match (one.peek().copied(), other.peek().copied()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let (a, b) = (digits(&mut one), digits(&mut other));
                a.len().cmp(&b.len()).then(a.cmp(&b))
            }
            (Some(a), Some(b)) => {
                one.next();
                other.next();
                // 6.12~rc1 and 6.12-rc1 come before 6.12.1.
                (a != '-' && a != '~', a).cmp(&(b != '-' && b != '~', b))
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// A number's digits, without leading zeros.
fn digits(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut found = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        found.push(digit);
    }
    found.trim_start_matches('0').to_owned()
}

/// The versions that have a directory of modules.
fn modules(tree: &Tree<'_>) -> Vec<String> {
    let is_tree = |version: &String| {
        let at = |file: &str| tree.file(format!("lib/modules/{version}/{file}")).is_some();
        at("modules.dep") || at("modules.order") || at("modules.builtin")
    };
    tree.names("lib/modules")
        .into_iter()
        .filter(is_tree)
        .collect()
}

/// The version of the kernel whose file ends so: mostly that is the version;
/// Arch Linux writes the package there and the package beside the modules,
/// Alpine the flavour, with which the version ends.
fn version(tree: &Tree<'_>, modules: &[String], suffix: &str) -> String {
    let is_package = |version: &&String| {
        tree.text(format!("lib/modules/{version}/pkgbase"))
            .is_some_and(|package| package.trim() == suffix)
    };
    let flavour = format!("-{suffix}");
    let exact = modules.iter().find(|version| *version == suffix);
    exact
        .or_else(|| modules.iter().find(is_package))
        .or_else(|| modules.iter().find(|version| version.ends_with(&flavour)))
        .cloned()
        .unwrap_or_else(|| suffix.to_owned())
}

/// The initramfs beside a kernel: Debian's, dracut's, mkinitcpio's, openSUSE's,
/// Alpine's, booster's names.
fn beside(tree: &Tree<'_>, directory: &str, suffix: &str) -> Option<Entry> {
    [
        format!("initrd.img-{suffix}"),
        format!("initramfs-{suffix}.img"),
        format!("initrd-{suffix}"),
        format!("initramfs-{suffix}"),
        format!("initrd-{suffix}.img"),
        format!("booster-{suffix}.img"),
    ]
    .iter()
    .find_map(|name| tree.file(format!("{directory}/{name}")))
}

/// The kernels that lie in `/boot` under their names.
fn plain(tree: &Tree<'_>, modules: &[String]) -> Vec<Kernel> {
    let mut found = Vec::new();
    for place in PLACES {
        for name in tree.names(place) {
            let Some(suffix) = IMAGES.iter().find_map(|begin| name.strip_prefix(begin)) else {
                continue;
            };
            // Rescue images boot without the root; .old is the one before.
            let passed = suffix.contains("rescue") || suffix.ends_with(".old");
            let Some(image) = tree.file(format!("{place}/{name}")).filter(|_| !passed) else {
                continue;
            };
            found.push(Kernel {
                version: version(tree, modules, suffix),
                image,
                initramfs: beside(tree, place, suffix),
            });
        }
    }
    found
}

/// The kernels that kernel-install(8) put into `PLACE/TOKEN/VERSION/`.
fn installed(tree: &Tree<'_>, modules: &[String]) -> Vec<Kernel> {
    let mut found = Vec::new();
    for place in PLACES {
        for token in tree.names(place) {
            for version in modules {
                let directory = format!("{place}/{token}/{version}");
                let Some(image) = tree.file(format!("{directory}/linux")) else {
                    continue;
                };
                let initramfs = tree
                    .names(&directory)
                    .iter()
                    .filter(|name| name.starts_with("initrd") || name.starts_with("initramfs"))
                    .find_map(|name| tree.file(format!("{directory}/{name}")));
                found.push(Kernel {
                    version: version.clone(),
                    image,
                    initramfs,
                });
            }
        }
    }
    found
}

/// Unified images: which there are, and the datasets their command lines name.
fn unified(tree: &Tree<'_>) -> Vec<(Entry, image::Image)> {
    PLACES
        .iter()
        .map(|place| format!("{place}/EFI/Linux"))
        .flat_map(|directory| {
            let mut names = tree.names(&directory);
            names.retain(|name| name.to_ascii_lowercase().ends_with(".efi"));
            names
                .into_iter()
                .map(move |name| format!("{directory}/{name}"))
        })
        .filter_map(|path| {
            let entry = tree.file(&path)?;
            Some((entry, image::read(tree.open(&path)?)?))
        })
        .collect()
}

pub(super) fn findings(
    subject: &Subject<'_>,
    tree: &Tree<'_>,
    unseen: &[String],
    found: &mut Findings,
) {
    let modules = modules(tree);
    let mut kernels = plain(tree, &modules);
    kernels.extend(installed(tree, &modules));
    let unified = unified(tree);
    copies(tree, &kernels, found);
    kernels.sort_by(|one, other| {
        // Of the same version, the environment's own.
        compare(&other.version, &one.version).then(one.image.foreign.cmp(&other.image.foreign))
    });
    let own = &subject.environment.root.name;
    let suits = |image: &image::Image| {
        let line = image.command_line.as_deref().unwrap_or_default();
        names::root_of(line).is_none_or(|root| root == *own)
    };
    let Some(newest) = kernels.first() else {
        match unified.as_slice() {
            [] if !unseen.is_empty() => found.add(
                &BOOT_NOT_VISIBLE,
                format!(
                    "{} is not mounted here, and was not looked at",
                    unseen.join(", ")
                ),
                "mount it, and check again",
            ),
            [] => found.add(
                &KERNEL_MISSING,
                "there is no kernel in /boot, nor on an ESP that it mounts",
                "install a kernel in it",
            ),
            [(first, image), ..] if !unified.iter().any(|(_, image)| suits(image)) => {
                let line = image.command_line.as_deref().unwrap_or_default();
                found.add(
                    &UNIFIED_IMAGE_OTHER_ROOT,
                    format!("/{} says {line}, which is not {own}", first.path),
                    "build the image again inside it, with root=zfs:AUTO or its own name",
                );
            }
            images => {
                unsigned(
                    subject,
                    images.iter().map(|(entry, image)| (entry, image)),
                    found,
                );
                let own = images.iter().filter(|(_, image)| suits(image));
                unified_contents(subject, tree, own, found);
            }
        }
        return;
    };
    let opened = tree.open(&newest.image.path).and_then(image::read);
    unsigned(
        subject,
        opened.iter().map(|image| (&newest.image, image)),
        found,
    );
    for (definition, what) in structure(subject, tree, &modules, newest) {
        found.add(definition, what, again(tree, newest));
    }
    if let Some(entry) = &newest.initramfs {
        contents(subject, tree, newest, entry, found);
    }
    let mut seen = BTreeSet::from([newest.version.as_str()]);
    for older in kernels.iter().skip(1) {
        if !seen.insert(&older.version) {
            continue;
        }
        for (_, what) in structure(subject, tree, &modules, older) {
            let remedy = format!("remove that kernel, or {}", again(tree, older));
            found.add(&OLDER_KERNEL_INCOMPLETE, what, remedy);
        }
    }
}

/// A kernel that is an environment's own.
pub(super) enum Newest {
    /// A kernel and its initramfs.
    Pair(Entry, Entry),
    /// A unified image, whose command line names the environment.
    Unified(Entry, String),
}

/// The newest kernel that is the environment's own and has an initramfs, or the
/// newest unified image whose command line names `root`.
pub(super) fn newest_own(tree: &Tree<'_>, root: &DatasetName) -> Option<Newest> {
    newest_pair(tree).or_else(|| newest_unified(tree, root))
}

fn newest_unified(tree: &Tree<'_>, root: &DatasetName) -> Option<Newest> {
    let version = |image: &image::Image| image.version.clone().unwrap_or_default();
    let own = unified(tree).into_iter().filter_map(|(entry, image)| {
        let line = image.command_line.clone()?;
        let names_it = names::root_of(&line).is_some_and(|named| named == *root);
        (names_it && !entry.foreign).then(|| (version(&image), entry, line))
    });
    let newest = own.max_by(|(one, ..), (other, ..)| compare(one, other));
    newest.map(|(_, entry, line)| Newest::Unified(entry, line))
}

fn newest_pair(tree: &Tree<'_>) -> Option<Newest> {
    let modules = modules(tree);
    let mut kernels = plain(tree, &modules);
    kernels.extend(installed(tree, &modules));
    kernels.sort_by(|one, other| compare(&other.version, &one.version));
    kernels
        .into_iter()
        .filter(|kernel| !kernel.image.foreign)
        .find_map(|kernel| Some((kernel.image, kernel.initramfs?)))
        .filter(|(_, initramfs)| !initramfs.foreign)
        .map(|(image, initramfs)| Newest::Pair(image, initramfs))
}

/// What a kernel lacks, without looking into files.
fn structure(
    subject: &Subject<'_>,
    tree: &Tree<'_>,
    modules: &[String],
    kernel: &Kernel,
) -> Vec<(&'static Definition, String)> {
    let Kernel { version, image, .. } = kernel;
    let mut lacks = Vec::new();
    // What lies on an ESP may be another environment's.
    if image.foreign && !modules.contains(version) {
        return lacks;
    }
    if !modules.contains(version) && !is_static(tree, version) {
        let what = format!(
            "there is /{} and no /lib/modules/{version} in {}",
            image.path,
            subject.environment.name()
        );
        lacks.push((&KERNEL_WITHOUT_MODULES, what));
    }
    if kernel.initramfs.is_none() {
        let what = format!("there is no initramfs for /{}", image.path);
        lacks.push((&INITRAMFS_MISSING, what));
    }
    lacks
}

/// zfs is part of the kernel itself.
pub(super) fn is_static(tree: &Tree<'_>, version: &str) -> bool {
    tree.text(format!("lib/modules/{version}/modules.builtin"))
        .is_some_and(|list| list.lines().any(|line| line.ends_with("/zfs.ko")))
}

/// The command that makes the initramfs anew, by what is installed.
pub(super) fn again(tree: &Tree<'_>, kernel: &Kernel) -> String {
    let version = &kernel.version;
    let commands = [
        (
            "usr/sbin/update-initramfs",
            format!("update-initramfs -c -k {version}"),
        ),
        ("usr/bin/dracut", format!("dracut --force --kver {version}")),
        ("usr/bin/mkinitcpio", "mkinitcpio -P".to_owned()),
        ("sbin/mkinitfs", format!("mkinitfs {version}")),
    ];
    let command = commands
        .into_iter()
        .find(|(program, _)| tree.file(program).is_some());
    match command {
        Some((_, command)) => format!("inside it: {command}"),
        None => format!("install the kernel {version}, its zfs module and its initramfs again"),
    }
}

/// With Secure Boot on, an image that nobody signed.
fn unsigned<'a>(
    subject: &Subject<'_>,
    images: impl Iterator<Item = (&'a Entry, &'a image::Image)>,
    found: &mut Findings,
) {
    if !subject.facts.secure_boot {
        return;
    }
    for (entry, _) in images.filter(|(_, image)| !image.signed) {
        found.add(
            &KERNEL_UNSIGNED,
            format!(
                "Secure Boot is on, and /{} carries no signature",
                entry.path
            ),
            "sign it with a key the firmware or shim knows (sbsign)",
        );
    }
}

/// Kernels of which there is one inside and one outside the environment.
fn copies(tree: &Tree<'_>, kernels: &[Kernel], found: &mut Findings) {
    for copy in kernels.iter().filter(|kernel| kernel.image.foreign) {
        let own = kernels
            .iter()
            .find(|kernel| !kernel.image.foreign && kernel.version == copy.version)
            .map(|kernel| kernel.image.clone())
            .or_else(|| tree.file(format!("lib/modules/{}/vmlinuz", copy.version)));
        let Some(own) = own.filter(|own| !own.foreign) else {
            continue;
        };
        if !is_same(tree, &own, &copy.image) {
            found.add(
                &KERNEL_COPY_DIFFERS,
                format!("/{} is not the same as /{}", copy.image.path, own.path),
                format!(
                    "kernel-install add {} /{} inside it",
                    copy.version, own.path
                ),
            );
        }
    }
}

fn is_same(tree: &Tree<'_>, one: &Entry, other: &Entry) -> bool {
    if one.size != other.size {
        return false;
    }
    let (Some(mut one), Some(mut other)) = (tree.open(&one.path), tree.open(&other.path)) else {
        // What cannot be read is told as such.
        return true;
    };
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let Ok(count) = one.read(&mut left) else {
            return true;
        };
        let (Some(left), Some(right)) = (left.get(..count), right.get_mut(..count)) else {
            return true;
        };
        if count == 0 {
            return true;
        }
        if other.read_exact(right).is_err() || left != right {
            return false;
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let sorted = [
            "5.10.0-9-amd64",
            "5.10.0-28-amd64",
            "6.1.0-9-amd64",
            "6.12-rc1",
            "6.12.9",
            "6.12.107+deb13-cloud-amd64",
        ];
        for pair in sorted.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("6.01", "6.1"), Ordering::Equal);
    }
}
