//! The one program that a simulated environment has: its package manager,
//! whichever its database says. The newest packages are the files in
//! `repository` in the machine's directory; an upgrade copies them into the
//! environment. A file `FAILS` there stands for a package whose script fails
//! after everything was unpacked, and holds what it says.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;

use super::Sim;
use crate::os::inside::{Ended, Inside, NotRun, Output, Program};
use crate::os::{Error, Platform as _};
use crate::packages::upgrade::WAYS;

/// Where the newest packages are.
const REPOSITORY: &str = "repository";

/// What stands for a script that fails.
const FAILS: &str = "FAILS";

/// dpkg's exit status for a failed script, as apt-get passes it on.
const FAILED: u8 = 100;

/// Runs a command of a package manager.
pub(super) fn run(
    sim: &Sim,
    inside: &Inside,
    program: &Program,
) -> std::result::Result<Ended, NotRun> {
    let words: Vec<&str> = program
        .words
        .iter()
        .filter_map(|word| word.to_str())
        .collect();
    let place = WAYS.iter().find_map(|way| {
        let at = way
            .commands
            .iter()
            .position(|command| **command == *words)?;
        Some(at + 1 == way.commands.len())
    });
    let (Some(is_upgrade), Some(root)) = (place, inside.datasets.first()) else {
        return Err(NotRun::Os(Error::Unexpected {
            attempted: "run a command inside".to_owned(),
            detail: "this is a simulation, and no system is in it to run one in".to_owned(),
        }));
    };
    let told = || Error::io("upgrade simulated packages");
    let mut said = String::new();
    let mut status = 0;
    let repository = sim
        .inner
        .store
        .directory
        .as_ref()
        .map(|directory| directory.join(REPOSITORY))
        .filter(|repository| repository.is_dir());
    match repository {
        None => said.push_str("the simulated repository is empty\n"),
        Some(repository) if is_upgrade => {
            let mut copied = Vec::new();
            sim.with_files(&root.dataset, true, &mut |files| {
                copied = copy(&repository, Utf8Path::new(""), files)?;
                Ok(())
            })?;
            for path in copied {
                said.push_str(&format!("unpacking /{path}\n"));
            }
            if let Ok(text) = fs::read_to_string(repository.join(FAILS)) {
                said.push_str(&text);
                status = FAILED;
            }
        }
        Some(_) => said.push_str("the simulated repository was read\n"),
    }
    match &program.output {
        Output::Callers => io::stdout().write_all(said.as_bytes()),
        Output::StandardError => io::stderr().write_all(said.as_bytes()),
        Output::To(file) => (&*file).write_all(said.as_bytes()),
    }
    .map_err(told())?;
    Ok(Ended {
        status,
        changes: Vec::new(),
        notes: Vec::new(),
    })
}

/// Copies every file below a directory; their paths, in order.
fn copy(from: &Utf8Path, below: &Utf8Path, to: &Dir) -> io::Result<Vec<Utf8PathBuf>> {
    let mut names: Vec<_> = from
        .join(below)
        .read_dir_utf8()?
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_by(|one, other| one.file_name().cmp(other.file_name()));
    let mut copied = Vec::new();
    for entry in names {
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            to.create_dir_all(&path)?;
            copied.extend(copy(from, &path, to)?);
        } else if kind.is_file() && path != Path::new(FAILS) {
            to.write(&path, fs::read(entry.path())?)?;
            copied.push(path);
        }
    }
    Ok(copied)
}
