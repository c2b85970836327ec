//! What every command runs in: the machine, how to print, and the way a change
//! goes: lock, recover, survey, plan, ask, execute, report.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::error::Trouble;
use super::interruption::Interruption;
use super::output;
use super::progress::Bar;
use super::watched;
use crate::execute::execute;
use crate::host::Host;
use crate::os::Lock;
use crate::plan::{Plan, Planned, recover};
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
    /// What SIGINT, SIGTERM and SIGHUP do.
    pub interruption: &'static Interruption,
    /// The command line, for the lock's holder and the log.
    pub purpose: String,
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
        if let Some(holder) = self.host.platform.lock_holder() {
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

    /// A line on standard error.
    pub fn warn(&self, text: &str) {
        warn(text);
    }

    /// Whether everything here may be looked at and changed: mounted, for one.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.host.simulated || nix::unistd::geteuid().is_root()
    }

    /// Takes the lock that every change holds.
    ///
    /// # Errors
    /// Not root, or another change is under way for longer than [`PATIENCE`].
    pub fn lock(&self) -> Result<Lock, Trouble> {
        if !self.is_root() {
            return Err(Trouble::refused(format!("only root can {}", self.purpose))
                .remedy("run it as root; 'beadm-rs demo' works without"));
        }
        let lock = self.host.platform.lock(&self.purpose, PATIENCE)?;
        self.interruption.changing(true);
        Ok(lock)
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
        if self.dry_run {
            let survey = look(&self.host)?;
            self.tell_unfinished(&survey);
            return Ok(Report {
                plan: plan(&survey)?,
                recovered: None,
                done: false,
            });
        }
        let _lock = self.lock()?;
        let mut survey = look(&self.host)?;
        let mut recovered = None;
        if survey.intent().is_some() {
            recovered = self.recover()?.map(|plan| plan.outcome);
            if let Some(text) = &recovered {
                self.warn(text);
            }
            survey = look(&self.host)?;
        }
        let mut planned = plan(&survey)?;
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
        let plan = planned;
        execute(
            &self.host,
            &plan,
            &Bar::for_terminal(),
            self.interruption.asked(),
        )?;
        Ok(Report {
            plan,
            recovered,
            done: true,
        })
    }

    /// Asks on a terminal; elsewhere only `--yes` agrees.
    fn agree(&self, question: &str) -> Result<(), Trouble> {
        if self.yes {
            return Ok(());
        }
        let mut stderr = io::stderr();
        if !(io::stdin().is_terminal() && stderr.is_terminal()) {
            return Err(Trouble::refused(format!(
                "to {question} needs a yes, and there is no terminal to ask on"
            ))
            .remedy("add --yes (-y)"));
        }
        let _ = write!(stderr, "{question}? (y/N) ");
        let _ = stderr.flush();
        let mut answer = String::new();
        self.interruption.changing(false);
        let _ = io::stdin().read_line(&mut answer);
        self.interruption.changing(true);
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            Ok(())
        } else {
            Err(Trouble::refused("not agreed"))
        }
    }

    /// Prints what a change came to: the plan on a dry run, else one sentence
    /// on standard error; with `--json` an object on standard output.
    ///
    /// # Errors
    /// Where standard output fails.
    pub fn report(&self, what: &str, report: &Report) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            output::json(
                &mut out,
                what,
                json!({
                    "done": report.done,
                    "changed": report.done && !report.plan.steps.is_empty(),
                    "outcome": report.plan.outcome,
                    "recovered": report.recovered,
                    "plan": report.plan,
                }),
            )?;
            return Ok(());
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

    /// The same for what decides which environment boots: what runs is not being
    /// tried any more, where something else is from now on, or nothing.
    ///
    /// # Errors
    /// As [`Context::change`].
    pub fn switch_and_report(
        &self,
        what: &str,
        around: &Around,
        plan: impl Fn(&Survey) -> Planned,
    ) -> anyhow::Result<()> {
        self.change_and_report(what, around, plan)?;
        if watched::settle(self)? {
            self.warn(watched::ENDED);
        }
        Ok(())
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
