//! Which properties travel. The files of an environment are an operating system
//! that root chose to bring here; its properties are settings of *this* machine's
//! pool, and what they could do before anybody booted or looked at it, they may not.
//!
//! An archive says nothing else, and is refused where it does:
//!
//! - how its files are stored (`compression`, `recordsize`, `xattr`, …);
//! - what makes less possible: `quota`, `refquota`, `readonly`, and `exec`,
//!   `setuid` and `devices` as `off` and never as `on`, so that nothing undoes what
//!   the receiving pool's administrator set above;
//! - user properties, but for those that say which environment it is or in what
//!   state (`marker::is_identity`), and systemd's: by `org.openzfs.systemd:*` a
//!   dataset could ask to be mounted at the next boot of whatever runs.
//!
//! `mountpoint` and `canmount` are not among them: the manifest has them for each
//! dataset ([`check_mountpoint_in`]), and `canmount` is never `on`.

use super::manifest::Tree;
use crate::marker;

/// How files are stored and read.
const STORING: [&str; 23] = [
    "aclinherit",
    "aclmode",
    "acltype",
    "atime",
    "checksum",
    "compression",
    "copies",
    "direct",
    "dnodesize",
    "logbias",
    "nbmand",
    "overlay",
    "prefetch",
    "primarycache",
    "quota",
    "readonly",
    "recordsize",
    "redundant_metadata",
    "refquota",
    "relatime",
    "secondarycache",
    "snapdir",
    "xattr",
];

/// What may be forbidden, and not allowed.
const FORBIDDING: [&str; 3] = ["devices", "exec", "setuid"];

/// What of systemd's generator says no more than "not so strictly", or "not at all".
const SYSTEMD: [&str; 2] = ["org.openzfs.systemd:nofail", "org.openzfs.systemd:ignore"];

/// The longest name and value of a user property, bytes (zfsprops(7)).
const MAX_NAME: usize = 255;
const MAX_VALUE: usize = 8191;

/// Directories of the kernel's, on which nothing of an environment is mounted.
const KERNELS: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

/// Whether such a setting may be in an archive.
#[must_use]
pub fn travels(name: &str, value: &str) -> bool {
    if name.contains(':') {
        return is_user(name)
            && value.len() <= MAX_VALUE
            && !value.contains('\0')
            && !marker::is_identity(name)
            && (!name.starts_with("org.openzfs.systemd:") || SYSTEMD.contains(&name));
    }
    let word = !value.is_empty()
        && value.len() <= 64
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    word && (STORING.contains(&name) || (FORBIDDING.contains(&name) && value == "off"))
}

/// `zfs_prop_user`.
fn is_user(name: &str) -> bool {
    name.len() <= MAX_NAME
        && !name.starts_with('-')
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || matches!(byte, b'-' | b'_' | b'.' | b':' | b'+')
        })
}

/// Whether a dataset of an environment's tree may have this mountpoint; why not.
///
/// # Errors
/// That.
pub fn check_mountpoint_in(tree: Tree, mountpoint: &str, root: bool) -> Result<(), String> {
    let odd = |why: &str| Err(format!("the mountpoint '{mountpoint}' {why}"));
    match (tree, mountpoint, root) {
        (Tree::Boot, "/boot" | "legacy", true) | (Tree::Boot, "none" | "legacy", false) => Ok(()),
        (Tree::Boot, _, true) => odd("is not that of /boot: /boot or legacy"),
        (Tree::Boot, _, false) if !mountpoint.starts_with("/boot/") => odd("is not within /boot"),
        _ => check_mountpoint(mountpoint, root),
    }
}

/// The same of the root's tree.
///
/// # Errors
/// That.
pub fn check_mountpoint(mountpoint: &str, root: bool) -> Result<(), String> {
    let odd = |why: &str| Err(format!("the mountpoint '{mountpoint}' {why}"));
    match (mountpoint, root) {
        ("legacy", _) | ("none", false) | ("/", true) => return Ok(()),
        (_, true) => return odd("is not that of a root: / or legacy"),
        ("/", false) => return odd("is the root's"),
        _ => {}
    }
    let Some(path) = mountpoint.strip_prefix('/') else {
        return odd("is no directory");
    };
    if mountpoint.len() > 1023 || mountpoint.chars().any(char::is_control) {
        return odd("is not what ZFS takes");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return odd("is not written as a directory's path is");
    }
    let kernels = KERNELS.iter().any(|directory| {
        let below = mountpoint.strip_prefix(directory);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if kernels {
        return odd("is in a directory of the kernel's");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_take_effect_here_does_not_travel() {
        for (name, value, expected) in [
            ("compression", "zstd-3", true),
            ("recordsize", "1048576", true),
            ("quota", "none", true),
            ("readonly", "on", true),
            ("exec", "off", true),
            ("exec", "on", false),
            ("setuid", "on", false),
            ("devices", "on", false),
            ("devices", "off", true),
            ("compression", "lz4,x=y", false),
            ("compression", "", false),
            ("mountpoint", "/etc", false),
            ("canmount", "on", false),
            ("sharenfs", "on", false),
            ("sharesmb", "on", false),
            ("zoned", "on", false),
            ("jailed", "on", false),
            ("keylocation", "prompt", false),
            ("reservation", "1000000000", false),
            ("encryption", "off", false),
            ("volsize", "1", false),
            ("com.example:note", "a b\nc", true),
            ("com.example:Note", "x", false),
            ("-o:x", "x", false),
            ("com.example:a=b", "x", false),
            ("org.beadm-rs:pinned", "17", false),
            ("org.zfsbootmenu:active", "on", false),
            ("org.zfsbootmenu:commandline", "ro quiet", true),
            ("org.openzfs.systemd:wanted-by", "basic.target", false),
            ("org.openzfs.systemd:nofail", "off", true),
        ] {
            assert_eq!(travels(name, value), expected, "{name}={value:?}");
        }
        assert!(!travels("a:b", &"x".repeat(MAX_VALUE + 1)));
        assert!(!travels(&format!("a:{}", "b".repeat(254)), "x"));
    }

    #[test]
    fn a_mountpoint_of_a_boot_tree_is_within_boot() {
        for (mountpoint, root, expected) in [
            ("/boot", true, true),
            ("legacy", true, true),
            ("none", true, false),
            ("/", true, false),
            ("/boot/", true, false),
            ("/boot/grub", true, false),
            ("/boot/grub", false, true),
            ("none", false, true),
            ("legacy", false, true),
            ("/boot", false, false),
            ("/", false, false),
            ("/bootleg", false, false),
            ("/boot/../etc", false, false),
            ("/boot//x", false, false),
            ("/boot/", false, false),
            ("/etc", false, false),
        ] {
            assert_eq!(
                check_mountpoint_in(Tree::Boot, mountpoint, root).is_ok(),
                expected,
                "{mountpoint:?}"
            );
        }
    }

    #[test]
    fn a_mountpoint_is_a_place_in_the_environment() {
        for (mountpoint, root, expected) in [
            ("/", true, true),
            ("legacy", true, true),
            ("none", true, false),
            ("/etc", true, false),
            ("/", false, false),
            ("/var/lib", false, true),
            ("none", false, true),
            ("legacy", false, true),
            ("var", false, false),
            ("/var/../etc", false, false),
            ("/var/./x", false, false),
            ("/var//x", false, false),
            ("/var/", false, false),
            ("/proc", false, false),
            ("/run/x", false, false),
            ("/running", false, true),
            ("/a\nb", false, false),
            ("", false, false),
        ] {
            assert_eq!(
                check_mountpoint(mountpoint, root).is_ok(),
                expected,
                "{mountpoint:?}"
            );
        }
    }
}
