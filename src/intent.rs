//! What an operation leaves in the pool while it runs, so that whoever comes
//! after a power cut or a kill knows what was meant: `org.beadm-rs:op` on the
//! beroot, set with the first change and cleared with the last; that of `create`
//! moves to the new root, where the commit clears it.
//!
//! Names and ids only: ZFS takes 8 KiB (`ZAP_MAXVALUELEN`).

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::str::FromStr;

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::boot::Switch;
use crate::share::Place;
use crate::zfs::{DatasetName, Guid, SnapshotName};

/// The longest value of a user property, bytes (zfsprops(7), 8192 with the NUL).
pub const MAX_BYTES: usize = 8191;

/// The version of the format this program writes and reads.
pub const VERSION: u32 = 1;

/// Which operation something belongs to: 64 random bits, sixteen hexadecimal
/// digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OpId(u64);

impl OpId {
    /// A new one. Random keys of the standard library's hasher are enough: it
    /// has to be unlike the others in one pool, not unguessable.
    #[must_use]
    pub fn random() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// A given one, for tests.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Eight digits, enough to tell two snapshots of one second apart.
    #[must_use]
    pub fn short(self) -> String {
        format!("{:08x}", self.0 >> 32)
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for OpId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl TryFrom<String> for OpId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<OpId> for String {
    fn from(id: OpId) -> Self {
        id.to_string()
    }
}

/// An operation that began and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// [`VERSION`].
    pub v: u32,
    /// Which operation.
    pub id: OpId,
    /// When it began.
    pub at: DateTime<Utc>,
    /// What it does.
    #[serde(flatten)]
    pub undertaking: Undertaking,
}

/// For serde, which asks by reference.
fn is_good(switch: &Switch) -> bool {
    *switch == Switch::Good
}

/// A tree that arrives in a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arriving {
    /// Its new root.
    pub root: DatasetName,
    /// What that is called until all has arrived.
    pub staging: DatasetName,
}

/// What each operation needs to be completed or taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Undertaking {
    /// Clones of snapshots.
    Create {
        /// The new trees' roots, the one under the beroot first.
        roots: Vec<DatasetName>,
        /// The trees they are cloned from, in the same order.
        from: Vec<DatasetName>,
        /// The part of the snapshots' names after `@`.
        snapshot: String,
        /// The snapshots are the operation's own.
        own: bool,
    },
    /// Copies in another pool.
    Copy {
        /// The new tree's root.
        root: DatasetName,
        /// The tree it is copied from.
        from: DatasetName,
        /// The part of the snapshots' names after `@`.
        snapshot: String,
        /// The mountpoint that makes the new root an environment.
        mountpoint: String,
    },
    /// A switch to another environment.
    Activate {
        /// The environment.
        target: Guid,
        /// What to promote to take the promotions back, in this order; empty
        /// where there were too many to note, and they stay (harmless).
        back: Vec<Guid>,
        /// The environment's failback record before.
        failback: Option<Guid>,
        /// How it is to boot.
        #[serde(default, skip_serializing_if = "is_good")]
        switch: Switch,
        /// The loader, where it is not the pool's bootfs that decides.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        loader: Option<String>,
        /// The records of trials before: their keys and texts.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        records: Vec<(String, String)>,
    },
    /// An environment from streams.
    Import {
        /// The new root.
        root: DatasetName,
        /// What it is called until all has arrived.
        staging: DatasetName,
        /// The value of the mark that what is received has.
        mark: String,
        /// The part of the snapshots' names after `@` that go when it has arrived.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<String>,
        /// What has arrived stays.
        keep: bool,
        /// Its `/boot`, where that arrives in a pool of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot: Option<Arriving>,
    },
    /// The end of an environment that lies in several pools.
    Destroy {
        /// The trees' roots.
        roots: Vec<(DatasetName, Guid)>,
        /// The snapshots it was cloned from stay.
        keep_origin: bool,
    },
    /// A new name.
    Rename {
        /// The trees' roots: which, from, to.
        moves: Vec<(Guid, DatasetName, DatasetName)>,
    },
    /// A snapshot of an environment, in several pools.
    Snapshot {
        /// The trees' roots.
        roots: Vec<DatasetName>,
        /// The part of the snapshots' names after `@`.
        snapshot: String,
    },
    /// The end of a snapshot of an environment.
    DestroySnapshot {
        /// The environment's root.
        root: DatasetName,
        /// The part of the snapshots' names after `@`.
        snapshot: String,
        /// The snapshots.
        guids: Vec<Guid>,
        /// The environment's roots in other pools.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<DatasetName>,
    },
    /// Back to a snapshot.
    Rollback {
        /// The environment's root.
        root: DatasetName,
        /// The part of the snapshots' names after `@`.
        snapshot: String,
        /// The datasets in the beroot's pool are rolled back: they may have been
        /// booted since, and are not to be rolled back again.
        #[serde(default)]
        done: bool,
        /// The environment's roots in other pools.
        #[serde(default)]
        others: Vec<DatasetName>,
    },
    /// A directory moved into the shared dataset.
    Share {
        /// Which, and where to.
        #[serde(flatten)]
        place: Place,
        /// The root of the environment.
        root: DatasetName,
    },
    /// A shared directory moved back into the environment.
    Unshare {
        /// Which.
        #[serde(flatten)]
        place: Place,
        /// The root of the environment.
        root: DatasetName,
        /// Others go on sharing it.
        only_here: bool,
        /// The copy was made: where it is gone, it is in its place.
        copied: bool,
    },
    /// Something of the shared dataset put back as it was.
    Restore {
        /// The shared dataset.
        share: DatasetName,
        /// Where in it.
        path: Utf8PathBuf,
        /// The snapshot of the state before.
        before: SnapshotName,
    },
    /// Files carried from one environment to another.
    Sync {
        /// The source's roots, the one under the beroot first.
        from: Vec<DatasetName>,
        /// The target's.
        to: Vec<DatasetName>,
        /// What the snapshots' names after `@` begin with.
        snapshot: String,
    },
}

impl Undertaking {
    /// The command, for messages.
    #[must_use]
    pub fn command(&self) -> &'static str {
        match self {
            Self::Create { .. } | Self::Copy { .. } => "create",
            Self::Import { .. } => "import",
            Self::Activate { .. } => "activate",
            Self::Destroy { .. } | Self::DestroySnapshot { .. } => "destroy",
            Self::Snapshot { .. } => "snapshot",
            Self::Rename { .. } => "rename",
            Self::Rollback { .. } => "rollback",
            Self::Share { .. } => "share add",
            Self::Unshare { .. } => "share remove",
            Self::Restore { .. } => "share restore",
            Self::Sync { .. } => "sync",
        }
    }

    /// The trees' roots it names, in whichever pools they are.
    #[must_use]
    pub fn roots(&self) -> Vec<DatasetName> {
        match self {
            Self::Create { roots, from, .. } => roots.iter().chain(from).cloned().collect(),
            Self::Copy { root, from, .. } => vec![root.clone(), from.clone()],
            Self::Import {
                root,
                staging,
                boot,
                ..
            } => {
                let boot = boot.iter().flat_map(|boot| [&boot.root, &boot.staging]);
                [root, staging].into_iter().chain(boot).cloned().collect()
            }
            Self::Activate { .. } => Vec::new(),
            Self::Destroy { roots, .. } => roots.iter().map(|(name, _)| name.clone()).collect(),
            Self::Rename { moves } => moves.iter().map(|(_, from, _)| from.clone()).collect(),
            Self::Snapshot { roots, .. } => roots.clone(),
            Self::Sync { from, to, .. } => from.iter().chain(to).cloned().collect(),
            Self::DestroySnapshot { root, others, .. } | Self::Rollback { root, others, .. } => {
                std::iter::once(root).chain(others).cloned().collect()
            }
            Self::Share { place, root } | Self::Unshare { place, root, .. } => {
                vec![root.clone(), place.share.clone()]
            }
            Self::Restore { share, .. } => vec![share.clone()],
        }
    }

    /// What it is done to, for messages; a guid where it may have been renamed.
    #[must_use]
    pub fn object(&self) -> String {
        match self {
            Self::Create { roots, .. } => roots.first().map(ToString::to_string),
            Self::Copy { root, .. } | Self::Import { root, .. } | Self::Rollback { root, .. } => {
                Some(root.to_string())
            }
            Self::DestroySnapshot { root, snapshot, .. } => Some(format!("{root}@{snapshot}")),
            Self::Snapshot { roots, snapshot } => {
                roots.first().map(|root| format!("{root}@{snapshot}"))
            }
            Self::Activate { target, .. } => Some(format!("the environment with guid {target}")),
            Self::Destroy { roots, .. } => roots.first().map(|(name, _)| name.to_string()),
            Self::Rename { moves } => moves.first().map(|(_, from, to)| format!("{from} to {to}")),
            Self::Share { place, .. } | Self::Unshare { place, .. } => Some(place.path.to_string()),
            Self::Restore { path, .. } => Some(path.to_string()),
            Self::Sync { from, to, .. } => match (from.first(), to.first()) {
                (Some(from), Some(to)) => Some(format!("{from} to {to}")),
                _ => None,
            },
        }
        .unwrap_or_default()
    }
}

impl Intent {
    /// The text of the marker.
    #[must_use]
    pub fn encode(&self) -> String {
        // Plain data without maps: serialising it cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the text of the marker.
    ///
    /// # Errors
    /// Where it is not one of this version: a newer program's, or damaged.
    pub fn decode(text: &str) -> Result<Self, String> {
        let intent: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if intent.v == VERSION {
            Ok(intent)
        } else {
            Err(format!("its version is {}, not {VERSION}", intent.v))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_is_read_as_it_was_written() {
        let intent = Intent {
            v: VERSION,
            id: OpId::from_bits(0xabc),
            at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            undertaking: Undertaking::Activate {
                target: Guid(7),
                back: vec![Guid(8)],
                failback: None,
                switch: Switch::Good,
                loader: None,
                records: Vec::new(),
            },
        };
        assert_eq!(
            intent.encode(),
            r#"{"v":1,"id":"0000000000000abc","at":"2023-11-14T22:13:20Z","op":"activate","target":"7","back":["8"],"failback":null}"#
        );
        assert_eq!(Intent::decode(&intent.encode()), Ok(intent));
        assert!(Intent::decode("{}").is_err());
        assert!(Intent::decode(r#"{"v":2}"#).is_err());
    }
}
