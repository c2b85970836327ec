//! What every command runs in: the machine, how to print, and the way a change
//! goes: lock, recover, survey, plan, ask, execute, report.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::error::Trouble;
use super::interruption::Interruption;
use super::output;
use super::progress::Bar;
use crate::execute::freight::Freight;
use crate::execute::{execute, execute_with};
use crate::host::Host;
use crate::os::{self, Lock, LockKind};
use crate::plan::{self, Plan, Planned, recover};
use crate::survey::{Around, Found, Scope, Survey};

/// How long a change waits for another one to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The machine, and how to talk about it.
pub struct Context {
    /// The machine.
    pub host: Host,
    /// Print the plan, change nothing.
    pub dry_run: bool,
    /// Print JSON.
    pub json: bool,
    /// Print for scripts: tabs, exact numbers, no header.
    pub script: bool,
    /// Do not ask.
    pub yes: bool,
    /// Say what is done.
    pub verbose: bool,
    /// What SIGINT, SIGTERM and SIGHUP do.
    pub interruption: &'static Interruption,
    /// The command line, for the lock's holder and the log.
    pub purpose: String,
}

/// A change that has begun: under the lock, unless it is a dry run.
pub(super) struct Begun {
    lock: Option<Lock>,
    /// What is there.
    pub(super) survey: Survey,
    /// What an unfinished operation before it came to.
    pub(super) recovered: Option<String>,
}

/// What a change came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The plan that was carried out, or would be.
    pub plan: Plan,
    /// What an unfinished operation before it came to.
    pub recovered: Option<String>,
    /// It was carried out.
    pub done: bool,
}

impl Report {
    /// What `--json` prints of it.
    pub(super) fn json(&self) -> Value {
        json!({
            "done": self.done,
            "changed": self.done && !self.plan.steps.is_empty(),
            "outcome": self.plan.outcome,
            "recovered": self.recovered,
            "plan": self.plan,
        })
    }
}

impl Context {
    /// A survey for a command that only reads; says what it sees of unfinished
    /// work, and of marks nobody can have set by this program, and leaves both
    /// alone.
    ///
    /// # Errors
    /// Where it cannot be taken.
    pub fn look(&self, scope: Scope) -> Result<Survey, Trouble> {
        let survey = Survey::take(&self.host, scope)?;
        self.tell_unfinished(&survey);
        if let Some(text) = self
            .unfinished_upgrade(&survey)
            .filter(|_| survey.intent().is_none())
        {
            self.warn(&text);
        }
        for (object, property) in survey.not_understood() {
            self.warn(&format!(
                "{property} of {object} holds what beadm-rs does not write; \
                 'zfs inherit {property} {object}' takes it away"
            ));
        }
        Ok(survey)
    }

    fn tell_unfinished(&self, survey: &Survey) {
        if let Some(text) = self.unfinished(survey) {
            self.warn(&text);
        }
    }

    /// What a survey shows of unfinished work, one sentence.
    #[must_use]
    pub fn unfinished(&self, survey: &Survey) -> Option<String> {
        let found = survey.intent()?;
        if let Some(holder) = self.host.platform.lock_holder(LockKind::Change) {
            return Some(format!("a change is under way ({holder})"));
        }
        Some(match found {
            Found::Intent(intent) => format!(
                "{} {}, begun {}, {}; 'beadm-rs recover' completes it or takes it back",
                intent.undertaking.command(),
                survey.object_of(&intent.undertaking),
                intent.at.format("%Y-%m-%d %H:%M:%SZ"),
                if self.is_root() {
                    "was interrupted"
                } else {
                    // Who holds the lock is for root to see.
                    "is under way, or was interrupted"
                }
            ),
            Found::Unreadable(why) => {
                format!("an unfinished operation is recorded that cannot be read ({why})")
            }
        })
    }

    /// The upgrade that was interrupted, one sentence; `None` where there is none,
    /// or one is under way.
    #[must_use]
    pub fn unfinished_upgrade(&self, survey: &Survey) -> Option<String> {
        let environment = plan::upgrade::unfinished(survey).next()?;
        if self.host.platform.lock_holder(LockKind::Upgrade).is_some() {
            return None;
        }
        Some(format!(
            "the upgrade in {}, begun {}, {}; 'beadm-rs recover' takes it back",
            environment.name(),
            environment
                .unfinished_upgrade()
                .unwrap_or_default()
                .format("%Y-%m-%d %H:%M:%SZ"),
            if self.is_root() {
                "was interrupted"
            } else {
                // Who holds the lock is for root to see.
                "is under way, or was interrupted"
            }
        ))
    }

    /// A line on standard error.
    pub fn warn(&self, text: &str) {
        warn(text);
    }

    /// Whether everything here may be looked at and changed: mounted, for one.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.host.simulated || nix::unistd::geteuid().is_root()
    }

    /// Takes the lock of a kind of work.
    ///
    /// # Errors
    /// [`os::Error::Locked`] where it is held for longer than `patience`.
    pub fn lock_of(&self, kind: LockKind, patience: Duration) -> os::Result<Lock> {
        self.host.platform.lock(kind, &self.purpose, patience)
    }

    /// Takes the lock that every change holds.
    ///
    /// # Errors
    /// Not root, or another change is under way for longer than [`PATIENCE`].
    pub fn lock(&self) -> Result<Lock, Trouble> {
        self.only_root()?;
        let lock = self.lock_of(LockKind::Change, PATIENCE)?;
        self.interruption.changing(true);
        Ok(lock)
    }

    /// Refuses who is not root.
    ///
    /// # Errors
    /// That.
    pub fn only_root(&self) -> Result<(), Trouble> {
        if self.is_root() {
            return Ok(());
        }
        Err(Trouble::refused(format!("only root can {}", self.purpose))
            .why(plan::Why::Permission)
            .remedy("run it as root; 'beadm-rs demo' works without"))
    }

    /// Ends what did not end; what it came to.
    ///
    /// # Errors
    /// Where that fails.
    pub fn recover(&self) -> Result<Option<Plan>, Trouble> {
        let survey = Survey::take(&self.host, Scope::Change)?;
        let Some(plan) = recover::plan(&survey, self.host.loader.as_ref())? else {
            return Ok(None);
        };
        let never = AtomicBool::new(false);
        execute(&self.host, &plan, &Bar::for_terminal(), &never)?;
        Ok(Some(plan))
    }

    /// Makes a change: under the lock, after ending what did not end, on a
    /// survey of its own.
    ///
    /// `look` takes the survey. `destructive` says whether a person has to agree,
    /// and to what.
    ///
    /// # Errors
    /// A refusal, or how it failed.
    pub fn change(
        &self,
        look: impl Fn(&Host) -> Result<Survey, Trouble>,
        plan: impl Fn(&Survey) -> Planned,
        destructive: impl Fn(&Plan) -> Option<String>,
    ) -> Result<Report, Trouble> {
        let begun = self.begin(&look)?;
        let survey = &begun.survey;
        if self.dry_run {
            return Ok(Report {
                plan: plan(survey)?,
                recovered: None,
                done: false,
            });
        }
        let mut planned = plan(survey)?;
        if let Some(question) = destructive(&planned) {
            self.agree(&question)?;
            if !self.yes {
                // The question may have stood for an hour.
                let now = plan(&look(&self.host)?)?;
                if now.what_it_does() != planned.what_it_does() {
                    return Err(Trouble::refused(format!(
                        "something has changed since you were asked whether to {question}"
                    ))
                    .remedy("try again: you will be asked about what is there now"));
                }
                planned = now;
            }
        }
        self.carry_out(&planned)?;
        Ok(Report {
            plan: planned,
            recovered: begun.recovered,
            done: true,
        })
    }

    /// Makes a change by which streams come in or go out. Nobody has to agree to it.
    ///
    /// # Errors
    /// A refusal, or how it failed.
    pub fn change_with(
        &self,
        look: impl Fn(&Host) -> Result<Survey, Trouble>,
        plan: impl Fn(&Survey) -> Planned,
        freight: &mut Freight,
    ) -> Result<Report, Trouble> {
        let mut begun = self.begin(&look)?;
        let plan = plan(&begun.survey)?;
        if !self.dry_run {
            freight.lock = begun.lock.take();
            let asked = self.interruption.asked();
            execute_with(&self.host, &plan, &Bar::for_terminal(), asked, freight)?;
        }
        Ok(Report {
            plan,
            recovered: begun.recovered,
            done: !self.dry_run,
        })
    }

    /// Takes the lock and a survey, and ends what did not end; a dry run only looks.
    ///
    /// # Errors
    /// No lock, no survey, or nothing to recover with.
    pub(super) fn begin(
        &self,
        look: &impl Fn(&Host) -> Result<Survey, Trouble>,
    ) -> Result<Begun, Trouble> {
        if self.dry_run {
            let survey = look(&self.host)?;
            self.tell_unfinished(&survey);
            return Ok(Begun {
                lock: None,
                survey,
                recovered: None,
            });
        }
        let lock = self.lock()?;
        let mut survey = look(&self.host)?;
        let mut recovered = None;
        if survey.intent().is_some() {
            recovered = self.recover()?.map(|plan| plan.outcome);
            if let Some(text) = &recovered {
                self.warn(text);
            }
            survey = look(&self.host)?;
        }
        Ok(Begun {
            lock: Some(lock),
            survey,
            recovered,
        })
    }

    /// Carries out a plan, for as long as nobody interrupts it.
    ///
    /// # Errors
    /// How it failed.
    pub(super) fn carry_out(&self, plan: &Plan) -> Result<(), Trouble> {
        let asked = self.interruption.asked();
        Ok(execute(&self.host, plan, &Bar::for_terminal(), asked)?)
    }

    /// Makes a change that belongs to a longer one and is made whatever signal
    /// came meanwhile: taking back what it did before, for one.
    ///
    /// # Errors
    /// A refusal, or how it failed.
    pub fn tidy(
        &self,
        around: &Around,
        plan: impl Fn(&Survey) -> Planned,
    ) -> Result<Plan, Trouble> {
        let _lock = self.lock()?;
        let mut survey = Survey::around(&self.host, around)?;
        if survey.intent().is_some() {
            self.recover()?;
            survey = Survey::around(&self.host, around)?;
        }
        let plan = plan(&survey)?;
        let never = AtomicBool::new(false);
        execute(&self.host, &plan, &Bar::for_terminal(), &never)?;
        Ok(plan)
    }

    /// Asks on a terminal; elsewhere only `--yes` agrees.
    ///
    /// # Errors
    /// Nobody agreed.
    pub fn agree(&self, question: &str) -> Result<(), Trouble> {
        if self.yes {
            return Ok(());
        }
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(Trouble::refused(format!(
                "to {question} needs a yes, and there is no terminal to ask on"
            ))
            .remedy("add --yes (-y)"));
        }
        let answer = self.ask(&format!("{question}? (y/N) "));
        if matches!(answer.as_deref().map(str::trim), Some("y" | "Y" | "yes")) {
            Ok(())
        } else {
            Err(Trouble::refused("not agreed"))
        }
    }

    /// The line that somebody answers on a terminal; `None` where there is none any more.
    /// While it stands a signal ends the program at once.
    pub(super) fn ask(&self, question: &str) -> Option<String> {
        let mut stderr = io::stderr();
        let _ = write!(stderr, "{question}");
        let _ = stderr.flush();
        let mut answer = String::new();
        self.interruption.changing(false);
        let read = io::stdin().read_line(&mut answer);
        self.interruption.changing(!self.dry_run);
        matches!(read, Ok(1..)).then_some(answer)
    }

    /// Prints what a change came to: the plan on a dry run, else one sentence
    /// on standard error; with `--json` an object on standard output.
    ///
    /// # Errors
    /// Where standard output fails.
    pub fn report(&self, what: &str, report: &Report) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            return Ok(output::json(&mut out, what, report.json())?);
        }
        if report.done {
            for note in &report.plan.notes {
                self.warn(note);
            }
            if !self.script {
                self.warn(&report.plan.outcome);
            }
        } else {
            output::plan(&mut out, &report.plan)?;
        }
        Ok(())
    }

    /// Makes a change that nobody has to agree to, and reports it.
    ///
    /// # Errors
    /// A refusal, or how it failed.
    pub fn change_and_report(
        &self,
        what: &str,
        around: &Around,
        plan: impl Fn(&Survey) -> Planned,
    ) -> anyhow::Result<()> {
        let look = |host: &Host| Ok(Survey::around(host, around)?);
        let report = self.change(look, plan, |_| None)?;
        self.report(what, &report)
    }
}

/// A line on standard error.
pub(super) fn warn(text: &str) {
    // Names of files and processes may hold what a terminal would obey.
    let text: String = text
        .chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    // Nobody is left to be told when standard error is gone.
    let _ = writeln!(io::stderr(), "beadm-rs: {text}");
}
