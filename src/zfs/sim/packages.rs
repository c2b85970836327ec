//! The one program that a simulated environment has: its package manager,
//! whichever its database says. The newest packages are the files in
//! `repository` in the machine's directory; an upgrade copies them into the
//! environment. A file `FAILS` there stands for a package whose script fails
//! after everything was unpacked, and holds what it says.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};

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
    let Some(is_upgrade) = place else {
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
            for placed in &inside.datasets {
                let place = placed.below.as_path();
                let others: Vec<&Utf8Path> = inside
                    .datasets
                    .iter()
                    .map(|other| other.below.as_path())
                    .filter(|other| *other != place && other.starts_with(place))
                    .collect();
                sim.with_files(&placed.dataset, true, &mut |files| {
                    for path in files_below(&repository, place, &others)? {
                        let inside = path.strip_prefix(place).unwrap_or(&path);
                        if let Some(above) = inside.parent() {
                            files.create_dir_all(above)?;
                        }
                        files.write(inside, fs::read(repository.join(&path))?)?;
                        said.push_str(&format!("unpacking /{path}\n"));
                    }
                    Ok(())
                })?;
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

/// The files of the repository below a place and not below the others, in order.
fn files_below(
    repository: &Utf8Path,
    place: &Utf8Path,
    others: &[&Utf8Path],
) -> io::Result<Vec<Utf8PathBuf>> {
    let mut files = Vec::new();
    let entries = match repository.join(place).read_dir_utf8() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    let mut names: Vec<_> = entries.collect::<io::Result<Vec<_>>>()?;
    names.sort_by(|one, other| one.file_name().cmp(other.file_name()));
    for entry in names {
        let path = place.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && !others.contains(&path.as_path()) {
            files.extend(files_below(repository, &path, others)?);
        } else if kind.is_file() && path != Path::new(FAILS) {
            files.push(path);
        }
    }
    Ok(files)
}
