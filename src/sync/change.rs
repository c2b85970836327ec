//! What becomes of the files of the target, as data.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::answer::Verdicts;
use super::list::Synclist;
use super::read::Decided;
use super::version::Seen;
use crate::diff::side::Side;
use crate::intent::OpId;
use crate::zfs::DatasetName;

/// The four trees: both sides, and of each what it was at the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sides {
    /// The source.
    pub source: Side,
    /// The target.
    pub target: Side,
    /// The source at the last time; only those of its places that have a base.
    pub base_source: Side,
    /// Likewise the target.
    pub base_target: Side,
}

/// Whose version decides a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winner {
    /// The source's is carried.
    Source,
    /// The target's stays.
    Target,
    /// The target's stays, and the source's is kept beside it: where nobody is asked,
    /// at a boot and on the way back.
    Beside,
}

/// Where the contents of a file come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Contents {
    /// The source's file, link or directory.
    Source,
    /// The source's file of another path.
    SourceAt(Vec<u8>),
    /// The target's own.
    Target,
    /// These were made of both.
    Made(Vec<u8>),
}

// Contents may be secret.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("Source"),
            Self::SourceAt(path) => write!(f, "SourceAt(/{})", String::from_utf8_lossy(path)),
            Self::Target => f.write_str("Target"),
            Self::Made(bytes) => f.debug_tuple("Made").field(&bytes.len()).finish(),
        }
    }
}

/// What becomes of one path of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// From the root of the tree, without a slash at the beginning.
    pub path: Vec<u8>,
    /// The place of the target's dataset it is in.
    pub part: Vec<u8>,
    /// What is there.
    pub was: Option<Seen>,
    /// What is to be there.
    pub to: Option<Seen>,
    /// Where its contents come from.
    pub contents: Contents,
}

/// What was found and decided, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// What was read.
    pub sides: Sides,
    /// By which list.
    pub list: Synclist,
    /// Where something lies that is part of neither side, with its name.
    pub shared: BTreeMap<Vec<u8>, String>,
    /// How conflicts are decided.
    pub verdicts: Verdicts,
    /// What came of it.
    pub decided: Decided,
}

/// The changes of one synchronization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carry {
    /// Which operation.
    pub id: OpId,
    /// What came of the look, and the snapshots from which it is decided once more.
    pub looked: Looked,
    /// The target's datasets in their places.
    pub target: Vec<(Vec<u8>, DatasetName)>,
}

impl Carry {
    /// How many paths it changes, without what is kept beside.
    #[must_use]
    pub fn count(&self) -> usize {
        let rows = self.looked.decided.rows.iter();
        rows.filter(|row| row.change.is_some()).count()
    }
}

/// In a plan: the paths, and nothing of what is in them.
impl Serialize for Carry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let paths: Vec<String> = self
            .looked
            .decided
            .changes()
            .into_iter()
            .map(|change| format!("/{}", String::from_utf8_lossy(&change.path)))
            .collect();
        let mut object = serializer.serialize_struct("Carry", 2)?;
        object.serialize_field("target", &self.looked.sides.target.name)?;
        object.serialize_field("paths", &paths)?;
        object.end()
    }
}

/// What has to be known to put the target's files back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakeBack {
    /// Which operation.
    pub id: OpId,
    /// The target's roots, the one that is booted first.
    pub roots: Vec<DatasetName>,
    /// The part after `@` of the snapshots taken of them before.
    pub snapshot: String,
}

/// The end of a conflict that waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// Which operation.
    pub id: OpId,
    /// The environment.
    pub side: Side,
    /// The file.
    pub path: Vec<u8>,
    /// What is changed, in this order.
    pub changes: Vec<Change>,
}

/// In a plan: the paths, and nothing of what is in them.
impl Serialize for Resolve {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let paths: Vec<String> = self
            .changes
            .iter()
            .map(|change| format!("/{}", String::from_utf8_lossy(&change.path)))
            .collect();
        let mut object = serializer.serialize_struct("Resolve", 2)?;
        object.serialize_field("target", &self.side.name)?;
        object.serialize_field("paths", &paths)?;
        object.end()
    }
}
