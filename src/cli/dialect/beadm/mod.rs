//! The language of illumos' beadm(8), as of 2023 and with OmniOS' `create -t`, from beadm.8,
//! beadm.c and libbe; and what FreeBSD's port of that name (vermaden's) has beside it, where the
//! two do not contradict.
//!
//! - `change`: activate, create, destroy, rename, rollback; `list` with `uuid`; `mount`: mount
//!   and unmount, with `shared`; `port`: chroot, reroot, export, import, version.

mod change;
mod list;
mod mount;
mod port;
mod uuid;

use super::getopt::{self, Options};
use super::{Done, Stop, context};
use crate::cli::Global;
use crate::cli::context::Context;
use crate::cli::error::Trouble;
use crate::plan::Why;

/// What every failure ends with. beadm.c returns libbe's error, of which an exit status keeps
/// the low eight bits; documented is only that it is not 0.
pub(super) const FAILED: u8 = 1;

/// What is printed where a command line is not understood.
const HOW: &str = "\
usage:
\tbeadm subcommand cmd_options

\tsubcommands:

\tbeadm activate [-v] [-t | -T] beName
\tbeadm create [-a | -t] [-d BE_desc]
\t\t[-o property=value] ... [-p zpool]
\t\t[-e nonActiveBe | beName@snapshot] [-v] beName
\tbeadm create [-v] beName@snapshot
\tbeadm destroy [-Ffsv] beName
\tbeadm destroy [-Fv] beName@snapshot
\tbeadm list [[-a] | [-d] [-s]] [-H]
\t\t[-k|-K date | name | space] [-v] [beName]
\tbeadm mount [-s ro|rw] [-v] beName [mountpoint]
\tbeadm unmount [-fv] beName | mountpoint
\tbeadm umount [-fv] beName | mountpoint
\tbeadm rename [-v] origBeName newBeName
\tbeadm rollback [-v] beName snapshot
\tbeadm rollback [-v] beName@snapshot
\tbeadm chroot beName
\tbeadm export [-v] beName
\tbeadm import [-v] beName
\tbeadm version
";

/// A command: its name, and what carries it out. The first word is the name it was called by.
type Command = (&'static str, fn(&Context, &[String]) -> Done);

const COMMANDS: [Command; 14] = [
    ("activate", change::activate),
    ("chroot", port::chroot),
    ("create", change::create),
    ("destroy", change::destroy),
    ("export", port::export),
    ("import", port::import),
    ("list", list::list),
    ("mount", mount::mount),
    ("rename", change::rename),
    ("reroot", port::reroot),
    ("rollback", change::rollback),
    ("umount", mount::unmount),
    ("unmount", mount::unmount),
    ("version", port::version),
];

/// Carries a command line out; its exit code.
pub(super) fn run(global: Global, words: &[String]) -> anyhow::Result<u8> {
    super::conclude(spoken(global, words), HOW, FAILED)
}

fn spoken(global: Global, words: &[String]) -> Done {
    // Without a command it lists.
    let list = ["list".to_owned()];
    let words = if words.is_empty() { &list } else { words };
    let name = words.first().map(String::as_str).unwrap_or_default();
    let Some((_, command)) = COMMANDS.iter().find(|(known, _)| *known == name) else {
        return Err(Stop::Usage(vec![format!("Invalid command: {name}")]));
    };
    let context = context(global, words).map_err(|trouble| failed(Vec::new(), trouble))?;
    command(&context, words)
}

/// The options of a command. `-v` is there with all of them and changes nothing: it asks for
/// what libbe says of a failure, and why something failed is always told.
fn options<'a>(words: &'a [String], letters: &str) -> Result<Options<'a>, Stop> {
    let (name, rest) = match words.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("", words),
    };
    getopt::read(rest, letters).map_err(|bad| Stop::Usage(vec![bad.said(name)]))
}

fn usage() -> Stop {
    Stop::Usage(Vec::new())
}

/// The tool's own lines, and this program's.
fn failed(lines: Vec<String>, trouble: Trouble) -> Stop {
    Stop::Failed(FAILED, lines, Some(trouble))
}

/// How a command that is about one environment fails: by a line of its own in general, and
/// as all others do where the environment is not there or the caller is not root.
fn failed_on(name: &str, general: String, trouble: Trouble) -> Stop {
    let lines = match trouble.why {
        Why::NoEnvironment => no_environment(name),
        Why::Permission => vec![
            general,
            "You have insufficient privileges to execute this command.".to_owned(),
        ],
        _ => vec![general],
    };
    failed(lines, trouble)
}

/// What all commands say of an environment that is not there.
fn no_environment(name: &str) -> Vec<String> {
    not_there(name, "BE", "the BE")
}

/// The same of a snapshot.
fn no_snapshot(name: &str) -> Vec<String> {
    not_there(name, "snapshot", "the snapshot")
}

fn not_there(name: &str, kind: &str, which: &str) -> Vec<String> {
    vec![
        format!("{name} does not exist or appear to be a valid {kind}."),
        format!("Please check that the name of {which} provided is correct."),
    ]
}
