//! `status`.

use std::io::{self, Write as _};

use serde_json::{Value, json};

use super::context::Context;
use super::output;
use crate::be::BootEnvironment;
use crate::boot::TrialEntry;
use crate::survey::trial::UnreadRecord;
use crate::survey::{FellBack, Scope, Survey, Trial};

/// Say what runs, what boots next, what the way back is, and what is unfinished
#[derive(Debug, clap::Args)]
pub struct Args {}

fn name(environment: Option<BootEnvironment<'_>>) -> Option<&str> {
    environment.map(|environment| environment.name())
}

/// Where `failback` leads.
fn way_back(survey: &Survey) -> Option<&str> {
    let current = survey.next().or_else(|| survey.running())?;
    name(survey.environment_with(current.failback()?))
}

/// What is known of trials; what cannot be read is told.
pub(super) fn records(context: &Context, survey: &Survey) -> (Option<Trial>, Option<FellBack>) {
    let told = |unread: UnreadRecord| context.warn(&unread.to_string());
    (
        survey.trial().map_err(told).unwrap_or_default(),
        survey.fell_back().map_err(told).unwrap_or_default(),
    )
}

/// A trial, with what the loader has counted.
pub(super) fn trial_json(survey: &Survey, trial: &Trial) -> Value {
    let entry = entry_of(survey, trial);
    json!({
        "target": trial.target,
        "name": name(survey.environment_with(trial.target)),
        "back": trial.back,
        "back_name": name(survey.environment_with(trial.back)),
        "tries": trial.tries,
        "tries_left": entry.map(|entry| entry.tries_left),
        "since": trial.since,
    })
}

fn entry_of<'a>(survey: &'a Survey, trial: &Trial) -> Option<&'a TrialEntry> {
    let target = survey.environment_with(trial.target)?;
    let entry = survey.boot.trial.as_ref()?;
    (entry.dataset == target.root.name).then_some(entry)
}

/// The rows about trials, where there is something to say.
fn told(survey: &Survey, trial: Option<&Trial>, fell_back: Option<&FellBack>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    if let Some(trial) = trial {
        let called = |guid| {
            name(survey.environment_with(guid))
                .unwrap_or("one that is gone")
                .to_owned()
        };
        let left = match entry_of(survey, trial) {
            Some(entry) => format!("{} of {} tries left", entry.tries_left, trial.tries),
            None if trial.tries == 1 => "1 try".to_owned(),
            None => format!("{} tries", trial.tries),
        };
        let text = format!(
            "{}, {left}, then {} again unless it is confirmed",
            called(trial.target),
            called(trial.back)
        );
        rows.push(vec!["trial".to_owned(), text]);
    }
    if let Some(record) = fell_back {
        // Noted while it is still being tried.
        let pending = trial.is_some_and(|trial| trial.target == record.target);
        let key = if pending { "last try" } else { "fell back" };
        let text = format!(
            "{}: {} ({})",
            record.name,
            record.why,
            record.when.format("%Y-%m-%d %H:%M:%SZ")
        );
        rows.push(vec![key.to_owned(), output::one_line(&text)]);
    }
    rows
}

pub(super) fn run(context: &Context) -> anyhow::Result<()> {
    let survey = Survey::take(&context.host, Scope::Names).map_err(super::error::Trouble::from)?;
    let running = name(survey.running());
    let next = name(survey.next());
    let last_good = survey
        .last_good()
        .and_then(|guid| name(survey.environment_with(guid)));
    let failback = way_back(&survey);
    let unfinished = context.unfinished(&survey);
    let (trial, fell_back) = records(context, &survey);
    let mut out = io::stdout().lock();
    if context.json {
        let pools: Vec<_> = survey
            .pools
            .values()
            .map(|pool| {
                json!({
                    "name": pool.name,
                    "health": pool.health,
                    "readonly": pool.readonly,
                    "free": pool.free,
                    "size": pool.size,
                })
            })
            .collect();
        let content = json!({
            "beroot": survey.beroot,
            "running": running,
            "next": next,
            "once": survey.boot.once,
            "last_good": last_good,
            "failback": failback,
            "trial": trial.as_ref().map(|trial| trial_json(&survey, trial)),
            "fell_back": fell_back,
            "loader": survey.loader,
            "unfinished": unfinished,
            "pools": pools,
            "engine": context.host.zfs.label(),
            "simulated": context.host.simulated,
        });
        return Ok(output::json(&mut out, "status", content)?);
    }
    let dash = |value: Option<&str>| value.unwrap_or("-").to_owned();
    let mut rows = vec![
        vec!["running".to_owned(), dash(running)],
        vec!["next boot".to_owned(), dash(next)],
        vec!["last good".to_owned(), dash(last_good)],
        vec!["failback to".to_owned(), dash(failback)],
        vec!["loader".to_owned(), survey.loader.to_owned()],
        vec!["beroot".to_owned(), survey.beroot.to_string()],
        vec!["engine".to_owned(), context.host.zfs.label()],
        vec![
            "unfinished".to_owned(),
            unfinished.unwrap_or_else(|| "nothing".to_owned()),
        ],
    ];
    rows.extend(told(&survey, trial.as_ref(), fell_back.as_ref()));
    rows.extend(survey.pools.values().map(|pool| {
        vec![
            format!("pool {}", pool.name),
            format!(
                "{}, {} free of {}",
                pool.health,
                output::size(pool.free),
                output::size(pool.size)
            ),
        ]
    }));
    if context.script {
        output::tabs(&mut out, &rows)?;
    } else {
        for row in rows {
            if let [key, value] = row.as_slice() {
                writeln!(out, "{key:>12}: {value}")?;
            }
        }
    }
    Ok(())
}
