//! Every call of `zfs` and `zpool` that a command makes fails once: it is not
//! done, or done and said to have failed, or done with nonsense for an answer,
//! or it hangs until somebody presses Ctrl-C.
//!
//! The calls are counted in an undisturbed run, so that a new one is there by
//! itself. The ordinary run takes those that change something, of the ways to fail
//! one for each in turn, and has a hang for two of the commands; with
//! `BEADM_RS_LONG=1` all calls in all ways, also with a pool for `/boot`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fakes::Fakes;
use crate::interruption::{Trial, commands, worked};
use crate::machine::Machine;
use crate::ran::{Ran, long, sh};
use crate::tally::Tally;

/// How a call fails.
#[derive(Debug, Clone, Copy)]
enum How {
    NotDone,
    Done,
    Nonsense,
}

const ALL: [How; 3] = [How::NotDone, How::Done, How::Nonsense];

impl How {
    fn told(self) -> &'static str {
        match self {
            Self::NotDone => "not done",
            Self::Done => "done, failed",
            Self::Nonsense => "nonsense",
        }
    }

    fn lines(self) -> &'static str {
        match self {
            Self::NotDone => "echo 'internal error: out of cheese' >&2; exit 1",
            Self::Done => {
                r#"real "$@" >/dev/null; echo 'internal error: out of cheese' >&2; exit 1"#
            }
            // What it did is not in question, only what it says.
            Self::Nonsense => r#"real "$@" >/dev/null; echo '<html>503</html>'; exit $?"#,
        }
    }
}

/// Programs that count their calls and do something else at one of them.
fn failing_at(number: Option<usize>, lines: &str) -> Fakes {
    let fakes = Fakes::new();
    std::fs::create_dir(fakes.path().join("calls")).unwrap();
    // With noclobber, making a file is the one thing in which several calls at
    // the same time cannot get the same number.
    let count = r#"set -C; n=0
until { true >"$here/calls/$n"; } 2>/dev/null; do n=$((n + 1)); done
set +C; echo "$*" >"$here/calls/$n""#;
    let then = number.map_or(String::new(), |number| {
        format!("if [ $n = {number} ]; then {lines}; fi")
    });
    for script in [Fakes::zfs, Fakes::zpool] {
        script(&fakes, &format!("{count}\n{then}"));
    }
    fakes
}

/// The calls of an undisturbed run, in order.
fn calls(trial: &Trial) -> Vec<String> {
    let fakes = failing_at(None, "");
    fakes.run(&trial.machine, &words(trial)).succeeds();
    let calls = fakes.path().join("calls");
    trial.restore();
    (0..)
        .map_while(|number| std::fs::read_to_string(calls.join(number.to_string())).ok())
        .collect()
}

fn words(trial: &Trial) -> Vec<&str> {
    trial.arguments.iter().map(String::as_str).collect()
}

fn changes(call: &str) -> bool {
    let mut words = call.split_whitespace();
    match words.next() {
        Some("program") => words.next() != Some("-n"),
        Some(word) => !matches!(word, "list" | "get" | "holds"),
        None => false,
    }
}

/// Of several clones in a row the first and the last one: the others are made at
/// the same time.
fn representative(mut calls: Vec<(usize, String)>) -> Vec<(usize, String)> {
    let clones: Vec<bool> = calls
        .iter()
        .map(|(_, call)| call.starts_with("clone "))
        .collect();
    let is_clone = |index: usize| clones.get(index).copied().unwrap_or_default();
    let mut index = 0;
    calls.retain(|_| {
        index += 1;
        !(is_clone(index - 1) && index > 1 && is_clone(index - 2) && is_clone(index))
    });
    calls
}

/// Each command on one machine after the other, with its calls.
fn every_command(boot: bool, mut work: impl FnMut(usize, &Trial, &[(usize, String)])) {
    let mut machine = worked(if boot {
        Machine::with_boot_pool()
    } else {
        Machine::new()
    });
    for (number, command) in commands().into_iter().enumerate() {
        let trial = Trial::new(machine, command);
        let calls: Vec<(usize, String)> = calls(&trial)
            .into_iter()
            .enumerate()
            .filter(|(_, call)| long() || changes(call))
            .collect();
        assert!(!calls.is_empty(), "{command:?} changes nothing");
        let calls = if long() { calls } else { representative(calls) };
        work(number, &trial, &calls);
        machine = trial.machine;
    }
}

/// Each of these calls fails.
fn fail(number: usize, trial: &Trial, calls: &[(usize, String)], tally: &mut Tally) {
    for (index, (call, what)) in calls.iter().enumerate() {
        let ways = if long() {
            ALL.to_vec()
        } else {
            vec![ALL[(number + index) % ALL.len()]]
        };
        for how in ways {
            let at = format!("{:?}, call {call} ({what}), {how:?}", trial.arguments);
            tally.point(number, trial, &at, || {
                let fakes = failing_at(Some(*call), how.lines());
                (fakes.run(&trial.machine, &words(trial)), how.told())
            });
        }
    }
}

/// How long a program may take to get to a call, and after it was killed: far
/// more than it does on the slowest machine. What is never to happen is that a
/// test waits for ever.
const PATIENCE: Duration = Duration::from_secs(300);

/// The program, waiting for a call that hangs.
struct Hanging {
    child: Child,
    /// What hangs reads from this, and it has no end while it is open.
    _never: File,
    _fakes: Fakes,
    /// The program is killed when it has taken too long, unless this is gone.
    _watch: Sender<()>,
}

impl Hanging {
    /// Starts the program. The call does `first`, and then hangs.
    fn start(machine: &Machine, arguments: &[&str], call: usize, first: &str) -> Self {
        let lines = format!("{first} exec cat \"$here/never\"");
        let fakes = failing_at(Some(call), &lines);
        let path = fakes.path().join("never");
        sh("mkfifo", &[path.to_str().unwrap()]);
        let mut child = fakes
            .command(machine, arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (watch, ended) = channel::<()>();
        let id = pid(&child);
        std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = kill(id, Signal::SIGKILL);
            }
        });
        // Without waiting it can be opened once the other side is open, which is
        // when the call hangs (fifo(7)).
        let mut writer = File::options();
        writer
            .write(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
        let never = loop {
            match writer.open(&path) {
                Ok(never) => break never,
                Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENXIO as i32) => {}
                Err(error) => panic!("{error}"),
            }
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{arguments:?} never made call {call}");
            std::thread::sleep(Duration::from_millis(20));
        };
        Self {
            child,
            _never: never,
            _fakes: fakes,
            _watch: watch,
        }
    }

    /// Sends Ctrl-C.
    fn interrupt(&self) {
        kill(pid(&self.child), Signal::SIGINT).unwrap();
    }

    /// How it ends; `interruptions` are what it is to say at each Ctrl-C that
    /// does not end it.
    fn ends(mut self, interruptions: &[&str]) -> Ran {
        let mut said = BufReader::new(self.child.stderr.take().unwrap());
        let mut stderr = String::new();
        self.interrupt();
        for wanted in interruptions {
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            assert!(line.contains(wanted), "{line:?} is not {wanted:?}");
            stderr.push_str(&line);
            self.interrupt();
        }
        said.read_to_string(&mut stderr).unwrap();
        let mut ran = Ran::of(self.child.wait_with_output().unwrap());
        ran.stderr = stderr;
        ran
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Each of these calls hangs, without having done anything or having done it.
fn hang(number: usize, trial: &Trial, calls: &[(usize, String)], tally: &mut Tally) {
    let mut chosen: Vec<_> = calls.iter().filter(|(_, call)| changes(call)).collect();
    let mut firsts = vec![("", "hung"), ("real \"$@\";", "done, hung")];
    if !long() {
        if !number.is_multiple_of(3) {
            return;
        }
        chosen = vec![chosen[number % chosen.len()]];
        firsts = vec![firsts[number % 2]];
    }
    for (call, what) in chosen {
        for (first, told) in &firsts {
            let at = format!("{:?}, call {call} ({what}) {told}", trial.arguments);
            tally.point(number, trial, &at, || {
                let hanging = Hanging::start(&trial.machine, &words(trial), *call, first);
                (hanging.ends(&["Ctrl-C again kills it"]), *told)
            });
        }
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn every_call_of_zfs_fails_once_or_hangs() {
    let boots: &[bool] = if long() { &[false, true] } else { &[false] };
    for boot in boots {
        let mut tally = Tally::default();
        every_command(*boot, |number, trial, calls| {
            fail(number, trial, calls, &mut tally);
            hang(number, trial, calls, &mut tally);
        });
        tally.tell(if *boot {
            "crash-calls-boot"
        } else {
            "crash-calls"
        });
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_command_that_has_not_begun_ends_at_the_first_ctrl_c() {
    let machine = Machine::new();
    machine.unchanged(|| {
        for arguments in [&["list"][..], &["-n", "create", "-e", "old", "new"]] {
            Hanging::start(&machine, arguments, 0, "")
                .ends(&[])
                .says(1, "interrupted")
                .fails(1, "state: what was asked for was not begun");
        }
    });
}
