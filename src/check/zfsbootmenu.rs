//! What ZFSBootMenu does with an environment.
//!
//! Its rules, as they are in version 3.1.0: `find_be_candidates`
//! (`zfsbootmenu-ui.sh`), `find_be_kernels`, `find_be_initramfs` and
//! `select_kernel` (`zfsbootmenu-core.sh`). What the pool's bootfs names boots by
//! itself, shown in the menu or not, if there is a kernel with an initramfs in
//! `/boot` of that one dataset; no other dataset is mounted.

use camino::Utf8Path;

use super::finding::{Findings, ZFSBOOTMENU_HIDDEN, ZFSBOOTMENU_NO_KERNEL};
use super::kernels::compare;
use super::tree::Tree;
use crate::os::Facts;
use crate::zfs::{Dataset, Mountpoint};

/// The property that shows an environment in its menu or hides it.
pub(super) const ACTIVE: &str = "org.zfsbootmenu:active";

/// The names of kernels, alone or before a hyphen and a version.
const KERNELS: [&str; 5] = ["vmlinux", "vmlinuz", "linux", "linuz", "kernel"];

/// How an initramfs may be compressed, by the end of its name.
const COMPRESSED: [&str; 8] = ["", ".gz", ".bz2", ".xz", ".lzma", ".lz4", ".lzo", ".zstd"];

/// Where its images lie below `EFI`, in small letters, by its guides.
const DIRECTORIES: [&str; 2] = ["zbm", "zfsbootmenu"];

/// Whether it seems to start this machine: it is on the EFI system partition, and
/// the kernel was not started by GRUB, which says so on the command line.
pub(super) fn starts(facts: &Facts) -> bool {
    let by_grub = facts
        .command_line
        .split_whitespace()
        .any(|word| word.starts_with("BOOT_IMAGE="));
    let is_there = facts.boot.iter().any(|(_, dir)| {
        let names = dir.read_dir("EFI").ok().into_iter().flatten().flatten();
        names
            .filter_map(|name| name.file_name().into_string().ok())
            .any(|name| DIRECTORIES.contains(&name.to_ascii_lowercase().as_str()))
    });
    is_there && !by_grub
}

/// Whether its menu shows an environment with such a value of [`ACTIVE`].
fn shows(mountpoint: &Mountpoint, active: &str) -> bool {
    match mountpoint {
        Mountpoint::Legacy => active == "on",
        Mountpoint::Path(path) => path == "/" && active != "off",
        Mountpoint::None => false,
    }
}

/// The names an initramfs of a kernel may have, the one that is taken first, first.
fn initramfs_names(kernel: &str) -> Vec<String> {
    // With its hyphen; nothing where the name is no more than a kernel's.
    let version = kernel.find('-').and_then(|at| kernel.get(at..));
    let version = version.unwrap_or_default();
    let mut names = vec![
        format!("initramfs-{kernel}.img"),
        format!("initramfs{version}.img"),
        format!("initrd.img-{kernel}"),
        format!("initrd.img{version}"),
        format!("initramfs-{kernel}"),
        format!("initramfs{version}"),
    ];
    for image in [".img", ""] {
        for compressed in COMPRESSED {
            for begin in ["initramfs", "initrd"] {
                for label in [kernel, version] {
                    names.push(format!("{begin}{label}{image}{compressed}"));
                    names.push(format!("{begin}{image}{compressed}{label}"));
                }
            }
        }
    }
    names
}

/// The kernel it starts, and its initramfs, of the names in `/boot`: the newest
/// kernel that has one.
fn started(names: &[String]) -> Option<(&str, &str)> {
    let is_kernel = |name: &&String| {
        KERNELS.iter().any(|kernel| {
            let rest = name.strip_prefix(kernel);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    };
    let mut kernels: Vec<&String> = names.iter().filter(is_kernel).collect();
    kernels.sort_by(|one, other| compare(other, one));
    kernels.into_iter().find_map(|kernel| {
        let wanted = initramfs_names(kernel);
        let initramfs = wanted
            .iter()
            .find_map(|name| names.iter().find(|other| *other == name))?;
        Some((kernel.as_str(), initramfs.as_str()))
    })
}

/// What an environment lacks for it, by the files of its root dataset alone.
pub(super) fn files(root: &Dataset, alone: &Tree<'_>, found: &mut Findings) {
    let boot = Utf8Path::new("boot");
    let mut names = alone.names(boot);
    names.retain(|name| alone.find(boot.join(name)).is_some());
    if started(&names).is_none() {
        found.add(
            &ZFSBOOTMENU_NO_KERNEL,
            format!(
                "ZFSBootMenu looks for kernels in /boot of {} alone, and there is none with an \
                 initramfs",
                root.name
            ),
            "keep /boot in the root dataset, and install a kernel there",
        );
    }
}

/// Whether it would be shown, with such a value of [`ACTIVE`].
pub(super) fn menu(root: &Dataset, active: &str, found: &mut Findings) {
    if !shows(&root.mountpoint, active) {
        let value = match root.mountpoint {
            Mountpoint::Legacy => "on",
            Mountpoint::Path(_) | Mountpoint::None => "-",
        };
        let remedy = match value {
            "on" => format!("zfs set {ACTIVE}=on {}", root.name),
            _ => format!("zfs inherit {ACTIVE} {}", root.name),
        };
        found.add(
            &ZFSBOOTMENU_HIDDEN,
            format!(
                "ZFSBootMenu does not show {}: mountpoint={}, {ACTIVE}={active}",
                root.name, root.mountpoint
            ),
            remedy,
        );
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn its_menu_shows_what_its_table_says() {
        let root = Mountpoint::Path("/".into());
        let other = Mountpoint::Path("/srv".into());
        for (mountpoint, active, shown) in [
            (&root, "-", true),
            (&root, "on", true),
            (&root, "anything", true),
            (&root, "off", false),
            (&Mountpoint::Legacy, "-", false),
            (&Mountpoint::Legacy, "off", false),
            (&Mountpoint::Legacy, "on", true),
            (&Mountpoint::None, "on", false),
            (&other, "on", false),
        ] {
            assert_eq!(shows(mountpoint, active), shown, "{mountpoint} {active}");
        }
    }

    #[test]
    fn it_starts_the_newest_kernel_that_has_an_initramfs() {
        for (names, expected) in [
            ("vmlinuz-6.1 initrd.img-6.1", "vmlinuz-6.1 initrd.img-6.1"),
            (
                "vmlinuz-6.9 vmlinuz-6.12 initrd.img-6.9 initrd.img-6.12",
                "vmlinuz-6.12 initrd.img-6.12",
            ),
            // The newest one has none.
            (
                "vmlinuz-6.9 vmlinuz-6.12 initrd.img-6.9",
                "vmlinuz-6.9 initrd.img-6.9",
            ),
            // Void, Arch, Alpine.
            (
                "vmlinuz-6.6.1_1 initramfs-6.6.1_1.img",
                "vmlinuz-6.6.1_1 initramfs-6.6.1_1.img",
            ),
            (
                "vmlinuz-linux initramfs-linux.img initramfs-linux-fallback.img",
                "vmlinuz-linux initramfs-linux.img",
            ),
            ("vmlinuz-lts initramfs-lts", "vmlinuz-lts initramfs-lts"),
            // Without a version.
            ("vmlinuz initramfs.img", "vmlinuz initramfs.img"),
            ("vmlinuz initrd.img", "vmlinuz initrd.img"),
            ("kernel-5 initrd-5.img.zstd", "kernel-5 initrd-5.img.zstd"),
            ("linux-5 initramfs.gz-5", "linux-5 initramfs.gz-5"),
            // Names that it does not know.
            ("bzImage-5 initrd-5", ""),
            ("vmlinuz.old initrd.img", ""),
            ("vmlinuz-6.1 booster-6.1.img", ""),
            ("initrd.img-6.1", ""),
            ("", ""),
        ] {
            let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
            let found = started(&names).map(|(kernel, initramfs)| format!("{kernel} {initramfs}"));
            assert_eq!(found.unwrap_or_default(), expected, "{names:?}");
        }
    }
}
