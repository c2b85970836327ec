//! What activations keep of what is shared: told, and released.

use serde_json::{Value, json};

use super::super::context::Context;
use super::super::output;
use crate::host::Host;
use crate::plan::share::activation;
use crate::plan::{Action, Plan};
use crate::share::find::{self, Shared};
use crate::share::history::activations;
use crate::survey::{Around, Survey};
use crate::zfs::SyncOp;

/// What all environments share, where it is mounted and this program has adopted
/// it. What cannot be read is told.
pub(in crate::cli) fn of_activations(context: &Context, survey: &Survey) -> Option<Shared> {
    find::mounted(survey)?;
    match find::shared(&context.host, survey) {
        Ok(shared) => shared,
        Err(error) => {
            context.warn(&error.to_string());
            None
        }
    }
}

/// The lines of `status`: what is shared, and what each activation keeps of it.
pub(in crate::cli) fn kept_rows(context: &Context, shared: &Shared) -> Vec<Vec<String>> {
    let taken = activations(&shared.datasets);
    let space = |bytes| output::space(context.script, bytes);
    let used: u64 = taken.iter().map(|taken| taken.used()).sum();
    let name = shared.datasets.first().map(|share| share.name.to_string());
    let kept = match taken.len() {
        0 => "no snapshots of activations".to_owned(),
        1 => format!("1 activation has a snapshot of it, {}", space(used)),
        many => format!("{many} activations have snapshots of it, {}", space(used)),
    };
    let text = match (name, &shared.doubt) {
        (Some(name), _) => format!("{name}; {kept}"),
        (None, doubt) => doubt.clone().unwrap_or_default(),
    };
    let mut rows = vec![vec!["shared".to_owned(), output::one_line(&text)]];
    rows.extend(taken.iter().map(|taken| {
        let when = match context.script {
            true => taken.creation().to_string(),
            false => output::time(taken.creation()),
        };
        let text = format!("{}, {when}, {}", taken.activation, space(taken.used()));
        vec!["activation".to_owned(), output::one_line(&text)]
    }));
    rows
}

/// The same as data.
pub(in crate::cli) fn in_json(shared: &Shared) -> Value {
    let taken: Vec<Value> = activations(&shared.datasets)
        .iter()
        .map(|taken| {
            let of = &taken.activation;
            json!({
                "id": of.id,
                "deed": of.deed,
                "target": of.target,
                "name": of.name,
                "creation": taken.creation(),
                "used": taken.used(),
                "snapshots": taken.snapshots.iter().map(|one| &one.name).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "dataset": shared.datasets.first().map(|share| &share.name),
        "activations": taken,
        "doubt": shared.doubt,
    })
}

fn does(plan: &Plan, wanted: impl Fn(&SyncOp) -> bool) -> bool {
    plan.steps.iter().any(|step| match &step.action {
        Action::Transact { operations, .. } => operations.iter().any(&wanted),
        _ => false,
    })
}

/// Whether a plan makes an environment the last good one: what is kept until a
/// confirmation goes with it.
pub(in crate::cli) fn confirms(plan: &Plan) -> bool {
    does(
        plan,
        |operation| matches!(operation, SyncOp::Mark { key, .. } if key == "confirmed"),
    )
}

/// Whether snapshots of older activations go once this plan is carried out: with
/// a trial they go when that is confirmed.
pub(in crate::cli) fn release_is_due(survey: &Survey, made: &Plan) -> bool {
    let is_taken = does(made, |operation| {
        matches!(operation, SyncOp::Snapshot { .. })
    });
    confirms(made) && activation::is_due(survey, is_taken)
}

/// Releases what is kept of older activations. Where that cannot be done now the
/// next activation does it.
pub(in crate::cli) fn release(context: &Context) {
    let look = |host: &Host| {
        let around = Around {
            shared: true,
            ..Around::default()
        };
        Ok(Survey::around(host, &around)?)
    };
    if let Err(trouble) = context.change(look, activation::release, |_| None) {
        context.warn(&format!(
            "the snapshots that older activations took of what is shared are still there ({}); \
             the next activation releases them",
            trouble.message
        ));
    }
}
