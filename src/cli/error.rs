//! Errors as people and scripts see them: a sentence, what to do, an exit code.

use std::fmt;

use crate::archive;
use crate::execute::freight::FreightError;
use crate::execute::{Cause, Failure};
use crate::os::inside::NotRun;
use crate::plan::{Refusal, Why};
use crate::share::find::FindError;
use crate::survey::SurveyError;
use crate::zfs::ErrorKind;

/// Failed, and what was changed was undone.
pub const FAILED: u8 = 1;
/// The command line was not understood.
pub const USAGE: u8 = 2;
/// Refused before anything was changed.
pub const REFUSED: u8 = 3;
/// Both environments changed the same files, and the changes do not go together.
pub const CONFLICT: u8 = 4;
/// Busy, or another beadm-rs holds the lock.
pub const BUSY: u8 = 5;
/// Interrupted and not undone: `beadm-rs recover` is needed.
pub const UNFINISHED: u8 = 6;
/// `run` did not run its command: refused, busy or failed before it.
pub const NOT_RUN: u8 = 125;
/// The command `run` was given cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// There is no such command in the environment `run` was given.
pub const NO_COMMAND: u8 = 127;

/// How a command ends that did what it was asked, and whose answer is an exit
/// code: everything has been said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("exit code {0}")]
pub struct Verdict(pub u8);

/// What is said at the end of a command that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The exit code.
    pub exit: u8,
    /// What was attempted, and why it failed.
    pub message: String,
    /// What state the machine is in.
    pub state: Option<String>,
    /// What to do now.
    pub remedy: Option<String>,
    /// What kind of reason it is.
    pub why: Why,
}

impl Trouble {
    /// A sentence and its exit code.
    pub fn new(exit: u8, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            state: None,
            remedy: None,
            why: Why::Other,
        }
    }

    /// A refusal: nothing was changed.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self::new(REFUSED, message).state("nothing was changed")
    }

    /// The same with what kind of reason it is.
    #[must_use]
    pub fn why(mut self, why: Why) -> Self {
        self.why = why;
        self
    }

    /// The same with what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = Some(remedy.to_string());
        self
    }

    /// The same after something else of what was asked was done: nothing of
    /// this part was changed, but something was.
    #[must_use]
    pub fn after(self, done: &str) -> Self {
        let exit = if self.exit == REFUSED {
            FAILED
        } else {
            self.exit
        };
        let state = match &self.state {
            Some(state) => format!("{done}; then {state}"),
            None => done.to_owned(),
        };
        Self { exit, ..self }.state(&state)
    }

    pub(super) fn state(mut self, state: &str) -> Self {
        self.state = Some(state.to_owned());
        self
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(state) = &self.state {
            write!(f, "\n  state: {state}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  remedy: {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Trouble {}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        let trouble = Self::refused(&refusal).why(refusal.why);
        Self {
            remedy: refusal.remedy,
            ..trouble
        }
    }
}

impl From<crate::config::ConfigError> for Trouble {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::refused(error).remedy("put it right, or move it away: everything in it has a default")
    }
}

impl From<crate::zfs::Error> for Trouble {
    fn from(error: crate::zfs::Error) -> Self {
        let trouble = Self::new(exit_of(error.kind), &error).why(why_of(error.kind));
        match error.kind {
            ErrorKind::Missing => trouble.state("nothing was changed").remedy(
                "install OpenZFS (Debian: zfsutils-linux) and load its module (modprobe zfs); \
                 'beadm-rs demo' works without it",
            ),
            ErrorKind::PermissionDenied => trouble.remedy("run it as root"),
            ErrorKind::NoSpace => {
                trouble.remedy("beadm-rs list shows what each environment would free")
            }
            _ => trouble,
        }
    }
}

fn exit_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Busy => BUSY,
        ErrorKind::Missing => REFUSED,
        _ => FAILED,
    }
}

fn why_of(kind: ErrorKind) -> Why {
    match kind {
        ErrorKind::Exists => Why::Exists,
        ErrorKind::Busy => Why::Busy,
        ErrorKind::HasDependents => Why::HasClones,
        ErrorKind::PermissionDenied => Why::Permission,
        ErrorKind::Io => Why::Io,
        ErrorKind::Missing => Why::NoSystem,
        _ => Why::Other,
    }
}

impl From<crate::os::Error> for Trouble {
    fn from(error: crate::os::Error) -> Self {
        match &error {
            crate::os::Error::Locked { .. } => Self::new(BUSY, &error)
                .why(Why::Busy)
                .state("nothing was changed")
                .remedy("wait for it to end, and try again"),
            crate::os::Error::Busy { .. } => Self::new(BUSY, &error).why(Why::Busy),
            crate::os::Error::Io { .. } | crate::os::Error::Unexpected { .. } => {
                Self::new(FAILED, &error)
            }
        }
    }
}

impl From<NotRun> for Trouble {
    fn from(error: NotRun) -> Self {
        match error {
            NotRun::Os(error) => Self {
                exit: NOT_RUN,
                ..error.into()
            },
            NotRun::NotFound(_) => Self::new(NO_COMMAND, error),
            NotRun::NotExecutable(_) => Self::new(NOT_EXECUTABLE, error),
            NotRun::Interrupted => Self::new(NOT_RUN, error),
        }
        .state("the command did not run, and nothing stays mounted")
    }
}

impl From<SurveyError> for Trouble {
    fn from(error: SurveyError) -> Self {
        match error {
            SurveyError::Zfs(error) => error.into(),
            SurveyError::Os(error) => error.into(),
            SurveyError::NoBeroot(_) | SurveyError::Ambiguous(_) | SurveyError::Pool(..) => {
                let remedy = error.remedy();
                let why = match error {
                    SurveyError::Pool(..) => Why::Io,
                    _ => Why::NoSystem,
                };
                Self {
                    remedy,
                    ..Self::refused(error).why(why)
                }
            }
        }
    }
}

impl From<FindError> for Trouble {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Survey(error) => error.into(),
            FindError::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<Cause> for Trouble {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Zfs(error) => error.into(),
            Cause::Os(error) => error.into(),
            Cause::Freight(FreightError::Input(
                archive::Error::Truncated(_) | archive::Error::Damaged(_),
            )) => Self::new(FAILED, cause)
                .remedy("copy it once more from where it was made, or export it again"),
            Cause::Interrupted | Cause::Recovery(_) | Cause::FailPoint(_) | Cause::Freight(_) => {
                Self::new(FAILED, cause)
            }
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        const RECOVER: &str =
            "beadm-rs recover; the next command that changes something does it first";
        match failure {
            Failure::Nothing { cause, .. } => Self::from(cause).state("nothing was changed"),
            Failure::Undone { cause, .. } => {
                let mut trouble = Self::from(cause).state("what was changed was undone");
                if trouble.exit == REFUSED {
                    trouble.exit = FAILED;
                }
                trouble
            }
            Failure::NotUndone { cause, undoing, .. } => {
                let undoing: Vec<String> = undoing.iter().map(ToString::to_string).collect();
                let mut trouble = Self::from(cause).state(&format!(
                    "not everything could be undone: {}",
                    undoing.join("; ")
                ));
                trouble.exit = UNFINISHED;
                trouble.remedy(RECOVER)
            }
            Failure::Unfinished { step, cause } => {
                let mut trouble = Self::from(cause).state(&format!(
                    "it stopped at step '{step}', when it could not be taken back any more"
                ));
                trouble.exit = UNFINISHED;
                trouble.remedy(RECOVER)
            }
        }
    }
}
