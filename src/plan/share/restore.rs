//! `share restore PATH --from SNAP`: one mailbox, one spool, as it was.

use camino::Utf8PathBuf;

use super::add::adopted;
use super::share;
use crate::intent::Undertaking;
use crate::os::Holder;
use crate::plan::{
    Action, Plan, Planned, Refusal, Step, bad_name, changeable, fits, intent_clear, intent_mark,
    snapshot_component,
};
use crate::share::change::ShareChange;
use crate::share::find::Share;
use crate::share::staged;
use crate::survey::Survey;
use crate::zfs::{Guard, SnapshotName, SyncOp};

/// `share restore PATH --from SNAP`.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where it is in the shared dataset.
    pub path: Utf8PathBuf,
    /// The snapshot it is taken from.
    pub snapshot: SnapshotName,
    /// The snapshot of the state before, where one was taken already.
    pub before: Option<SnapshotName>,
    /// How much it is there, bytes; `None` where it is not there.
    pub bytes: Option<u64>,
    /// Who uses what is there now.
    pub holders: Vec<Holder>,
    /// Whoever uses it is no reason to refuse.
    pub force: bool,
}

/// The plan: copied beside, compared, and switched by one rename; the state
/// before is a snapshot.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, found: Option<&Share>, request: &Request) -> Planned {
    let (path, from) = (&request.path, &request.snapshot);
    let attempted = format!("restore {path} from {from}");
    let refused = |reason: String| Refusal::new(&attempted, reason);
    let (found, _) = adopted(&attempted, found)?;
    let name = &found.dataset.name;
    let (here, pool) = (survey.beroot.pool(), name.pool());
    changeable(survey, &attempted, [&here, &pool])?;
    let snapshots = &found.dataset.snapshots;
    if !snapshots.iter().any(|snapshot| snapshot.name == *from) {
        return Err(refused("there is no such snapshot".to_owned())
            .remedy("beadm-rs share snapshots lists those there are"));
    }
    let Some(bytes) = request.bytes else {
        return Err(refused(format!("it has no {path}"))
            .remedy("beadm-rs share diff SNAP says what differs"));
    };
    if let Some(holder) = request.holders.first()
        && !request.force
    {
        return Err(refused(format!("it is in use: {holder}"))
            .remedy("end that; with --force what it writes goes into what is replaced"));
    }
    let mut plan = Plan::new(survey, "share-restore");
    let before = match &request.before {
        Some(before) => before.clone(),
        None => name
            .snapshot(&snapshot_component(survey))
            .map_err(bad_name(&attempted))?,
    };
    let (intent, length) = intent_mark(
        survey,
        Undertaking::Restore {
            share: name.clone(),
            path: path.clone(),
            before: before.clone(),
        },
    );
    fits(&attempted, length)?;
    let text = format!("{} share", survey.id);
    let taken = vec![
        SyncOp::Snapshot {
            snapshot: before.clone(),
        },
        SyncOp::Mark {
            object: before.to_string(),
            key: "op".to_owned(),
            text: text.clone(),
        },
    ];
    let destroyed = SyncOp::Destroy {
        object: before.to_string(),
        guard: Guard::Mark {
            key: "op".to_owned(),
            text,
        },
        missing_ok: true,
    };
    let transact = |name, pool: &crate::zfs::PoolName, operations, undo| {
        let action = |operations| Action::Transact {
            pool: pool.clone(),
            operations,
        };
        Step::new(name, action(operations)).undone_by(vec![action(undo)])
    };
    let clear = intent_clear(survey);
    if request.before.is_some() {
        plan.steps
            .push(transact("record", &here, vec![intent], vec![clear]));
    } else if here == pool {
        let operations = std::iter::once(intent).chain(taken).collect();
        plan.steps.push(transact(
            "record",
            &here,
            operations,
            vec![destroyed, clear],
        ));
    } else {
        plan.steps
            .push(transact("record", &here, vec![intent], vec![clear]));
        plan.steps
            .push(transact("snapshot", &pool, taken, vec![destroyed]));
    }
    let staged = staged(survey.id);
    let remove = ShareChange::Remove {
        dataset: name.clone(),
        path: staged.clone(),
    };
    let copy = ShareChange::Copy {
        from: name.clone(),
        snapshot: Some(from.clone()),
        path: path.clone(),
        to: name.clone(),
        staged: staged.clone(),
        bytes,
    };
    plan.steps
        .push(share("copy", copy).undone_by(vec![Action::Share(remove.clone())]));
    let exchange = ShareChange::Exchange {
        dataset: name.clone(),
        staged,
        path: path.clone(),
    };
    plan.steps.push(share("switch", exchange).commits());
    plan.steps.push(share("tidy", remove));
    plan.transact("finish", &here, vec![intent_clear(survey)]);
    plan.outcome = format!("{path} is as in {from}; what was there before is in {before}");
    Ok(plan)
}
