//! One operation of a history, and what it comes to on one side.
//!
//! Everything is named, nothing is chosen: an operation means the same after
//! others were left out. As JSON it is a line of a regression test.

use beadm_rs::zfs::{
    CloneOf, DatasetName, Error, Guard, Guid, Meter, PoolName, Setting, SnapshotName, SyncOp,
    Transfer, Zfs,
};
use serde::{Deserialize, Serialize};

use super::side::Side;

/// A call of the engine, or something that happens beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    Create(String, Vec<Setting>),
    Clone(String, String, Vec<Setting>),
    Transact(String, Vec<Sync>),
    Set(String, Vec<Setting>),
    Rename(String, String),
    Bootfs(String, Option<String>),
    Transfer(String, String, Vec<Setting>),
    TransferSize(String),
    Properties(String),
    Holds(String),
    /// A user's hold on a snapshot, or its end.
    Hold(String, bool),
    /// A user's volume.
    Volume(String),
    /// So many KiB into a file of that number.
    Write(String, u8, u32),
    /// On the directory of that number.
    Mount(String, u8, bool),
    Unmount(u8),
}

/// A part of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sync {
    Mark(String, String, String),
    Unmark(String, String),
    Snapshot(String),
    Promote(String, bool),
    Destroy(String, Must, bool),
    Rollback(String, Must),
}

/// What must be true of an object. Guids differ between the sides, so they are
/// looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Must {
    /// The guid it has now.
    BeIt,
    /// A guid nothing has.
    BeAnother,
    Origin(String),
    Mark(String, String),
    Setting(String, String),
}

/// Goes on to the end.
struct Patient;

impl Meter for Patient {
    fn advance(&self, _bytes: u64) -> bool {
        true
    }
}

fn dataset(name: &str) -> DatasetName {
    name.parse().unwrap()
}

fn snapshot(name: &str) -> SnapshotName {
    name.parse().unwrap()
}

fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

/// What a call came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// All of it that is the same on every engine.
    told: String,
    /// In whose words is its own affair.
    detail: String,
    /// Nothing was done.
    pub refused: bool,
    /// For counting: done, or the class of error.
    pub class: String,
}

impl Outcome {
    fn plain(told: impl std::fmt::Debug) -> Self {
        let told = format!("{told:?}");
        let class = match told.as_str() {
            "false" | "\"failed\"" | "\"busy\"" => "refused beside the engine",
            _ => "done",
        };
        Self {
            class: class.to_owned(),
            told,
            detail: String::new(),
            refused: false,
        }
    }

    /// All of it that is the same on every engine.
    pub fn told(&self) -> &str {
        &self.told
    }
}

impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        self.told == other.told
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.told, self.detail)
    }
}

fn told<T>(result: Result<T, Error>) -> Outcome {
    let refused = result.as_ref().is_err_and(|error| !error.partial);
    let (told, class, detail) = match result {
        Ok(_) => ("done".to_owned(), "done".to_owned(), String::new()),
        Err(Error {
            kind,
            attempted,
            partial,
            detail,
        }) => {
            let partly = if partial { ", partly done" } else { "" };
            let told = format!("{kind:?}: {attempted}{partly}");
            (told, format!("{kind:?}{partly}"), detail)
        }
    };
    Outcome {
        told,
        detail,
        refused,
        class,
    }
}

impl Must {
    fn guard(&self, side: &Side, object: &str) -> Guard {
        match self {
            Self::BeIt => Guard::Guid(side.guid(object).unwrap_or(Guid(1))),
            Self::BeAnother => Guard::Guid(Guid(1)),
            Self::Origin(name) => Guard::Origin(snapshot(name)),
            Self::Mark(key, text) => Guard::Mark {
                key: key.clone(),
                text: text.clone(),
            },
            Self::Setting(key, value) => Guard::Setting {
                key: key.clone(),
                value: value.clone(),
            },
        }
    }
}

impl Sync {
    /// The pool of what it is about.
    pub fn pool(&self) -> &str {
        let (Self::Mark(object, ..)
        | Self::Unmark(object, _)
        | Self::Snapshot(object)
        | Self::Promote(object, _)
        | Self::Destroy(object, ..)
        | Self::Rollback(object, _)) = self;
        object.split(['/', '@']).next().unwrap_or_default()
    }

    fn on(&self, side: &Side) -> SyncOp {
        match self {
            Self::Mark(object, key, text) => SyncOp::Mark {
                object: object.clone(),
                key: key.clone(),
                text: text.clone(),
            },
            Self::Unmark(object, key) => SyncOp::Unmark {
                object: object.clone(),
                key: key.clone(),
            },
            Self::Snapshot(name) => SyncOp::Snapshot {
                snapshot: snapshot(name),
            },
            Self::Promote(name, checked) => SyncOp::Promote {
                dataset: dataset(name),
                checked: *checked,
            },
            Self::Destroy(object, must, missing_ok) => SyncOp::Destroy {
                object: object.clone(),
                guard: must.guard(side, object),
                missing_ok: *missing_ok,
            },
            Self::Rollback(name, must) => SyncOp::Rollback {
                dataset: dataset(name),
                guard: must.guard(side, name),
            },
        }
    }
}

impl Op {
    /// Does it, and says what came of it.
    pub fn on(&self, side: &Side) -> Outcome {
        let zfs: &dyn Zfs = side.zfs();
        match self {
            Self::Create(name, settings) => told(zfs.create(&dataset(name), settings)),
            Self::Clone(from, to, settings) => told(zfs.clone_all(&[CloneOf {
                snapshot: snapshot(from),
                target: dataset(to),
                settings: settings.clone(),
            }])),
            Self::Transact(name, parts) => {
                let parts: Vec<SyncOp> = parts.iter().map(|part| part.on(side)).collect();
                told(zfs.transact(&pool(name), &parts))
            }
            Self::Set(name, settings) => told(zfs.set(&dataset(name), settings)),
            Self::Rename(from, to) => told(zfs.rename(&dataset(from), &dataset(to))),
            Self::Bootfs(name, to) => {
                let to = to.as_deref().map(dataset);
                told(zfs.set_bootfs(&pool(name), to.as_ref()))
            }
            Self::Transfer(from, to, settings) => {
                let transfer = Transfer {
                    snapshot: snapshot(from),
                    target: dataset(to),
                    settings: settings.clone(),
                    raw: false,
                };
                told(zfs.transfer(&transfer, &Patient))
            }
            Self::TransferSize(from) => told(zfs.transfer_size(&Transfer {
                snapshot: snapshot(from),
                target: dataset("nowhere/x"),
                settings: Vec::new(),
                raw: false,
            })),
            Self::Properties(name) => told(zfs.properties(&dataset(name))),
            Self::Holds(name) => match zfs.holds(&snapshot(name)) {
                Ok(tags) => Outcome::plain(tags),
                failed => told(failed),
            },
            // Not the engine's: only whether it could be done.
            Self::Hold(name, held) => Outcome::plain(side.hold(&snapshot(name), *held)),
            Self::Volume(name) => Outcome::plain(side.volume(&dataset(name))),
            Self::Write(name, number, kib) => {
                Outcome::plain(side.write(&dataset(name), *number, *kib))
            }
            Self::Mount(name, at, readonly) => {
                Outcome::plain(side.mount(&dataset(name), *at, *readonly))
            }
            Self::Unmount(at) => Outcome::plain(side.unmount(*at)),
        }
    }

    /// Whether the engine's contract covers it: setting what could mount or
    /// unmount something is for datasets that are not mounted.
    pub fn is_covered(&self, side: &Side) -> bool {
        match self {
            Self::Set(name, settings) => {
                let moves = |(name, _): &Setting| name == "mountpoint" || name == "canmount";
                !settings.iter().any(moves) || !side.mounted_within(&dataset(name))
            }
            _ => true,
        }
    }
}
