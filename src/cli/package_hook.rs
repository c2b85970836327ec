//! `package-hook`: what the hooks of package managers call.

use super::context::Context;
use super::error::{FAILED, Trouble, Verdict};
use super::prune;
use crate::be::made::Maker;
use crate::config::OnFailure;
use crate::os::linux::ancestry;
use crate::plan::prune::judge;
use crate::plan::upgrade as planner;
use crate::survey::{Around, Scope, Survey};
use crate::sys::command::SKIP;

/// Make a boot environment of what is, before packages change
///
/// The hooks of package managers call it before a transaction. However often one
/// process calls it, within ten minutes of each other, it makes one. Then those
/// before go, as by `prune`. Nothing is made where the variable BEADM_SKIP is set,
/// in a container, a chroot and what `run` and `upgrade` start. What becomes of the
/// transaction where none can be made, 'on-failure' in [hooks] of the configuration
/// says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The package manager
    #[arg(value_name = "MANAGER", value_parser = ["apt", "dnf", "pacman"])]
    pub(super) manager: String,
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let hooks = &context.host.config.hooks;
    let skipped = std::env::var_os(SKIP).is_some_and(|value| !value.is_empty() && value != "0");
    if skipped || !hooks.enabled || !context.is_root() || !context.host.platform.is_whole() {
        return Ok(());
    }
    let Err(trouble) = make(context, &args.manager) else {
        return Ok(());
    };
    context.warn(&trouble.to_string());
    match hooks.on_failure {
        OnFailure::Continue => {
            context.warn("packages change all the same (on-failure = \"continue\")");
            Ok(())
        }
        OnFailure::Stop => {
            context.warn(&format!(
                "no package changes (on-failure = \"stop\"); {SKIP}=1 in the environment goes on without"
            ));
            Err(Verdict(FAILED).into())
        }
    }
}

/// There is no machine to look at: no ZFS, or a configuration that cannot be
/// followed. What it says of transactions is not known either.
pub(super) fn without_host(trouble: &Trouble) -> u8 {
    super::context::warn(&format!(
        "{trouble}\n  packages change without a boot environment of what is now"
    ));
    0
}

fn make(context: &Context, manager: &str) -> Result<(), Trouble> {
    let host = &context.host;
    let directory = host.platform.volatile("transactions")?;
    let transaction = ancestry::transaction(&directory, manager);
    if transaction.as_ref().is_some_and(|known| known.is_known()) && !context.dry_run {
        return Ok(());
    }
    let around = Around {
        running: true,
        properties: true,
        ..Around::default()
    };
    let survey = Survey::around(host, &around)?;
    let Some(running) = survey.running() else {
        // Whatever this is, it is no machine that boots an environment.
        return Ok(());
    };
    enough(&survey, host.config.hooks.min_free)?;
    let day = survey.now.format("%Y-%m-%d");
    let request = planner::Request {
        name: planner::unique(&survey, &format!("before-{manager}-{day}"))?,
        from: None,
        by: Maker::Hook(manager.to_owned()),
        description: format!("{} before {manager} changed it", running.name()),
    };
    let report = context.change(
        |host| Ok(Survey::around(host, &around)?),
        |survey| planner::plan(survey, &request),
        |_| None,
    )?;
    if context.dry_run {
        return context
            .report("package-hook", &report)
            .map_err(|error| Trouble::new(FAILED, error));
    }
    context.warn(&report.plan.outcome);
    if let Some(transaction) = transaction {
        transaction.note(&directory)?;
    }
    if let Err(trouble) = tidy(context) {
        // There is one more than there should be, which harms nobody.
        context.warn(&trouble.to_string());
    }
    Ok(())
}

/// A pool that is nearly full gets slow and then stops: one more environment
/// keeps all that the transaction replaces.
fn enough(survey: &Survey, percent: u64) -> Result<(), Trouble> {
    let wanted = u128::from(percent);
    let full = survey
        .own_pools()
        .find(|pool| u128::from(pool.free) * 100 < wanted * u128::from(pool.size));
    match full {
        None => Ok(()),
        Some(pool) => Err(Trouble::refused(format!(
            "no boot environment is made of what is now: less than {percent}% of pool {} is free",
            pool.name
        ))
        .remedy("beadm-rs list shows what each environment would free; 'min-free' in [hooks]")),
    }
}

fn tidy(context: &Context) -> Result<(), Trouble> {
    // The one that was made just now is what the hook is for.
    let keep = context.host.config.hooks.keep.max(1);
    let survey = Survey::take(&context.host, Scope::Change)?;
    let verdicts = judge(&survey, keep);
    let going: Vec<&str> = verdicts
        .iter()
        .filter(|verdict| verdict.kept.is_none())
        .map(|verdict| verdict.name.as_str())
        .collect();
    for name in prune::carry_out(context, keep, &going)? {
        context.warn(&format!("{name} is gone"));
    }
    Ok(())
}
