//! Ctrl-C, and the other signals that ask the program to end.
//!
//! While nothing is being changed the program ends at once. In a change it goes
//! on to the next place where it can stop, and undoes what it did; the child it
//! waits for meanwhile (`zfs` in the middle of its work) is in a process group of
//! its own and is not hit. Where that child does not end, the second signal kills
//! it, which is like any other failure of it; and where it cannot be killed
//! (in the kernel, on a pool that is suspended), the third ends the program and
//! leaves the rest to `recover`.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::error::{FAILED, UNFINISHED};
use crate::sys::command::{self, Stopped};

/// What a process knows of the signals it was sent.
#[derive(Debug, Default)]
pub struct Interruption {
    asked: Arc<AtomicBool>,
    changing: AtomicBool,
}

static WATCHED: OnceLock<Interruption> = OnceLock::new();

impl Interruption {
    /// Watches for signals from now on; the same for the whole process.
    ///
    /// # Errors
    /// Where the handlers cannot be installed.
    pub fn watch() -> io::Result<&'static Self> {
        if let Some(watched) = WATCHED.get() {
            return Ok(watched);
        }
        let kinds = [SIGINT, SIGTERM, SIGHUP];
        let watched = WATCHED.get_or_init(Self::default);
        for signal in kinds {
            // Besides the thread, so that the flag is set when the signal has
            // been taken, and not some time later.
            signal_hook::flag::register(signal, Arc::clone(&watched.asked))?;
        }
        let mut signals = Signals::new(kinds)?;
        std::thread::spawn(move || {
            for _ in signals.forever() {
                watched.taken();
            }
        });
        Ok(watched)
    }

    /// Set once a signal came.
    pub fn asked(&self) -> &AtomicBool {
        &self.asked
    }

    /// From now on something may be changed, or not any more.
    pub fn changing(&self, yes: bool) {
        self.changing.store(yes, Ordering::SeqCst);
    }

    fn taken(&self) {
        if !self.changing.load(Ordering::SeqCst) {
            command::kill_running();
            tell("interrupted\n  state: what was asked for was not begun");
            std::process::exit(FAILED.into());
        }
        match command::interrupt_running() {
            Stopped::Nothing => {}
            Stopped::Asked(name) => tell(&format!(
                "interrupted; waiting for {name} to end, Ctrl-C again kills it"
            )),
            Stopped::Killed(name) => tell(&format!("killed {name}, which did not end")),
            Stopped::Unkillable(name) => {
                tell(&format!(
                    "{name} does not end, not even when it is killed\n  \
                     state: it was left to itself in the middle of a change\n  \
                     remedy: look at 'zpool status'; when the pool works again, beadm-rs recover"
                ));
                std::process::exit(UNFINISHED.into());
            }
        }
    }
}

fn tell(text: &str) {
    // Nobody is left to be told when standard error is gone.
    let _ = writeln!(io::stderr(), "beadm-rs: {text}");
}
