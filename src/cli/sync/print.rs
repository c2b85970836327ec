//! What `sync` prints: a line per file, its decision, and why.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::super::context::Report;
use super::super::error::Trouble;
use super::super::output;
use crate::sync::change::Looked;
use crate::sync::decide::{Action, Kind};
use crate::sync::read::Row;

/// What is done, as a word.
fn decision(row: &Row) -> &'static str {
    match (row.action, &row.change) {
        (Action::Conflict, _) => "conflict",
        (Action::Keep, _) => "keep",
        (_, None) => "nothing",
        (Action::Copy, _) => "copy",
        (Action::Merge(_), _) => "merge",
        (Action::Metadata, _) => "metadata",
        (Action::Delete, _) => "delete",
        (Action::Nothing, _) => "nothing",
    }
}

pub(super) fn path(row: &Row) -> String {
    format!("/{}", output::one_line(&String::from_utf8_lossy(&row.path)))
}

/// The files, for people or for scripts; then what is in conflict.
pub(in crate::cli) fn table(out: &mut impl Write, looked: &Looked, script: bool) -> io::Result<()> {
    let rows: Vec<Vec<String>> = looked
        .decided
        .rows
        .iter()
        .map(|row| {
            vec![
                path(row),
                policy(row),
                row.source.as_str().to_owned(),
                row.target.as_str().to_owned(),
                decision(row).to_owned(),
                output::one_line(&row.why),
            ]
        })
        .collect();
    if script {
        return output::tabs(out, &rows);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let source = format!("IN {}", looked.sides.source.name);
    let target = format!("IN {}", looked.sides.target.name);
    let header = ["PATH", "POLICY", &source, &target, "DECISION", "WHY"];
    output::table(out, &header, &rows)?;
    for row in looked.decided.conflicts() {
        writeln!(out, "\nconflict: {}", path(row))?;
        for line in &row.details {
            writeln!(out, "  {}", output::one_line(line))?;
        }
    }
    Ok(())
}

fn policy(row: &Row) -> String {
    let policy = serde_json::to_value(row.policy).unwrap_or_default();
    policy.as_str().unwrap_or_default().to_owned()
}

pub(in crate::cli) fn json(
    looked: &Looked,
    report: Option<&Report>,
    conflict: Option<&Trouble>,
) -> Value {
    let files: Vec<Value> = looked
        .decided
        .rows
        .iter()
        .map(|row| {
            json!({
                "path": format!("/{}", String::from_utf8_lossy(&row.path)),
                "policy": row.policy,
                "base": row.base.map(Kind::as_str),
                "source": row.source,
                "target": row.target,
                "decision": decision(row),
                "why": row.why,
                "details": row.details,
                "kept_beside": row.kept,
            })
        })
        .collect();
    let skipped: Vec<Value> = looked
        .decided
        .skipped
        .iter()
        .map(|skipped| {
            json!({
                "path": format!("/{}", String::from_utf8_lossy(&skipped.path)),
                "why": skipped.why,
            })
        })
        .collect();
    let done = report.is_some_and(|report| report.done);
    let steps = report.map_or(0, |report| report.plan.steps.len());
    let told = |text: &dyn Fn(&Trouble) -> Option<String>| conflict.and_then(text);
    json!({
        "from": looked.sides.source.name,
        "to": looked.sides.target.name,
        "files": files,
        "skipped": skipped,
        "conflicts": looked.decided.conflicts().count(),
        "done": done,
        "changed": done && steps > 0,
        "outcome": report
            .map(|report| report.plan.outcome.clone())
            .or_else(|| told(&|trouble| Some(trouble.message.clone()))),
        "remedy": told(&|trouble| trouble.remedy.clone()),
        "recovered": report.and_then(|report| report.recovered.clone()),
        "plan": report.map(|report| &report.plan),
    })
}
