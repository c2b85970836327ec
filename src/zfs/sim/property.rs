//! The properties ZFS has, the values they take, and how they are inherited
//! (`zfs_prop.c`, `zprop_parse_value`, zfsprops(7)).

use nix::errno::Errno;

use super::refusal::{Ruled, refuse};
use super::state::Origin;
use crate::zfs::Kind;

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One of these words.
    Words(&'static [&'static str]),
    /// `gzip-[1-9]`, `zstd-[1-19]`, … beside the plain words.
    Compression,
    /// A number of bytes or things; `none` is 0.
    Number,
    /// The same, and 0 has to be written `none`.
    Quota,
    /// A number of things, or `none`.
    Limit,
    /// A power of two from 512 to 16 MiB.
    BlockSize,
    /// Any text.
    Text,
    /// A path, `none` or `legacy`.
    Mountpoint,
}

/// Whether it can be set, and whether children have it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// Inherited.
    Inherit,
    /// Not inherited.
    Own,
    /// Given at creation only.
    Once,
    /// Given at creation only, as the root of a key.
    Key,
    /// Never set.
    ReadOnly,
}

/// Which kinds of datasets have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Filesystems,
    Volumes,
    Both,
}

struct Native(&'static str, Nature, On, Form);

const SWITCH: Form = Form::Words(&["on", "off"]);
const CACHE: Form = Form::Words(&["all", "none", "metadata"]);
const CHECKSUM: Form = Form::Words(&[
    "on",
    "off",
    "fletcher2",
    "fletcher4",
    "sha256",
    "noparity",
    "sha512",
    "skein",
    "edonr",
    "blake3",
]);
const DEDUP: Form = Form::Words(&[
    "on",
    "off",
    "verify",
    "sha256",
    "sha256,verify",
    "sha512",
    "sha512,verify",
    "skein",
    "skein,verify",
    "edonr,verify",
    "blake3",
    "blake3,verify",
]);
const CIPHER: Form = Form::Words(&[
    "on",
    "off",
    "aes-128-ccm",
    "aes-192-ccm",
    "aes-256-ccm",
    "aes-128-gcm",
    "aes-192-gcm",
    "aes-256-gcm",
]);

/// `zfs_prop_init` of OpenZFS 2.3, what it registers for datasets on Linux.
const NATIVE: &[Native] = {
    use Form::{BlockSize, Compression, Limit, Mountpoint, Number, Quota, Text, Words};
    use Nature::{Inherit, Key, Once, Own, ReadOnly};
    use On::{Both, Filesystems, Volumes};
    &[
        Native(
            "aclinherit",
            Inherit,
            Filesystems,
            Words(&[
                "discard",
                "noallow",
                "restricted",
                "passthrough",
                "secure",
                "passthrough-x",
            ]),
        ),
        Native(
            "aclmode",
            Inherit,
            Filesystems,
            Words(&["discard", "groupmask", "passthrough", "restricted"]),
        ),
        Native(
            "acltype",
            Inherit,
            Filesystems,
            Words(&["off", "posix", "nfsv4", "disabled", "noacl", "posixacl"]),
        ),
        Native("atime", Inherit, Filesystems, SWITCH),
        Native(
            "canmount",
            Own,
            Filesystems,
            Words(&["on", "off", "noauto"]),
        ),
        Native(
            "casesensitivity",
            Once,
            Filesystems,
            Words(&["sensitive", "insensitive", "mixed"]),
        ),
        Native("checksum", Inherit, Both, CHECKSUM),
        Native("compression", Inherit, Both, Compression),
        Native("context", Own, Both, Text),
        Native("copies", Inherit, Both, Words(&["1", "2", "3"])),
        Native("dedup", Inherit, Both, DEDUP),
        Native("defcontext", Own, Both, Text),
        Native("devices", Inherit, Filesystems, SWITCH),
        Native(
            "direct",
            Inherit,
            Filesystems,
            Words(&["disabled", "standard", "always"]),
        ),
        Native(
            "dnodesize",
            Inherit,
            Filesystems,
            Words(&["legacy", "auto", "1k", "2k", "4k", "8k", "16k"]),
        ),
        Native("encryption", Key, Both, CIPHER),
        Native("exec", Inherit, Filesystems, SWITCH),
        Native("filesystem_limit", Own, Filesystems, Limit),
        Native("fscontext", Own, Both, Text),
        Native("jailed", Inherit, Filesystems, SWITCH),
        Native(
            "keyformat",
            Key,
            Both,
            Words(&["none", "raw", "hex", "passphrase"]),
        ),
        Native("keylocation", Own, Both, Text),
        Native("logbias", Inherit, Both, Words(&["latency", "throughput"])),
        Native("longname", Inherit, Filesystems, SWITCH),
        Native("mlslabel", Inherit, Both, Text),
        Native("mountpoint", Inherit, Filesystems, Mountpoint),
        Native("nbmand", Inherit, Filesystems, SWITCH),
        Native(
            "normalization",
            Once,
            Filesystems,
            Words(&["none", "formC", "formD", "formKC", "formKD"]),
        ),
        Native("overlay", Inherit, Filesystems, SWITCH),
        Native("pbkdf2iters", Key, Both, Number),
        Native("prefetch", Inherit, Both, CACHE),
        Native("primarycache", Inherit, Both, CACHE),
        Native("quota", Own, Filesystems, Quota),
        Native("readonly", Inherit, Both, SWITCH),
        Native("recordsize", Inherit, Filesystems, BlockSize),
        Native(
            "redundant_metadata",
            Inherit,
            Both,
            Words(&["all", "most", "some", "none"]),
        ),
        Native("refquota", Own, Filesystems, Quota),
        Native("refreservation", Own, Both, Number),
        Native("relatime", Inherit, Filesystems, SWITCH),
        Native("reservation", Own, Both, Number),
        Native("rootcontext", Own, Both, Text),
        Native("secondarycache", Inherit, Both, CACHE),
        Native("setuid", Inherit, Filesystems, SWITCH),
        Native("sharenfs", Inherit, Filesystems, Text),
        Native("sharesmb", Inherit, Filesystems, Text),
        Native("snapdev", Inherit, Both, Words(&["hidden", "visible"])),
        Native(
            "snapdir",
            Inherit,
            Filesystems,
            Words(&["disabled", "hidden", "visible"]),
        ),
        Native("snapshot_limit", Own, Both, Limit),
        Native("special_small_blocks", Inherit, Both, Number),
        Native(
            "sync",
            Inherit,
            Both,
            Words(&["standard", "always", "disabled"]),
        ),
        Native("utf8only", Once, Filesystems, SWITCH),
        Native(
            "version",
            Own,
            Filesystems,
            Words(&["1", "2", "3", "4", "5", "current"]),
        ),
        Native("volblocksize", Once, Volumes, BlockSize),
        Native(
            "volmode",
            Inherit,
            Both,
            Words(&["default", "full", "geom", "dev", "none"]),
        ),
        Native("volsize", Own, Volumes, Number),
        Native("volthreading", Own, Volumes, SWITCH),
        Native("vscan", Inherit, Filesystems, SWITCH),
        Native(
            "xattr",
            Inherit,
            Filesystems,
            Words(&["on", "off", "dir", "sa"]),
        ),
        Native("zoned", Inherit, Filesystems, SWITCH),
        Native("available", ReadOnly, Both, Number),
        Native("clones", ReadOnly, Both, Text),
        Native("compressratio", ReadOnly, Both, Number),
        Native("createtxg", ReadOnly, Both, Number),
        Native("creation", ReadOnly, Both, Number),
        Native("defer_destroy", ReadOnly, Both, SWITCH),
        Native("encryptionroot", ReadOnly, Both, Text),
        Native("filesystem_count", ReadOnly, Both, Number),
        Native("guid", ReadOnly, Both, Number),
        Native("keystatus", ReadOnly, Both, Text),
        Native("logicalreferenced", ReadOnly, Both, Number),
        Native("logicalused", ReadOnly, Both, Number),
        Native("mounted", ReadOnly, Both, SWITCH),
        Native("name", ReadOnly, Both, Text),
        Native("objsetid", ReadOnly, Both, Number),
        Native("origin", ReadOnly, Both, Text),
        Native("receive_resume_token", ReadOnly, Both, Text),
        Native("redact_snaps", ReadOnly, Both, Text),
        Native("refcompressratio", ReadOnly, Both, Number),
        Native("referenced", ReadOnly, Both, Number),
        Native("snapshot_count", ReadOnly, Both, Number),
        Native("snapshots_changed", ReadOnly, Both, Number),
        Native("type", ReadOnly, Both, Text),
        Native("used", ReadOnly, Both, Number),
        Native("usedbychildren", ReadOnly, Both, Number),
        Native("usedbydataset", ReadOnly, Both, Number),
        Native("usedbyrefreservation", ReadOnly, Both, Number),
        Native("usedbysnapshots", ReadOnly, Both, Number),
        Native("userrefs", ReadOnly, Both, Number),
        Native("written", ReadOnly, Both, Number),
    ]
};

/// The longest name of a property, in bytes (`ZAP_MAXNAMELEN` with the NUL).
const MAX_NAME_BYTES: usize = 255;

/// The longest value of a property, in bytes (`ZAP_MAXVALUELEN` with the NUL).
const MAX_VALUE_BYTES: usize = 8191;

/// When a property is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// With `zfs create`.
    Creating,
    /// With `zfs clone` or `zfs receive`.
    Cloning,
    /// On what is there.
    Later,
}

/// Whether it is the name of a user property (`zfs_prop_user`).
pub(super) fn is_user(name: &str) -> bool {
    name.contains(':')
        && name.chars().all(|c| {
            c.is_ascii_lowercase()
                || c.is_ascii_digit()
                || matches!(c, '-' | '_' | '.' | ':' | '+' | '?')
        })
}

/// Checks a user property as a channel program does (`dsl_props_set_check`).
pub(super) fn check_user(name: &str, value: &str) -> Ruled<()> {
    check_user_name(name)?;
    check_length(name, value)
}

/// What the kernel looks at, and libzfs does not.
pub(super) fn check_length(name: &str, value: &str) -> Ruled<()> {
    if is_user(name) && value.len() > MAX_VALUE_BYTES {
        return refuse(Errno::E2BIG, "property value too long");
    }
    Ok(())
}

fn check_user_name(name: &str) -> Ruled<()> {
    if !is_user(name) {
        return refuse(Errno::EINVAL, format!("invalid property '{name}'"));
    }
    if name.len() > MAX_NAME_BYTES {
        return refuse(
            Errno::ENAMETOOLONG,
            format!("property name '{name}' is too long"),
        );
    }
    Ok(())
}

/// What `zfs receive -o` refuses by its name alone, before it looks at anything
/// else (`zfs_receive_checkprops`).
pub(super) fn check_received(name: &str) -> Ruled<()> {
    let known = NATIVE.iter().find(|native| native.0 == name);
    let allowed = match known {
        None => is_user(name),
        // Encryption is looked at later.
        Some(Native("keylocation", ..) | Native(_, Nature::Key, ..)) => true,
        Some(Native("version" | "volsize", ..)) => false,
        Some(Native(_, nature, ..)) => matches!(nature, Nature::Inherit | Nature::Own),
    };
    if allowed {
        return Ok(());
    }
    refuse(Errno::EINVAL, format!("invalid property '{name}'"))
}

/// A setting as it is kept: its value in exact numbers, and its source.
pub(super) fn check(name: &str, value: &str, kind: Kind, when: When) -> Ruled<(String, Origin)> {
    if is_user(name) {
        check_user_name(name)?;
        return Ok((value.to_owned(), Origin::Local));
    }
    let Some(Native(_, nature, on, form)) = NATIVE.iter().find(|native| native.0 == name) else {
        return refuse(Errno::EINVAL, format!("invalid property '{name}'"));
    };
    let applies = match on {
        On::Both => true,
        On::Filesystems => kind == Kind::Filesystem,
        On::Volumes => kind == Kind::Volume,
    };
    if !applies {
        return refuse(
            Errno::EINVAL,
            format!("'{name}' does not apply to datasets of this type"),
        );
    }
    let source = match (nature, when) {
        // Shown without a source (`get_numeric_property`).
        (Nature::Own, _) if name == "version" => Origin::Fixed,
        (Nature::Inherit | Nature::Own, _) => Origin::Local,
        (Nature::Once | Nature::Key, When::Creating) => Origin::Fixed,
        _ => return refuse(Errno::EINVAL, format!("'{name}' is readonly")),
    };
    let exact = exact(name, value, *form)?;
    if name == "keylocation" && when == When::Cloning && value != "none" {
        return refuse(
            Errno::EINVAL,
            "keylocation must be 'none' for unencrypted datasets",
        );
    }
    Ok((exact, source))
}

fn exact(name: &str, value: &str, form: Form) -> Ruled<String> {
    let number = |value: &str| match parse_number(value) {
        Some(number) => Ok(number),
        None => refuse(Errno::EINVAL, format!("bad numeric value '{value}'")),
    };
    let one_of = |words: &[&str]| {
        if words.contains(&value) {
            Ok(value.to_owned())
        } else {
            let words = words.join(" | ");
            refuse(Errno::EINVAL, format!("'{name}' must be one of '{words}'"))
        }
    };
    match form {
        // Values with two names are shown by the first of them (`acltype_table`, `xattr_table` of 2.3).
        Form::Words(words) => one_of(words).map(|word| match (name, word.as_str()) {
            ("acltype", "posixacl") => "posix".to_owned(),
            ("acltype", "noacl" | "disabled") => "off".to_owned(),
            ("xattr", "sa") => "on".to_owned(),
            _ => word,
        }),
        Form::Compression => {
            if value == "gzip-6" {
                Ok("gzip".to_owned())
            } else if is_compression(value) {
                Ok(value.to_owned())
            } else {
                one_of(&[
                    "on",
                    "off",
                    "lzjb",
                    "gzip",
                    "gzip-[1-9]",
                    "zle",
                    "lz4",
                    "zstd",
                ])
            }
        }
        Form::Number | Form::Quota if value == "none" => Ok("0".to_owned()),
        Form::Limit if value == "none" => Ok(value.to_owned()),
        Form::Number | Form::Limit => number(value).map(|number| number.to_string()),
        Form::Quota => match number(value)? {
            0 => refuse(Errno::EINVAL, "use 'none' to disable quota/refquota"),
            number => Ok(number.to_string()),
        },
        Form::BlockSize => match number(value)? {
            size if size.is_power_of_two() && (512..=1 << 24).contains(&size) => {
                Ok(size.to_string())
            }
            _ => refuse(
                Errno::EINVAL,
                format!("'{name}' must be power of 2 from 512B to 16M"),
            ),
        },
        Form::Text => Ok(value.to_owned()),
        Form::Mountpoint if value.starts_with('/') || matches!(value, "none" | "legacy") => {
            Ok(value.to_owned())
        }
        Form::Mountpoint => refuse(
            Errno::EINVAL,
            format!("'{name}' must be an absolute path, 'none', or 'legacy'"),
        ),
    }
}

fn is_compression(value: &str) -> bool {
    if matches!(
        value,
        "on" | "off" | "lzjb" | "gzip" | "zle" | "lz4" | "zstd" | "zstd-fast"
    ) {
        return true;
    }
    let level = |prefix: &str| value.strip_prefix(prefix)?.parse::<u32>().ok();
    match (level("gzip-"), level("zstd-"), level("zstd-fast-")) {
        (Some(level), ..) => (1..=9).contains(&level),
        (_, Some(level), _) => (1..=19).contains(&level),
        (.., Some(level)) => {
            (1..=9).contains(&level)
                || (level % 10 == 0 && (10..=100).contains(&level))
                || matches!(level, 500 | 1000)
        }
        _ => false,
    }
}

/// Reads `10G`, `1.5T`, `4096` (`zfs_nicestrtonum`).
fn parse_number(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit = unit.to_ascii_uppercase();
    let unit = unit
        .strip_suffix("IB")
        .or_else(|| unit.strip_suffix('B'))
        .unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        "E" => 60,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 {
        return None;
    }
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let value: u128 = format!("{whole}{fraction}").parse().ok()?;
    u64::try_from(value.checked_mul(1 << shift)? / scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zfs::ErrorKind;

    fn set(name: &str, value: &str) -> Ruled<String> {
        check(name, value, Kind::Filesystem, When::Later).map(|(value, _)| value)
    }

    #[test]
    fn values_are_kept_in_exact_numbers() {
        for (name, value, kept) in [
            ("quota", "10G", "10737418240"),
            ("quota", "none", "0"),
            ("reservation", "0", "0"),
            ("refquota", "1.5k", "1536"),
            ("recordsize", "128KiB", "131072"),
            ("snapshot_limit", "none", "none"),
            ("compression", "zstd-fast-500", "zstd-fast-500"),
            ("mountpoint", "legacy", "legacy"),
            ("com.example:note", "a\tb", "a\tb"),
        ] {
            assert_eq!(set(name, value).as_deref(), Ok(kept), "{name}={value}");
        }
    }

    #[test]
    fn what_zfs_does_not_take_is_refused_in_its_words() {
        for (name, value, why) in [
            (
                "canmount",
                "maybe",
                "'canmount' must be one of 'on | off | noauto'",
            ),
            ("quota", "0", "use 'none' to disable quota/refquota"),
            ("quota", "much", "bad numeric value 'much'"),
            (
                "mountpoint",
                "var",
                "'mountpoint' must be an absolute path, 'none', or 'legacy'",
            ),
            ("used", "1", "'used' is readonly"),
            ("casesensitivity", "mixed", "'casesensitivity' is readonly"),
            ("note", "x", "invalid property 'note'"),
            (
                "com.Example:note",
                "x",
                "invalid property 'com.Example:note'",
            ),
            (
                "volsize",
                "1G",
                "'volsize' does not apply to datasets of this type",
            ),
            (
                "recordsize",
                "1000",
                "'recordsize' must be power of 2 from 512B to 16M",
            ),
        ] {
            let refusal = set(name, value).unwrap_err();
            assert_eq!(refusal.why, why);
            assert_eq!(refusal.kind, ErrorKind::Invalid, "{name}={value}");
        }
    }
}
