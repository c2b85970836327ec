//! Properties and values, those ZFS takes and those it does not.
//!
//! A quota is far from what anything here takes: an empty file system of real
//! ZFS has 24 KiB, of the simulator none.

use beadm_rs::zfs::Setting;

use super::generate::Dice;

/// What any dataset can be asked to take.
const VALUES: &[(&str, &[&str])] = &[
    ("canmount", &["off", "noauto", "maybe", ""]),
    (
        "mountpoint",
        &[
            "none", "legacy", "/tmp/x", "/tmp//y/", "/a b", "/", "here", "",
        ],
    ),
    (
        "quota",
        &[
            "none", "64M", "1G", "2.5M", "0", "much", "-1", "99E", "16E", "", "1Q", "3000KB", "1e9",
        ],
    ),
    ("refquota", &["none", "64M", "1G", "2.5M", "0", "x"]),
    ("reservation", &["none", "1M", "0", "2G", "auto"]),
    ("refreservation", &["none", "1M", "2G", "auto"]),
    (
        "compression",
        &[
            "lz4",
            "gzip-9",
            "gzip-10",
            "zstd-3",
            "zstd-20",
            "zstd-fast-10",
            "on",
            "",
        ],
    ),
    (
        "recordsize",
        &["64K", "128k", "1000", "32M", "16M", "256", "none"],
    ),
    ("readonly", &["on", "off", "yes", "ON"]),
    ("atime", &["on", "off"]),
    ("copies", &["2", "4", "0"]),
    ("checksum", &["sha256", "blake3", "md5"]),
    ("dedup", &["off", "maybe"]),
    ("xattr", &["sa", "on", "dir"]),
    ("acltype", &["posix", "posixacl", "off", "x"]),
    ("sync", &["standard", "disabled"]),
    ("primarycache", &["metadata", "some"]),
    ("snapshot_limit", &["none", "1000", "x"]),
    ("filesystem_limit", &["none", "1000"]),
    ("special_small_blocks", &["0", "4K"]),
    ("devices", &["off"]),
    ("setuid", &["off"]),
    ("snapdir", &["visible", "seen"]),
    ("logbias", &["throughput"]),
    ("volmode", &["none"]),
    ("dnodesize", &["legacy", "auto", "3k"]),
    ("casesensitivity", &["mixed"]),
    ("normalization", &["formD", "formX"]),
    ("utf8only", &["on"]),
    ("version", &["5", "9"]),
    ("volsize", &["8M"]),
    ("volblocksize", &["8K"]),
    ("used", &["1"]),
    ("guid", &["1"]),
    ("origin", &["x"]),
    ("note", &["x"]),
    ("keylocation", &["prompt", "file:///x"]),
    ("encryption", &["off"]),
    (
        "org.beadm-rs:description",
        &[
            "plain",
            "",
            "-",
            "a = b",
            "trailing ",
            " leading",
            "tab\there",
            "two\nlines",
            "Umlaut ü, 中, 😀",
            "'quoted' \"twice\" \\ back",
            "$(id); `x`",
        ],
    ),
    ("org.beadm-rs:op", &["1 create", "x"]),
    ("org.beadm-rs:exclude", &["on", "off"]),
    ("org.test:note", &["x", "", "a\tb", "last\n", "ü😀"]),
    ("org.Test:note", &["x"]),
    ("org test:note", &["x"]),
    (":", &["x"]),
    ("a:b:c", &["x"]),
];

/// A setting, now and then with a name or value as long as it may be, or
/// longer.
pub fn any(dice: &mut Dice) -> Setting {
    if dice.one_in(24) {
        let length = *dice.of(&[8191, 8192, 8000]);
        return ("org.test:long".to_owned(), "v".repeat(length));
    }
    if dice.one_in(40) {
        let length = *dice.of(&[255, 256]);
        return (format!("a:{}", "n".repeat(length - 2)), "x".to_owned());
    }
    let (name, values) = dice.of(VALUES);
    ((*name).to_owned(), (*dice.of(values)).to_owned())
}

/// So many of different names.
pub fn several(dice: &mut Dice, count: usize) -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    for _ in 0..count {
        let setting = any(dice);
        if settings.iter().all(|(name, _)| *name != setting.0) {
            settings.push(setting);
        }
    }
    settings
}

/// What is given to something received. What the kernel itself refuses is only
/// warned of there, and keys are another matter.
pub fn of_something_received(dice: &mut Dice) -> Vec<Setting> {
    let mut settings = of_something_new(dice);
    settings.retain(|(name, value)| {
        !matches!(name.as_str(), "encryption" | "keylocation") && value.len() < 8192
    });
    settings
}

/// What is given to something new: it is never one that mounts by itself.
pub fn of_something_new(dice: &mut Dice) -> Vec<Setting> {
    let canmount = *dice.of(&["noauto", "noauto", "off"]);
    let mut settings = vec![("canmount".to_owned(), canmount.to_owned())];
    if dice.one_in(3) {
        let setting = any(dice);
        // The last of two would count, and the first be looked at.
        if setting.0 != "canmount" {
            settings.push(setting);
        }
    }
    settings
}
