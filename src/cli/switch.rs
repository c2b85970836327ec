//! A switch, with the files: what changed in the running environment is carried to the
//! one that is to boot first, under the same lock, as an operation of its own.

use std::io::{self, Write as _};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::context::{Context, Report};
use super::error::{CONFLICT, Trouble, UNFINISHED, Verdict};
use super::output;
use super::sync::ask::Conflicts;
use super::sync::{self, Seen, find, in_conflict, print};
use crate::be::{BeName, BootEnvironment};
use crate::host::Host;
use crate::plan::{self, Plan, Planned, Refusal, files};
use crate::survey::{Scope, Survey};
use crate::sync::change::Looked;
use crate::sync::kept;
use crate::sync::read::Since;

/// What is done about files that both sides changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Nothing is carried, now or at the boot.
    Without,
    /// They end it, where nobody says who wins.
    Stopping(Option<Conflicts>),
    /// They end nothing, and neither does anything else about files: the target's stay,
    /// the others are kept beside.
    Beside,
}

/// What a switch is.
pub(super) struct Deed<'a> {
    /// Takes the survey.
    pub(super) look: &'a dyn Fn(&Host) -> Result<Survey, Trouble>,
    /// Which environment is to boot.
    pub(super) target: &'a dyn Fn(&Survey) -> Option<BeName>,
    /// The plan.
    pub(super) plan: &'a dyn Fn(&Survey) -> Planned,
    /// What is done first, once nothing stands in the way; whether it may have changed
    /// something in the target.
    pub(super) first: &'a dyn Fn(&Survey) -> bool,
    /// What a look at the target shows.
    pub(super) check: &'a dyn Fn(&Survey) -> Result<Vec<String>, Refusal>,
}

/// What was carried, or would be.
struct Carried {
    looked: Looked,
    report: Report,
}

/// What a switch came to.
pub(super) struct Switched {
    carried: Option<Carried>,
    /// The switch itself.
    pub(super) report: Report,
}

/// Why it did not come to one.
pub(super) enum Stopped {
    /// Files.
    Conflict(Box<Looked>, Trouble),
    /// Anything else.
    Trouble(Trouble),
}

impl<T: Into<Trouble>> From<T> for Stopped {
    fn from(trouble: T) -> Self {
        Self::Trouble(trouble.into())
    }
}

impl Stopped {
    /// As one error, for who prints no listing.
    pub(super) fn into_trouble(self, name: &BeName) -> Trouble {
        match self {
            Self::Conflict(_, trouble) => trouble.remedy(format!(
                "'beadm-rs activate {name}' lists them, and takes --conflicts"
            )),
            Self::Trouble(trouble) => trouble,
        }
    }
}

/// What was found out about files.
#[derive(Default)]
struct Found {
    seen: Option<Seen>,
    notes: Vec<String>,
}

/// The environment that files come from: the one that runs; on a rescue system the one
/// that ran last, where that is known, or would boot.
fn source(survey: &Survey) -> Option<BootEnvironment<'_>> {
    let newest = || {
        let files = survey.files().ok().flatten()?;
        survey.environment_with(files.newest)
    };
    survey.running().or_else(newest).or_else(|| survey.next())
}

/// Makes a switch.
///
/// # Errors
/// A refusal, a conflict, or how it failed.
pub(super) fn switch(
    context: &Context,
    manner: Manner,
    deed: &Deed<'_>,
) -> Result<Switched, Stopped> {
    let begun = context.begin(&|host: &Host| (deed.look)(host))?;
    let survey = &begun.survey;
    let mut plan = (deed.plan)(survey)?;
    let mut checked = match plan.steps.is_empty() {
        true => Vec::new(),
        false => (deed.check)(survey)?,
    };
    let target = (deed.target)(survey);
    let mut found = look(context, manner, survey, target.as_ref())?;
    let followed = (deed.first)(survey);
    if followed && !plan.steps.is_empty() {
        checked = (deed.check)(survey)?;
    }
    let carried = match found.seen.take() {
        Some(seen) => carry(
            context,
            manner,
            seen,
            plan.steps.is_empty(),
            &mut found.notes,
        )?,
        None => None,
    };
    let done = carried.as_ref().is_some_and(|carried| carried.report.done);
    let newer = match done || followed {
        // Both have other snapshots now, or the target other files.
        true => Some((deed.look)(&context.host)?),
        false => None,
    };
    let survey = newer.as_ref().unwrap_or(survey);
    if newer.is_some() {
        plan = (deed.plan)(survey)?;
    }
    if done
        && plan.steps.is_empty()
        && let Some(short) = plan.outcome.strip_suffix("; nothing changed")
    {
        // Files did.
        plan.outcome = short.to_owned();
    }
    record(survey, manner, target.as_ref(), &mut plan);
    let kept = carried.iter().flat_map(|carried| beside(&carried.looked));
    found.notes.extend(kept);
    found.notes.append(&mut plan.notes);
    found.notes.extend(checked);
    plan.notes = found.notes;
    if !context.dry_run {
        context.carry_out(&plan).map_err(|trouble| match &carried {
            Some(carried) => trouble.after(&carried.report.plan.outcome),
            None => trouble,
        })?;
    }
    Ok(Switched {
        carried,
        report: Report {
            plan,
            recovered: begun.recovered,
            done: !context.dry_run,
        },
    })
}

/// Has the switch record where the newest files are. Where what runs is to go on
/// booting, that stays as it is.
fn record(survey: &Survey, manner: Manner, target: Option<&BeName>, plan: &mut Plan) {
    let target = target.and_then(|name| survey.environment(name));
    let (Some(source), Some(target)) = (source(survey), target) else {
        return;
    };
    if manner == Manner::Without {
        files::note(survey, plan, None);
    } else if source.guid() != target.guid() {
        let record = files::of_switch(survey, &source, &target);
        files::note(survey, plan, Some(&record));
    }
}

/// Decides about the files, from both as they are.
fn look(
    context: &Context,
    manner: Manner,
    survey: &Survey,
    target: Option<&BeName>,
) -> Result<Found, Stopped> {
    let mut found = Found::default();
    let (decides, lenient) = match manner {
        Manner::Without => return Ok(found),
        Manner::Stopping(conflicts) => (conflicts.into(), survey.running().is_none()),
        Manner::Beside => (sync::Manner::beside(), true),
    };
    let Some(target) = target else {
        return Ok(found);
    };
    let Some(source) = source(survey) else {
        found.notes.push(format!(
            "nothing is carried to {target}: nothing is running here, and nothing is set to boot"
        ));
        return Ok(found);
    };
    if source.name() == target.as_str() {
        return Ok(found);
    }
    if !context.is_root() {
        let name = source.name();
        found.notes.push(format!(
            "what would be carried from {name} to {target} was not looked at: only root can"
        ));
        return Ok(found);
    }
    let looked = source
        .name()
        .parse()
        .map_err(Trouble::refused)
        .and_then(|name| {
            let request = plan::sync::Request {
                source: name,
                target: target.clone(),
                at_boot: false,
            };
            find(context, survey, request, &decides)
        });
    match looked {
        Ok(mut seen) => {
            let conflicts = seen.looked.decided.conflicts().count();
            if conflicts > 0 {
                let trouble = in_conflict(conflicts, target);
                return Err(Stopped::Conflict(Box::new(seen.looked), trouble));
            }
            found.notes.append(&mut seen.notes);
            found.seen = Some(seen);
        }
        Err(trouble) if lenient && !is_interrupted(context) => {
            found.notes.push(without(source.name(), target, &trouble));
        }
        Err(trouble) => return Err(or_without(trouble).into()),
    }
    Ok(found)
}

fn is_interrupted(context: &Context) -> bool {
    context.interruption.asked().load(Ordering::Relaxed)
}

fn without(source: &str, target: &BeName, trouble: &Trouble) -> String {
    let Trouble {
        message, remedy, ..
    } = trouble;
    let remedy = remedy.as_ref().map(|remedy| format!(" ({remedy})"));
    format!(
        "nothing is carried from {source} to {target} now: {message}{}; it is tried again when \
         {target} boots",
        remedy.unwrap_or_default()
    )
}

/// There is a way without.
fn or_without(trouble: Trouble) -> Trouble {
    let way = "--no-sync goes without the files";
    let remedy = match &trouble.remedy {
        Some(remedy) => format!("{remedy}; {way}"),
        None => way.to_owned(),
    };
    trouble.remedy(remedy)
}

/// Carries them; `None` where there is nothing that differs. `alone` is where the switch
/// itself changes nothing.
fn carry(
    context: &Context,
    manner: Manner,
    Seen {
        request, looked, ..
    }: Seen,
    alone: bool,
    notes: &mut Vec<String>,
) -> Result<Option<Carried>, Stopped> {
    if looked.decided.rows.is_empty() {
        return Ok(None);
    }
    let carried = || -> Result<Report, Trouble> {
        // Which older pairs are left over, only all environments tell.
        let survey = Survey::take(&context.host, Scope::Change)?;
        let mut plan = plan::sync::plan(&survey, &request, &looked)?;
        if alone {
            let [source, target] = plan::sync::environments(&survey, &request)?;
            let record = files::of_switch(&survey, &source, &target);
            files::note_with_commit(&survey, &mut plan, &record);
        }
        if !context.dry_run {
            context.carry_out(&plan)?;
        }
        Ok(Report {
            plan,
            recovered: None,
            done: !context.dry_run,
        })
    };
    match carried() {
        Ok(report) => Ok(Some(Carried { looked, report })),
        Err(trouble) if manner == Manner::Beside && !is_interrupted(context) => {
            if trouble.exit == UNFINISHED {
                context.recover()?;
            }
            notes.push(without(request.source.as_str(), &request.target, &trouble));
            Ok(None)
        }
        Err(trouble) => Err(or_without(trouble).into()),
    }
}

/// What is kept of the files that both sides changed, one sentence for each.
pub(super) fn beside(looked: &Looked) -> impl Iterator<Item = String> + '_ {
    let [source, target] = [&looked.sides.source.name, &looked.sides.target.name];
    looked.decided.kept().map(move |row| {
        let directory = kept::directory(&row.path);
        let kept = match row.source {
            Since::Deleted | Since::Absent => format!("that {source} has none is noted"),
            Since::Unchanged | Since::Changed | Since::New => format!("what {source} has is kept"),
        };
        format!(
            "/{}: {}; {kept} in /{} of {target}",
            String::from_utf8_lossy(&row.path),
            row.why,
            String::from_utf8_lossy(&directory)
        )
    })
}

impl Switched {
    /// Both sides were synchronized anew.
    pub(super) fn has_carried(&self) -> bool {
        let carried = self.carried.as_ref();
        carried.is_some_and(|carried| carried.report.done)
    }

    fn json(&self) -> Value {
        let mut content = self.report.json();
        let sync = self
            .carried
            .as_ref()
            .map(|carried| print::json(&carried.looked, Some(&carried.report), None));
        if let Value::Object(fields) = &mut content {
            fields.insert("sync".to_owned(), json!(sync));
        }
        content
    }

    /// Says what was carried, on standard error.
    pub(super) fn tell(&self, context: &Context) {
        let Some(Carried { report, looked }) = &self.carried else {
            return;
        };
        let changed = looked.decided.rows.iter().any(|row| row.change.is_some());
        if changed && report.done && !context.script {
            context.warn(&report.plan.outcome);
        }
    }

    /// Prints it.
    ///
    /// # Errors
    /// Where standard output fails.
    pub(super) fn report(&self, context: &Context, what: &str) -> anyhow::Result<()> {
        if context.json {
            return Ok(output::json(&mut io::stdout().lock(), what, self.json())?);
        }
        self.tell(context);
        if let (Some(Carried { looked, report }), true) = (&self.carried, context.dry_run) {
            let mut out = io::stdout().lock();
            print::table(&mut out, looked, context.script)?;
            output::plan(&mut out, &report.plan)?;
        }
        context.report(what, &self.report)
    }
}

/// Prints what a switch came to, or the files that stand in its way.
///
/// # Errors
/// Why it did not come to one.
pub(super) fn conclude(
    context: &Context,
    what: &str,
    switched: Result<Switched, Stopped>,
) -> anyhow::Result<()> {
    let (looked, trouble) = match switched {
        Ok(switched) => return switched.report(context, what),
        Err(Stopped::Trouble(trouble)) => return Err(trouble.into()),
        Err(Stopped::Conflict(looked, trouble)) => (looked, trouble),
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    if context.json {
        let content = json!({
            "done": false,
            "changed": false,
            "outcome": trouble.message,
            "remedy": trouble.remedy,
            "recovered": null,
            "plan": null,
            "sync": print::json(&looked, None, Some(&trouble)),
        });
        output::json(&mut out, what, content)?;
    } else {
        print::table(&mut out, &looked, context.script)?;
    }
    out.flush()?;
    drop(out);
    context.warn(&trouble.to_string());
    Err(Verdict(CONFLICT).into())
}
