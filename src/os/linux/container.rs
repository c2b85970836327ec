//! Contained systems by systemd-nspawn(1) and machinectl(1).

use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use super::succeed;
use crate::os::container::{Container, Running};
use crate::os::{Error, Result};
use crate::sys::command;

const NSPAWN: &str = "systemd-nspawn";
const MACHINECTL: &str = "machinectl";

/// How long one may take to end: it stops in order, and where it does not within systemd's own
/// 90 seconds it is killed.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked whether it has.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a program of systemd's is, or what to install.
fn program(attempted: &str, name: &str) -> Result<Utf8PathBuf> {
    command::find(name).ok_or_else(|| Error::Unexpected {
        attempted: attempted.to_owned(),
        detail: format!(
            "{name} is not installed (Debian, Fedora: systemd-container; Arch: systemd)"
        ),
    })
}

/// Starts one (`Platform::contain`).
pub(super) fn start(container: &Container) -> Result<u8> {
    let attempted = format!("start {} as a contained system", container.root);
    let nspawn = program(&attempted, NSPAWN)?;
    if container.command.is_none() {
        // A unit of its own outlives this program.
        let mut arguments: Vec<String> = [
            "--quiet",
            "--collect",
            "--service-type=notify",
            "--property=KillMode=mixed",
            "--property=Delegate=yes",
            "--property=SuccessExitStatus=133",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend([
            format!("--unit={}", container.unit()),
            "--".to_owned(),
            nspawn.to_string(),
        ]);
        arguments.extend(container.arguments());
        return succeed(&attempted, "systemd-run", &arguments).map(|()| 0);
    }
    let status =
        command::on_the_terminal(&nspawn, &container.arguments()).map_err(Error::io(attempted))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(1))
}

/// Those that run (`Platform::contained`).
pub(super) fn list() -> Result<Vec<Running>> {
    let attempted = "list the contained systems";
    let machinectl = program(attempted, MACHINECTL)?;
    let ask = |words: &[&str]| -> Result<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let finished = command::run(&machinectl, &words, None).map_err(Error::io(attempted))?;
        if finished.status.success() {
            return Ok(String::from_utf8_lossy(&finished.stdout).into_owned());
        }
        Err(Error::Unexpected {
            attempted: attempted.to_owned(),
            detail: finished.stderr,
        })
    };
    let listed = ask(&["list", "--no-legend", "--no-pager", "--full"])?;
    let names = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let mut found = Vec::new();
    for name in names {
        // One that has ended meanwhile is none.
        if let Ok(shown) = ask(&["show", "-p", "Leader", "-p", "RootDirectory", "--", name]) {
            found.push(described(name, &shown));
        }
    }
    Ok(found)
}

/// What `machinectl show` says of one.
fn described(name: &str, shown: &str) -> Running {
    let value = |key: &str| {
        let mut values = shown.lines().filter_map(|line| line.split_once('='));
        let found = values.find(|(other, _)| *other == key);
        found
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    };
    Running {
        name: name.to_owned(),
        leader: value("Leader").and_then(|number| number.parse().ok()),
        root: value("RootDirectory").map(Utf8PathBuf::from),
    }
}

/// Ends one (`Platform::end_contained`).
pub(super) fn end(running: &Running) -> Result<()> {
    let attempted = format!("end the contained system {}", running.name);
    let words = ["terminate", "--", &running.name].map(str::to_owned);
    succeed(&attempted, MACHINECTL, &words)?;
    let begun = Instant::now();
    while list()?.iter().any(|other| other.name == running.name) {
        if begun.elapsed() > PATIENCE {
            return Err(Error::Busy {
                attempted,
                detail: format!("it is there still after {} seconds", PATIENCE.as_secs()),
            });
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_machinectl_shows_is_a_process_and_a_directory() {
        let shown = "Leader=4711\nRootDirectory=/run/beadm-rs/mnt/a=b\n";
        assert_eq!(
            described("a", shown),
            Running {
                name: "a".to_owned(),
                leader: Some(4711),
                root: Some("/run/beadm-rs/mnt/a=b".into()),
            }
        );
        let none = described("a", "Leader=\nRootDirectory=\n");
        assert_eq!((none.leader, none.root), (None, None));
    }
}
