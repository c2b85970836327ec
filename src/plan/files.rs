//! The record of where the newest files are (`survey::files`): noted with a switch, moved
//! when something came up.

use super::provisional::{mark, unmark};
use super::{Action, Plan, Step, changeable};
use crate::be::BootEnvironment;
use crate::survey::Survey;
use crate::survey::files::{FILES, Files};
use crate::zfs::SyncOp;

const LATE: &str = "late-sync";

/// What a switch notes that synchronizes from one environment to another. What the
/// loader may go back to can come up next, too.
#[must_use]
pub fn of_switch(
    survey: &Survey,
    source: &BootEnvironment<'_>,
    target: &BootEnvironment<'_>,
) -> Files {
    let newest = source.guid();
    let before = survey.files().ok().flatten();
    let mut among = vec![newest, target.guid()];
    let good = survey
        .last_good()
        .filter(|guid| survey.environment_with(*guid).is_some());
    among.extend(good.filter(|guid| ![newest, target.guid()].contains(guid)));
    Files {
        newest,
        among,
        owed: before
            .filter(|before| before.newest == newest)
            .and_then(|before| before.owed),
    }
}

/// Has a plan that changes something record it with its first transaction, or, with
/// `None`, that nothing is to be carried.
pub fn note(survey: &Survey, plan: &mut Plan, files: Option<&Files>) {
    let before = survey.beroot_mark(FILES);
    let set = |text: Option<&str>| match text {
        Some(text) => mark(survey, FILES, text.to_owned()),
        None => unmark(survey, FILES),
    };
    let text = files.map(Files::encode);
    if before.is_none() && text.is_none() {
        return;
    }
    let here = survey.beroot.pool();
    for step in &mut plan.steps {
        let Action::Transact { pool, operations } = &mut step.action else {
            continue;
        };
        if *pool != here {
            continue;
        }
        operations.push(set(text.as_deref()));
        if let Some(Action::Transact { operations, .. }) = step.undo.first_mut() {
            operations.push(set(before));
        }
        return;
    }
}

/// What follows a synchronization into what runs, or that there was nothing to carry:
/// what runs is the newest. The record ends where nothing else can come up by itself.
fn settled(survey: &Survey, running: &BootEnvironment<'_>, files: &Files) -> Option<SyncOp> {
    // What is tried comes up again while it has tries left. Of one that has none left only its own
    // last try is still open; elsewhere the record of its trial ends a little later in this boot.
    let entry = survey.boot.trial.as_ref();
    let given_up =
        entry.is_some_and(|entry| entry.tries_left == 0 && entry.dataset != running.root.name);
    let provisional = survey.boot.once.is_some()
        || entry.is_some_and(|entry| entry.tries_left > 0)
        || (!given_up && !matches!(survey.trial(), Ok(None)));
    if running.is_next() && !provisional {
        return Some(unmark(survey, FILES));
    }
    let settled = Files {
        newest: running.guid(),
        owed: None,
        ..files.clone()
    };
    (settled != *files).then(|| mark(survey, FILES, settled.encode()))
}

/// The plan of a boot with nothing to carry.
#[must_use]
pub fn plan_settled(survey: &Survey, running: &BootEnvironment<'_>, files: &Files) -> Plan {
    let mut plan = Plan::new(survey, LATE);
    let pool = survey.beroot.pool();
    if let (Some(operation), Ok(())) = (
        settled(survey, running, files),
        changeable(survey, LATE, [&pool]),
    ) {
        let record = Action::Transact {
            pool,
            operations: vec![operation],
        };
        plan.steps.push(Step::new("record", record).commits());
    }
    plan
}

/// Has the synchronization into what runs record that it is done, with its commit.
pub fn settle(survey: &Survey, running: &BootEnvironment<'_>, files: &Files, plan: &mut Plan) {
    with_commit(plan, settled(survey, running, files));
}

/// Has a synchronization that no switch follows record it with its commit.
pub fn note_with_commit(survey: &Survey, plan: &mut Plan, files: &Files) {
    with_commit(plan, Some(mark(survey, FILES, files.encode())));
}

fn with_commit(plan: &mut Plan, operation: Option<SyncOp>) {
    for step in &mut plan.steps {
        if let (true, Action::Transact { operations, .. }) = (step.commit, &mut step.action) {
            operations.extend(operation);
            return;
        }
    }
}

/// The plan of a boot before it carries anything: should that fail, it is tried again,
/// and what happens here from now on is not forgotten either.
#[must_use]
pub fn plan_owed(survey: &Survey, files: &Files, owed: &Files) -> Plan {
    let mut plan = Plan::new(survey, LATE);
    let pool = survey.beroot.pool();
    if owed != files && changeable(survey, LATE, [&pool]).is_ok() {
        plan.transact("record", &pool, vec![mark(survey, FILES, owed.encode())]);
    }
    plan
}
