//! Every call of `zfs` and `zpool` that a command makes fails once: it is not
//! done, or done and said to have failed, or done with nonsense for an answer,
//! or it hangs until somebody presses Ctrl-C.
//!
//! The calls are counted in an undisturbed run, so that a new one is there by
//! itself. The ordinary run takes those that change something, and of the ways
//! to fail one for each in turn; with `BEADM_RS_LONG=1` all calls in all ways,
//! also with a pool for `/boot`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fakes::Fakes;
use crate::interruption::{Trial, commands, worked};
use crate::machine::Machine;
use crate::ran::{Ran, long, sh};

/// How a call fails.
#[derive(Debug, Clone, Copy)]
enum How {
    NotDone,
    Done,
    Nonsense,
}

const ALL: [How; 3] = [How::NotDone, How::Done, How::Nonsense];

impl How {
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

/// What a run says it left is what is there, and `recover` needs no help.
fn is_what_it_says(trial: &Trial, ran: &Ran, at: &str) {
    match ran.exit {
        0 => trial.is(true, at),
        1 | 3 | 5 => trial.is(false, &format!("{at}: {ran:#?}")),
        6 => {
            assert!(ran.stderr.contains("beadm-rs recover"), "{at}: {ran:#?}");
            trial.machine.run(&["recover"]).succeeds();
            if !trial.incomplete().is_empty() {
                trial.is(false, &format!("{at}: {ran:#?}, recovered"));
            }
        }
        _ => panic!("{at}: {ran:#?}"),
    }
    if trial.machine.picture() != trial.before {
        trial.restore();
    }
}

/// Each command on one machine after the other, with its calls.
fn every_command(boot: bool, work: impl Fn(usize, &Trial, &[(usize, String)])) {
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
        work(number, &trial, &calls);
        machine = trial.machine;
    }
}

/// Each of these calls fails.
fn fail(number: usize, trial: &Trial, calls: &[(usize, String)]) {
    for (call, what) in calls {
        let ways = if long() {
            ALL.to_vec()
        } else {
            vec![ALL[(number + call) % ALL.len()]]
        };
        for how in ways {
            let fakes = failing_at(Some(*call), how.lines());
            let ran = fakes.run(&trial.machine, &words(trial));
            let at = format!("{:?}, call {call} ({what}), {how:?}", trial.arguments);
            is_what_it_says(trial, &ran, &at);
        }
    }
}

/// Sends Ctrl-C.
fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
}

/// Starts the program, which soon waits for a call that hangs.
fn hanging(machine: &Machine, arguments: &[&str], call: usize, first: &str) -> (Fakes, Child) {
    let lines = format!("{first} exec cat \"$here/never\"");
    let fakes = failing_at(Some(call), &lines);
    let never = fakes.path().join("never");
    sh("mkfifo", &[never.to_str().unwrap()]);
    let child = fakes
        .command(machine, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Opening it waits for the other side, and what is open has no end.
    let writer = std::fs::File::options().write(true).open(&never).unwrap();
    std::mem::forget(writer);
    (fakes, child)
}

/// Each of these calls hangs, without having done anything or having done it.
fn hang(number: usize, trial: &Trial, calls: &[(usize, String)]) {
    let mut chosen: Vec<_> = calls.iter().filter(|(_, call)| changes(call)).collect();
    let mut firsts = vec!["", "real \"$@\";"];
    if !long() {
        chosen = vec![chosen[number % chosen.len()]];
        firsts = vec![firsts[number % 2]];
    }
    for (call, what) in chosen {
        for first in &firsts {
            let (_fakes, mut child) = hanging(&trial.machine, &words(trial), *call, first);
            interrupt(&child);
            let mut said = BufReader::new(child.stderr.take().unwrap());
            let mut stderr = String::new();
            said.read_line(&mut stderr).unwrap();
            assert!(stderr.contains("Ctrl-C again kills it"), "{stderr}");
            interrupt(&child);
            said.read_to_string(&mut stderr).unwrap();
            let ran = Ran {
                exit: child.wait().unwrap().code().unwrap(),
                stdout: String::new(),
                stderr,
            };
            let at = format!("{:?}, call {call} ({what}) hung", trial.arguments);
            is_what_it_says(trial, &ran, &at);
        }
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn every_call_of_zfs_fails_once_or_hangs() {
    if !long() {
        return;
    }
    let boots: &[bool] = if long() { &[false, true] } else { &[false] };
    for boot in boots {
        every_command(*boot, |number, trial, calls| {
            fail(number, trial, calls);
            hang(number, trial, calls);
        });
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_command_that_has_not_begun_ends_at_the_first_ctrl_c() {
    if !long() {
        return;
    }
    let machine = Machine::new();
    machine.unchanged(|| {
        for arguments in [&["list"][..], &["-n", "create", "-e", "old", "new"]] {
            let (_fakes, child) = hanging(&machine, arguments, 0, "");
            interrupt(&child);
            Ran::of(child.wait_with_output().unwrap())
                .says(1, "interrupted")
                .fails(1, "state: what was asked for was not begun");
        }
    });
}
