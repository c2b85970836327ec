//! What a step does, and how a person reads it.

use std::fmt;

use camino::Utf8PathBuf;
use serde::Serialize;

use crate::be::rewrite::Names;
use crate::intent::OpId;
use crate::os::MountRequest;
use crate::os::grub::GrubChange;
use crate::os::loader::LoaderChange;
use crate::plan::export::Sending;
use crate::plan::import::Receiving;
use crate::share::change::ShareChange;
use crate::sync::change::{Carry, Resolve, TakeBack};
use crate::zfs::{CloneOf, DatasetName, PoolName, Setting, SyncOp, Transfer};

/// One thing done to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// Operations that share a transaction group.
    Transact {
        /// The pool.
        pool: PoolName,
        /// In this order.
        operations: Vec<SyncOp>,
    },
    /// Clones of an environment, parents before children, several at once where they can
    /// be; dataset names inside the files of the first, their root; and what is recorded
    /// there.
    Clone {
        /// The clones.
        clones: Vec<CloneOf>,
        /// Operations that need the root alone, in a transaction group of their own.
        operations: Vec<SyncOp>,
        /// Which names.
        #[serde(flatten)]
        names: Names,
    },
    /// An empty file system.
    CreateDataset {
        /// Its name.
        dataset: DatasetName,
        /// Its properties.
        settings: Vec<Setting>,
    },
    /// Properties of one dataset.
    Set {
        /// The dataset.
        dataset: DatasetName,
        /// The properties.
        settings: Vec<Setting>,
    },
    /// The pool's `bootfs`.
    SetBootfs {
        /// The pool.
        pool: PoolName,
        /// The dataset, or nothing.
        dataset: Option<DatasetName>,
    },
    /// A dataset's name.
    Rename {
        /// The old one.
        from: DatasetName,
        /// The new one.
        to: DatasetName,
    },
    /// Dataset names inside the files of one dataset.
    Rewrite {
        /// The dataset whose files they are.
        dataset: DatasetName,
        /// Which.
        #[serde(flatten)]
        names: Names,
    },
    /// A stream to another pool.
    Transfer(Transfer),
    /// Streams out of the machine.
    Send(Box<Sending>),
    /// What was written gets its name, and stays.
    Keep {
        /// What it is.
        what: String,
    },
    /// Streams into the machine.
    Receive(Box<Receiving>),
    /// Units of the running system.
    Enable {
        /// Each with the links that enable it.
        units: Vec<(String, Vec<String>)>,
        /// They are disabled instead.
        off: bool,
    },
    /// A mount.
    Mount(MountRequest),
    /// The end of a mount.
    Unmount {
        /// The directory.
        directory: Utf8PathBuf,
        /// Also when something in it is open.
        force: bool,
    },
    /// The loader's files or variables.
    Loader(LoaderChange),
    /// GRUB's own programs, and their place.
    Grub(GrubChange),
    /// Files of an environment and of the shared dataset.
    Share(ShareChange),
    /// Files of one environment written into another.
    Carry(Box<Carry>),
    /// What was there before they were.
    TakeBack(TakeBack),
    /// The end of a conflict that waited.
    Resolve(Box<Resolve>),
    /// The note of what was changed goes.
    Forget {
        /// The root it lies in.
        dataset: DatasetName,
        /// The operation it is of.
        id: OpId,
    },
}

fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {many}")
    }
}

/// "promote rpool/ROOT/a", or "promote 7 datasets".
fn summary(operations: &[SyncOp]) -> String {
    let mut phrases: Vec<String> = Vec::new();
    let mut tell = |verb: &str, noun: (&str, &str), mut objects: Vec<String>| {
        objects.dedup();
        match objects.as_slice() {
            [] => {}
            [only] => phrases.push(format!("{verb} {only}")),
            many => phrases.push(format!("{verb} {}", count(many.len(), noun.0, noun.1))),
        }
    };
    let pick = |select: &dyn Fn(&SyncOp) -> Option<String>| -> Vec<String> {
        operations.iter().filter_map(select).collect()
    };
    tell(
        "record",
        ("property", "properties"),
        pick(&|op| match op {
            SyncOp::Mark { object, key, .. } if !object.contains('@') => {
                Some(format!("'{key}' on {object}"))
            }
            _ => None,
        }),
    );
    tell(
        "snapshot",
        ("dataset", "datasets"),
        pick(&|op| match op {
            SyncOp::Snapshot { snapshot } => Some(snapshot.to_string()),
            _ => None,
        }),
    );
    tell(
        "promote",
        ("dataset", "datasets"),
        pick(&|op| match op {
            SyncOp::Promote { dataset, .. } => Some(dataset.to_string()),
            _ => None,
        }),
    );
    tell(
        "destroy",
        ("snapshot", "snapshots"),
        pick(&|op| match op {
            SyncOp::Destroy { object, .. } if object.contains('@') => Some(object.clone()),
            _ => None,
        }),
    );
    tell(
        "destroy",
        ("dataset", "datasets"),
        pick(&|op| match op {
            SyncOp::Destroy { object, .. } if !object.contains('@') => Some(object.clone()),
            _ => None,
        }),
    );
    tell(
        "roll back",
        ("dataset", "datasets"),
        pick(&|op| match op {
            SyncOp::Rollback { dataset, .. } => Some(dataset.to_string()),
            _ => None,
        }),
    );
    tell(
        "clear",
        ("property", "properties"),
        pick(&|op| match op {
            SyncOp::Unmark { object, key } => Some(format!("'{key}' on {object}")),
            _ => None,
        }),
    );
    phrases.join(", ")
}

fn assignments(settings: &[Setting]) -> String {
    settings
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Which names are written as which.
fn written(names: &Names) -> String {
    let mut written: Vec<String> = names
        .moves
        .iter()
        .map(|(from, to)| format!("{from} as {to}"))
        .collect();
    if !names.own.is_empty() {
        written.push("its own name for a former one".to_owned());
    }
    written.join(", ")
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transact { pool, operations } => {
                write!(
                    f,
                    "in one transaction group of {pool}: {}",
                    summary(operations)
                )
            }
            Self::Clone {
                clones,
                operations,
                names,
            } => {
                let written = written(names);
                match clones.as_slice() {
                    [only] => write!(f, "clone {} as {}", only.snapshot, only.target)?,
                    [first, ..] => write!(
                        f,
                        "clone {} below and with {}",
                        count(clones.len(), "dataset", "datasets"),
                        first.target
                    )?,
                    [] => f.write_str("clone nothing")?,
                }
                write!(f, "; in its fstab and zfs-list.cache, write {written}")?;
                match summary(operations) {
                    none if none.is_empty() => Ok(()),
                    summary => write!(f, "; {summary}"),
                }
            }
            Self::CreateDataset { dataset, .. } => write!(f, "create {dataset}"),
            Self::Set { dataset, settings } => {
                write!(f, "set {} on {dataset}", assignments(settings))
            }
            Self::SetBootfs { pool, dataset } => match dataset {
                Some(dataset) => write!(f, "set bootfs={dataset} on pool {pool}"),
                None => write!(f, "clear bootfs on pool {pool}"),
            },
            Self::Rename { from, to } => write!(f, "rename {from} to {to}"),
            Self::Rewrite { dataset, names } => write!(
                f,
                "in fstab and zfs-list.cache of {dataset}, write {}",
                written(names)
            ),
            Self::Transfer(transfer) => {
                write!(f, "send {} to {}", transfer.snapshot, transfer.target)
            }
            Self::Send(sending) => write!(
                f,
                "send {} of {}",
                count(sending.pieces.len(), "dataset", "datasets"),
                sending.manifest.name
            ),
            Self::Keep { what } => write!(f, "keep {what}"),
            Self::Receive(receiving) => {
                let pieces = &receiving.pieces;
                let all = count(pieces.len(), "dataset", "datasets");
                let staging = receiving.staging.iter().map(ToString::to_string);
                let staging: Vec<String> = staging.collect();
                write!(f, "receive {all} as {}", staging.join(" and "))?;
                match pieces.iter().filter(|piece| piece.there).count() {
                    0 => {}
                    there => write!(f, ", of which {there} arrived before")?,
                }
                match pieces.iter().find_map(|piece| Some((piece, piece.begun?))) {
                    None => Ok(()),
                    Some((piece, bytes)) => write!(
                        f,
                        "; {} goes on after {bytes} bytes of its stream",
                        piece.target
                    ),
                }
            }
            Self::Enable { units, off } => {
                let names: Vec<&str> = units.iter().map(|(name, _)| name.as_str()).collect();
                let verb = if *off { "disable" } else { "enable" };
                write!(f, "{verb} {}", names.join(", "))
            }
            Self::Mount(request) => write!(f, "mount {} on {}", request.dataset, request.directory),
            Self::Unmount { directory, .. } => write!(f, "unmount {directory}"),
            Self::Loader(change) => change.fmt(f),
            Self::Grub(change) => change.fmt(f),
            Self::Share(change) => change.fmt(f),
            Self::Carry(carry) => {
                let sides = &carry.looked.sides;
                let files = count(carry.count(), "file", "files");
                write!(
                    f,
                    "write {files} of {} into {}",
                    sides.source.name, sides.target.name
                )
            }
            Self::TakeBack(back) => {
                let roots = back.roots.iter().map(ToString::to_string);
                let roots: Vec<String> = roots.collect();
                write!(
                    f,
                    "put back what was changed in the files of {}",
                    roots.join(", ")
                )
            }
            Self::Resolve(work) => {
                let path = String::from_utf8_lossy(&work.path);
                write!(f, "settle /{path} of {}", work.side.name)
            }
            Self::Forget { dataset, .. } => {
                write!(f, "remove the note of what was changed from {dataset}")
            }
        }
    }
}
