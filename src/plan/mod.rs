//! Plans: pure functions of a survey and a request. Nothing here starts a
//! process, reads a file or asks the clock.
//!
//! - [`create`], [`activate`] (and failback), [`destroy`], [`rename`],
//!   [`rollback`], [`snapshot`], [`label`]: one per request.
//! - [`recover`]: what to do about an operation that did not end.
//! - [`graph`]: what promotions do to who hangs on whom.

pub mod activate;
pub mod create;
pub mod destroy;
pub mod graph;
pub mod label;
pub mod recover;
pub mod rename;
pub mod rollback;
pub mod run;
pub mod snapshot;

use std::fmt;

use camino::Utf8PathBuf;
use serde::Serialize;

use crate::be::rewrite::Move;
use crate::be::{BeName, BootEnvironment};
use crate::intent::{Intent, OpId, Undertaking, VERSION};
use crate::os::{MountRequest, Namespace};
use crate::survey::{Found, Survey};
use crate::zfs::{CloneOf, DatasetName, NameError, PoolName, Setting, SyncOp, Transfer};

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
    /// Clones, parents before children, several at once where they can be.
    Clone {
        /// The clones.
        clones: Vec<CloneOf>,
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
        /// From which names to which.
        moves: Vec<Move>,
    },
    /// A stream to another pool.
    Transfer(Transfer),
    /// A mount.
    Mount(MountRequest),
    /// The end of a mount.
    Unmount {
        /// The directory.
        directory: Utf8PathBuf,
        /// Also when something in it is open.
        force: bool,
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
    let mut tell = |verb: &str, noun: (&str, &str), objects: Vec<String>| match objects.as_slice() {
        [] => {}
        [only] => phrases.push(format!("{verb} {only}")),
        many => phrases.push(format!("{verb} {}", count(many.len(), noun.0, noun.1))),
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
            Self::Clone { clones } => match clones.as_slice() {
                [only] => write!(f, "clone {} as {}", only.snapshot, only.target),
                [first, ..] => write!(
                    f,
                    "clone {} below and with {}",
                    count(clones.len(), "dataset", "datasets"),
                    first.target
                ),
                [] => f.write_str("clone nothing"),
            },
            Self::CreateDataset { dataset, .. } => write!(f, "create {dataset}"),
            Self::Set { dataset, settings } => {
                write!(f, "set {} on {dataset}", assignments(settings))
            }
            Self::SetBootfs { pool, dataset } => match dataset {
                Some(dataset) => write!(f, "set bootfs={dataset} on pool {pool}"),
                None => write!(f, "clear bootfs on pool {pool}"),
            },
            Self::Rename { from, to } => write!(f, "rename {from} to {to}"),
            Self::Rewrite { dataset, moves } => {
                let moves: Vec<String> = moves
                    .iter()
                    .map(|(from, to)| format!("{from} as {to}"))
                    .collect();
                write!(
                    f,
                    "in fstab and zfs-list.cache of {dataset}, write {}",
                    moves.join(", ")
                )
            }
            Self::Transfer(transfer) => {
                write!(f, "send {} to {}", transfer.snapshot, transfer.target)
            }
            Self::Mount(request) => write!(f, "mount {} on {}", request.dataset, request.directory),
            Self::Unmount { directory, .. } => write!(f, "unmount {directory}"),
        }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is called; the name of its fail point in tests.
    pub name: &'static str,
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
    /// How it is undone, in this order; each part also where the step stopped
    /// halfway.
    pub undo: Vec<Action>,
    /// The commit point: from here on the plan is completed, not undone.
    pub commit: bool,
}

impl Step {
    /// A step that needs no undoing.
    #[must_use]
    pub fn new(name: &'static str, action: Action) -> Self {
        Self {
            name,
            action,
            undo: Vec::new(),
            commit: false,
        }
    }

    /// The same with its undoing.
    #[must_use]
    pub fn undone_by(mut self, undo: Vec<Action>) -> Self {
        self.undo = undo;
        self
    }

    /// The same as the commit point.
    #[must_use]
    pub fn commits(mut self) -> Self {
        self.commit = true;
        self
    }
}

/// What a command is going to do, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Its identity, in the intent and in the names of its snapshots.
    pub id: OpId,
    /// The command.
    pub operation: &'static str,
    /// The steps; none where nothing is to be done.
    pub steps: Vec<Step>,
    /// What the user should know beside the steps: what is skipped, and why.
    pub notes: Vec<String>,
    /// What is true when it is done, one sentence.
    pub outcome: String,
}

impl Plan {
    fn new(survey: &Survey, operation: &'static str) -> Self {
        Self {
            id: survey.id,
            operation,
            steps: Vec::new(),
            notes: Vec::new(),
            outcome: String::new(),
        }
    }

    /// Adds a transaction, unless it would be empty.
    fn transact(&mut self, name: &'static str, pool: &PoolName, operations: Vec<SyncOp>) {
        if !operations.is_empty() {
            self.steps.push(Step::new(
                name,
                Action::Transact {
                    pool: pool.clone(),
                    operations,
                },
            ));
        }
    }
}

/// Why a request is refused before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked: "destroy rpool/ROOT/a".
    pub attempted: String,
    /// Why not.
    pub reason: String,
    /// What to do instead.
    pub remedy: Option<String>,
}

impl Refusal {
    fn new(attempted: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self {
            attempted: attempted.to_string(),
            reason: reason.to_string(),
            remedy: None,
        }
    }

    fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = Some(remedy.to_string());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused to {}: {}", self.attempted, self.reason)
    }
}

impl std::error::Error for Refusal {}

/// What every planner returns.
pub type Planned = Result<Plan, Refusal>;

/// The environment of that name, or a refusal that lists the ones there are.
fn environment<'a>(
    survey: &'a Survey,
    attempted: &str,
    name: &BeName,
) -> Result<BootEnvironment<'a>, Refusal> {
    survey.environment(name).ok_or_else(|| {
        let refusal = Refusal::new(
            attempted,
            format!(
                "there is no boot environment '{name}' under {}",
                survey.beroot
            ),
        );
        match survey.names() {
            names if names.is_empty() => refusal,
            names => refusal.remedy(format!("there are: {names}")),
        }
    })
}

/// What has to be true of the pools and of this program for any change.
fn changeable<'a>(
    survey: &Survey,
    attempted: &str,
    pools: impl IntoIterator<Item = &'a PoolName>,
) -> Result<(), Refusal> {
    if let Some(schema) = survey.newer_schema() {
        return Err(Refusal::new(
            attempted,
            format!(
                "{} was written by a newer beadm-rs (schema {schema})",
                survey.beroot
            ),
        )
        .remedy("use that version; this one only reads here"));
    }
    if let Some(Found::Unreadable(why)) = survey.intent() {
        return Err(Refusal::new(
            attempted,
            format!(
                "an unfinished operation is recorded that this version does not understand ({why})"
            ),
        )
        .remedy("run 'recover' of the version that began it"));
    }
    for name in pools {
        let Some(pool) = survey.pools.get(name) else {
            return Err(
                Refusal::new(attempted, format!("there is no pool '{name}'"))
                    .remedy(format!("zpool import {name}")),
            );
        };
        if pool.readonly {
            return Err(
                Refusal::new(attempted, format!("pool {name} is imported read-only"))
                    .remedy(format!("zpool export {name} && zpool import -N {name}")),
            );
        }
        if !matches!(pool.health.as_str(), "ONLINE" | "DEGRADED") {
            return Err(
                Refusal::new(attempted, format!("pool {name} is {}", pool.health))
                    .remedy(format!("zpool status {name} says why; zpool clear {name}")),
            );
        }
    }
    Ok(())
}

/// The pools an environment lies in, the beroot's first.
fn pools_of(environment: &BootEnvironment<'_>) -> Vec<PoolName> {
    environment
        .roots()
        .iter()
        .map(|root| root.name.pool())
        .collect()
}

/// Refuses an environment that belongs to an operation that did not end.
fn finished(
    survey: &Survey,
    attempted: &str,
    environment: &BootEnvironment<'_>,
) -> Result<(), Refusal> {
    if survey.is_unfinished(&environment.root.name) {
        return Err(
            Refusal::new(attempted, "it is part of an operation that did not end")
                .remedy("beadm-rs recover"),
        );
    }
    Ok(())
}

/// Refuses what needs the files of an environment whose key is not there.
fn unlocked(attempted: &str, environment: &BootEnvironment<'_>) -> Result<(), Refusal> {
    match environment
        .datasets()
        .into_iter()
        .find(|dataset| !dataset.key_loaded)
    {
        None => Ok(()),
        Some(dataset) => {
            let root = dataset.encryption_root.as_ref().unwrap_or(&dataset.name);
            Err(Refusal::new(
                attempted,
                format!("{} is encrypted and its key is not loaded", dataset.name),
            )
            .remedy(format!("zfs load-key {root}")))
        }
    }
}

/// Refuses an environment that is mounted in a mount namespace this program
/// cannot unmount it in.
fn not_elsewhere(
    survey: &Survey,
    attempted: &str,
    environment: &BootEnvironment<'_>,
) -> Result<(), Refusal> {
    let foreign = survey
        .mounts
        .iter()
        .find_map(|mount| match &mount.namespace {
            Namespace::Of { pid, command }
                if environment
                    .everything()
                    .any(|dataset| dataset.name == mount.dataset) =>
            {
                Some(format!(
                    "{} is mounted on {} in the mount namespace of process {pid} ({command})",
                    mount.dataset, mount.directory
                ))
            }
            _ => None,
        });
    match foreign {
        None => Ok(()),
        Some(foreign) => Err(Refusal::new(attempted, foreign)
            .remedy("stop or restart that process; its view of the mounts is its own")),
    }
}

/// The marker on the beroot that says what is going on.
fn intent_mark(survey: &Survey, undertaking: Undertaking) -> (SyncOp, usize) {
    let text = Intent {
        v: VERSION,
        id: survey.id,
        at: survey.now,
        undertaking,
    }
    .encode();
    // The guid and a space stand before it.
    let bytes = text.len() + 21;
    let mark = SyncOp::Mark {
        object: survey.beroot.to_string(),
        key: "op".to_owned(),
        text,
    };
    (mark, bytes)
}

/// The end of the marker on the beroot.
fn intent_clear(survey: &Survey) -> SyncOp {
    SyncOp::Unmark {
        object: survey.beroot.to_string(),
        key: "op".to_owned(),
    }
}

/// Adds the transactions of something that has no way back once it began, the
/// first of which sets the intent: the first is the commit point, the last
/// clears the intent, in the same transaction group where it can.
fn close(
    survey: &Survey,
    plan: &mut Plan,
    mut transactions: Vec<(PoolName, Vec<SyncOp>)>,
    names: [&'static str; 2],
) {
    let here = survey.beroot.pool();
    match transactions.as_mut_slice() {
        [(pool, operations)] if *pool == here => operations.push(intent_clear(survey)),
        _ => transactions.push((here, vec![intent_clear(survey)])),
    }
    let last = transactions.len() - 1;
    for (index, (pool, operations)) in transactions.into_iter().enumerate() {
        let name = match index {
            0 => names[0],
            index if index == last => "finish",
            _ => names[1],
        };
        let mut step = Step::new(name, Action::Transact { pool, operations });
        step.commit = index == 0;
        plan.steps.push(step);
    }
}

/// Refuses a plan whose intent ZFS would not take.
fn fits(attempted: &str, bytes: usize) -> Result<(), Refusal> {
    if bytes > crate::intent::MAX_BYTES {
        return Err(Refusal::new(
            attempted,
            format!("its record would take {bytes} bytes, and ZFS takes 8191"),
        ));
    }
    Ok(())
}

/// A snapshot name that no dataset concerned has, nor gets by a promotion: UTC
/// to the second, and a part of the operation's identity.
fn snapshot_component(survey: &Survey) -> String {
    format!(
        "beadm-rs.{}.{}",
        survey.now.format("%Y%m%dT%H%M%SZ"),
        survey.id.short()
    )
}

/// A name that ZFS does not take, as a refusal.
fn bad_name(attempted: &str) -> impl FnOnce(NameError) -> Refusal + '_ {
    move |error| Refusal::new(attempted, error)
}
