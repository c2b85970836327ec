//! What the administrator says in `/etc/beadm-rs/config.toml`; everything in it
//! may be left out.
//!
//! ```toml
//! [boot]
//! loader = "auto"      # or "systemd-boot", "grub", "label", "bootfs"
//! esp = "/boot/efi"    # where the loader's partition is mounted; found by itself
//! mirrors = []         # where further partitions are mounted that get the same files
//! tries = 3            # how often a trial is booted before the last good one
//! watch = 300          # after how long a trial that is not confirmed restarts, seconds; 0: never
//!
//! [health]
//! timeout = 60         # how long a health check may take, seconds
//!
//! [hooks]              # of package managers: an environment before each transaction
//! enabled = true
//! keep = 5             # how many of them 'prune' keeps, and each hook when it has made one
//! min-free = 10        # with less of the pool free, percent, none is made
//! on-failure = "continue"   # or "stop": no transaction without one
//! ```

use std::fs;
use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::health;

/// Where it is.
pub const PATH: &str = "/etc/beadm-rs/config.toml";

/// What it is called in the directory of a simulated machine.
pub const FILE: &str = "config.toml";

/// More is no configuration, bytes.
const LIMIT: u64 = 1 << 20;

/// The configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The loader.
    pub boot: Boot,
    /// The health checks.
    pub health: Health,
    /// The hooks of package managers.
    pub hooks: Hooks,
}

/// `[hooks]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Hooks {
    /// They make environments.
    pub enabled: bool,
    /// How many are kept.
    pub keep: usize,
    /// How much of the pool has to be free, percent.
    #[serde(deserialize_with = "percent")]
    pub min_free: u64,
    /// What becomes of a transaction before which none could be made.
    pub on_failure: OnFailure,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            enabled: true,
            keep: 5,
            min_free: 10,
            on_failure: OnFailure::Continue,
        }
    }
}

/// What becomes of a transaction before which no environment could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It goes on, and the administrator is told.
    #[default]
    Continue,
    /// The package manager is stopped.
    Stop,
}

fn percent<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let percent = u64::deserialize(deserializer)?;
    if percent < 100 {
        Ok(percent)
    } else {
        Err(serde::de::Error::custom(format!(
            "min-free is {percent}, and can be 0 to 99 percent"
        )))
    }
}

/// `[health]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// How long a check may take, seconds.
    #[serde(deserialize_with = "timeout")]
    pub timeout: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            timeout: health::TIMEOUT.as_secs(),
        }
    }
}

impl Health {
    /// How long a check may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// A check that takes longer than an hour does not tell whether a boot went well.
const LONGEST: u64 = 3600;

fn timeout<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seconds = u64::deserialize(deserializer)?;
    if (1..=LONGEST).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(serde::de::Error::custom(format!(
            "timeout is {seconds}, and can be 1 to {LONGEST} seconds"
        )))
    }
}

/// `[boot]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Boot {
    /// Which loader starts this machine.
    pub loader: LoaderName,
    /// Where the EFI system partition is mounted; looked for where it is not said.
    pub esp: Option<Utf8PathBuf>,
    /// Where other EFI system partitions are mounted that get the same files.
    pub mirrors: Vec<Utf8PathBuf>,
    /// How often a trial is booted before the last good one returns.
    #[serde(deserialize_with = "tries")]
    pub tries: u32,
    /// How long a boot on trial, or for once, may take until the dead man's switch
    /// restarts the machine, seconds; 0 for none.
    #[serde(deserialize_with = "watch")]
    pub watch: u64,
}

/// How often a trial is booted where nothing else is said.
pub const TRIES: u32 = 3;

/// How long a boot on trial may take where nothing else is said, seconds.
pub const WATCH: u64 = 300;

/// Within less no machine is up, and a switch that ends what works is worse than
/// none; after more than a day nobody waits for it, seconds.
const WATCHES: std::ops::RangeInclusive<u64> = 30..=86_400;

/// More tries than this are no trial any more.
const MOST_TRIES: u32 = 99;

impl Default for Boot {
    fn default() -> Self {
        Self {
            loader: LoaderName::Auto,
            esp: None,
            mirrors: Vec::new(),
            tries: TRIES,
            watch: WATCH,
        }
    }
}

/// Which loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoaderName {
    /// The one this machine is seen to have been started by.
    #[default]
    Auto,
    /// systemd-boot.
    SystemdBoot,
    /// GRUB, with a menu of this program's own.
    Grub,
    /// FreeBSD's or illumos': the pool's `bootfs`, and its labels for one boot.
    Label,
    /// Whatever follows the pool's `bootfs`.
    Bootfs,
}

fn tries<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let tries = u32::deserialize(deserializer)?;
    if (1..=MOST_TRIES).contains(&tries) {
        Ok(tries)
    } else {
        Err(serde::de::Error::custom(format!(
            "tries is {tries}, and can be 1 to {MOST_TRIES}"
        )))
    }
}

fn watch<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seconds = u64::deserialize(deserializer)?;
    if seconds == 0 || WATCHES.contains(&seconds) {
        Ok(seconds)
    } else {
        Err(serde::de::Error::custom(format!(
            "watch is {seconds}, and can be 0 (never) or {} to {} seconds",
            WATCHES.start(),
            WATCHES.end()
        )))
    }
}

/// Why the configuration cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is there and cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// Its path.
        path: Utf8PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It says what this program does not understand.
    #[error("cannot follow {path}: {detail}")]
    Meaning {
        /// Its path.
        path: Utf8PathBuf,
        /// What, and in which line.
        detail: String,
    },
}

impl Config {
    /// Reads this machine's; what says nothing where there is none.
    ///
    /// # Errors
    /// Where it cannot be read or says something unknown.
    pub fn load() -> Result<Self, ConfigError> {
        Self::load_from(Utf8Path::new(PATH))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read or says something unknown.
    pub fn load_from(path: &Utf8Path) -> Result<Self, ConfigError> {
        let read = |cause| ConfigError::Read {
            path: path.to_owned(),
            cause,
        };
        match fs::metadata(path) {
            Ok(metadata) if metadata.len() > LIMIT => {
                return Err(read(io::Error::other("it is longer than 1 MiB")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            _ => {}
        }
        let text = fs::read_to_string(path).map_err(read)?;
        Self::parse(&text).map_err(|detail| ConfigError::Meaning {
            path: path.to_owned(),
            detail,
        })
    }

    /// Reads a text.
    ///
    /// # Errors
    /// What it says that this program does not understand, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let Boot { esp, mirrors, .. } = &config.boot;
        if let Some(esp) = esp.as_ref().filter(|esp| !esp.is_absolute()) {
            return Err(format!("esp is {esp}, not an absolute path"));
        }
        if let Some(mirror) = mirrors.iter().find(|mirror| !mirror.is_absolute()) {
            return Err(format!("{mirror} in mirrors is not an absolute path"));
        }
        if esp.as_ref().is_some_and(|esp| mirrors.contains(esp)) {
            return Err("esp is one of mirrors, too".to_owned());
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_may_be_left_out() {
        for text in ["", "[boot]", "# nothing\n"] {
            assert_eq!(Config::parse(text), Ok(Config::default()), "{text}");
        }
        let boot = Config::default().boot;
        assert_eq!(
            (boot.loader, boot.esp, boot.tries, boot.watch),
            (LoaderName::Auto, None, 3, 300)
        );
    }

    #[test]
    fn what_is_said_is_followed() {
        let text = "[boot]\nloader = \"systemd-boot\"\nesp = \"/boot/efi\"\ntries = 1\nwatch = 0\n";
        let boot = Config::parse(text).unwrap().boot;
        assert_eq!(boot.loader, LoaderName::SystemdBoot);
        assert_eq!(boot.esp.as_deref(), Some(Utf8Path::new("/boot/efi")));
        assert_eq!((boot.tries, boot.watch), (1, 0));
        let health = Config::parse("[health]\ntimeout = 5").unwrap().health;
        assert_eq!(health.timeout(), Duration::from_secs(5));
        let text = "[hooks]\nenabled = false\nkeep = 2\nmin-free = 0\non-failure = \"stop\"";
        let expected = Hooks {
            enabled: false,
            keep: 2,
            min_free: 0,
            on_failure: OnFailure::Stop,
        };
        assert_eq!(Config::parse(text).unwrap().hooks, expected);
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (text, named) in [
            ("[boot]\nlader = \"auto\"\n", "`lader`"),
            ("[bot]\n", "`bot`"),
            ("[boot]\nloader = \"lilo\"\n", "`lilo`"),
            ("[boot]\ntries = 0\n", "tries is 0"),
            ("[boot]\ntries = 100\n", "tries is 100"),
            ("[boot]\nwatch = 29\n", "watch is 29"),
            ("[boot]\nwatch = 86401\n", "watch is 86401"),
            ("[boot]\nesp = \"boot\"\n", "esp is boot"),
            ("[boot]\nmirrors = [\"efi2\"]\n", "efi2 in mirrors"),
            (
                "[boot]\nesp = \"/efi\"\nmirrors = [\"/efi\"]\n",
                "one of mirrors",
            ),
            ("[health]\ntimeout = 0\n", "timeout is 0"),
            ("[health]\ntimeout = 3601\n", "timeout is 3601"),
            ("[health]\nretries = 2\n", "`retries`"),
            ("[hooks]\nmin-free = 100\n", "min-free is 100"),
            ("[hooks]\non-failure = \"ask\"\n", "`ask`"),
            ("[hooks]\nkeep = -1\n", "keep"),
            ("boot = 3", "line 1"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().join("config.toml")).unwrap();
        assert_eq!(Config::load_from(&path).unwrap(), Config::default());
        fs::write(&path, "[boot]\ntrie = 3\n").unwrap();
        let error = Config::load_from(&path).unwrap_err().to_string();
        assert!(
            error.contains(path.as_str()) && error.contains("`trie`"),
            "{error}"
        );
        fs::write(&path, [0xff]).unwrap();
        assert!(Config::load_from(&path).is_err());
    }
}
