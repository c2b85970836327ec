//! A copy in another pool, by send and receive.

use std::collections::BTreeSet;

use super::super::{
    Action, Plan, Planned, Refusal, Step, bad_name, changeable, fits, intent_clear, intent_mark,
};
use super::{
    Piece, Request, asked_settings, mountpoint_of, new_root, note_apart, pieces, replace,
    settings_of, snapshots, without_snapshots,
};
use crate::be::BootEnvironment;
use crate::be::rewrite::Names;
use crate::intent::Undertaking;
use crate::survey::Survey;
use crate::zfs::{
    Dataset, DatasetName, Guard, NameError, PREFIX, PoolName, Setting, SyncOp, Transfer,
};

/// What marks a received dataset as this operation's until it is committed.
fn transfer_mark(survey: &Survey) -> Setting {
    (format!("{PREFIX}op"), survey.id.to_string())
}

/// Where the environments of another pool are.
///
/// # Errors
/// Where the name is too long.
pub fn beroot_in(beroot: &DatasetName, pool: &PoolName) -> Result<DatasetName, NameError> {
    DatasetName::from(pool.clone()).child(beroot.leaf())
}

pub(super) fn copy(
    survey: &Survey,
    request: &Request,
    attempted: &str,
    source: &BootEnvironment<'_>,
    pool: &PoolName,
) -> Planned {
    changeable(survey, attempted, [pool])?;
    let beroot = beroot_in(&survey.beroot, pool).map_err(bad_name(attempted))?;
    if !survey.datasets.contains_key(&beroot) {
        return Err(
            Refusal::new(attempted, format!("there is no dataset {beroot}")).remedy(format!(
                "zfs create -o canmount=off -o mountpoint=none {beroot}"
            )),
        );
    }
    let new = new_root(survey, attempted, request, &beroot)?;
    let component = request.from.component(survey);
    let place = |dataset: &Dataset| {
        dataset
            .name
            .moved(&source.root.name, &new)
            .map_err(bad_name(attempted))
    };
    let pieces: Vec<Piece<'_>> = pieces(survey, request, attempted, source, place, &component)?
        .into_iter()
        .filter(|piece| piece.source.name.is_within(&source.root.name))
        .collect();
    let asked = asked_settings(attempted, request)?;

    let mut plan = Plan::new(survey, "create");
    note_apart(&mut plan, source, request.shallow);
    if source.roots().len() > 1 {
        plan.notes.push(
            "/boot on a pool of its own is not copied: the new pool needs a /boot of its own"
                .to_owned(),
        );
    }
    let own = request.from.snapshot.is_none();
    let (intent, bytes) = intent_mark(
        survey,
        Undertaking::Copy {
            root: new.clone(),
            from: source.root.name.clone(),
            snapshot: component,
            mountpoint: mountpoint_of(survey, source.root),
        },
    );
    fits(attempted, bytes)?;
    let all: Vec<&Piece<'_>> = pieces.iter().collect();
    let mut operations = vec![intent];
    let mut undo = Vec::new();
    if own {
        operations.extend(snapshots(survey, &all));
        undo = without_snapshots(survey, &all);
    }
    undo.push(intent_clear(survey));
    let here = survey.beroot.pool();
    let action = Action::Transact {
        pool: here.clone(),
        operations,
    };
    plan.steps.push(
        Step::new("snapshot", action).undone_by(vec![Action::Transact {
            pool: here.clone(),
            operations: undo,
        }]),
    );
    let (key, id) = transfer_mark(survey);
    let guard = Guard::Setting {
        key: "op".to_owned(),
        value: id.clone(),
    };
    let mut received = Vec::new();
    for piece in &pieces {
        let mut settings = settings_of(survey, piece.source);
        settings.push((key.clone(), id.clone()));
        if piece.target == new {
            for (name, value) in &asked {
                replace(&mut settings, name, value);
            }
            replace(&mut settings, "mountpoint", "none");
        }
        let arrived = piece
            .target
            .snapshot(piece.snapshot.component())
            .map_err(bad_name(attempted))?;
        let gone = [arrived.to_string(), piece.target.to_string()].map(|object| SyncOp::Destroy {
            object,
            guard: guard.clone(),
            missing_ok: true,
        });
        let transfer = Transfer {
            snapshot: piece.snapshot.clone(),
            target: piece.target.clone(),
            settings,
            raw: piece.source.encryption_root.is_some(),
        };
        plan.steps.push(
            Step::new("transfer", Action::Transfer(transfer)).undone_by(vec![Action::Transact {
                pool: pool.clone(),
                operations: gone.to_vec(),
            }]),
        );
        received.push((piece.target.clone(), arrived));
    }
    if source.root.encryption_root.is_some() {
        // A raw stream arrives locked, each dataset with its key for itself.
        plan.notes.push(format!(
            "the copy arrives encrypted and locked: zfs load-key -r {new}, with the key of {}; \
             dataset names in its fstab and zfs-list.cache are those of {} still",
            source.root.name,
            source.name()
        ));
    } else {
        plan.steps.push(Step::new(
            "rewrite",
            Action::Rewrite {
                dataset: new.clone(),
                names: Names {
                    moves: vec![(source.root.name.clone(), new.clone())],
                    own: if own {
                        BTreeSet::new()
                    } else {
                        received.iter().map(|(target, _)| target.clone()).collect()
                    },
                },
            },
        ));
    }
    let set = Action::Set {
        dataset: new.clone(),
        settings: vec![("mountpoint".to_owned(), mountpoint_of(survey, source.root))],
    };
    plan.steps.push(Step::new("commit", set).commits());
    // The snapshots have done their work on both sides.
    let tidy = received
        .iter()
        .map(|(_, arrived)| SyncOp::Destroy {
            object: arrived.to_string(),
            guard: guard.clone(),
            missing_ok: true,
        })
        .chain(received.iter().map(|(target, _)| SyncOp::Unmark {
            object: target.to_string(),
            key: "op".to_owned(),
        }))
        .collect();
    plan.transact("tidy", pool, tidy);
    let mut last = if own {
        without_snapshots(survey, &all)
    } else {
        Vec::new()
    };
    last.push(intent_clear(survey));
    plan.transact("finish", &here, last);
    plan.outcome = format!("{new} is a copy of {}", source.root.name);
    Ok(plan)
}
