//! `recover`.

use std::io;
use std::time::Duration;

use serde_json::json;

use super::context::Context;
use super::error::Trouble;
use super::{output, upgrade};
use crate::be::BeName;
use crate::os::LockKind;
use crate::plan::{self, recover};
use crate::survey::{Scope, Survey};

/// Complete or take back what was interrupted
///
/// Every command that changes something does this first. What was past its
/// commit point is completed, what was not is taken back; what is not provably
/// part of the interrupted operation is not touched. The environment of an upgrade
/// that did not end goes.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(context: &Context) -> anyhow::Result<()> {
    let plan = if context.dry_run {
        let survey = context.look(Scope::Change)?;
        recover::plan(&survey, context.host.loader.as_ref()).map_err(Trouble::from)?
    } else {
        let _lock = context.lock()?;
        context.recover()?
    };
    let upgrades = upgrades(context)?;
    let exports = exports(context)?;
    let mut out = io::stdout().lock();
    let told: Vec<String> = plan
        .iter()
        .map(|plan| plan.outcome.clone())
        .chain(upgrades.iter().map(|name| {
            let gone = if context.dry_run { "goes" } else { "is gone" };
            format!("{name}, whose upgrade did not end, {gone}")
        }))
        .chain(exports)
        .collect();
    let outcome = if told.is_empty() {
        "nothing was interrupted".to_owned()
    } else {
        told.join("; ")
    };
    if context.json {
        let content = json!({
            "done": !context.dry_run,
            "changed": !context.dry_run && !told.is_empty(),
            "outcome": outcome,
            "plan": plan,
            "upgrades": upgrades,
        });
        output::json(&mut out, "recover", content)?;
    } else if let (true, Some(plan)) = (context.dry_run, &plan) {
        output::plan(&mut out, plan)?;
    } else {
        context.warn(&outcome);
    }
    Ok(())
}

/// Ends what interrupted exports left; what there is to say of it.
fn exports(context: &Context) -> Result<Option<String>, Trouble> {
    let platform = &context.host.platform;
    if platform.lock_holder(LockKind::Export).is_some() {
        return Ok(None);
    }
    if context.dry_run {
        let survey = Survey::take(&context.host, Scope::Change)?;
        return Ok(plan::export::sweep(&survey)?.map(|plan| plan.outcome));
    }
    let _lock = context.lock()?;
    let _export = context.lock_of(LockKind::Export, Duration::ZERO)?;
    let survey = Survey::take(&context.host, Scope::Change)?;
    let Some(plan) = plan::export::sweep(&survey)? else {
        return Ok(None);
    };
    context.carry_out(&plan)?;
    Ok(Some(plan.outcome))
}

/// The environments that interrupted upgrades left, which are gone now, or go on
/// a run that is not dry.
fn upgrades(context: &Context) -> Result<Vec<BeName>, Trouble> {
    if !context.dry_run {
        return upgrade::recover(context);
    }
    if context
        .host
        .platform
        .lock_holder(LockKind::Upgrade)
        .is_some()
    {
        return Ok(Vec::new());
    }
    let survey = Survey::take(&context.host, Scope::Names)?;
    Ok(plan::upgrade::unfinished(&survey)
        .filter_map(|environment| environment.name().parse().ok())
        .collect())
}
