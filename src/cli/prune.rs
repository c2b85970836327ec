//! `prune`.

use std::io;

use serde_json::json;

use super::activate::grub_is_elsewhere;
use super::context::Context;
use super::error::Trouble;
use super::output;
use crate::be::BeName;
use crate::plan::prune::{Verdict, judge};
use crate::plan::{Refusal, destroy};
use crate::survey::{Around, Scope, Survey};

/// Destroy the oldest of the boot environments that package managers' hooks made
///
/// The newest ones stay, and whatever runs, boots next or once, is the last good
/// one, part of a trial, what failback leads to, pinned, mounted, or was activated
/// once. What this program's hooks did not make is never touched, whatever its
/// name. Says of everything that stays why it does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many stay because they are the newest; by default 5, or what
    /// 'keep' in [hooks] of the configuration says
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let survey = context.look(Scope::Change)?;
    let keep = args.keep.unwrap_or(context.host.config.hooks.keep);
    let verdicts = judge(&survey, keep);
    let going: Vec<&str> = verdicts
        .iter()
        .filter(|verdict| verdict.kept.is_none())
        .map(|verdict| verdict.name.as_str())
        .collect();
    if context.dry_run || going.is_empty() {
        return Ok(print(context, &verdicts, &[])?);
    }
    context.agree(&format!("destroy {} for good", going.join(", ")))?;
    let gone = carry_out(context, keep, &going)?;
    Ok(print(context, &verdicts, &gone)?)
}

/// Destroys them, the oldest first, each after another look at whether it may
/// go; the names of those that are gone.
pub(super) fn carry_out(
    context: &Context,
    keep: usize,
    going: &[&str],
) -> Result<Vec<String>, Trouble> {
    let mut gone: Vec<String> = Vec::new();
    for name in going.iter().rev() {
        let after = |trouble: Trouble| match gone.as_slice() {
            [] => trouble,
            gone => trouble.after(&format!("{} destroyed", gone.join(", "))),
        };
        let name: BeName = name
            .parse()
            .map_err(|error| after(Trouble::refused(format!("destroy {name}: {error}"))))?;
        let request = destroy::Request {
            name: name.clone(),
            force: false,
            origins: destroy::Origins::Own,
        };
        let around = Around {
            running: true,
            next: true,
            ..Around::one(&name)
        };
        let report = context.change(
            |host| Ok(Survey::around(host, &around)?),
            |survey| {
                let host = &context.host;
                let may_go = judge(survey, keep)
                    .iter()
                    .any(|verdict| verdict.name == name.as_str() && verdict.kept.is_none());
                let plan = destroy::plan(survey, host.loader.as_ref(), &request)?;
                grub_is_elsewhere(host, survey, &name, &format!("destroy {name}"))?;
                if may_go {
                    Ok(plan)
                } else {
                    Err(Refusal::new(
                        format!("destroy {name}"),
                        "it is needed since it was looked at first",
                    ))
                }
            },
            |_| None,
        );
        report.map_err(after)?;
        gone.push(name.to_string());
    }
    Ok(gone)
}

fn print(context: &Context, verdicts: &[Verdict], gone: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let is_gone = |verdict: &Verdict| gone.contains(&verdict.name);
    if context.json {
        let environments: Vec<_> = verdicts
            .iter()
            .map(|verdict| {
                json!({
                    "name": verdict.name,
                    "by": verdict.by,
                    "made": verdict.made,
                    "kept": verdict.kept,
                    "gone": is_gone(verdict),
                })
            })
            .collect();
        let content = json!({
            "done": !context.dry_run,
            "changed": !gone.is_empty(),
            "environments": environments,
        });
        return output::json(&mut out, "prune", content);
    }
    if verdicts.is_empty() {
        context.warn("no boot environment here was made by a hook");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = verdicts
        .iter()
        .map(|verdict| {
            let made = if context.script {
                verdict.made.to_string()
            } else {
                output::time(verdict.made)
            };
            let what = match &verdict.kept {
                Some(reason) => format!("kept: {reason}"),
                None if is_gone(verdict) => "gone".to_owned(),
                None => "to be destroyed".to_owned(),
            };
            vec![verdict.name.clone(), made, what]
        })
        .collect();
    if context.script {
        output::tabs(&mut out, &rows)
    } else {
        output::table(&mut out, &["NAME", "MADE", "WHAT"], &rows)
    }
}
