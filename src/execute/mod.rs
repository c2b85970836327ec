//! Carries plans out: under the lock, step by step, undoing in reverse order
//! on failure, and saying in which state the machine is left.

pub mod carry;
pub mod failpoint;
pub mod freight;
pub mod mount;
pub mod rewrite;
pub mod run;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::info;

use crate::be::rewrite::Names;
use crate::host::Host;
use crate::plan::{Action, Plan, Step, recover};
use crate::share::change;
use crate::survey::{Scope, Survey};
use crate::zfs::{CloneOf, Meter, SyncOp};
use failpoint::When;
use freight::{Freight, FreightError};

/// Is told how a plan goes; knows no terminal itself.
pub trait Progress: Sync {
    /// A step begins.
    fn begin(&self, step: &Step);
    /// A transfer of about so many bytes begins.
    fn total(&self, bytes: u64);
    /// So many bytes more.
    fn advance(&self, bytes: u64);
    /// The step is done.
    fn end(&self);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _step: &Step) {}
    fn total(&self, _bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
}

/// Why one action failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// ZFS.
    #[error(transparent)]
    Zfs(#[from] crate::zfs::Error),
    /// The operating system.
    #[error(transparent)]
    Os(#[from] crate::os::Error),
    /// An archive, or another stream from outside.
    #[error(transparent)]
    Freight(#[from] FreightError),
    /// The user, by a signal.
    #[error("interrupted")]
    Interrupted,
    /// What was to be undone could not be made out.
    #[error("{0}")]
    Recovery(String),
    /// A test.
    #[error("stopped by a fail point at {0}")]
    FailPoint(String),
}

impl Cause {
    /// Parts of the step were done and stay done.
    fn is_partial(&self) -> bool {
        matches!(self, Self::Zfs(error) if error.partial)
    }
}

/// How a plan failed, and what that leaves.
#[derive(Debug)]
pub enum Failure {
    /// At the first step, which changed nothing.
    Nothing {
        /// The step that failed.
        step: &'static str,
        /// Why.
        cause: Cause,
    },
    /// Before the commit point; everything done was undone.
    Undone {
        /// The step that failed.
        step: &'static str,
        /// Why.
        cause: Cause,
    },
    /// Before the commit point, and not everything could be undone.
    NotUndone {
        /// The step that failed.
        step: &'static str,
        /// Why.
        cause: Cause,
        /// Why the undoing failed.
        undoing: Vec<Cause>,
    },
    /// At or after the commit point.
    Unfinished {
        /// The step that failed.
        step: &'static str,
        /// Why.
        cause: Cause,
    },
}

impl Failure {
    /// What failed at the bottom of it.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        match self {
            Self::Nothing { cause, .. }
            | Self::Undone { cause, .. }
            | Self::NotUndone { cause, .. }
            | Self::Unfinished { cause, .. } => cause,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { cause, .. } => write!(f, "{cause}; nothing was changed"),
            Self::Undone { cause, .. } => {
                write!(f, "{cause}; what was changed was undone")
            }
            Self::NotUndone { cause, undoing, .. } => {
                write!(f, "{cause}; undoing failed too")?;
                undoing.iter().try_for_each(|cause| write!(f, " ({cause})"))
            }
            Self::Unfinished { step, cause } => {
                write!(
                    f,
                    "{cause}; it stopped at step '{step}', past the point of return"
                )
            }
        }
    }
}

impl std::error::Error for Failure {}

/// Carries a plan out. The caller holds the lock.
///
/// `interrupted` is looked at before every step up to the commit point, and
/// during transfers.
///
/// # Errors
/// See [`Failure`].
pub fn execute(
    host: &Host,
    plan: &Plan,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> Result<(), Failure> {
    execute_with(host, plan, progress, interrupted, &mut Freight::default())
}

/// The same for a plan by which streams leave the pools or come into them.
///
/// # Errors
/// See [`Failure`].
pub fn execute_with(
    host: &Host,
    plan: &Plan,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
    freight: &mut Freight,
) -> Result<(), Failure> {
    let mut committed = false;
    for (index, step) in plan.steps.iter().enumerate() {
        info!(step = step.name, action = %step.action, "step");
        progress.begin(step);
        let flow = Flow {
            progress,
            interrupted,
        };
        let acted = perform(host, plan, step, &flow, committed, freight);
        progress.end();
        let whole = acted.is_ok();
        let reached = || failpoint::reached(plan.operation, step.name, When::After);
        let Err(cause) = acted.and_then(|()| reached()) else {
            committed |= step.commit;
            continue;
        };
        let name = step.name;
        if committed || (step.commit && (whole || cause.is_partial())) {
            return Err(Failure::Unfinished { step: name, cause });
        }
        // A transaction or rename that failed without being partial did nothing.
        let is_one = matches!(step.action, Action::Transact { .. } | Action::Rename { .. });
        let nothing = !whole && is_one;
        if nothing && index == 0 && !cause.is_partial() {
            return Err(Failure::Nothing { step: name, cause });
        }
        let undoing = if cause.is_partial() {
            // What came about is in the pool; the way back starts from there.
            take_back(host, plan.steps.get(..=index).unwrap_or_default())
        } else {
            let begun = if nothing { index } else { index + 1 };
            undo(host, plan.steps.get(..begun).unwrap_or_default())
        };
        return Err(if undoing.is_empty() {
            Failure::Undone { step: name, cause }
        } else {
            Failure::NotUndone {
                step: name,
                cause,
                undoing,
            }
        });
    }
    Ok(())
}

fn perform(
    host: &Host,
    plan: &Plan,
    step: &Step,
    flow: &Flow<'_>,
    committed: bool,
    freight: &mut Freight,
) -> Result<(), Cause> {
    if !committed && flow.interrupted.load(Ordering::Relaxed) {
        return Err(Cause::Interrupted);
    }
    failpoint::reached(plan.operation, step.name, When::Before)?;
    act(host, &step.action, flow, freight)
}

/// Does what undoing or recovering asks for, whatever signal came.
fn act_alone(host: &Host, action: &Action) -> Result<(), Cause> {
    let never = AtomicBool::new(false);
    let flow = Flow {
        progress: &Quiet,
        interrupted: &never,
    };
    act(host, action, &flow, &mut Freight::default())
}

/// Undoes steps, the last first. Everything is tried, but where files could not be put
/// back, or something kept a name it is not to have: what they are put back from stays, and
/// what says whose the name is. Once anything failed the intent stays, for recover.
fn undo(host: &Host, steps: &[Step]) -> Vec<Cause> {
    let mut failed = Vec::new();
    let actions = steps.iter().rev().flat_map(|step| &step.undo);
    for action in actions.filter(|action| !still_mounted(host, action)) {
        info!(action = %action, "undo");
        let undone = match action {
            Action::Transact { pool, operations } if !failed.is_empty() => {
                let mut operations = operations.clone();
                operations.retain(|it| !matches!(it, SyncOp::Unmark { key, .. } if key == "op"));
                let pool = pool.clone();
                match operations.is_empty() {
                    true => Ok(()),
                    false => act_alone(host, &Action::Transact { pool, operations }),
                }
            }
            action => act_alone(host, action),
        };
        if let Err(cause) = undone {
            failed.push(cause);
            if matches!(action, Action::TakeBack(_) | Action::Rename { .. }) {
                break;
            }
        }
    }
    failed
}

/// Whether it is a mount that did not end: the step that was to end it failed
/// or was not begun. Linux refuses to mount a file system on itself
/// (`do_add_mount`).
fn still_mounted(host: &Host, action: &Action) -> bool {
    let Action::Mount(request) = action else {
        return false;
    };
    host.platform.mounts(false).is_ok_and(|mounts| {
        mounts
            .iter()
            .any(|mount| mount.dataset == request.dataset && mount.directory == request.directory)
    })
}

/// Does what `recover` does. Where there is no intent although the steps record
/// one, with their first change, nothing came about; where they record none,
/// their own undoing is the way back.
fn take_back(host: &Host, steps: &[Step]) -> Vec<Cause> {
    let surveyed = match Survey::take(host, Scope::Change) {
        Ok(survey) => survey,
        Err(error) => return vec![Cause::Recovery(error.to_string())],
    };
    let plan = match recover::plan(&surveyed, host.loader.as_ref()) {
        Ok(Some(plan)) => plan,
        Ok(None) if record_intent(steps, &surveyed) => return Vec::new(),
        Ok(None) => return undo(host, steps),
        Err(refusal) => return vec![Cause::Recovery(refusal.to_string())],
    };
    // What comes after a step that failed is for recover, as is the intent.
    let done = |step: &Step| act_alone(host, &step.action);
    plan.steps
        .iter()
        .try_for_each(done)
        .err()
        .into_iter()
        .collect()
}

/// Whether one of the steps sets the marker on the beroot.
fn record_intent(steps: &[Step], survey: &Survey) -> bool {
    steps.iter().any(|step| match &step.action {
        Action::Transact { operations, .. } => operations.iter().any(|operation| {
            matches!(operation, SyncOp::Mark { object, key, .. }
                if key == "op" && object == survey.beroot.as_str())
        }),
        _ => false,
    })
}

struct Flow<'a> {
    progress: &'a dyn Progress,
    interrupted: &'a AtomicBool,
}

impl Meter for Flow<'_> {
    fn advance(&self, bytes: u64) -> bool {
        self.progress.advance(bytes);
        !self.interrupted.load(Ordering::Relaxed)
    }
}

/// Makes the clones. Whether the root's files have names to be written is looked at while
/// the others are made, and the operations run then.
fn clone(
    host: &Host,
    clones: &[CloneOf],
    operations: &[SyncOp],
    names: &Names,
) -> Result<(), Cause> {
    let Some((root, others)) = clones.split_first() else {
        return Ok(());
    };
    host.zfs.clone_all(std::slice::from_ref(root))?;
    let (made, are_due) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| rewrite::are_due(host, &root.target, names));
        let pool = root.target.pool();
        let made = host.zfs.clone_beside(others, &pool, operations);
        (made, looking.join())
    });
    made?;
    // Where it could not be looked at, the writing tells why.
    if are_due.unwrap_or(true) {
        rewrite::write(host, &root.target, names)?;
    }
    Ok(())
}

fn act(host: &Host, action: &Action, flow: &Flow<'_>, freight: &mut Freight) -> Result<(), Cause> {
    let Flow {
        progress,
        interrupted,
    } = *flow;
    match action {
        Action::Transact { pool, operations } => host.zfs.transact(pool, operations)?,
        Action::Clone {
            clones,
            operations,
            names,
        } => clone(host, clones, operations, names)?,
        Action::CreateDataset { dataset, settings } => host.zfs.create(dataset, settings)?,
        Action::Set { dataset, settings } => host.zfs.set(dataset, settings)?,
        Action::SetBootfs { pool, dataset } => host.zfs.set_bootfs(pool, dataset.as_ref())?,
        Action::Rename { from, to } => host.zfs.rename(from, to)?,
        Action::Rewrite { dataset, names } => rewrite::names(host, dataset, names)?,
        Action::Transfer(transfer) => {
            if let Ok(bytes) = host.zfs.transfer_size(transfer) {
                progress.total(bytes);
            }
            host.zfs.transfer(transfer, flow)?;
        }
        Action::Send(sending) => {
            freight.send(host, sending, &|bytes| progress.total(bytes), flow)?;
        }
        Action::Keep { .. } => freight.keep()?,
        Action::Receive(receiving) => {
            progress.total(receiving.bytes);
            freight.receive(host, receiving, flow)?;
        }
        Action::Enable { units, off } => host.platform.enable(units, *off)?,
        Action::Mount(request) => host.platform.mount(request)?,
        Action::Unmount { directory, force } => host.platform.unmount(directory, *force)?,
        Action::Loader(change) => host.platform.change_loader(change)?,
        Action::Grub(change) => host.platform.change_grub(change)?,
        Action::Share(change) => change::perform(host, change, progress, interrupted)?,
        Action::Carry(work) => carry::carry(host, work, interrupted)?,
        Action::TakeBack(back) => carry::take_back(host, back)?,
        Action::Resolve(work) => carry::resolve(host, work)?,
        Action::Forget { dataset, id } => carry::forget(host, dataset, *id)?,
    }
    Ok(())
}
