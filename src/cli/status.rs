//! `status`.

use std::io::{self, Write as _};

use serde_json::json;

use super::context::Context;
use super::output;
use crate::be::BootEnvironment;
use crate::survey::{Scope, Survey};

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

pub(super) fn run(context: &Context) -> anyhow::Result<()> {
    let survey = Survey::take(&context.host, Scope::Names).map_err(super::error::Trouble::from)?;
    let running = name(survey.running());
    let next = name(survey.next());
    let last_good = survey
        .last_good()
        .and_then(|guid| name(survey.environment_with(guid)));
    let failback = way_back(&survey);
    let unfinished = context.unfinished(&survey);
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
