//! A new name for an environment: also the running one, the next one, the one
//! set for once. The pool's bootfs follows by itself, since ZFS keeps it by
//! object; the names in the environment's own files are written anew.

use super::{
    Action, Plan, Planned, Refusal, Step, Why, bad_name, changeable, environment, finished, fits,
    intent_clear, intent_mark, loader_is_seen, mounted_by_fstab, no_boot_of, pools_of, rewritable,
};
use crate::be::rewrite::Names;
use crate::be::{BeName, NewBeName};
use crate::boot::Loader;
use crate::intent::Undertaking;
use crate::survey::Survey;
use crate::zfs::{DatasetName, Guid};

/// The plan of `rename OLD NEW`.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, loader: &dyn Loader, old: &BeName, new: &NewBeName) -> Planned {
    let attempted = format!("rename {old} to {}", new.name());
    let environment = environment(survey, &attempted, old)?;
    finished(survey, &attempted, &environment)?;
    changeable(survey, &attempted, &pools_of(&environment))?;
    loader_is_seen(survey, &attempted)?;
    // The names in its files are written after the commit point.
    rewritable(&attempted, &environment)?;
    let mut moves: Vec<(Guid, DatasetName, DatasetName)> = Vec::new();
    for root in environment.roots() {
        let parent = root.name.parent().unwrap_or_else(|| root.name.clone());
        let target = new.name().below(&parent).map_err(bad_name(&attempted))?;
        if survey.datasets.contains_key(&target) {
            return Err(
                Refusal::new(&attempted, format!("{target} exists already")).why(Why::Exists)
            );
        }
        for dataset in survey.within(&root.name) {
            dataset
                .name
                .moved(&root.name, &target)
                .map_err(bad_name(&attempted))?;
        }
        moves.push((root.guid, root.name.clone(), target));
    }
    no_boot_of(survey, &attempted, new.name())?;
    if environment.is_running() || environment.is_next() || environment.is_once() {
        // Between the rename and the new fstab the machine would boot without
        // them, and no order of the two avoids that.
        if let Some(legacy) = mounted_by_fstab(&environment) {
            return Err(Refusal::new(
                &attempted,
                format!(
                    "{} is mounted by fstab (mountpoint=legacy), and a machine that stopped \
                     halfway through the rename would boot without it",
                    legacy.name
                ),
            )
            .remedy(
                "give it a mountpoint (zfs set mountpoint=PATH) and take its line out of fstab, \
                 or rename while another environment is the running and the next one",
            ));
        }
    }
    let rewritten = match moves.first() {
        Some((_, _, to)) => loader.renamed(survey, environment.root, to)?,
        None => Vec::new(),
    };
    let mut plan = Plan::new(survey, "rename");
    let (intent, bytes) = intent_mark(
        survey,
        Undertaking::Rename {
            moves: moves.clone(),
        },
    );
    fits(&attempted, bytes)?;
    let here = survey.beroot.pool();
    plan.steps.push(
        Step::new(
            "record",
            Action::Transact {
                pool: here.clone(),
                operations: vec![intent],
            },
        )
        .undone_by(vec![Action::Transact {
            pool: here.clone(),
            operations: vec![intent_clear(survey)],
        }]),
    );
    append(&mut plan, &moves, &moves);
    if let Some(step) = plan.steps.get_mut(1) {
        step.commit = true;
    }
    plan.steps.extend(rewritten);
    plan.transact("finish", &here, vec![intent_clear(survey)]);
    plan.outcome = format!("{old} is called {} now", new.name());
    Ok(plan)
}

/// A loader that starts the kernel with the root's old name would not find it.
///
/// # Errors
/// Where what is renamed runs, and the kernel was told its name.
pub fn followed_by_loader(
    survey: &Survey,
    old: &BeName,
    named: Option<&DatasetName>,
) -> Result<(), Refusal> {
    let attempted = format!("rename {old}");
    let environment = environment(survey, &attempted, old)?;
    if named != Some(&environment.root.name) {
        return Ok(());
    }
    Err(Refusal::new(
        attempted,
        format!(
            "the kernel was started with the name {} for its root, and a loader that knows \
             that name alone would not find it under another one",
            environment.root.name
        ),
    )
    .remedy(
        "--force, where the loader reads the names anew at each boot, as ZFSBootMenu does; \
         else have it say root=zfs:AUTO (the pool's bootfs), reboot, and rename then",
    ))
}

/// Renames what is left to rename, then the names in the root's files.
pub(super) fn append(
    plan: &mut Plan,
    moves: &[(Guid, DatasetName, DatasetName)],
    left: &[(Guid, DatasetName, DatasetName)],
) {
    for (index, (guid, from, to)) in moves.iter().enumerate() {
        if left.iter().any(|(other, _, _)| other == guid) {
            let name = if index == 0 { "commit" } else { "rename-boot" };
            plan.steps.push(Step::new(
                name,
                Action::Rename {
                    from: from.clone(),
                    to: to.clone(),
                },
            ));
        }
    }
    if let Some((_, _, root)) = moves.first() {
        plan.steps.push(Step::new(
            "rewrite",
            Action::Rewrite {
                dataset: root.clone(),
                names: Names::moved(
                    moves
                        .iter()
                        .map(|(_, from, to)| (from.clone(), to.clone()))
                        .collect(),
                ),
            },
        ));
    }
}
