//! What synchronizations keep to be compared with: told, and released.

use serde_json::{Value, json};

use super::context::Context;
use super::output;
use crate::host::Host;
use crate::plan::bases;
use crate::survey::{Scope, Survey};
use crate::sync::bases::Base;

/// A line of `status` for each.
pub(super) fn rows<'a>(
    context: &'a Context,
    bases: &'a [Base<'_>],
) -> impl Iterator<Item = Vec<String>> + 'a {
    bases.iter().map(|base| {
        let when = match context.script {
            true => base.creation().to_string(),
            false => output::time(base.creation()),
        };
        let text = format!(
            "{}, {when}, {}",
            base.environments.join(" and "),
            output::space(context.script, base.used())
        );
        vec!["sync base".to_owned(), output::one_line(&text)]
    })
}

/// The same as data.
pub(super) fn in_json(bases: &[Base<'_>]) -> Vec<Value> {
    bases
        .iter()
        .map(|base| {
            json!({
                "id": base.operation,
                "environments": base.environments,
                "creation": base.creation(),
                "used": base.used(),
                "snapshots": base.snapshots.iter().map(|one| &one.name).collect::<Vec<_>>(),
            })
        })
        .collect()
}

/// Releases what is kept of older synchronizations. Where that cannot be done now the
/// next confirmation does it.
pub(super) fn release(context: &Context) {
    let look = |host: &Host| Ok(Survey::take(host, Scope::Change)?);
    if let Err(trouble) = context.change(look, bases::release, |_| None) {
        context.warn(&format!(
            "the snapshots that older synchronizations began with are still there ({}); the next \
             confirmation releases them",
            trouble.message
        ));
    }
}
