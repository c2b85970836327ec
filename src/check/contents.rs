//! What a kernel's initramfs holds, and what it would lack at the boot: the
//! module, the hostid, the pool, the keys, who mounts the children.

use std::io::{Read, Seek as _, SeekFrom};

use camino::{Utf8Path, Utf8PathBuf};

use super::Subject;
use super::finding::{
    CHILDREN_NOT_MOUNTED, Findings, INITRAMFS_DAMAGED, INITRAMFS_OPAQUE, INITRAMFS_OTHER_HOSTID,
    INITRAMFS_OUTDATED, INITRAMFS_STALE_CACHE, INITRAMFS_WITHOUT_ZFS, KEY_NOT_IN_INITRAMFS,
    ZFS_MODULE_MISSING,
};
use super::kernels::{Kernel, again, compare, is_static};
use super::tree::{Entry, Tree};
use super::{image, initramfs, names};
use crate::be::rewrite;
use crate::own::{generator, unit};
use crate::zfs::{Canmount, Mountpoint};

/// The zfs module of a kernel in /lib/modules.
fn zfs_module(tree: &Tree<'_>, version: &str) -> Option<Entry> {
    let directory = format!("lib/modules/{version}");
    let list = tree
        .text(format!("{directory}/modules.dep"))
        .unwrap_or_default();
    list.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, _)| path)
        .filter(|path| {
            let file = path.rsplit('/').next().unwrap_or_default();
            file.split_once('.')
                .is_some_and(|(name, end)| name == "zfs" && end.starts_with("ko"))
        })
        .find_map(|path| tree.file(format!("{directory}/{path}")))
}

/// Arguments by which an initramfs imports the pool whatever its hostid.
fn imports_anyway(command_line: &str) -> bool {
    command_line.split_whitespace().any(|word| {
        [
            "spl_hostid=",
            "spl.spl_hostid=",
            "zfs_force=",
            "zfsforce=",
            "zfs.force=",
        ]
        .iter()
        .any(|begin| word.to_ascii_lowercase().starts_with(begin))
    })
}

/// Looks at the zfs module of a kernel, and into its initramfs.
pub(super) fn contents(
    subject: &Subject<'_>,
    tree: &Tree<'_>,
    kernel: &Kernel,
    entry: &Entry,
    found: &mut Findings,
) {
    let version = &kernel.version;
    let path = &entry.path;
    let module = zfs_module(tree, version);
    if module.is_none() && !is_static(tree, version) {
        found.add(
            &ZFS_MODULE_MISSING,
            format!("/lib/modules/{version} has no zfs module"),
            format!("install or build it inside it: dkms autoinstall -k {version}"),
        );
    }
    if let Some(module) = &module
        && module.modified > entry.modified
    {
        found.add(
            &INITRAMFS_OUTDATED,
            format!("/{path} is older than /{}", module.path),
            again(tree, kernel),
        );
    }
    if let Some(file) = tree.open(path) {
        inside(subject, tree, kernel, path, file, found);
    }
}

/// Looks into the initramfs of the newest unified image; of those that do not
/// say their version, into one.
pub(super) fn unified_contents<'a>(
    subject: &Subject<'_>,
    tree: &Tree<'_>,
    images: impl Iterator<Item = &'a (Entry, image::Image)>,
    found: &mut Findings,
) {
    let version = |image: &image::Image| image.version.clone().unwrap_or_default();
    let newest = images.max_by(|(_, one), (_, other)| compare(&version(one), &version(other)));
    let Some((entry, image)) = newest else { return };
    let Some(range) = image.initramfs.clone() else {
        return;
    };
    let opened = tree.open(&entry.path).and_then(|mut file| {
        file.seek(SeekFrom::Start(range.start)).ok()?;
        Some(file.take(range.end - range.start))
    });
    let kernel = Kernel {
        version: version(image),
        image: entry.clone(),
        initramfs: None,
    };
    if let Some(file) = opened {
        inside(subject, tree, &kernel, entry.path.as_ref(), file, found);
    }
}

/// What an initramfs at a path is found to hold, or to lack.
fn inside(
    subject: &Subject<'_>,
    tree: &Tree<'_>,
    kernel: &Kernel,
    path: &Utf8Path,
    initramfs: impl Read,
    found: &mut Findings,
) {
    let version = &kernel.version;
    let keys: Vec<&str> = subject
        .key_files
        .iter()
        .map(|(_, key)| key.as_str())
        .collect();
    let read = match initramfs::read(initramfs, &keys) {
        Ok(read) => read,
        Err(trouble) => {
            let definition = match trouble {
                initramfs::Trouble::Opaque(_) => &INITRAMFS_OPAQUE,
                _ => &INITRAMFS_DAMAGED,
            };
            found.add(
                definition,
                format!("/{path}: {trouble}"),
                again(tree, kernel),
            );
            return;
        }
    };
    let (has_zfs, named) = if version.is_empty() {
        (!read.zfs_for.is_empty(), "its kernel")
    } else {
        (read.zfs_for.contains(version), version.as_str())
    };
    if !has_zfs && !is_static(tree, version) {
        let others: Vec<&str> = read.zfs_for.iter().map(String::as_str).collect();
        let only = match others.as_slice() {
            [] => String::new(),
            others => format!(", only for {}", others.join(", ")),
        };
        found.add(
            &INITRAMFS_WITHOUT_ZFS,
            format!("/{path} has no zfs module for {named}{only}"),
            again(tree, kernel),
        );
    }
    if let Some(hostid) = subject.facts.hostid
        && read.hostid != Some(hostid)
        && !imports_anyway(&subject.facts.command_line)
    {
        let other = read
            .hostid
            .map_or_else(|| "none".to_owned(), |other| format!("{other:08x}"));
        found.add(
            &INITRAMFS_OTHER_HOSTID,
            format!("the pool was imported by hostid {hostid:08x}, and /{path} has {other}"),
            format!(
                "zgenhostid -f {hostid:08x} inside it, and {}",
                again(tree, kernel)
            ),
        );
    }
    let pool = subject
        .survey
        .pools
        .get(&subject.environment.root.name.pool());
    if let Some(cache) = &read.cache
        && let Some(pool) = pool
        && !initramfs::cached_pools(cache).contains(&pool.guid.0)
    {
        found.add(
            &INITRAMFS_STALE_CACHE,
            format!(
                "the zpool.cache in /{path} does not name pool {}",
                pool.name
            ),
            again(tree, kernel),
        );
    }
    if read.dracut && !read.mounts_children {
        not_mounted(subject, tree, path, found);
    }
    let lacking = subject.key_files.iter();
    for (root, key) in lacking.filter(|(_, key)| !read.wanted.contains(key)) {
        found.add(
            &KEY_NOT_IN_INITRAMFS,
            format!("the key of {root} is /{key}, which /{path} does not have"),
            format!(
                "have the initramfs take it along, and {}",
                again(tree, kernel)
            ),
        );
    }
}

/// Somebody wrote a mount unit for that place.
fn has_unit(tree: &Tree<'_>, place: &Utf8Path) -> bool {
    let name = unit::name(place);
    tree.file(format!("etc/systemd/system/{name}")).is_some()
}

/// Where systemd looks for generators (systemd.generator(7)).
const GENERATORS: [&str; 3] = [
    "etc/systemd/system-generators",
    "usr/local/lib/systemd/system-generators",
    "usr/lib/systemd/system-generators",
];

/// This program is systemd's generator in the environment, where that is there
/// before anything of these places is mounted.
fn has_generator(tree: &Tree<'_>, places: &[&Utf8Path]) -> bool {
    tree.file("usr/lib/systemd/systemd").is_some()
        && GENERATORS.iter().any(|directory| {
            let at = format!("{directory}/{}", generator::NAME);
            let entry = tree.file(at).filter(|entry| entry.executable);
            entry.is_some_and(|entry| {
                let hidden = |place: &&&Utf8Path| {
                    let below = place.strip_prefix("/").unwrap_or(place);
                    entry.path.starts_with(below) || Utf8Path::new(directory).starts_with(below)
                };
                !places.iter().any(|place| hidden(&place))
            })
        })
}

/// Something of the place is needed to start systemd and its generators: what is
/// below it cannot be left to them.
fn is_needed_early(place: &Utf8Path) -> bool {
    const NEEDED: [&str; 6] = ["/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64"];
    const NOT: [&str; 5] = [
        "/usr/local",
        "/usr/share",
        "/usr/src",
        "/usr/include",
        "/usr/games",
    ];
    NEEDED.iter().any(|needed| place.starts_with(needed))
        && !NOT.iter().any(|not| place.starts_with(not))
}

/// What dracut's zfs module leaves to `zfs mount -a`, and that leaves out
/// (`for_relevant_root_children` in OpenZFS's `zfs-lib.sh`).
fn not_mounted(subject: &Subject<'_>, tree: &Tree<'_>, path: &Utf8Path, found: &mut Findings) {
    let lines = names::fstab(&tree.text(rewrite::FSTAB).unwrap_or_default());
    let root = &subject.environment.root.name;
    let mut left: Vec<(&str, Utf8PathBuf)> = subject
        .environment
        .datasets()
        .into_iter()
        .filter(|dataset| dataset.name != *root && dataset.name.is_within(root))
        .filter(|dataset| dataset.canmount == Canmount::Noauto)
        .filter_map(|dataset| {
            let altroot = subject.survey.altroot_of(&dataset.name);
            match dataset.mountpoint.clone().without(altroot) {
                Mountpoint::Path(path) => Some((dataset.name.as_str(), path)),
                _ => None,
            }
        })
        .filter(|(_, path)| !has_unit(tree, path))
        .filter(|(name, _)| {
            let noauto = |options: &str| options.split(',').any(|option| option == "noauto");
            !lines
                .iter()
                .any(|line| line.device == *name && !noauto(&line.options))
        })
        .collect();
    let places: Vec<&Utf8Path> = left.iter().map(|(_, place)| place.as_path()).collect();
    let generator = has_generator(tree, &places);
    if generator {
        left.retain(|(_, place)| is_needed_early(place));
    }
    if let [(first, _), ..] = left.as_slice() {
        let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
        let remedy = if generator {
            "have dracut take the module beadm-rs along: add_dracutmodules+=\" beadm-rs \" in \
             /etc/dracut.conf.d, and make the initramfs again"
                .to_owned()
        } else {
            format!(
                "install beadm-rs with its generator there, or give each a line in its fstab, \
                 such as: {first} DIRECTORY zfs zfsutil 0 0"
            )
        };
        found.add(
            &CHILDREN_NOT_MOUNTED,
            format!(
                "/{path} is dracut's, which does not mount {} (canmount=noauto)",
                names.join(", ")
            ),
            remedy,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_imports_whatever_the_hostid_is_known() {
        for line in [
            "quiet spl.spl_hostid=0x1",
            "zfs_force=1",
            "zfs.force=1",
            "spl_hostid=1",
        ] {
            assert!(imports_anyway(line), "{line}");
        }
        assert!(!imports_anyway("root=ZFS=rpool/ROOT/zfs_force ro"));
    }
}
