//! What the labels of a pool say to the loaders of FreeBSD and illumos: a list of
//! names and values in an area of its own (`sys/zfs_bootenv.h`). One of them is
//! what boots once; the loader takes it out before it starts that.
//!
//! It is read and written by a command of the system: `zfsbootcfg` and `eeprom -b`,
//! which are the same to the letter where this uses them (both are libzfsbootenv).
//! The kernel writes the area on every disk of the pool, one label after the other
//! (`vdev_label_write_bootenv`), each whole and with a checksum; the loader takes
//! one that it can read. So a power cut leaves what was there or what was to be.

use std::str::FromStr;

use super::{Error, Platform, Result};
use crate::sys::command;
use crate::zfs::{DatasetName, PoolName};

/// Whose loader reads the labels; the name is a part of its key there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// FreeBSD's.
    FreeBsd,
    /// illumos'.
    Illumos,
}

impl Vendor {
    /// The running system's, where that has one.
    #[must_use]
    pub const fn here() -> Option<Self> {
        if cfg!(target_os = "freebsd") {
            Some(Self::FreeBsd)
        } else if cfg!(target_os = "illumos") {
            Some(Self::Illumos)
        } else {
            None
        }
    }

    /// What the loader is called in messages.
    #[must_use]
    pub const fn loader(self) -> &'static str {
        match self {
            Self::FreeBsd => "FreeBSD's loader",
            Self::Illumos => "illumos' loader",
        }
    }

    /// The key of what boots once.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::FreeBsd => "freebsd:bootonce",
            Self::Illumos => "illumos:bootonce",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::FreeBsd => "zfsbootcfg",
            Self::Illumos => "eeprom",
        }
    }

    /// What the program is called with: its options, then `more`.
    fn arguments(self, pool: &PoolName, more: &str) -> Vec<String> {
        let own = match self {
            Self::FreeBsd => [].as_slice(),
            // The boot area instead of the variables of the firmware.
            Self::Illumos => ["-b"].as_slice(),
        };
        own.iter()
            .copied()
            .chain(["-z", pool.as_str(), more])
            .map(str::to_owned)
            .collect()
    }

    /// The command by which nothing boots once any more.
    #[must_use]
    pub fn clearing(self, pool: &PoolName) -> String {
        format!(
            "{} {}''",
            self.program(),
            self.arguments(pool, "").join(" ")
        )
    }

    fn run(self, pool: &PoolName, more: &str, attempted: &str) -> Result<String> {
        let failed = |detail: String| Error::Unexpected {
            attempted: attempted.to_owned(),
            detail,
        };
        let program = self.program();
        let path = command::find(program)
            .ok_or_else(|| failed(format!("{program}(8) is not installed")))?;
        let finished = command::run(&path, &self.arguments(pool, more), None)
            .map_err(Error::io(attempted.to_owned()))?;
        let said = String::from_utf8_lossy(&finished.stdout).into_owned();
        if finished.status.success() {
            return Ok(said);
        }
        // It says what failed on either.
        let why = [finished.stderr.as_str(), said.trim()].join(" ");
        Err(failed(format!(
            "{program} says: {}",
            match why.trim() {
                "" => "nothing",
                why => why,
            }
        )))
    }

    /// What the labels of a pool say.
    ///
    /// # Errors
    /// Where the command fails, or what it prints is not understood.
    pub fn read(self, pool: &PoolName) -> Result<Label> {
        let attempted = reading(pool);
        let text = self.run(pool, "-p", &attempted)?;
        Label::parse(&text, self).map_err(|detail| Error::Unexpected { attempted, detail })
    }

    /// Has something boot once, or nothing.
    ///
    /// # Errors
    /// Where the command fails.
    pub fn write(self, pool: &PoolName, once: Option<&str>) -> Result<()> {
        let attempted = format!("write the labels of pool {pool}");
        self.run(pool, once.unwrap_or_default(), &attempted)
            .map(drop)
    }
}

impl FromStr for Vendor {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "freebsd" => Ok(Self::FreeBsd),
            "illumos" => Ok(Self::Illumos),
            other => Err(format!("{other} is neither freebsd nor illumos")),
        }
    }
}

/// What is attempted by looking.
pub(crate) fn reading(pool: &PoolName) -> String {
    format!("read the labels of pool {pool}")
}

/// Why that is of no use on most systems.
pub(crate) fn nothing_reads(pool: &PoolName) -> Error {
    Error::Unexpected {
        attempted: reading(pool),
        detail: "no loader of this system looks at them".to_owned(),
    }
}

/// The boot area of a pool's labels, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Label {
    /// What boots once, as the loader reads it.
    pub once: Option<String>,
    /// There is something else in it that would be lost: a list in another form,
    /// as GRUB's environment block, is replaced by whoever writes
    /// (`lzbe_set_boot_device`).
    pub foreign: bool,
}

impl Label {
    /// Reads what nvlist_print(3) of libnvpair writes: a head, then a line with one
    /// tab for each pair; what is nested has more of them.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub fn parse(text: &str, vendor: Vendor) -> std::result::Result<Self, String> {
        /// What `version` says of a list of names and values (`VB_NVLIST`).
        const LIST: &str = "0x1";
        let mut lines = text.lines();
        if lines
            .next()
            .is_none_or(|head| !head.starts_with("nvlist version: "))
        {
            return Err("it is no list of names and values".to_owned());
        }
        let mut version = None;
        let mut once = None;
        let mut others = false;
        for line in lines {
            let pair = line
                .strip_prefix('\t')
                .filter(|line| !line.starts_with('\t'))
                .and_then(|line| line.split_once(" = "));
            let (place, name, value) = match pair {
                Some((name @ "version", value)) => (&mut version, name, value),
                Some((name, value)) if name == vendor.key() => (&mut once, name, value),
                other => {
                    // An empty block of GRUB's is what a pool has from the start.
                    others |= other.is_none_or(|(_, value)| !value.is_empty());
                    continue;
                }
            };
            // A value with a line end in it may look like a pair.
            if place.replace(value.to_owned()).is_some() {
                return Err(format!("{name} is there twice"));
            }
        }
        Ok(Self {
            // What zfsbootcfg of FreeBSD 12 wrote has no version.
            once: once.filter(|once| !once.is_empty() && version.as_deref() != Some("0x0")),
            foreign: others && version.as_deref() != Some(LIST),
        })
    }
}

/// How the loader is told to boot a dataset.
#[must_use]
pub fn device(root: &DatasetName) -> String {
    format!("zfs:{root}:")
}

/// The dataset that the loader is told to boot; `None` where it is something else.
#[must_use]
pub fn dataset(device: &str) -> Option<DatasetName> {
    let name = device.strip_prefix("zfs:")?;
    name.strip_suffix(':').unwrap_or(name).parse().ok()
}

/// Has `to` boot once where `from` did, and looks whether it does.
pub(super) fn change<P: Platform + ?Sized>(
    platform: &P,
    attempted: &str,
    pool: &PoolName,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<()> {
    let failed = |detail: String| Error::Unexpected {
        attempted: attempted.to_owned(),
        detail,
    };
    let before = platform.pool_label(pool)?;
    if before.once.as_deref() == to {
        return Ok(());
    }
    if before.foreign || before.once.as_deref() != from {
        return Err(failed("it was changed since it was looked at".to_owned()));
    }
    platform.set_pool_label(pool, to)?;
    // The kernel is content with one disk that it could write.
    let after = platform.pool_label(pool)?.once;
    if after.as_deref() == to {
        return Ok(());
    }
    Err(failed(format!(
        "it says {} nevertheless",
        after.as_deref().unwrap_or("nothing")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, vendor: Vendor) -> (Option<String>, bool) {
        let label = Label::parse(text, vendor).unwrap();
        (label.once, label.foreign)
    }

    fn once(name: &str) -> Option<String> {
        Some(format!("zfs:{name}:"))
    }

    #[test]
    fn what_the_commands_print_is_read() {
        use Vendor::{FreeBsd, Illumos};
        let freebsd = |file: &str| match file {
            "set" => include_str!("../../tests/fixtures/labels/freebsd/set.txt"),
            "cleared" => include_str!("../../tests/fixtures/labels/freebsd/cleared.txt"),
            "never" => include_str!("../../tests/fixtures/labels/freebsd/never.txt"),
            "nextboot" => include_str!("../../tests/fixtures/labels/freebsd/nextboot.txt"),
            "12" => include_str!("../../tests/fixtures/labels/freebsd/12.txt"),
            _ => include_str!("../../tests/fixtures/labels/freebsd/grub.txt"),
        };
        for (file, expected) in [
            ("set", (once("zroot/ROOT/new"), false)),
            ("cleared", (None, false)),
            ("never", (None, false)),
            ("nextboot", (once("zroot/ROOT/14.1 p3"), false)),
            ("12", (once("zroot/ROOT/new"), false)),
            ("grub", (None, true)),
        ] {
            assert_eq!(parsed(freebsd(file), FreeBsd), expected, "{file}");
        }
        let set = include_str!("../../tests/fixtures/labels/illumos/set.txt");
        assert_eq!(parsed(set, Illumos), (once("rpool/ROOT/omnios-1"), false));
        // What boots once there is nothing to the other one.
        assert_eq!(parsed(set, FreeBsd), (None, false));
        assert_eq!(parsed(freebsd("12"), Illumos), (None, true));
    }

    #[test]
    fn what_is_not_clear_is_an_error() {
        for (text, why) in [
            ("", "no list"),
            ("zfs:zroot/ROOT/new:\n", "no list"),
            (
                "nvlist version: 0\n\tversion = 0x1\n\tfreebsd:bootonce = a\n\tfreebsd:bootonce = b\n",
                "twice",
            ),
            (
                "nvlist version: 0\n\tversion = 0x1\n\tversion = 0x0\n",
                "twice",
            ),
        ] {
            let error = Label::parse(text, Vendor::FreeBsd).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_dataset_is_named_as_the_loader_wants_it() {
        let root: DatasetName = "zroot/ROOT/new".parse().unwrap();
        assert_eq!(device(&root), "zfs:zroot/ROOT/new:");
        assert_eq!(dataset("zfs:zroot/ROOT/new:"), Some(root.clone()));
        assert_eq!(dataset("zfs:zroot/ROOT/new"), Some(root));
        for other in [
            "",
            "zfs:",
            "zfs::",
            "zroot/ROOT/new",
            "disk0p2:",
            "/boot/loader -D",
        ] {
            assert_eq!(dataset(other), None, "{other}");
        }
    }

    #[test]
    fn the_commands_are_called_as_their_sources_want_it() {
        let pool = "zroot".parse().unwrap();
        let words = |vendor: Vendor, more| vendor.arguments(&pool, more).join("|");
        assert_eq!(words(Vendor::FreeBsd, "-p"), "-z|zroot|-p");
        assert_eq!(words(Vendor::FreeBsd, ""), "-z|zroot|");
        assert_eq!(words(Vendor::Illumos, "zfs:a:"), "-b|-z|zroot|zfs:a:");
        assert_eq!(Vendor::FreeBsd.clearing(&pool), "zfsbootcfg -z zroot ''");
        assert_eq!(Vendor::Illumos.clearing(&pool), "eeprom -b -z zroot ''");
    }
}
