//! Plans: pure functions of a survey and a request. Nothing here starts a
//! process, reads a file or asks the clock.
//!
//! - [`create`], [`activate`] (and failback), [`destroy`], [`rename`],
//!   [`rollback`], [`snapshot`], [`label`], [`init`], [`share`]: one per request.
//! - [`sync`]: files carried from one environment to another; [`files`]: which one has the
//!   newest; [`bases`]: which former ones are still compared with.
//! - [`provisional`]: an activation on trial, or for one boot.
//! - [`upgrade`]: the environment of an upgrade; [`prune`]: which ones go.
//! - [`confirm`]: the end of a trial, and what a boot has to say of it.
//! - [`recover`]: what to do about an operation that did not end.
//! - [`export`], [`import`]: an environment as an archive, and back.
//! - [`graph`]: what promotions do to who hangs on whom.
//! - [`action`]: what a step does; `conditions`, `record`: what requests share.

pub mod action;
pub mod activate;
pub mod bases;
mod conditions;
pub mod confirm;
pub mod create;
pub mod destroy;
pub mod export;
pub mod files;
pub mod graph;
pub mod import;
pub mod init;
pub mod label;
pub mod provisional;
pub mod prune;
mod record;
pub mod recover;
pub mod rename;
pub mod rollback;
pub mod run;
pub mod share;
pub mod snapshot;
pub mod sync;
pub mod upgrade;

use std::fmt;

use serde::Serialize;

use crate::intent::OpId;
use crate::survey::Survey;
use crate::zfs::{Guard, NameError, PoolName, Snapshot, SyncOp};

pub use action::Action;
use conditions::{
    changeable, environment, finished, has_key, loader_is_seen, mounted_by_fstab, no_boot_of,
    not_elsewhere, pools_of, rewritable, unlocked,
};
use record::{
    close, fits, intent_clear, intent_clear_on, intent_mark, intent_mark_on, loader_record,
    marked_snapshots, without_marked,
};

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
    pub(crate) fn new(survey: &Survey, operation: &'static str) -> Self {
        Self {
            id: survey.id,
            operation,
            steps: Vec::new(),
            notes: Vec::new(),
            outcome: String::new(),
        }
    }

    /// Everything it does but its own record, whose identity and time are new
    /// with each plan: equal where two plans come to the same.
    #[must_use]
    pub fn what_it_does(&self) -> Vec<String> {
        let own =
            |operation: &&SyncOp| matches!(operation, SyncOp::Mark { key, .. } if key == "op");
        let others = |operations: &[SyncOp]| -> Vec<String> {
            let others = operations.iter().filter(|operation| !own(operation));
            others.map(|operation| format!("{operation:?}")).collect()
        };
        self.steps
            .iter()
            .flat_map(|step| match &step.action {
                Action::Transact { operations, .. } => others(operations),
                Action::Clone {
                    clones,
                    operations,
                    names,
                } => {
                    let mut does = vec![format!("{clones:?} {names:?}")];
                    does.extend(others(operations));
                    does
                }
                action => vec![format!("{action:?}")],
            })
            .collect()
    }

    /// Has snapshots released that are kept for nothing any more: each goes by its guid,
    /// in a transaction for each pool; what somebody holds or has cloned stays.
    ///
    /// # Errors
    /// Where one of the pools cannot be changed.
    fn release<'a>(
        &mut self,
        survey: &Survey,
        attempted: &str,
        snapshots: impl IntoIterator<Item = &'a Snapshot>,
    ) -> Result<(), Refusal> {
        let mut pools: Vec<(PoolName, Vec<SyncOp>)> = Vec::new();
        for snapshot in snapshots {
            let pool = snapshot.name.dataset().pool();
            let destroy = SyncOp::Destroy {
                object: snapshot.name.to_string(),
                guard: Guard::Guid(snapshot.guid),
                missing_ok: true,
            };
            match pools.iter_mut().find(|(other, _)| *other == pool) {
                Some((_, operations)) => operations.push(destroy),
                None => pools.push((pool, vec![destroy])),
            }
        }
        changeable(survey, attempted, pools.iter().map(|(pool, _)| pool))?;
        for (pool, operations) in pools {
            self.transact("release", &pool, operations);
        }
        if let Some(first) = self.steps.first_mut() {
            first.commit = true;
        }
        Ok(())
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

/// What kind of reason it is, for those who tell kinds apart by a number: the dialects of
/// other tools. The words of a message are nobody's to compare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Why {
    /// There is no environment of that name.
    NoEnvironment,
    /// There is no snapshot of that name.
    NoSnapshot,
    /// It is no clone: there is nothing it was cloned from.
    NoOrigin,
    /// Something of that name is there already.
    Exists,
    /// The name is not one that ZFS takes.
    Name,
    /// The name is too long.
    Length,
    /// It is the running or next environment, or is kept for another reason.
    Protected,
    /// It is mounted.
    Mounted,
    /// It is not mounted.
    NotMounted,
    /// Its mountpoint is not one an environment boots with.
    Mountpoint,
    /// It would take snapshots along that somebody took.
    HasSnapshots,
    /// Something was cloned from it.
    HasClones,
    /// A directory cannot be used for it.
    Directory,
    /// In use, or another beadm-rs is at work.
    Busy,
    /// Not root.
    Permission,
    /// A device or pool fails.
    Io,
    /// There are no boot environments here, or there is no ZFS.
    NoSystem,
    /// Any other.
    #[default]
    Other,
}

/// Why a request is refused before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked: "destroy rpool/ROOT/a".
    pub attempted: String,
    /// Why not.
    pub reason: String,
    /// What kind of reason that is.
    pub why: Why,
    /// What to do instead.
    pub remedy: Option<String>,
}

impl Refusal {
    pub(crate) fn new(attempted: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self {
            attempted: attempted.to_string(),
            reason: reason.to_string(),
            why: Why::Other,
            remedy: None,
        }
    }

    pub(crate) fn why(mut self, why: Why) -> Self {
        self.why = why;
        self
    }

    pub(crate) fn remedy(mut self, remedy: impl fmt::Display) -> Self {
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
    move |error| {
        let why = match &error {
            NameError::TooLong { .. } => Why::Length,
            _ => Why::Name,
        };
        Refusal::new(attempted, error).why(why)
    }
}
