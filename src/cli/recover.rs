//! `recover`.

use std::io;

use serde_json::json;

use super::context::Context;
use super::output;
use crate::plan::recover;
use crate::survey::Scope;

/// Complete or take back what was interrupted
///
/// Every command that changes something does this first. What was past its
/// commit point is completed, what was not is taken back; what is not provably
/// part of the interrupted operation is not touched.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(context: &Context) -> anyhow::Result<()> {
    let plan = if context.dry_run {
        let survey = context.look(Scope::Change)?;
        recover::plan(&survey, context.host.loader.as_ref()).map_err(super::error::Trouble::from)?
    } else {
        let _lock = context.lock()?;
        context.recover()?
    };
    let mut out = io::stdout().lock();
    let outcome = plan
        .as_ref()
        .map_or("nothing was interrupted", |plan| plan.outcome.as_str());
    if context.json {
        let content = json!({
            "done": !context.dry_run,
            "changed": !context.dry_run && plan.is_some(),
            "outcome": outcome,
            "plan": plan,
        });
        output::json(&mut out, "recover", content)?;
    } else if let (true, Some(plan)) = (context.dry_run, &plan) {
        output::plan(&mut out, plan)?;
    } else {
        context.warn(outcome);
    }
    Ok(())
}
