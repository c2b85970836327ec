//! What an upgrade would do, and what it did.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write as _};

use serde_json::json;

use super::super::output;
use super::super::switch::Switched;
use super::{Filled, Upgrade};
use crate::packages::Kind;
use crate::plan::Plan;

/// A command as it would be typed.
pub(super) fn line(words: &[OsString]) -> String {
    words
        .iter()
        .map(|word| {
            let word = word.to_string_lossy();
            if word.is_empty() || word.contains([' ', '\'', '"', '$', '\n']) {
                format!("'{}'", word.replace('\'', "'\\''"))
            } else {
                word.into_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn commands(upgrade: &Upgrade<'_>) -> Vec<String> {
    upgrade
        .work
        .commands
        .iter()
        .map(|words| line(words))
        .collect()
}

/// A dry run: the plan of the clone, and what would be done with it.
pub(super) fn plan(upgrade: &Upgrade<'_>, plan: &Plan) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let args = upgrade.args;
    let manager = upgrade.work.way.map(|way| way.name);
    if upgrade.context.json {
        let content = json!({
            "done": false,
            "changed": false,
            "name": upgrade.name,
            "from": upgrade.source,
            "manager": manager,
            "commands": commands(upgrade),
            "check": !args.no_check,
            "activate": !args.no_activate,
            "plan": plan,
        });
        return Ok(output::json(&mut out, "upgrade", content)?);
    }
    output::plan(&mut out, plan)?;
    let name = &upgrade.name;
    for command in commands(upgrade) {
        writeln!(out, "run in {name}: {command}")?;
    }
    if manager.is_some() {
        writeln!(out, "destroy {name} if that changed no package")?;
    }
    if !args.no_check {
        writeln!(out, "check {name}")?;
    }
    if !args.no_activate {
        writeln!(out, "activate {name}")?;
    }
    let kept = if args.keep_failed { "keep" } else { "destroy" };
    writeln!(out, "if anything fails: {kept} {name}, exit code 1")?;
    Ok(())
}

/// "2 packages upgraded, 1 added".
fn counted(filled: &Filled) -> Option<String> {
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for change in &filled.packages.changes {
        *counts.entry(change.change).or_default() += 1;
    }
    let mut phrases = counts
        .into_iter()
        .map(|(kind, count)| (count, kind.as_str()));
    let (count, first) = phrases.next()?;
    let noun = if count == 1 { "package" } else { "packages" };
    let rest: String = phrases
        .map(|(count, kind)| format!(", {count} {kind}"))
        .collect();
    Some(format!("{count} {noun} {first}{rest}"))
}

/// How it ended well. `upgraded` is false where there was nothing to upgrade.
pub(super) fn done(
    upgrade: &Upgrade<'_>,
    filled: &Filled,
    activated: Option<&Switched>,
    upgraded: bool,
) -> anyhow::Result<()> {
    let context = upgrade.context;
    let Upgrade {
        name, source, log, ..
    } = upgrade;
    let outcome = if upgraded {
        let what = counted(filled).unwrap_or_else(|| "upgraded".to_owned());
        format!("{name}: {what}; the log is {log}")
    } else {
        format!("there is nothing to upgrade in {source}; {name} is gone again; the log is {log}")
    };
    for note in &filled.notes {
        context.warn(note);
    }
    if context.json {
        let content = json!({
            "done": true,
            "changed": upgraded,
            "name": upgraded.then_some(name),
            "from": source,
            "manager": upgrade.work.way.map(|way| way.name),
            "commands": commands(upgrade),
            "log": log,
            "packages": filled.packages.changes,
            "activated": activated.is_some(),
            "activation": activated.map(|switched| &switched.report.plan.outcome),
            "notes": filled.notes,
            "outcome": outcome,
        });
        output::json(&mut io::stdout().lock(), "upgrade", content)?;
    } else {
        if !context.script {
            context.warn(&outcome);
        }
        if let Some(switched) = activated {
            switched.report(context, "activate")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_as_it_would_be_typed() {
        let words = ["sh", "-c", "echo it's", "", "-y"].map(OsString::from);
        assert_eq!(line(&words), r"sh -c 'echo it'\''s' '' -y");
    }
}
