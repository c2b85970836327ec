//! `sync`.

pub(super) mod ask;
pub(super) mod print;
mod resolve;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, Write as _};

use clap_complete::ArgValueCompleter;

use self::ask::Conflicts;
use super::completions::environments;
use super::context::{Context, Report};
use super::error::{CONFLICT, FAILED, REFUSED, Trouble, Verdict};
use super::progress::Counter;
use super::{bases, output};
use crate::be::BeName;
use crate::diff;
use crate::host::Host;
use crate::plan::sync::{self, Request};
use crate::survey::{Scope, Survey};
use crate::sync::answer::Verdicts;
use crate::sync::change::{Looked, Winner};
use crate::sync::list;
use crate::sync::read::Opened;
use crate::sync::sides::{self, ListTrouble};

/// Carry what changed in one boot environment's files to another
///
/// For the files of the synclist: accounts, crontabs and the like, which go on
/// changing in the running environment while another one is made ready. Each is
/// decided three-way, each side compared with a snapshot of itself from the last
/// time (the first time: with what both came from), so that what only one side
/// changed is no conflict. Accounts are merged record by record. Where both
/// changed the same thing nothing is changed anywhere, and the exit code is 4.
/// Before anything is written both have a snapshot; the two that are left are
/// what the next time is compared with.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose files are carried; by default the running environment's
    #[arg(long = "from", value_name = "BE", add = ArgValueCompleter::new(environments))]
    source: Option<BeName>,

    /// Where they are carried to; by default the one that is to be booted
    #[arg(long = "to", value_name = "BE", add = ArgValueCompleter::new(environments))]
    target: Option<BeName>,

    /// Say what would be decided about each file, and no more
    #[arg(long)]
    check: bool,

    /// Take this side's version of what both changed; of accounts the field of the
    /// record, and nothing where a whole account is in question. Or ask about each
    #[arg(long, value_name = "WHOSE")]
    conflicts: Option<Conflicts>,

    /// Settle a conflict that nobody was asked about and that waits ('status' lists them), in
    /// the running environment or the one named with --to: with --keep, else in an
    /// editor ($VISUAL, $EDITOR); without PATH one after another
    #[arg(long, value_name = "PATH", num_args = 0..=1, conflicts_with_all = ["source", "check", "conflicts"])]
    resolve: Option<Option<OsString>>,

    /// Which version is to be there: what is there, or the other one
    #[arg(long, value_name = "WHICH", requires = "resolve")]
    keep: Option<resolve::Keep>,
}

impl Args {
    pub(super) fn purpose(&self) -> String {
        match &self.target {
            Some(target) => format!("synchronize {target}"),
            None => "synchronize".to_owned(),
        }
    }

    /// Which two are meant.
    fn request(&self, survey: &Survey) -> Result<Request, Trouble> {
        let named = |name: &str| name.parse::<BeName>().map_err(Trouble::refused);
        let source = match &self.source {
            Some(source) => source.clone(),
            None => {
                let running = survey.running().ok_or_else(|| {
                    Trouble::refused("the machine does not run from one of its boot environments")
                        .remedy(format!(
                            "name one with --from; there are: {}",
                            survey.names()
                        ))
                })?;
                named(running.name())?
            }
        };
        let target = match &self.target {
            Some(target) => target.clone(),
            None => {
                let boot = &survey.boot;
                let trial = boot.trial.as_ref().map(|trial| &trial.dataset);
                let next = boot.once.as_ref().or(trial).or(boot.next.as_ref());
                let next = next
                    .and_then(|root| survey.environment_at(root))
                    .filter(|environment| environment.name() != source.as_str())
                    .ok_or_else(|| {
                        Trouble::refused(format!("no other environment than {source} boots next"))
                            .remedy(format!("name one with --to; there are: {}", survey.names()))
                    })?;
                named(next.name())?
            }
        };
        Ok(Request {
            source,
            target,
            at_boot: false,
        })
    }
}

/// What was looked at.
pub(super) struct Seen {
    pub(super) request: Request,
    pub(super) looked: Looked,
    /// What a person should know about it.
    pub(super) notes: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    if !context.is_root() {
        return Err(
            Trouble::refused("only root can look into environments that are not mounted")
                .remedy("run it as root; 'beadm-rs demo' works without")
                .into(),
        );
    }
    if let Some(path) = &args.resolve {
        return resolve::run(context, path.as_deref(), args.target.as_ref(), args.keep);
    }
    ask::is_possible(args.conflicts)?;
    let seen: RefCell<Option<Seen>> = RefCell::new(None);
    let look = |host: &Host| {
        let survey = Survey::take(host, Scope::Change)?;
        // What is half done is ended before anything is decided on it.
        if survey.intent().is_some() && !args.check && !context.dry_run {
            return Ok(survey);
        }
        let request = args.request(&survey)?;
        let found = find(context, &survey, request, &args.conflicts.into())?;
        let conflicts = found.looked.decided.conflicts().count();
        let target = found.request.target.clone();
        seen.replace(Some(found));
        if conflicts > 0 {
            return Err(in_conflict(conflicts, &target));
        }
        Ok(survey)
    };
    if args.check {
        context.look(Scope::Names)?;
        let looked = look(&context.host).map(drop);
        return conclude(context, seen.into_inner(), looked.map(|()| None));
    }
    let report = context.change(
        look,
        |survey| match &*seen.borrow() {
            Some(seen) => sync::plan(survey, &seen.request, &seen.looked),
            None => Err(crate::plan::Refusal::new(
                "synchronize",
                "an unfinished operation stands in the way",
            )),
        },
        |_| None,
    );
    if let Ok(report) = &report
        && report.done
        && !report.plan.steps.is_empty()
    {
        bases::release(context);
    }
    conclude(context, seen.into_inner(), report.map(Some))
}

pub(super) fn in_conflict(conflicts: usize, target: &BeName) -> Trouble {
    let what = match conflicts {
        1 => "1 file was changed on both sides, and the changes do not go together".to_owned(),
        many => {
            format!("{many} files were changed on both sides, and the changes do not go together")
        }
    };
    Trouble::new(CONFLICT, what)
        .state("nothing was changed")
        .remedy(format!(
            "change one of the two by hand ('beadm-rs mount {target}'), or say whose is to be \
             taken: --conflicts source, or --conflicts target; --conflicts ask asks about each"
        ))
}

/// Prints what was decided, and what came of it.
fn conclude(
    context: &Context,
    seen: Option<Seen>,
    report: Result<Option<Report>, Trouble>,
) -> anyhow::Result<()> {
    let Some(Seen { looked, notes, .. }) = seen else {
        return Ok(report.map(drop)?);
    };
    for note in &notes {
        context.warn(note);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let (report, conflict) = match report {
        Ok(report) => (report, None),
        Err(trouble) if trouble.exit == CONFLICT => (None, Some(trouble)),
        // It is not known to be true any more.
        Err(trouble) => return Err(trouble.into()),
    };
    if context.json {
        let content = print::json(&looked, report.as_ref(), conflict.as_ref());
        output::json(&mut out, "sync", content)?;
        out.flush()?;
    } else {
        print::table(&mut out, &looked, context.script)?;
        out.flush()?;
        drop(out);
        for skipped in &looked.decided.skipped {
            let path = String::from_utf8_lossy(&skipped.path);
            context.warn(&format!("/{path} is left out: {}", skipped.why));
        }
        match &report {
            Some(report) => context.report("sync", report)?,
            None if looked.decided.rows.is_empty() => {
                context.warn("nothing was changed that has to be carried");
            }
            None => {}
        }
    }
    if let Some(conflict) = conflict {
        context.warn(&conflict.to_string());
        return Err(Verdict(CONFLICT).into());
    }
    Ok(())
}

/// How conflicts are decided.
pub(super) struct Manner {
    winner: Option<Winner>,
    /// What nobody wins is asked about.
    asks: bool,
}

impl Manner {
    /// Nobody is asked, and nothing ends it.
    pub(super) fn beside() -> Self {
        Self {
            winner: Some(Winner::Beside),
            asks: false,
        }
    }
}

impl From<Option<Conflicts>> for Manner {
    fn from(conflicts: Option<Conflicts>) -> Self {
        Self {
            winner: conflicts.and_then(Conflicts::winner),
            asks: conflicts == Some(Conflicts::Ask),
        }
    }
}

/// Reads both sides as they are, and decides.
pub(super) fn find(
    context: &Context,
    survey: &Survey,
    request: Request,
    manner: &Manner,
) -> Result<Seen, Trouble> {
    let host = &context.host;
    let both = sync::environments(survey, &request)?;
    let [source, target] = &both;
    let side = |environment| -> Result<_, Trouble> {
        diff::side(host, survey, environment, None)?.ok_or_else(|| {
            Trouble::new(
                FAILED,
                format!("{} is not there any more", environment.name()),
            )
        })
    };
    let [mut source, mut target] = [side(source)?, side(target)?];
    sync::without_locked(survey, &request, &mut source.clone(), &list::lies_in)?;
    let list = sides::list(host, &source).map_err(|trouble| match trouble {
        ListTrouble::Os(error) => Trouble::from(error),
        wrong @ ListTrouble::Wrong(_) => Trouble::new(REFUSED, format!("the synclist: {wrong}"))
            .state("nothing was changed")
            .remedy("put it right; 'man beadm-rs-synclist' has its format"),
    })?;
    let reaches = |place: &[u8]| list.reaches(place);
    let mut notes = sync::without_locked(survey, &request, &mut source, &reaches)?;
    notes.extend(sync::without_locked(
        survey,
        &request,
        &mut target,
        &reaches,
    )?);
    let sides = sides::sides(survey, source, target);
    let shared = sides::shared(host, survey)?;
    let opened = Opened::open(host, &sides, &list)?;
    let decide = |verdicts: &Verdicts| {
        let counter = Counter::for_terminal(context.interruption.asked());
        let decided = opened.decide(&list, &shared, verdicts, &counter);
        counter.finish();
        decided.map_err(|error| {
            let both = format!("{} and {}", request.source, request.target);
            Trouble::new(FAILED, format!("cannot compare {both}: {error}"))
                .state("nothing was changed")
        })
    };
    let mut verdicts = Verdicts::from(manner.winner);
    let mut decided = decide(&verdicts)?;
    let mut drafts = ask::Drafts::new();
    while manner.asks && decided.conflicts().next().is_some() {
        if !ask::ask(context, &opened, &decided, &mut verdicts, &mut drafts)? {
            break;
        }
        decided = decide(&verdicts)?;
    }
    let looked = Looked {
        sides,
        list,
        shared,
        verdicts,
        decided,
    };
    Ok(Seen {
        request,
        looked,
        notes,
    })
}
