//! The dead man's switch of a boot that has to prove itself.
//!
//! The kernel starts this program instead of an initramfs's own init
//! (`rdinit=/beadm-rs-watch`). It starts itself a second time, as the switch, and
//! becomes that init. The switch restarts the machine after the time that the
//! kernel's command line says (`beadm-rs.watch=SECONDS`), unless it is ended
//! before: by SIGTERM, which beadm-rs sends when the boot has proved itself. So
//! neither an initramfs that hangs or ends in a shell, nor a system whose
//! services never come up, keeps the machine. The kernel itself is watched by the
//! hardware's watchdog, where there is one.
//!
//! - [`line`]: the command line; [`prompt`]: whether a person is asked for
//!   something; [`clock`]: the time that is left. Pure.
//! - [`mounts`]: the kernel's file systems; [`watchdog`]; [`switch`]: what it does.

mod clock;
mod line;
mod mounts;
mod prompt;
mod switch;
mod watchdog;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, id};

use crate::line::Line;
use crate::mounts::Mounts;

/// Where the initramfs made for it has this program.
const PROGRAM: &str = "/beadm-rs-watch";

/// The name of the switch. When systemd leaves an initramfs, and when it shuts a
/// system down, it ends all processes but root's whose name begins so
/// (<https://systemd.io/ROOT_STORAGE_DAEMONS/>).
const SWITCH: &str = "@beadm-rs-watch";

/// What the kernel starts in an initramfs when it is told nothing else.
const INIT: &str = "/init";

/// Says something where nothing else is known to work: on the console.
fn say(text: &str) {
    // There is nobody to tell that nobody can be told.
    let _ = writeln!(io::stderr(), "beadm-rs-watch: {text}");
}

/// Starts the switch.
fn start(line: &Line) -> Result<(), String> {
    let seconds = line
        .seconds
        .ok_or("the kernel's command line has no beadm-rs.watch=SECONDS")?;
    Command::new(PROGRAM)
        .arg0(SWITCH)
        .arg(seconds.to_string())
        .spawn()
        .map(drop)
        .map_err(|error| format!("cannot start {PROGRAM}: {error}"))
}

/// Process 1: starts the switch, and becomes the init that is under test. That is
/// done whatever comes of the switch: a machine that could boot does.
fn first(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let line = Mounts::command_line().map(|text| Line::parse(&text, PROGRAM));
    let started = line
        .as_ref()
        .map_err(|error| format!("cannot read the kernel's command line: {error}"))
        .and_then(start);
    if let Err(why) = started {
        say(&format!("no dead man's switch: {why}"));
    }
    let init = line
        .ok()
        .and_then(|line| line.init)
        .unwrap_or_else(|| INIT.to_owned());
    let error = Command::new(&init).args(arguments).exec();
    // The end of process 1 is a panic of the kernel, which restarts after `panic=`.
    say(&format!("cannot start {init}: {error}"));
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    let name = arguments.next();
    if name.is_some_and(|name| name == SWITCH) {
        let seconds = arguments
            .next()
            .and_then(|word| line::seconds(word.to_str()?));
        return match seconds {
            Some(seconds) => switch::run(seconds),
            None => ExitCode::FAILURE,
        };
    }
    if id() == 1 {
        return first(arguments);
    }
    say("the kernel starts this program at a trial boot (beadm-rs(8)); it does nothing otherwise");
    ExitCode::FAILURE
}
