//! `upgrade`.

mod report;
mod said;
mod work;

use std::ffi::OsString;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use camino::Utf8PathBuf;
use clap_complete::ArgValueCompleter;

use super::completions::environments;
use super::context::Context;
use super::error::{FAILED, REFUSED, Trouble};
use super::switch::Switched;
use super::sync::ask::{self, Conflicts};
use super::{activate, create, run as inside, watched};
use crate::be::made::Maker;
use crate::be::{BeName, NewBeName};
use crate::diff;
use crate::diff::inventory::{self, Packages};
use crate::host::Host;
use crate::os::LockKind;
use crate::os::inside::{Output, Program};
use crate::packages::upgrade::ENVIRONMENT;
use crate::plan::activate::Preflight;
use crate::plan::{self, destroy, upgrade};
use crate::survey::{Around, Scope, Survey};
use said::Said;
use work::Work;

/// Upgrade a clone of the running boot environment, and make it boot next
///
/// The package manager (apt, zypper, dnf, pacman, xbps or apk, found by itself) runs
/// in the clone, in the isolation of `run`, while the machine goes on working; or the
/// command given does. What it says goes into a log. Then the clone is checked and
/// activated, as by `activate`. Where anything fails the clone is destroyed again,
/// and where there was nothing to upgrade, too; what runs is never touched.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The new name; by default that of what is upgraded, and the day
    #[arg(long, value_name = "NAME")]
    name: Option<NewBeName>,

    /// What to upgrade, instead of the running boot environment
    #[arg(short = 'e', long = "from", value_name = "BE", add = ArgValueCompleter::new(environments))]
    from: Option<BeName>,

    /// Do not activate it
    #[arg(long)]
    no_activate: bool,

    /// Whose version is taken of files that both changed meanwhile, or that each is asked
    /// about
    #[arg(long, value_name = "WHOSE", conflicts_with = "no_activate")]
    conflicts: Option<Conflicts>,

    /// Do not look whether it can boot
    #[arg(long)]
    no_check: bool,

    /// Keep it where the upgrade fails, to look at
    #[arg(long)]
    keep_failed: bool,

    /// What to run in it instead of the package manager, with its arguments
    #[arg(value_name = "COMMAND", last = true)]
    words: Vec<OsString>,
}

/// An upgrade under way.
struct Upgrade<'a> {
    context: &'a Context,
    args: &'a Args,
    work: Work,
    /// The new environment.
    name: BeName,
    /// What it is made from.
    source: BeName,
    log: Utf8PathBuf,
}

/// What the commands came to.
struct Filled {
    packages: Packages,
    notes: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    ask::is_possible(args.conflicts)?;
    let _own = if context.dry_run {
        None
    } else {
        context.only_root()?;
        let lock = context.lock_of(LockKind::Upgrade, Duration::ZERO);
        let lock = lock.map_err(Trouble::from)?;
        for name in take_back(context)? {
            context.warn(&taken_back(&name));
        }
        Some(lock)
    };
    let around = Around {
        properties: true,
        ..Around::one_or_running(args.from.as_ref())
    };
    let look = |host: &Host| Ok(Survey::around(host, &around)?);
    let survey = Survey::around(&context.host, &around).map_err(Trouble::from)?;
    let source =
        plan::create::source(&survey, "upgrade", args.from.as_ref()).map_err(Trouble::from)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => upgrade::default_name(&survey, source.name()).map_err(Trouble::from)?,
    };
    let request = upgrade::Request {
        name: name.clone(),
        from: args.from.clone(),
        by: Maker::Upgrade,
        description: format!("upgrade of {}", source.name()),
    };
    let planned = upgrade::plan(&survey, &request).map_err(Trouble::from)?;
    let work = Work::of(context, &survey, &source, &args.words)?;
    let mut upgrade = Upgrade {
        context,
        args,
        work,
        name: name.name().clone(),
        source: source.name().parse().map_err(|error| {
            Trouble::refused(format!("cannot upgrade {}: {error}", source.name()))
        })?,
        log: Utf8PathBuf::new(),
    };
    if context.dry_run {
        return report::plan(&upgrade, &planned);
    }
    // Of one day there can be several, and of one second in a script.
    let time = survey.now.format("%Y%m%dT%H%M%S%.3fZ");
    let log = context
        .host
        .platform
        .new_log(&format!("upgrade-{}-{time}.log", upgrade.name));
    let (path, file) = log.map_err(Trouble::from)?;
    upgrade.log = path;
    context.change(look, |survey| upgrade::plan(survey, &request), |_| None)?;
    upgrade.carry_out(file)
}

fn taken_back(name: &BeName) -> String {
    format!("{name}, whose upgrade did not end, is gone")
}

/// Destroys what interrupted upgrades left. Whoever calls holds the lock of
/// upgrades: none is under way.
pub(super) fn take_back(context: &Context) -> Result<Vec<BeName>, Trouble> {
    let mut survey = Survey::take(&context.host, Scope::Names)?;
    if survey.intent().is_some() {
        // Its clone may be half made.
        let _lock = context.lock()?;
        if let Some(plan) = context.recover()? {
            context.warn(&plan.outcome);
        }
        survey = Survey::take(&context.host, Scope::Names)?;
    }
    let names: Vec<BeName> = upgrade::unfinished(&survey)
        .filter_map(|environment| environment.name().parse().ok())
        .collect();
    for name in &names {
        remove(context, name)?;
    }
    Ok(names)
}

fn remove(context: &Context, name: &BeName) -> Result<(), Trouble> {
    let request = destroy::Request {
        name: name.clone(),
        force: false,
        origins: destroy::Origins::Own,
    };
    let loader = context.host.loader.as_ref();
    context
        .tidy(&Around::one(name), |survey| {
            destroy::plan(survey, loader, &request)
        })
        .map(drop)
}

/// What `recover` does about upgrades: the names of what is gone.
pub(super) fn recover(context: &Context) -> Result<Vec<BeName>, Trouble> {
    // One that is under way goes on.
    match context.lock_of(LockKind::Upgrade, Duration::ZERO) {
        Ok(_lock) => take_back(context),
        Err(crate::os::Error::Locked { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

impl Upgrade<'_> {
    /// Everything after the clone is made.
    fn carry_out(&self, file: std::fs::File) -> anyhow::Result<()> {
        let context = self.context;
        let filled = match self.fill(file) {
            Ok(filled) => filled,
            Err(trouble) => return Err(self.failed(trouble).into()),
        };
        let unchanged = self.work.way.is_some()
            && !filled.packages.managers.is_empty()
            && filled.packages.problems.is_empty()
            && filled.packages.changes.is_empty();
        if unchanged {
            remove(context, &self.name).map_err(|trouble| {
                trouble.after("there was nothing to upgrade, and the clone is still there")
            })?;
            return report::done(self, &filled, None, false);
        }
        let activated = match self.complete() {
            Ok(activated) => activated,
            // Nothing was switched, or it was taken back.
            Err(trouble) if matches!(trouble.exit, REFUSED | FAILED) => {
                return Err(self.failed(trouble).into());
            }
            Err(trouble) => {
                let done = format!("{} is upgraded", self.name);
                return Err(trouble.after(&done).into());
            }
        };
        report::done(self, &filled, activated.as_ref(), true)?;
        if activated.is_some() && watched::settle(context)? {
            context.warn(watched::ENDED);
        }
        Ok(())
    }

    /// Runs the commands; what they changed.
    fn fill(&self, file: std::fs::File) -> Result<Filled, Trouble> {
        let failed = |error: std::io::Error| {
            Trouble::new(FAILED, format!("cannot keep the log {}: {error}", self.log))
        };
        let said = Said::begin(file, self.name.as_str(), self.context.verbose).map_err(failed)?;
        let mut notes = Vec::new();
        let ran = self.commands(&said, &mut notes);
        let (last, logged) = said.end();
        if ran.is_err() {
            for line in last {
                self.context.warn(&line);
            }
        }
        ran?;
        logged.map_err(failed)?;
        let packages = self.packages().unwrap_or_else(|trouble| {
            notes.push(format!(
                "its packages are not compared: {}",
                trouble.message
            ));
            Packages::default()
        });
        notes.extend(packages.problems.iter().cloned());
        Ok(Filled { packages, notes })
    }

    fn commands(&self, said: &Said, notes: &mut Vec<String>) -> Result<(), Trouble> {
        for words in &self.work.commands {
            let line = report::line(words);
            let attempted = format!("run '{line}' in {}", self.name);
            said.title(&format!("$ {line}\n"));
            let output = said
                .writer()
                .map_err(|error| Trouble::new(FAILED, format!("cannot {attempted}: {error}")))?;
            let ended = self.command(words, Output::To(output));
            if self.context.interruption.asked().load(Ordering::SeqCst) {
                return Err(Trouble::new(FAILED, format!("{attempted}: interrupted")));
            }
            let ended = ended.map_err(|trouble| Trouble {
                exit: FAILED,
                ..trouble
            })?;
            for note in ended
                .notes
                .into_iter()
                .chain(inside::thrown_away(&ended.changes))
            {
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
            let good = self.work.way.map_or(&[][..], |way| way.also_good);
            if ended.status != 0 && !good.contains(&ended.status) {
                return Err(Trouble::new(
                    FAILED,
                    format!("cannot {attempted}: it ended with status {}", ended.status),
                ));
            }
        }
        Ok(())
    }

    fn command(
        &self,
        words: &[OsString],
        output: Output,
    ) -> Result<crate::os::inside::Ended, Trouble> {
        let lock = std::sync::Mutex::new(Some(self.context.lock()?));
        let mounts = inside::prepare(self.context, &self.name)?;
        let program = Program {
            words: words.to_vec(),
            output,
            environment: ENVIRONMENT.to_vec(),
        };
        let mut mounted = || {
            lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        };
        Ok(self.context.host.platform.run_inside(
            &mounts,
            &program,
            self.context.interruption.asked(),
            &mut mounted,
        )?)
    }

    /// What differs in its package database from the snapshot it was cloned from.
    fn packages(&self) -> Result<Packages, Trouble> {
        let host = &self.context.host;
        let around = Around {
            named: vec![self.name.clone(), self.source.clone()],
            ..Around::default()
        };
        let survey = Survey::around(host, &around)?;
        let gone = || Trouble::new(FAILED, format!("{} is not there any more", self.name));
        let new = survey.environment(&self.name).ok_or_else(gone)?;
        let origin = new.root.origin.clone().ok_or_else(gone)?;
        let old = survey.environment_at(&origin.dataset()).ok_or_else(gone)?;
        let from = diff::side(host, &survey, &old, Some(origin.component()))?.ok_or_else(gone)?;
        let to = diff::side(host, &survey, &new, None)?.ok_or_else(gone)?;
        let opened = diff::open(host, &from, &to)?;
        Ok(inventory::compare(&opened.from_tree, &opened.to_tree))
    }

    /// Ends the mark, looks whether it boots, activates it.
    fn complete(&self) -> Result<Option<Switched>, Trouble> {
        let context = self.context;
        if context.interruption.asked().load(Ordering::SeqCst) {
            return Err(Trouble::new(
                FAILED,
                format!("upgrade {}: interrupted", self.name),
            ));
        }
        let description = format!("upgrade of {}", self.source);
        context.tidy(&Around::one(&self.name), |survey| {
            upgrade::plan_finish(survey, &self.name, &description)
        })?;
        if !self.args.no_activate {
            return create::activated(context, &self.name, self.args.no_check, self.args.conflicts)
                .map(Some)
                .map_err(|stopped| stopped.into_trouble(&self.name));
        }
        if !self.args.no_check {
            let survey = Survey::around(&context.host, &plan::activate::around(&self.name))?;
            for note in activate::findings(context, &survey, &self.name, Preflight::Forward)? {
                context.warn(&note);
            }
        }
        Ok(None)
    }

    /// Takes the clone back, or keeps it; what there is to say then.
    fn failed(&self, trouble: Trouble) -> Trouble {
        let untouched = "the running system was not touched";
        let read = format!("what was said is in {}", self.log);
        let cleaned = if self.args.keep_failed {
            let description = format!("failed upgrade of {}; log: {}", self.source, self.log);
            self.context
                .tidy(&Around::one(&self.name), |survey| {
                    upgrade::plan_finish(survey, &self.name, &description)
                })
                .map(|_| format!("{} is kept as it was left; {untouched}", self.name))
        } else {
            remove(self.context, &self.name)
                .map(|()| format!("{} is gone again; {untouched}", self.name))
        };
        let (state, remedy) = match cleaned {
            Ok(state) if !self.args.keep_failed => (
                state,
                format!("{read}; --keep-failed keeps {} to look at", self.name),
            ),
            Ok(state) => {
                let then = trouble
                    .remedy
                    .unwrap_or_else(|| format!("beadm-rs run {} goes on in it", self.name));
                (state, format!("{read}; {then}"))
            }
            Err(why) => (
                format!("{} is still there ({why}); {untouched}", self.name),
                format!("{read}; beadm-rs recover takes {} back", self.name),
            ),
        };
        Trouble {
            exit: FAILED,
            message: trouble.message,
            state: Some(state),
            remedy: Some(remedy),
            why: trouble.why,
        }
    }
}
