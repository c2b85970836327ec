//! What the switch does: it waits.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::system::{RebootCommand, reboot};

use crate::clock::Clock;
use crate::mounts::Mounts;
use crate::watchdog::Watchdog;

/// How often it looks around. A watchdog of hardware waits for many times that.
const TICK: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// How long what was written may take to get to the disks: a disk that does not
/// answer must not keep the machine.
const SYNC: Duration = Duration::from_secs(10);

/// How long the kernel may take to restart in order, with all its drivers.
const RESTART: Duration = Duration::from_secs(30);

/// What a thread gets, bytes: all of it is locked in memory.
const STACK: usize = 64 << 10;

/// How important what is said is, as the kernel has it (`KERN_CRIT`, `KERN_NOTICE`):
/// the former is shown on a console that is quiet.
#[derive(Debug, Clone, Copy)]
enum Level {
    Critical = 2,
    Notice = 5,
}

/// Says something in the kernel's log.
fn log(mounts: &Mounts, level: Level, text: &str) {
    if let Ok(mut messages) = mounts.device("kmsg") {
        let level = level as u8;
        // What cannot be told is done all the same.
        let _ = messages.write_all(format!("<{level}>beadm-rs-watch: {text}\n").as_bytes());
    }
}

/// Makes it independent of the initramfs and of whoever runs short of memory. What
/// of this fails makes it weaker, and no reason to be without it.
fn settle(mounts: &Mounts) {
    if let Ok(null) = mounts.device("null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    let _ = mounts.tell("self/oom_score_adj", "-1000");
    let _ = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE);
}

/// Has something done that may never come back; whether it was begun.
fn aside(work: impl FnOnce() + Send + 'static) -> bool {
    let thread = thread::Builder::new().stack_size(STACK);
    thread.spawn(work).is_ok()
}

/// Restarts the machine, without asking anything that runs on it.
fn restart(mounts: &Mounts) -> ExitCode {
    let (done, synced) = mpsc::channel();
    let begun = aside(move || {
        rustix::fs::sync();
        // Nobody waits any more where it took too long.
        let _ = done.send(());
    });
    if begun {
        let _ = synced.recv_timeout(SYNC);
    }
    // It does not come back; nor does it end where a driver hangs.
    if aside(|| {
        let _ = reboot(RebootCommand::Restart);
    }) {
        thread::sleep(RESTART);
    }
    let _ = mounts.tell("sysrq-trigger", "b");
    let _ = reboot(RebootCommand::Restart);
    ExitCode::FAILURE
}

/// Waits until it is ended, or the time is over.
pub fn run(seconds: u64) -> ExitCode {
    // A thread takes over what is blocked; SIGTERM alone is listened to.
    let mut ending = SigSet::empty();
    ending.add(Signal::SIGTERM);
    let ended = SigSet::all()
        .thread_block()
        .and_then(|()| SignalFd::new(&ending));
    let Ok(ended) = ended else {
        return ExitCode::FAILURE;
    };
    let mounts = Mounts::new();
    settle(&mounts);
    log(
        &mounts,
        Level::Notice,
        &format!("restarts the machine in {seconds} s, unless this boot proves itself"),
    );
    let mut clock = Clock::new(seconds);
    let mut watchdog: Option<Watchdog> = None;
    let mut looked = Instant::now();
    let mut left = false;
    loop {
        let mut wait = [PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN)];
        if poll(&mut wait, Some(&TICK)).is_ok_and(|ready| ready > 0) {
            break;
        }
        // Until a driver of the initramfs is loaded there is none.
        if watchdog.is_none() {
            watchdog = Watchdog::start(&mounts).inspect(|found| {
                let timeout = found.timeout.as_secs();
                let text = format!("{} watches the kernel, {timeout} s", found.name);
                log(&mounts, Level::Notice, &text);
            });
        }
        if let Some(watchdog) = &mut watchdog {
            watchdog.alive();
        }
        left = left || mounts.has_left();
        let asked = !left && mounts.is_asked();
        let passed = looked.elapsed();
        looked += passed;
        if clock.passed(passed, asked) {
            let text = format!("this boot has not proved itself in {seconds} s: restarting");
            log(&mounts, Level::Critical, &text);
            return restart(&mounts);
        }
    }
    if let Some(watchdog) = watchdog {
        watchdog.stop();
    }
    log(
        &mounts,
        Level::Notice,
        "ended: the machine is not restarted",
    );
    ExitCode::SUCCESS
}
