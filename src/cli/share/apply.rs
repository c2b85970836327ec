//! `share apply`, and the same unasked where an environment is made or activated.

use std::cell::RefCell;

use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::super::completions::environments;
use super::super::context::{Context, Report};
use super::super::error::Trouble;
use super::super::output;
use super::unseen;
use crate::be::BeName;
use crate::host::Host;
use crate::plan::share::apply;
use crate::share::DIRECTORY;
use crate::share::find::{self, Share};
use crate::share::layout::{self, Has};
use crate::survey::{Around, Scope, Survey};

/// Give environments the links and mounts of what is shared
///
/// Those that were made before a directory was shared have one of their own. It is
/// kept beside, and the link or the mount takes its place. Without a NAME all
/// environments. 'create', 'mount' and 'activate' do it by themselves, but for directories in
/// which something was written since they are shared.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Although the running environment's own is in use
    #[arg(long)]
    force: bool,

    /// The boot environments
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(environments))]
    names: Vec<BeName>,
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let names = if args.names.is_empty() {
        let survey = context.look(Scope::Names)?;
        let names = survey.environments();
        names.filter_map(|one| one.name().parse().ok()).collect()
    } else {
        args.names.clone()
    };
    let mut done: Vec<(BeName, Report)> = Vec::new();
    for name in names {
        let report = one(context, &name, args.force, false).map_err(|trouble| {
            let changed: Vec<&str> = done
                .iter()
                .filter(|(_, report)| report.done && !report.plan.steps.is_empty())
                .map(|(name, _)| name.as_str())
                .collect();
            if changed.is_empty() {
                trouble
            } else {
                trouble.after(&format!("{} is done", changed.join(", ")))
            }
        })?;
        if !context.json {
            context.report("share-apply", &report)?;
        }
        done.push((name, report));
    }
    if context.json {
        let all: Vec<_> = done
            .iter()
            .map(|(name, report)| {
                json!({
                    "name": name,
                    "outcome": report.plan.outcome,
                    "recovered": report.recovered,
                    "plan": report.plan,
                })
            })
            .collect();
        let changed = |(_, report): &(BeName, Report)| !report.plan.steps.is_empty();
        let content = json!({
            "done": !context.dry_run,
            "changed": !context.dry_run && done.iter().any(changed),
            "environments": all,
        });
        output::json(&mut std::io::stdout().lock(), "share-apply", content)?;
    }
    Ok(())
}

fn one(context: &Context, name: &BeName, force: bool, unasked: bool) -> Result<Report, Trouble> {
    let picture = RefCell::new(None);
    context.change(
        |host| {
            let (survey, found) = look(host, name, force, unasked)?;
            picture.replace(Some(found));
            Ok(survey)
        },
        |survey| match &*picture.borrow() {
            Some((share, request)) => apply::plan(survey, share.as_ref(), request),
            None => unseen(),
        },
        |_| None,
    )
}

/// What is shared, and what is to be done about it.
type Picture = (Option<Share>, apply::Request);

fn look(
    host: &Host,
    name: &BeName,
    force: bool,
    unasked: bool,
) -> Result<(Survey, Picture), Trouble> {
    let around = Around {
        running: true,
        ..Around::one(name)
    };
    let survey = Survey::around(host, &around)?;
    let share = find::find(host, &survey, None)?;
    let request = request(host, &survey, share.as_ref(), name, force, unasked)?;
    Ok((survey, (share, request)))
}

fn request(
    host: &Host,
    survey: &Survey,
    share: Option<&Share>,
    name: &BeName,
    force: bool,
    unasked: bool,
) -> Result<apply::Request, Trouble> {
    let mut request = apply::Request {
        name: name.clone(),
        found: Vec::new(),
        holders: Vec::new(),
        force,
        unasked,
    };
    let known = share.and_then(|share| Some((share, share.record.as_ref()?)));
    let (Some((share, record)), Some(environment)) = (known, survey.environment(name)) else {
        return Ok(request);
    };
    let dataset = &share.dataset.name;
    let found = layout::look(host, survey, &environment, dataset, &record.shared)?;
    request.found = found.unwrap_or_default();
    if environment.is_running() {
        for one in &request.found {
            let place = &one.place;
            if matches!(one.has, Has::Own { .. }) {
                let holders =
                    host.platform
                        .holders(&place.home, &place.below, &place.path, None)?;
                request.holders.extend(holders);
            }
        }
    }
    Ok(request)
}

/// Whether anything may be shared here: all that is looked at where nothing is.
fn is_there(context: &Context) -> bool {
    let mounts = context.host.platform.mounts(false).unwrap_or_default();
    context.is_root()
        && context.host.altroot.is_none()
        && mounts.iter().any(|mount| mount.directory == DIRECTORY)
}

/// The same for an environment that was made, where something is shared. It is no reason
/// for that to fail; what is left undone is told.
pub(in crate::cli) fn follow(context: &Context, name: &BeName) {
    if is_there(context) {
        tell(context, name, one(context, name, false, true));
    }
}

/// The same for one that is mounted or activated, once nothing stands in the way of
/// that, by who holds the lock; whether something was changed.
pub(in crate::cli) fn follow_held(context: &Context, name: &BeName) -> bool {
    if !is_there(context) {
        return false;
    }
    let held = || -> Result<Report, Trouble> {
        let (survey, (share, request)) = look(&context.host, name, false, true)?;
        let plan = apply::plan(&survey, share.as_ref(), &request)?;
        if !context.dry_run {
            context.carry_out(&plan)?;
        }
        Ok(Report {
            plan,
            recovered: None,
            done: !context.dry_run,
        })
    };
    tell(context, name, held())
}

/// Says what came of it; whether something was changed.
fn tell(context: &Context, name: &BeName, followed: Result<Report, Trouble>) -> bool {
    match followed {
        Ok(report) => {
            for note in &report.plan.notes {
                context.warn(note);
            }
            let does = !report.plan.steps.is_empty();
            if does {
                let first = if report.done { "" } else { "first of all " };
                context.warn(&format!("{first}{}", report.plan.outcome));
            }
            does && report.done
        }
        Err(trouble) => {
            context.warn(&format!(
                "what is shared was not looked at in {name}: {}",
                trouble.message
            ));
            true
        }
    }
}
