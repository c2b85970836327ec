//! What to do about a directory that was being moved into the shared dataset, or
//! out of it.

use super::{back_on_beroot, clear, completed, took_back};
use crate::intent::{Intent, Undertaking};
use crate::plan::share::{add, remove};
use crate::plan::{Action, Plan, Planned, Refusal, Step};
use crate::share::change::ShareChange;
use crate::share::record::{Entry, Form};
use crate::share::{Place, aside, staged};
use crate::survey::{Moving, Survey};
use crate::zfs::{DatasetName, PREFIX, SnapshotName, SyncOp};

fn moving<'a>(survey: &'a Survey, place: &Place) -> Result<&'a Moving, Refusal> {
    survey.moving.as_ref().ok_or_else(|| {
        Refusal::new(
            "recover",
            format!(
                "{} was being moved, and {} or its record cannot be read",
                place.path, place.share
            ),
        )
        .remedy(format!(
            "zfs list {} {}; where one is gone for good: zfs inherit {PREFIX}op {}",
            place.share, place.home, survey.beroot
        ))
    })
}

pub(super) fn finish(
    survey: &Survey,
    intent: &Intent,
    place: &Place,
    root: &DatasetName,
) -> Planned {
    let moving = moving(survey, place)?;
    let mut plan = Plan::new(survey, "recover");
    if moving.switched {
        let record = moving.record.with(Entry {
            path: place.path.clone(),
            name: place.name.clone(),
            form: place.form,
            at: intent.at,
            id: intent.id,
        });
        if survey.running.as_ref() != Some(root) {
            plan.notes.push(format!(
                "{} is of {root}, which does not run now",
                place.path
            ));
        }
        let enter = ShareChange::Enter {
            place: place.clone(),
            id: intent.id,
        };
        plan.steps.push(Step::new("switch", Action::Share(enter)));
        add::append_end(survey, &mut plan, place, root, record);
        plan.outcome = completed(&intent.undertaking);
        return Ok(plan);
    }
    plan.outcome = took_back(intent);
    let staged = aside(&place.name, intent.id).into();
    let share = &place.share;
    for change in [
        ShareChange::Leave {
            place: place.clone(),
            id: intent.id,
        },
        ShareChange::Remove {
            dataset: share.clone(),
            path: staged,
        },
    ] {
        plan.steps
            .push(Step::new("take-back", Action::Share(change)));
    }
    let unmark = SyncOp::Unmark {
        object: share.to_string(),
        key: "op".to_owned(),
    };
    if share.pool() == survey.beroot.pool() {
        clear(survey, &mut plan, vec![unmark]);
    } else {
        plan.transact("take-back-note", &share.pool(), vec![unmark]);
        clear(survey, &mut plan, Vec::new());
    }
    Ok(plan)
}

/// What was being moved out of the shared dataset.
pub(super) fn finish_return(
    survey: &Survey,
    intent: &Intent,
    place: &Place,
    root: &DatasetName,
    only_here: bool,
) -> Planned {
    let moving = moving(survey, place)?;
    let mut plan = Plan::new(survey, "recover");
    let bind = |off| ShareChange::Bind {
        place: place.clone(),
        root: root.clone(),
        off,
    };
    let is_bound = place.form == Form::Bind;
    let push = |plan: &mut Plan, name, change| {
        plan.steps.push(Step::new(name, Action::Share(change)));
    };
    if moving.switched {
        if is_bound {
            push(&mut plan, "unbind", bind(true));
        }
        let take = ShareChange::Return {
            place: place.clone(),
            id: intent.id,
            off: false,
        };
        push(&mut plan, "switch", take);
        let removed = Entry {
            path: place.path.clone(),
            name: place.name.clone(),
            form: place.form,
            at: intent.at,
            id: intent.id,
        };
        // Its note may be there already.
        let record = if moving.record.removed.contains(&removed) {
            let mut record = moving.record.clone();
            record.removed.retain(|entry| *entry != removed);
            record.removed.push(removed);
            record
        } else {
            remove::without(&moving.record, place, removed)
        };
        remove::append_end(survey, &mut plan, place, record, only_here);
        plan.outcome = completed(&intent.undertaking);
        return Ok(plan);
    }
    plan.outcome = took_back(intent);
    // While it says that the copy was made, a copy that is gone is in its place.
    let undertaking = Undertaking::Unshare {
        place: place.clone(),
        root: root.clone(),
        only_here,
        copied: false,
    };
    let note = Intent {
        undertaking,
        ..intent.clone()
    };
    let note = back_on_beroot(survey, &note);
    plan.transact("take-back-note", &survey.beroot.pool(), vec![note]);
    let staged = ShareChange::Remove {
        dataset: place.home.clone(),
        path: remove::staged(place, intent.id),
    };
    push(&mut plan, "take-back", staged);
    if is_bound {
        push(&mut plan, "take-back", bind(false));
    }
    clear(survey, &mut plan, Vec::new());
    Ok(plan)
}

/// What was staged is the copy before the rename, and what was there after it,
/// which is in a snapshot: either goes.
pub(super) fn finish_restore(
    survey: &Survey,
    intent: &Intent,
    share: &DatasetName,
    before: &SnapshotName,
) -> Plan {
    let mut plan = Plan::new(survey, "recover");
    let remove = ShareChange::Remove {
        dataset: share.clone(),
        path: staged(intent.id),
    };
    plan.steps.push(Step::new("tidy", Action::Share(remove)));
    clear(survey, &mut plan, Vec::new());
    plan.outcome = format!(
        "{} {} was interrupted; what is there is whole, as it was or restored; {before} has it \
         as it was",
        intent.undertaking.command(),
        intent.undertaking.object()
    );
    plan
}
