//! The languages of other tools: [`bectl`] of FreeBSD, [`beadm`] of illumos.
//!
//! Whoever has scripts for one of them runs them with this program under that name
//! (`argv[0]`), or with `beadm-rs bectl …` and `beadm-rs beadm …`. A dialect has its own
//! command line ([`getopt`]), words and exit codes; what it asks for is a request of the
//! same planners, carried out in the same way as by the commands of this program, whose
//! refusals hold. The words are the other tool's as far as scripts read them: its standard
//! output, and the first lines of its errors. The lines after these are this program's, and say
//! why, in which state the machine is and what to do.

mod beadm;
mod bectl;
mod getopt;
mod number;
mod stream;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;

use clap::Parser as _;

use super::activate::switched;
use super::context::{Context, warn};
use super::error::{FAILED, Trouble};
use super::interruption::Interruption;
use super::switch::Manner;
use super::{BeSnapshot, Cli, Command, Global, is_broken_pipe, watched};
use crate::be::{BeName, NewBeName};
use crate::plan::{Why, activate, create};
use crate::survey::Survey;
use crate::zfs::NameError;

/// What follows the tool's name.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// As in that tool's manual
    #[arg(
        value_name = "ARG",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<OsString>,
}

/// Which tool's language it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Bectl,
    Beadm,
}

impl Dialect {
    fn of(name: &OsString) -> Option<Self> {
        match Path::new(name).file_name()?.to_str()? {
            "bectl" => Some(Self::Bectl),
            "beadm" => Some(Self::Beadm),
            _ => None,
        }
    }
}

/// A command line in one of the languages.
#[derive(Debug)]
pub(super) struct Spoken {
    dialect: Dialect,
    global: Global,
    words: Vec<OsString>,
}

/// What was typed, where it is in one of the languages: this program under that tool's name,
/// or the tool's name as a command of this one. Options before that are this program's, all
/// after it are the tool's.
pub(super) fn spoken(arguments: &[OsString]) -> Option<Spoken> {
    let parsed = |arguments: &[OsString]| Cli::try_parse_from(arguments).ok();
    if let Some(dialect) = arguments.first().and_then(Dialect::of) {
        let plain = ["beadm-rs", "bectl"].map(OsString::from);
        return Some(Spoken {
            dialect,
            global: parsed(&plain)?.global,
            words: arguments.iter().skip(1).cloned().collect(),
        });
    }
    // What is before it has to be a whole command line with it: '--sim bectl' is not.
    let named = |word: &OsString| word == "bectl" || word == "beadm";
    let places = arguments.iter().enumerate().skip(1);
    places
        .filter(|(_, word)| named(word))
        .find_map(|(place, _)| {
            let cli = parsed(arguments.get(..=place)?)?;
            let dialect = match cli.command {
                Command::Bectl(_) => Dialect::Bectl,
                Command::Beadm(_) => Dialect::Beadm,
                _ => return None,
            };
            Some(Spoken {
                dialect,
                global: cli.global,
                words: arguments.iter().skip(place + 1).cloned().collect(),
            })
        })
}

impl Spoken {
    /// Carries it out; the tool's exit code.
    pub(super) fn run(self) -> u8 {
        let Self {
            dialect,
            global,
            words,
        } = self;
        super::log(global.verbose);
        let words: Result<Vec<String>, _> = words.into_iter().map(OsString::into_string).collect();
        let usage = match dialect {
            Dialect::Bectl => bectl::USAGE,
            Dialect::Beadm => beadm::FAILED,
        };
        let Ok(words) = words else {
            warn("what was typed is not UTF-8, which no name of a boot environment is");
            return usage;
        };
        if global.dry_run || global.json || global.script || global.yes {
            warn(
                "--dry-run, --json, --script and --yes are for beadm-rs's own commands; bectl and \
                 beadm have their own options, after the name of their command",
            );
            return usage;
        }
        let ended = match dialect {
            Dialect::Bectl => bectl::run(global, &words),
            Dialect::Beadm => beadm::run(global, &words),
        };
        match ended {
            Ok(code) => code,
            Err(error) if is_broken_pipe(&error) => 0,
            Err(error) => {
                warn(&format!("{error:#}"));
                FAILED
            }
        }
    }
}

/// Why a command ends without having done what it was asked.
#[derive(Debug)]
enum Stop {
    /// The command line: what is said before the usage.
    Usage(Vec<String>),
    /// Something else: the exit code, the tool's own words, and this program's.
    Failed(u8, Vec<String>, Option<Trouble>),
    /// Standard output is gone.
    Output(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Stop {
    /// The same with what the command itself says after the library's words.
    fn then(mut self, line: String) -> Self {
        if let Self::Failed(_, lines, _) = &mut self {
            lines.push(line);
        }
        self
    }
}

/// What a command comes to: its exit code.
type Done = Result<u8, Stop>;

/// Says why a command ended, and how to type it.
fn conclude(done: Done, usage: &str, usage_code: u8) -> anyhow::Result<u8> {
    let mut err = io::stderr();
    // Nobody is left to be told when standard error is gone.
    let mut tell = |lines: &[String]| {
        for line in lines {
            let _ = writeln!(err, "{line}");
        }
    };
    match done {
        Ok(code) => Ok(code),
        Err(Stop::Usage(lines)) => {
            tell(&lines);
            let _ = write!(err, "{usage}");
            Ok(usage_code)
        }
        Err(Stop::Failed(code, lines, trouble)) => {
            tell(&lines);
            if let Some(trouble) = trouble {
                warn(&trouble.to_string());
            }
            Ok(code)
        }
        Err(Stop::Output(error)) => Err(error.into()),
    }
}

/// A line on standard error, in the other tool's words.
fn whisper(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A line on standard output.
fn say(line: &str) -> Result<(), Stop> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// The machine, with a way of reporting that is none: the other tools are silent, or say
/// what they say themselves; and who asks before destroying is theirs to decide.
fn context(global: Global, words: &[String]) -> Result<Context, Trouble> {
    let host = super::host(&global)?;
    Ok(Context {
        host,
        dry_run: false,
        json: false,
        script: true,
        yes: true,
        verbose: global.verbose > 0,
        interruption: Interruption::watch().map_err(|error| Trouble::new(FAILED, error))?,
        purpose: words.join(" "),
    })
}

/// A name as a refusal: of something that is to be there, or of something new.
fn misnamed(error: NameError, new: bool) -> Trouble {
    let why = match error {
        _ if !new => Why::NoEnvironment,
        NameError::TooLong { .. } => Why::Length,
        _ => Why::Name,
    };
    Trouble::refused(error).why(why)
}

/// What follows the beroot, where the whole name of a dataset was typed (`be_root_concat`).
fn below_beroot(context: &Context, text: &str) -> Result<String, Trouble> {
    if !text.contains('/') {
        return Ok(text.to_owned());
    }
    let beroot = Survey::beroot(&context.host)?;
    match text.strip_prefix(&format!("{beroot}/")) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Trouble::refused(format!("{text} is not below {beroot}")).why(Why::Name)),
    }
}

/// The environment that a word names.
fn environment(context: &Context, text: &str) -> Result<BeName, Trouble> {
    let name = below_beroot(context, text)?;
    name.parse().map_err(|error| misnamed(error, false))
}

/// The name that a new environment is to have.
fn new_name(context: &Context, text: &str) -> Result<NewBeName, Trouble> {
    let name = below_beroot(context, text)?;
    name.parse().map_err(|error| misnamed(error, true))
}

/// The snapshot of an environment that a word names.
fn snapshot(context: &Context, text: &str) -> Result<BeSnapshot, Trouble> {
    let name = below_beroot(context, text)?;
    name.parse().map_err(|error| misnamed(error, false))
}

/// What `-e` names: an environment or a snapshot of one; without it what runs.
fn source(context: &Context, text: Option<&str>) -> Result<create::From, Trouble> {
    let (environment, snapshot) = match text {
        None => (None, None),
        Some(text) if text.contains('@') => {
            let of = snapshot(context, text)?;
            (Some(of.environment), Some(of.snapshot))
        }
        Some(text) => (Some(environment(context, text)?), None),
    };
    Ok(create::From {
        environment,
        snapshot,
    })
}

/// Activates an environment, for good or for one boot: never on trial, and with the files.
fn activated(context: &Context, name: &str, once: bool) -> Result<(), Trouble> {
    let request = activate::Request {
        name: environment(context, name)?,
        once,
        no_trial: true,
    };
    let switched = switched(context, &request, false, Manner::Stopping(None))
        .map_err(|stopped| stopped.into_trouble(&request.name))?;
    for note in &switched.report.plan.notes {
        warn(note);
    }
    watched::settle(context).map(drop)
}
