//! `status`.

use std::io::{self, Write as _};

use serde_json::{Value, json};

use super::conflicts::{self, Waiting};
use super::context::Context;
use super::{bases, output, share};
use crate::be::BootEnvironment;
use crate::boot::TrialEntry;
use crate::survey::trial::UnreadRecord;
use crate::survey::{FellBack, Files, Scope, Survey, Trial};
use crate::sync;
use crate::zfs::Guid;

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

/// What boots at the next boot and only then, where that is set.
fn once(survey: &Survey) -> Option<Vec<String>> {
    let root = survey.boot.once.as_ref()?;
    // A loader says it by its name alone.
    let gone = || format!("{} (there is none)", root.leaf());
    let called = name(survey.environment_at(root)).map_or_else(gone, str::to_owned);
    let then = name(survey.next()).map_or_else(String::new, |next| format!(", then {next}"));
    let text = format!("{called}, at the next boot{then}");
    Some(vec!["boots once".to_owned(), output::one_line(&text)])
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

/// What is known of where the newest files are; what cannot be read is told.
fn newest(context: &Context, survey: &Survey) -> Option<Files> {
    let told = |unread: UnreadRecord| context.warn(&unread.to_string());
    survey.files().map_err(told).unwrap_or_default()
}

fn files_json(survey: &Survey, files: &Files) -> Value {
    let called = |guid: &Guid| name(survey.environment_with(*guid)).map(str::to_owned);
    let source = survey
        .running()
        .and_then(|running| files.source(running.guid()));
    json!({
        "newest": called(&files.newest).map(|_| files.newest),
        "newest_name": called(&files.newest),
        "among": files.among.iter().map(called).collect::<Vec<_>>(),
        "owed_from": source.as_ref().and_then(called),
    })
}

/// What is to be carried at the next boot, or should have been at this one.
fn files_row(survey: &Survey, files: &Files) -> Option<Vec<String>> {
    let called = |guid| name(survey.environment_with(guid));
    let running = survey.running()?;
    let text = match files.source(running.guid()) {
        Some(source) => format!(
            "what changed in {} before this boot is not carried yet (journalctl -b -u \
             beadm-rs-late-sync); it is tried again at the next boot",
            called(source).unwrap_or("one that is gone")
        ),
        None => {
            let tried = survey.boot.trial.as_ref();
            let tried = tried.filter(|trial| trial.tries_left > 0);
            let next = survey.boot.once.as_ref();
            let next = next.or(tried.map(|trial| &trial.dataset));
            let next = next.or(survey.boot.next.as_ref());
            let next = next.and_then(|root| survey.environment_at(root))?;
            if next.guid() == running.guid() || !files.among.contains(&next.guid()) {
                return None;
            }
            format!(
                "what changes here from now on is carried to {} when it boots",
                next.name()
            )
        }
    };
    Some(vec!["files".to_owned(), output::one_line(&text)])
}

pub(super) fn run(context: &Context) -> anyhow::Result<()> {
    let survey =
        Survey::take(&context.host, Scope::Listing).map_err(super::error::Trouble::from)?;
    let running = name(survey.running());
    let next = name(survey.next());
    let last_good = survey
        .last_good()
        .and_then(|guid| name(survey.environment_with(guid)));
    let failback = way_back(&survey);
    let unfinished = context
        .unfinished(&survey)
        .or_else(|| context.unfinished_upgrade(&survey));
    let (trial, fell_back) = records(context, &survey);
    let files = newest(context, &survey);
    let waiting = conflicts::waiting(context, &survey);
    let shared = share::of_activations(context, &survey);
    let kept = sync::bases::bases(&survey);
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
        let mut content = json!({
            "beroot": survey.beroot,
            "running": running,
            "next": next,
            "once": survey.boot.once,
            "last_good": last_good,
            "failback": failback,
            "trial": trial.as_ref().map(|trial| trial_json(&survey, trial)),
            "fell_back": fell_back,
            "files": files.as_ref().map(|files| files_json(&survey, files)),
            "conflicts": waiting.iter().flat_map(Waiting::json).collect::<Vec<_>>(),
            "bases": bases::in_json(&kept),
            "loader": survey.loader,
            "unfinished": unfinished,
            "pools": pools,
            "engine": context.host.zfs.label(),
            "simulated": context.host.simulated,
        });
        if let Some(shared) = &shared {
            content["shared"] = share::in_json(shared);
        }
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
    if let Some(row) = once(&survey) {
        rows.insert(2, row);
    }
    rows.extend(told(&survey, trial.as_ref(), fell_back.as_ref()));
    rows.extend(files.and_then(|files| files_row(&survey, &files)));
    rows.extend(waiting.iter().flat_map(Waiting::rows));
    rows.extend(
        shared
            .iter()
            .flat_map(|shared| share::kept_rows(context, shared)),
    );
    rows.extend(bases::rows(context, &kept));
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
