//! The intent in a plan: set with the first change, cleared with the last.

use super::{Action, Plan, Refusal, Step};
use crate::boot::Loader;
use crate::intent::{Intent, Undertaking, VERSION};
use crate::survey::{LOADER, Survey};
use crate::zfs::{DatasetName, Guard, PoolName, SnapshotName, SyncOp};

/// The marker on the beroot that says what is going on.
pub(super) fn intent_mark(survey: &Survey, undertaking: Undertaking) -> (SyncOp, usize) {
    intent_mark_on(&survey.beroot, survey, undertaking)
}

/// The same where it is handed over to.
pub(super) fn intent_mark_on(
    dataset: &DatasetName,
    survey: &Survey,
    undertaking: Undertaking,
) -> (SyncOp, usize) {
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
        object: dataset.to_string(),
        key: "op".to_owned(),
        text,
    };
    (mark, bytes)
}

/// The end of the marker on the beroot.
pub(super) fn intent_clear(survey: &Survey) -> SyncOp {
    intent_clear_on(&survey.beroot)
}

/// The end of the marker where it was handed over to.
pub(super) fn intent_clear_on(dataset: &DatasetName) -> SyncOp {
    SyncOp::Unmark {
        object: dataset.to_string(),
        key: "op".to_owned(),
    }
}

/// Snapshots, each marked as this operation's as soon as it is there: where one
/// fails (`snapshot_limit`), those before it can be taken back.
pub(super) fn marked_snapshots<'a>(
    names: impl IntoIterator<Item = &'a SnapshotName>,
    text: &str,
) -> Vec<SyncOp> {
    names
        .into_iter()
        .flat_map(|name| {
            [
                SyncOp::Snapshot {
                    snapshot: name.clone(),
                },
                SyncOp::Mark {
                    object: name.to_string(),
                    key: "op".to_owned(),
                    text: text.to_owned(),
                },
            ]
        })
        .collect()
}

/// The end of such snapshots.
pub(super) fn without_marked<'a>(
    names: impl IntoIterator<Item = &'a SnapshotName>,
    text: &str,
    missing_ok: bool,
) -> Vec<SyncOp> {
    names
        .into_iter()
        .map(|name| SyncOp::Destroy {
            object: name.to_string(),
            guard: Guard::Mark {
                key: "op".to_owned(),
                text: text.to_owned(),
            },
            missing_ok,
        })
        .collect()
}

/// The note of which loader has entries of these environments, where it says
/// something else. By it a later switch knows that the loader is only not seen.
pub(super) fn loader_record(survey: &Survey, loader: &dyn Loader) -> Option<SyncOp> {
    let object = survey.beroot.to_string();
    let key = LOADER.to_owned();
    match (survey.recorded_loader(), loader.copies()) {
        (recorded, true) if recorded != Some(loader.name()) => Some(SyncOp::Mark {
            object,
            key,
            text: loader.name().to_owned(),
        }),
        (Some(_), false) => Some(SyncOp::Unmark { object, key }),
        _ => None,
    }
}

/// Adds the transactions of something that has no way back once it began, the
/// first of which sets the intent: the first is the commit point. The intent is
/// cleared at the end, in the same transaction group where there is nothing
/// else to do.
pub(super) fn close(
    survey: &Survey,
    plan: &mut Plan,
    mut transactions: Vec<(PoolName, Vec<SyncOp>)>,
    names: [&'static str; 2],
    afterwards: Option<Step>,
) {
    let here = survey.beroot.pool();
    let mut cleared = false;
    if let ([(pool, operations)], None) = (transactions.as_mut_slice(), &afterwards)
        && *pool == here
    {
        operations.push(intent_clear(survey));
        cleared = true;
    }
    for (index, (pool, operations)) in transactions.into_iter().enumerate() {
        let name = names[index.min(1)];
        let mut step = Step::new(name, Action::Transact { pool, operations });
        step.commit = index == 0;
        plan.steps.push(step);
    }
    plan.steps.extend(afterwards);
    if !cleared {
        plan.transact("finish", &here, vec![intent_clear(survey)]);
    }
}

/// Refuses a plan whose intent ZFS would not take.
pub(super) fn fits(attempted: &str, bytes: usize) -> Result<(), Refusal> {
    if bytes > crate::intent::MAX_BYTES {
        return Err(Refusal::new(
            attempted,
            format!("its record would take {bytes} bytes, and ZFS takes 8191"),
        ));
    }
    Ok(())
}
