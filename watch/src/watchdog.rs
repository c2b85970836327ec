//! The hardware's watchdog: it restarts a machine that does not tell it in time
//! that it is alive, so also one whose kernel hangs
//! (Documentation/watchdog/watchdog-api.rst).

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use crate::mounts::Mounts;

/// Where the kernel tells of it.
const CLASS: &str = "class/watchdog/watchdog0";

/// What it is told before it is let go of, so that it stops.
const STOP: &[u8] = b"V";

/// What it is told to show that the machine is alive: anything else.
const ALIVE: &[u8] = b".";

/// One that has been started.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    /// What it is, for people.
    pub name: String,
    /// How long it waits.
    pub timeout: Duration,
}

impl Watchdog {
    /// Starts it, if there is one that nobody else has, and that can be stopped
    /// again: else it would restart the machine after its boot has proved itself.
    pub fn start(mounts: &Mounts) -> Option<Self> {
        let said = |what: &str| mounts.attribute(&format!("{CLASS}/{what}")).ok();
        if said("nowayout")? != "0" {
            return None;
        }
        // To open it is to start it.
        let device = mounts.device("watchdog0").ok()?;
        let timeout = said("timeout").and_then(|text| text.parse().ok());
        Some(Self {
            device,
            name: said("identity").unwrap_or_else(|| "watchdog0".to_owned()),
            timeout: Duration::from_secs(timeout.unwrap_or_default()),
        })
    }

    /// The machine is alive.
    pub fn alive(&mut self) {
        // What cannot be told is noticed by the watchdog.
        let _ = self.device.write_all(ALIVE);
    }

    /// Stops it.
    pub fn stop(mut self) {
        let _ = self.device.write_all(STOP);
    }
}
