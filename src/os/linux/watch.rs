//! The dead man's switch, seen from the running system: its program, its process,
//! and the hardware watchdog that it could use.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Linux;
use crate::boot::watch::PROGRAM;
use crate::os::{Error, Result};

/// Where it is installed, from the prefix (`make install`).
const INSTALLED: &str = "lib/beadm-rs/watch";

/// How long it may take to end: it looks up once a second at the latest.
const ENDING: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// The prefixes it is looked for in: that of this program, then the usual ones.
fn places() -> Vec<PathBuf> {
    let own = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.to_owned()));
    own.into_iter()
        .chain(["/usr/local".into(), "/usr".into()])
        .map(|prefix: PathBuf| prefix.join(INSTALLED))
        .collect()
}

/// The program.
pub(super) fn program() -> Result<Option<Vec<u8>>> {
    for place in places() {
        match fs::read(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => {
                let attempted = format!("read {}", place.display());
                return other.map(Some).map_err(Error::io(attempted));
            }
        }
    }
    Ok(None)
}

/// A watchdog that can be stopped again is there: another one would restart the
/// machine after its boot was confirmed.
pub(super) fn has_watchdog(class: &Utf8Path) -> bool {
    fs::read_to_string(class.join("watchdog0/nowayout")).is_ok_and(|text| text.trim() == "0")
}

/// Whether a process is the switch that the kernel started with this boot, by its
/// directory in /proc: nothing that a user, or root of a container, could make
/// look so. What it was started from is in an initramfs that is gone.
fn is_switch(process: &Utf8Path) -> bool {
    // First what one call tells, since every process is asked.
    let started = fs::read_link(process.join("exe")).is_ok_and(|exe| {
        let exe = exe.to_string_lossy();
        exe.strip_suffix(" (deleted)").unwrap_or(&exe) == format!("/{PROGRAM}")
    });
    if !started {
        return false;
    }
    let Ok(status) = fs::read_to_string(process.join("status")) else {
        return false;
    };
    let field = |name: &str| -> Vec<&str> {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.split_whitespace().collect())
            .unwrap_or_default()
    };
    let of_root = field("Uid") == ["0"; 4];
    // In a process namespace it has a number in each of them.
    let of_init = field("PPid") == ["1"] && field("NSpid").len() == 1;
    let named = fs::read(process.join("cmdline"))
        .is_ok_and(|arguments| arguments.starts_with(format!("@{PROGRAM}\0").as_bytes()));
    of_root && of_init && field("Name") == [PROGRAM] && named
}

impl Linux {
    /// The process of the switch, and its directory.
    fn switch(&self) -> Option<(Pid, Utf8PathBuf)> {
        let processes = self.proc.read_dir_utf8().ok()?;
        processes.flatten().find_map(|entry| {
            let number = entry.file_name().parse().ok()?;
            is_switch(entry.path()).then_some(())?;
            Some((Pid::from_raw(number)?, entry.into_path()))
        })
    }

    pub(super) fn is_watched(&self) -> bool {
        self.switch().is_some()
    }

    pub(super) fn end_switch(&self) -> Result<bool> {
        const ATTEMPTED: &str = "end the dead man's switch";
        let Some((pid, directory)) = self.switch() else {
            return Ok(false);
        };
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(Error::io(ATTEMPTED))?;
        // The number may have become another's before that.
        if !is_switch(&directory) {
            return Ok(false);
        }
        pidfd_send_signal(&process, Signal::TERM).map_err(Error::io(ATTEMPTED))?;
        let mut wait = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        let ended = poll(&mut wait, Some(&ENDING)).map_err(Error::io(ATTEMPTED))?;
        if ended > 0 {
            return Ok(true);
        }
        // It is not killed: the hardware's watchdog would not be stopped.
        Err(Error::Unexpected {
            attempted: ATTEMPTED.to_owned(),
            detail: format!("process {pid} is still there"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process as /proc has it.
    struct Process {
        status: String,
        arguments: &'static str,
        exe: &'static str,
    }

    fn switch() -> Process {
        Process {
            status: "Name:\tbeadm-rs-watch\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t57\n\
                     PPid:\t1\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nNSpid:\t57\n"
                .to_owned(),
            arguments: "@beadm-rs-watch\u{0}300\0",
            exe: "/beadm-rs-watch (deleted)",
        }
    }

    fn found(process: &Process) -> bool {
        let scratch = tempfile::tempdir().unwrap();
        let proc = Utf8Path::from_path(scratch.path()).unwrap();
        fs::create_dir(proc.join("57")).unwrap();
        fs::write(proc.join("57/status"), &process.status).unwrap();
        fs::write(proc.join("57/cmdline"), process.arguments).unwrap();
        std::os::unix::fs::symlink(process.exe, proc.join("57/exe")).unwrap();
        fs::create_dir(proc.join("self")).unwrap();
        let platform = Linux {
            proc: proc.to_owned(),
            ..Linux::default()
        };
        platform.is_watched()
    }

    #[test]
    fn the_switch_is_known_and_what_looks_like_it_is_not_taken_for_it() {
        assert!(found(&switch()));
        assert!(found(&Process {
            exe: "/beadm-rs-watch",
            ..switch()
        }));
        for (from, to) in [
            ("Uid:\t0\t0\t0\t0", "Uid:\t1000\t1000\t1000\t1000"),
            ("Uid:\t0\t0\t0\t0", "Uid:\t1000\t0\t0\t0"),
            ("NSpid:\t57", "NSpid:\t57\t2"),
            ("PPid:\t1\n", "PPid:\t900\n"),
            ("Name:\tbeadm-rs-watch", "Name:\tsleep"),
        ] {
            let status = switch().status.replace(from, to);
            assert!(!found(&Process { status, ..switch() }), "{to}");
        }
        assert!(!found(&Process {
            arguments: "beadm-rs-watch\u{0}300\0",
            ..switch()
        }));
        assert!(!found(&Process {
            exe: "/home/somebody/beadm-rs-watch",
            ..switch()
        }));
    }

    #[test]
    fn a_watchdog_that_cannot_be_stopped_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        let class = Utf8Path::from_path(scratch.path()).unwrap();
        assert!(!has_watchdog(class));
        fs::create_dir(class.join("watchdog0")).unwrap();
        for (said, usable) in [("1\n", false), ("0\n", true)] {
            fs::write(class.join("watchdog0/nowayout"), said).unwrap();
            assert_eq!(has_watchdog(class), usable);
        }
    }
}
