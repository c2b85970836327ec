//! What to do about a switch that did not end, and what the loader is to do
//! about whatever did not end.

use super::super::graph::Graph;
use super::super::provisional::{mark, unmark};
use super::super::share::activation::take_back;
use super::super::{Plan, Refusal, Step};
use super::{clear, take_away};
use crate::be::BootEnvironment;
use crate::boot::{Loader, Switch};
use crate::intent::{OpId, Undertaking};
use crate::survey::Survey;
use crate::survey::files::FILES;
use crate::survey::trial::TRIAL;
use crate::zfs::{Guid, SyncOp};

/// What the loader is to do first: of what was not done it keeps nothing, and
/// what was done it follows.
pub(super) fn loaders_part(
    survey: &Survey,
    loader: &dyn Loader,
    undertaking: &Undertaking,
) -> Result<Vec<Step>, Refusal> {
    match undertaking {
        Undertaking::Activate { target, switch, .. } => {
            let done = survey
                .environment_with(*target)
                .filter(|environment| is_switched(survey, environment, *switch));
            let done = done.as_ref().map(|environment| (environment.root, *switch));
            Ok(loader.recovered(survey, done))
        }
        Undertaking::Destroy { roots, .. } => Ok(roots
            .iter()
            .filter_map(|(name, guid)| {
                let dataset = survey.datasets.get(name)?;
                (dataset.guid == *guid).then_some(dataset)
            })
            .flat_map(|dataset| loader.forget(survey, dataset).before)
            .collect()),
        Undertaking::Rename { moves } => {
            // The root under the beroot is the one that boots.
            let renamed = moves.first().and_then(|(guid, _, to)| {
                let dataset = survey.datasets.get(to)?;
                (dataset.guid == *guid).then_some((dataset, to))
            });
            match renamed {
                Some((dataset, to)) => loader.renamed(survey, dataset, to),
                None => Ok(Vec::new()),
            }
        }
        _ => Ok(Vec::new()),
    }
}

/// An activation that was begun with a loader that is not seen now cannot be
/// judged.
pub(super) fn same_loader(
    survey: &Survey,
    attempted: &str,
    begun_with: Option<&str>,
) -> Result<(), Refusal> {
    match begun_with {
        Some(loader) if loader != survey.loader => Err(Refusal::new(
            attempted,
            format!(
                "an activation was begun with {loader}, and now the loader seems to be {}",
                survey.loader
            ),
        )
        .remedy(
            "mount the EFI system partition; or say which loader it is in \
             /etc/beadm-rs/config.toml",
        )),
        _ => Ok(()),
    }
}

/// Whether the loader's one write was made.
fn is_switched(survey: &Survey, environment: &BootEnvironment<'_>, switch: Switch) -> bool {
    let trial = survey.boot.trial.as_ref();
    let is_tried = trial.is_some_and(|trial| trial.dataset == environment.root.name);
    match switch {
        // What is being tried boots next as well.
        Switch::Good => environment.is_next() && !is_tried,
        // Confirmed meanwhile it has no counter any more.
        Switch::Trial { .. } => environment.is_next() || is_tried,
        Switch::Once => environment.is_once(),
    }
}

/// An activation that did not end.
pub(super) struct Switched<'a> {
    pub(super) target: Guid,
    pub(super) switch: Switch,
    pub(super) records: &'a [(String, String)],
}

pub(super) fn activate(
    survey: &Survey,
    id: OpId,
    switched: &Switched<'_>,
    back: &[Guid],
    failback: Option<Guid>,
) -> Plan {
    let Switched {
        target,
        switch,
        records,
    } = *switched;
    let mut plan = Plan::new(survey, "recover");
    let Some(environment) = survey.environment_with(target) else {
        plan.outcome = "the environment that was being activated is gone".to_owned();
        clear(survey, &mut plan, Vec::new());
        return plan;
    };
    let name = environment.name();
    if is_switched(survey, &environment, switch) {
        plan.outcome = format!("activate {name} was interrupted and is complete now");
        let confirmed = match switch {
            Switch::Good => vec![mark(survey, "confirmed", target.to_string())],
            Switch::Trial { .. } | Switch::Once => Vec::new(),
        };
        clear(survey, &mut plan, confirmed);
        return plan;
    }
    plan.outcome = format!("activate {name} was interrupted and is taken back");
    let mut graph = Graph::of(survey);
    let roots = environment.roots();
    for guid in back {
        let dataset = survey.datasets.values().find(|other| other.guid == *guid);
        let Some(dataset) = dataset else { continue };
        // Only where it hangs on the target because of the promotion.
        let hangs = graph
            .node(&dataset.name)
            .and_then(|node| node.origin.as_ref())
            .is_some_and(|origin| {
                roots
                    .iter()
                    .any(|root| origin.dataset().is_within(&root.name))
            });
        if hangs && graph.promote(&dataset.name).is_ok() {
            let promote = SyncOp::Promote {
                dataset: dataset.name.clone(),
                checked: false,
            };
            take_away(&mut plan, [dataset].into_iter(), |_| vec![promote.clone()]);
        }
    }
    let mut operations: Vec<SyncOp> = match switch {
        Switch::Trial { .. } => vec![unmark(survey, TRIAL)],
        Switch::Good | Switch::Once => Vec::new(),
    };
    if survey.beroot_mark(FILES).is_some() {
        operations.push(unmark(survey, FILES));
    }
    operations.extend(
        records
            .iter()
            .map(|(key, text)| mark(survey, key, text.clone())),
    );
    let object = environment.root.name.to_string();
    let key = "failback".to_owned();
    let record = match failback {
        Some(guid) => SyncOp::Mark {
            object,
            key,
            text: guid.to_string(),
        },
        None => SyncOp::Unmark { object, key },
    };
    operations.push(record);
    operations.extend(take_back(survey, &mut plan, id));
    clear(survey, &mut plan, operations);
    plan
}
