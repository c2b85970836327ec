//! `run`.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::sync::PoisonError;

use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::completions::environments;
use super::context::Context;
use super::error::{NOT_RUN, Trouble};
use super::output;
use crate::be::BeName;
use crate::execute::run::{self, NoPlan};
use crate::os::inside::{Change, Ended, Inside, Output, Program};
use crate::plan;
use crate::survey::{Around, Survey};

/// How many changes in private places are told; --json has all of them.
const TOLD: usize = 20;

/// Run a command in a boot environment that is not running
///
/// The environment is mounted with /dev, /proc, /sys and private /run and /tmp
/// in namespaces of the command's own. Nothing done inside reaches the running
/// system: no disks, no firmware variables, no kernel modules; the ESP, a
/// /boot that environments share and /var/share are private copies, whose changes
/// are listed and thrown away. Services do not start, and nothing started inside survives
/// the command. Without a command root's shell is run. The exit status is the
/// command's, or 125 where it did not run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The boot environment
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(environments))]
    pub(super) name: BeName,

    /// The command and its arguments
    #[arg(
        value_name = "CMD",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<OsString>,
}

impl From<NoPlan> for Trouble {
    fn from(why: NoPlan) -> Self {
        match why {
            NoPlan::Refused(refusal) => refusal.into(),
            NoPlan::Unread(cause) => cause.into(),
        }
    }
}

/// Runs the command; its exit code.
pub(super) fn run(context: &Context, args: Args) -> anyhow::Result<u8> {
    if context.dry_run {
        let inside = prepare(context, &args.name)?;
        print_plan(context, &args.name, &inside)?;
        return Ok(0);
    }
    // 0 to 124 are the command's to use.
    let ended = execute(context, &args).map_err(|trouble| {
        if trouble.exit < NOT_RUN {
            Trouble {
                exit: NOT_RUN,
                ..trouble
            }
        } else {
            trouble
        }
    })?;
    report(context, &args.name, &ended)?;
    Ok(ended.status)
}

pub(super) fn prepare(context: &Context, name: &BeName) -> Result<Inside, Trouble> {
    let survey = Survey::around(&context.host, &Around::one(name))?;
    if let Some(text) = context.unfinished(&survey) {
        context.warn(&text);
    }
    Ok(run::plan(&context.host, &survey, name, context.dry_run)?)
}

/// The same for somebody else's command line: the exit code of the command, of root's shell
/// where there are no words.
///
/// # Errors
/// Why it did not run.
pub(super) fn ended(context: &Context, name: BeName, words: Vec<OsString>) -> Result<u8, Trouble> {
    let ended = execute(context, &Args { name, words })?;
    for note in &ended.notes {
        context.warn(note);
    }
    if let Some(text) = thrown_away(&ended.changes) {
        context.warn(&text);
    }
    Ok(ended.status)
}

fn execute(context: &Context, args: &Args) -> Result<Ended, Trouble> {
    // Once it is mounted, ZFS itself keeps others from destroying it.
    let lock = std::sync::Mutex::new(Some(context.lock()?));
    let inside = prepare(context, &args.name)?;
    let program = Program {
        words: args.words.clone(),
        output: if context.json {
            Output::StandardError
        } else {
            Output::Callers
        },
        environment: Vec::new(),
    };
    let mut mounted = || {
        lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    };
    Ok(context.host.platform.run_inside(
        &inside,
        &program,
        context.interruption.asked(),
        &mut mounted,
    )?)
}

fn print_plan(context: &Context, name: &BeName, inside: &Inside) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let picture = plan::run::picture(inside);
    if context.json {
        let mounts: Vec<_> = picture
            .iter()
            .map(|(place, what)| json!({"place": place, "what": what}))
            .collect();
        let content = json!({
            "name": name,
            "done": false,
            "datasets": inside.datasets,
            "private": inside.private,
            "command_line": inside.command_line.trim_end(),
            "mounts": mounts,
        });
        output::json(&mut out, "run", content)?;
    } else {
        for (place, what) in picture {
            writeln!(out, "mount on {place}: {what}")?;
        }
    }
    Ok(())
}

fn report(context: &Context, name: &BeName, ended: &Ended) -> anyhow::Result<()> {
    for note in &ended.notes {
        context.warn(note);
    }
    if context.json {
        let content = json!({
            "name": name,
            "done": true,
            "status": ended.status,
            "thrown_away": ended.changes,
            "notes": ended.notes,
        });
        output::json(&mut io::stdout().lock(), "run", content)?;
    } else if let Some(text) = thrown_away(&ended.changes) {
        context.warn(&text);
    }
    Ok(())
}

/// What was changed in private places, for people.
pub(super) fn thrown_away(changes: &[Change]) -> Option<String> {
    if changes.is_empty() {
        return None;
    }
    let mut lines = vec![
        "thrown away, since the loader's files and /var/share were private copies:".to_owned(),
    ];
    lines.extend(
        changes
            .iter()
            .take(TOLD)
            .map(|change| format!("  {} {}", change.what.as_str(), change.path)),
    );
    if let Some(more) = changes.len().checked_sub(TOLD).filter(|more| *more > 0) {
        lines.push(format!("  and {more} more (--json has all)"));
    }
    Some(lines.join("\n"))
}
