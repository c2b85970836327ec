//! Properties (zfsprops(7)).

use std::fmt;
use std::str::FromStr;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// The property `canmount` (zfsprops(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Canmount {
    /// Mounted by `zfs mount -a`.
    On,
    /// Mounted only when asked for.
    Noauto,
    /// Never mounted; children inherit from it.
    Off,
}

impl Canmount {
    /// The value as ZFS writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Noauto => "noauto",
            Self::Off => "off",
        }
    }
}

/// The property `mountpoint` (zfsprops(7)), with the pool's altroot in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mountpoint {
    /// A directory.
    Path(Utf8PathBuf),
    /// Managed by fstab(5).
    Legacy,
    /// Nowhere.
    None,
}

impl fmt::Display for Mountpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.pad(path.as_str()),
            Self::Legacy => f.pad("legacy"),
            Self::None => f.pad("none"),
        }
    }
}

impl Mountpoint {
    /// The value without the pool's altroot: what is stored in the dataset.
    #[must_use]
    pub fn without(self, altroot: Option<&Utf8PathBuf>) -> Self {
        match (self, altroot) {
            (Self::Path(path), Some(altroot)) => Self::Path(
                path.strip_prefix(altroot)
                    .map(|rest| Utf8PathBuf::from("/").join(rest))
                    .unwrap_or(path),
            ),
            (other, _) => other,
        }
    }
}

impl FromStr for Mountpoint {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text {
            "legacy" => Self::Legacy,
            // A volume has no mountpoint and shows "-".
            "none" | "-" | "" => Self::None,
            path => Self::Path(path.into()),
        })
    }
}

/// Where a property's value comes from (zfs-get(8)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Set on this very object.
    Local,
    /// Came with a received stream.
    Received,
    /// Anything else (default, inherited, temporary, none).
    Other(String),
}

/// One property that is set on an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// Its value, in exact numbers.
    pub value: String,
}

/// A setting for a dataset: a property's name and its new value.
pub type Setting = (String, String);
