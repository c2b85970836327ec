//! The language of FreeBSD's bectl(8), as of 15-CURRENT in 2026, from bectl.8, bectl.c,
//! bectl_list.c, bectl_jail.c and libbe(3).
//!
//! - `code`: exit codes and libbe's words; `change`: activate, create, destroy, rename;
//!   `list`; `mount`: mount and unmount; `stream`: export and import; `jail`: jail and unjail,
//!   with `parameter`, what becomes of a jail's parameters.

mod change;
mod code;
mod jail;
mod list;
mod mount;
mod parameter;
mod stream;

use std::io::{self, Write as _};

use super::getopt::{self, Options};
use super::{Done, Stop, context};
use crate::cli::Global;
use crate::cli::context::Context;
use crate::cli::error::Trouble;
use crate::plan::Why;
use crate::survey::{Scope, Survey};

pub(super) use code::USAGE;

/// What is printed where it is asked for, and where a command line is not understood.
const HOW: &str = "\
Usage:\tbectl {-h | subcommand [args...]}
\tbectl [-r beroot] activate [-t] beName
\tbectl [-r beroot] activate [-T]
\tbectl [-r beroot] check
\tbectl [-r beroot] create [-r] [-e {nonActiveBe | beName@snapshot}] beName
\tbectl [-r beroot] create [-r] beName@snapshot
\tbectl [-r beroot] create -E beName
\tbectl [-r beroot] destroy [-Fo] {beName | beName@snapshot}
\tbectl [-r beroot] export sourceBe
\tbectl [-r beroot] import targetBe
\tbectl [-r beroot] jail [-bU] [{-o key=value | -u key}]... beName
\t      [utility [argument ...]]
\tbectl [-r beroot] list [-aDHs] [{-c property | -C property}]
\tbectl [-r beroot] mount beName [mountpoint]
\tbectl [-r beroot] rename origBeName newBeName
\tbectl [-r beroot] {ujail | unjail} {jailID | jailName | beName}
\tbectl [-r beroot] {umount | unmount} [-f] beName
";

/// A command: its name, and what carries it out. The first word is the name it was called by.
type Command = (&'static str, fn(&Context, &[String]) -> Done);

const COMMANDS: [Command; 14] = [
    ("activate", change::activate),
    ("check", check),
    ("create", change::create),
    ("destroy", change::destroy),
    ("export", stream::export),
    ("import", stream::import),
    ("jail", jail::jail),
    ("list", list::list),
    ("mount", mount::mount),
    ("rename", change::rename),
    ("ujail", jail::unjail),
    ("unjail", jail::unjail),
    ("umount", mount::unmount),
    ("unmount", mount::unmount),
];

/// Carries a command line out; its exit code.
pub(super) fn run(global: Global, words: &[String]) -> anyhow::Result<u8> {
    super::conclude(spoken(global, words), HOW, USAGE)
}

fn spoken(mut global: Global, words: &[String]) -> Done {
    let options = getopt::read(words, "hr:").map_err(|bad| Stop::Usage(vec![bad.said("bectl")]))?;
    if options.has('h') {
        write!(io::stdout(), "{HOW}")?;
        return Ok(0);
    }
    let words = options.rest;
    let Some(name) = words.first() else {
        return Err(Stop::Usage(Vec::new()));
    };
    let Some((name, command)) = COMMANDS.iter().find(|(known, _)| known == name) else {
        return Err(Stop::Usage(vec![format!("Unknown command: {name}")]));
    };
    let beroot = options.value('r');
    let begun = || {
        if let Some(beroot) = beroot {
            let named = beroot.parse();
            global.beroot =
                Some(named.map_err(|error| Trouble::refused(error).why(Why::NoSystem))?);
        }
        context(global, words)
    };
    let done = match begun() {
        Ok(context) => command(&context, words),
        Err(trouble) => Err(code::failed(trouble)),
    };
    match done {
        Err(Stop::Failed(code::NO_LIBBE, ..)) if *name == "check" => Ok(code::NO_LIBBE),
        Err(Stop::Failed(code::NO_LIBBE, _, trouble)) => {
            let line = format!("libbe_init(\"{}\") failed.", beroot.unwrap_or_default());
            Err(Stop::Failed(code::NO_LIBBE, vec![line], trouble))
        }
        done => done,
    }
}

/// The options of a command; what getopt and bectl say of one there is not.
fn options<'a>(words: &'a [String], letters: &str) -> Result<Options<'a>, Stop> {
    let (name, rest) = named(words);
    getopt::read(rest, letters).map_err(|bad| {
        let line = format!("bectl {name}: unknown option '-{}'", bad.letter);
        Stop::Usage(vec![bad.said("bectl"), line])
    })
}

/// The name a command was called by, and what follows it.
fn named(words: &[String]) -> (&str, &[String]) {
    match words.split_first() {
        Some((name, rest)) => (name, rest),
        None => ("", words),
    }
}

/// A command line with too few or too many words.
fn wrong_number(words: &[String]) -> Stop {
    miscounted(words, "wrong number of arguments")
}

/// The same in the words that some commands have for it.
fn miscounted(words: &[String], what: &str) -> Stop {
    Stop::Usage(vec![format!("bectl {}: {what}", named(words).0)])
}

/// `check`: whether there are boot environments here; silent.
fn check(context: &Context, words: &[String]) -> Done {
    if !named(words).1.is_empty() {
        return Err(wrong_number(words));
    }
    let survey = Survey::take(&context.host, Scope::Names)
        .map_err(|error| code::failed(Trouble::from(error).why(Why::NoSystem)))?;
    // With -r libbe does without a root file system on ZFS.
    let used = survey.running.is_some() || context.host.beroot.is_some();
    Ok(if used { 0 } else { code::NO_LIBBE })
}
