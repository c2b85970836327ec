//! `activate`, `create`, `destroy`, `rename` and `rollback`.

use std::io::{self, BufRead as _, Write as _};

use super::super::{
    Done, Stop, activated, environment, misnamed, new_name, say, snapshot, source, whisper,
};
use super::{failed, failed_on, no_environment, no_snapshot, options, usage};
use crate::cli::context::Context;
use crate::cli::error::Trouble;
use crate::cli::{
    BeSnapshot, activate as switches, create as creates, destroy as destroys, rename as renames,
    rollback as goes_back, snapshot as takes,
};
use crate::plan::{
    Plan, Refusal, Why, create as creating, destroy as destroying, label, rollback as going_back,
    snapshot as snapshots,
};
use crate::survey::{Scope, Survey};
use crate::zfs::Setting;

/// `activate [-v] [-t | -T] be`: for good at once, `-t` for one boot, `-T` not for that any more.
pub(super) fn activate(context: &Context, words: &[String]) -> Done {
    let options = options(words, "vtT")?;
    let (once, not_once) = (options.has('t'), options.has('T'));
    let [name] = options.rest else {
        return Err(usage());
    };
    if once && not_once {
        return Err(usage());
    }
    match not_once {
        true => end_once(context, name),
        false => switch(context, name, once),
    }
}

fn not_activated(name: &str, trouble: Trouble) -> Stop {
    failed_on(name, format!("Unable to activate {name}."), trouble)
}

fn switch(context: &Context, name: &str, once: bool) -> Done {
    activated(context, name, once).map_err(|trouble| not_activated(name, trouble))?;
    say("Activated successfully").map(|()| 0)
}

/// What boots once is nothing of another environment's to take back.
fn end_once(context: &Context, text: &str) -> Done {
    let ended = || {
        let name = environment(context, text)?;
        let survey = context.look(Scope::Names)?;
        let meant = crate::cli::mount::find(&survey, &name)?;
        match &survey.boot.once {
            Some(once) if *once != meant.root.name => {
                let why = format!("{name} is not set to boot once, {once} is");
                Err(Trouble::refused(why).remedy("beadm activate -T with its name"))
            }
            _ => switches::not_once(context),
        }
    };
    ended().map_err(|trouble| not_activated(text, trouble))?;
    say("Activated successfully").map(|()| 0)
}

/// `create [-a | -t] [-d desc] [-e be|be@snap] [-o p=v]... [-p pool] [-v] be`,
/// `create [-v] be@snap`.
pub(super) fn create(context: &Context, words: &[String]) -> Done {
    let options = options(words, "atd:e:o:p:v")?;
    let settings = settings(&options.found)?;
    let [name] = options.rest else {
        return Err(usage());
    };
    let (activate, once) = (options.has('a'), options.has('t'));
    if activate && once {
        return Err(usage());
    }
    let from = options.value('e');
    let lacks_its_name = |text: &str| text.ends_with('@');
    if lacks_its_name(name) || from.is_some_and(lacks_its_name) {
        return Err(usage());
    }
    if name.contains('@') {
        return match from {
            Some(_) => Err(usage()),
            None => take(context, name),
        };
    }
    let pool = options.value('p');
    if let (Some(pool), true) = (pool, activate || once) {
        let why = format!("what boots here is below one beroot, and that is not in pool {pool}");
        let trouble = Trouble::refused(why).remedy("create it first, and have the loader boot it");
        return Err(failed(vec![format!("Unable to create {name}.")], trouble));
    }
    let created = || {
        let description = options.value('d').map(|text| {
            let checked = label::check_description(text).map(|()| text.to_owned());
            checked.map_err(Trouble::refused)
        });
        let pool = pool.map(str::parse);
        let request = creating::Request {
            from: source(context, from)?,
            name: new_name(context, name)?,
            description: description.transpose()?,
            settings,
            pool: pool.transpose().map_err(|error| misnamed(error, true))?,
            shallow: false,
        };
        let report = creates::made(context, &request)?;
        creates::follow(context, &request, &report);
        Ok(())
    };
    created().map_err(|trouble: Trouble| {
        let general = format!("Unable to create {name}.");
        match trouble.why {
            Why::Exists => {
                let lines = [
                    format!("BE {name} already exists"),
                    "Please choose a different BE name.".to_owned(),
                ];
                failed(lines.to_vec(), trouble)
            }
            _ => failed_on(from.unwrap_or_default(), general, trouble),
        }
    })?;
    if activate || once {
        return switch(context, name, once);
    }
    say("Created successfully").map(|()| 0)
}

fn settings(found: &[(char, Option<&str>)]) -> Result<Vec<Setting>, Stop> {
    let mut settings: Vec<Setting> = Vec::new();
    let stop = |line: String| Stop::Failed(super::FAILED, vec![line], None);
    for (_, text) in found.iter().filter(|(letter, _)| *letter == 'o') {
        let text = text.unwrap_or_default();
        let Some((name, value)) = text.split_once('=') else {
            return Err(stop("missing '=' for -o option".to_owned()));
        };
        if settings.iter().any(|(other, _)| other == name) {
            return Err(stop(format!("property '{name}' specified multiple times")));
        }
        settings.push((name.to_owned(), value.to_owned()));
    }
    Ok(settings)
}

/// Of all of the environment's datasets.
fn take(context: &Context, text: &str) -> Done {
    let (of, component) = text.split_once('@').unwrap_or((text, ""));
    let taken = snapshot(context, text).and_then(|target| takes::taken(context, &target.into()));
    taken.map_err(|trouble| match trouble.why {
        Why::Exists => {
            let lines = [
                format!("BE {of} snapshot {component} already exists."),
                "Please choose a different snapshot name.".to_owned(),
            ];
            failed(lines.to_vec(), trouble)
        }
        _ => {
            let general = format!("Unable to create snapshot {component}.");
            failed_on(of, general, trouble)
        }
    })?;
    say("Created successfully").map(|()| 0)
}

/// `destroy [-fFsv] be | be@snap`: asks, but for `-F`.
pub(super) fn destroy(context: &Context, words: &[String]) -> Done {
    let options = options(words, "fFsv")?;
    let [target] = options.rest else {
        return Err(usage());
    };
    if !options.has('F') && !agreed(target)? {
        return say(&format!("{target} has not been destroyed.")).map(|()| 0);
    }
    if target.ends_with('@') {
        return Err(usage());
    }
    match target.split_once('@') {
        Some((be, component)) => destroy_snapshot(context, target, be, component)?,
        None => destroy_environment(context, target, options.has('f'), options.has('s'))?,
    }
    say("Destroyed successfully").map(|()| 0)
}

/// Asks on standard input, whatever that is: only a yes agrees.
fn agreed(target: &str) -> Result<bool, Stop> {
    let mut out = io::stdout();
    write!(
        out,
        "Are you sure you want to destroy {target}?\nThis action cannot be undone (y/[n]): "
    )?;
    out.flush()?;
    let mut answer = String::new();
    // Nobody there to answer is a no.
    let _ = io::stdin().lock().read_line(&mut answer);
    match answer.chars().next() {
        Some('y' | 'Y') => Ok(true),
        None | Some('\n' | 'n' | 'N') => Ok(false),
        Some(_) => {
            whisper("Invalid response. Please enter 'y' or 'n'.");
            Ok(false)
        }
    }
}

fn destroy_snapshot(
    context: &Context,
    target: &str,
    be: &str,
    component: &str,
) -> Result<(), Stop> {
    let destroyed = snapshot(context, target)
        .and_then(|target: BeSnapshot| destroys::snapshot(context, &target));
    destroyed.map(drop).map_err(|trouble| match trouble.why {
        Why::NoSnapshot => failed(no_snapshot(component), trouble),
        _ => failed_on(be, format!("Unable to destroy {be}."), trouble),
    })
}

fn destroy_environment(
    context: &Context,
    text: &str,
    unmount: bool,
    snapshots: bool,
) -> Result<(), Stop> {
    let destroyed = environment(context, text).and_then(|name| {
        let request = destroying::Request {
            name,
            force: unmount,
            origins: destroying::Origins::Own,
        };
        let may = |survey: &Survey, plan: &Plan| match snapshots {
            true => Ok(()),
            false => without_snapshots(survey, plan, &request),
        };
        destroys::environment(context, &request, may)
    });
    destroyed.map(drop).map_err(|trouble| {
        let unable = format!("Unable to destroy {text}.");
        match trouble.why {
            Why::Mounted => {
                let lines = [
                    unable,
                    "It is currently mounted and must be unmounted before it can be destroyed."
                        .to_owned(),
                    format!(
                        "Use 'beadm unmount {text}' to unmount the BE before destroying\nit or \
                         'beadm destroy -f {text}'."
                    ),
                ];
                failed(lines.to_vec(), trouble)
            }
            Why::Protected => {
                let lines = [
                    format!("{text} is the currently active BE and cannot be destroyed."),
                    format!("You must boot from another BE in order to destroy {text}."),
                ];
                failed(lines.to_vec(), trouble)
            }
            Why::HasSnapshots => {
                let lines = [
                    format!("Unable to destroy {text}: BE has snapshots."),
                    format!("Use 'beadm destroy -s {text}' or 'zfs -r destroy <dataset>'."),
                ];
                failed(lines.to_vec(), trouble)
            }
            _ => failed_on(text, unable, trouble),
        }
    })
}

/// Refuses to take snapshots along that somebody took: those this program took for itself are
/// not meant.
fn without_snapshots(
    survey: &Survey,
    plan: &Plan,
    request: &destroying::Request,
) -> Result<(), Refusal> {
    let Some(environment) = survey.environment(&request.name) else {
        return Ok(());
    };
    match snapshots::of_others(plan, &environment).first() {
        None => Ok(()),
        Some(first) => Err(snapshots::would_go(&request.name, first)),
    }
}

/// `rename [-v] be new`.
pub(super) fn rename(context: &Context, words: &[String]) -> Done {
    let options = options(words, "v")?;
    let [old, new] = options.rest else {
        return Err(usage());
    };
    let renamed = || {
        let name = environment(context, old)?;
        let target = new_name(context, new)?;
        renames::renamed(context, &name, &target, false)
    };
    renamed().map_err(|trouble| failed_on(old, format!("Rename of BE {old} failed."), trouble))?;
    say("Renamed successfully").map(|()| 0)
}

/// `rollback [-v] be snapshot | be@snapshot`: does not ask, as there.
pub(super) fn rollback(context: &Context, words: &[String]) -> Done {
    let options = options(words, "v")?;
    let (be, component) = match options.rest {
        // The manual's own example names the environment in both.
        [be, component] => (
            be.as_str(),
            component
                .split_once('@')
                .map_or(component.as_str(), |(_, it)| it),
        ),
        [both] => both.split_once('@').ok_or_else(usage)?,
        _ => return Err(usage()),
    };
    if component.is_empty() {
        return Err(usage());
    }
    let rolled_back = || {
        let target = snapshot(context, &format!("{be}@{component}"))?;
        let request = going_back::Request {
            name: target.environment,
            snapshot: target.snapshot,
        };
        goes_back::rolled_back(context, &request)
    };
    rolled_back().map_err(|trouble| match trouble.why {
        Why::NoSnapshot => failed(no_snapshot(component), trouble),
        Why::NoEnvironment => failed(no_environment(be), trouble),
        _ => {
            let general = format!("Rollback of BE {be} snapshot {component} failed.");
            failed_on(be, general, trouble)
        }
    })?;
    say("Rolled back successfully").map(|()| 0)
}
