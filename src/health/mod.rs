//! Whether the running system does what it is there for: the administrator's
//! own programs, run at the end of a boot.
//!
//! `/etc/beadm-rs/health.d/required.d/` holds those that have to succeed before a
//! boot counts as good, `wanted.d/` beside it those that are only told. The names
//! are greenboot's (`/etc/greenboot/check/`), so that its checks can be linked
//! there as they are; which of the two a check is, shows in its place, and not
//! in its name. Beside them nothing is run.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::os::Error;
use crate::sys::limited::{self, Ended};

/// Where the checks are.
pub const DIRECTORY: &str = "/etc/beadm-rs/health.d";

/// How long a check may take where nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// How many of the last lines of a check are kept.
const KEPT: usize = 20;

/// What editors and package managers leave beside a file, as
/// `hidden_or_backup_file` of systemd's src/basic/path-util.c has it.
const LEFTOVERS: [&str; 17] = [
    "rpmnew",
    "rpmsave",
    "rpmorig",
    "dpkg-old",
    "dpkg-new",
    "dpkg-tmp",
    "dpkg-dist",
    "dpkg-bak",
    "dpkg-backup",
    "dpkg-remove",
    "ucf-new",
    "ucf-old",
    "ucf-dist",
    "swp",
    "bak",
    "old",
    "new",
];

/// What a check's failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// The system is not healthy.
    Required,
    /// It is told.
    Wanted,
}

impl Need {
    /// Its directory below [`DIRECTORY`].
    #[must_use]
    pub fn directory(self) -> &'static str {
        match self {
            Self::Required => "required.d",
            Self::Wanted => "wanted.d",
        }
    }

    /// The word for it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Wanted => "wanted",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What its failure means.
    pub need: Need,
    /// Its file's name.
    pub name: String,
    /// What is run, links followed; or why it is not.
    pub program: Result<Utf8PathBuf, String>,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks {
    /// In the order in which they are run: the required ones first, each by name.
    pub checks: Vec<Check>,
    /// What looks like a check and will not be run: the file, and why.
    pub skipped: Vec<(String, String)>,
}

impl Checks {
    /// Looks for them below a directory, where they may be missing. Their owner
    /// is root or `owner`.
    ///
    /// # Errors
    /// A directory that is there and cannot be read.
    pub fn find(directory: &Utf8Path, owner: u32) -> Result<Self, Error> {
        let mut found = Self::default();
        for need in [Need::Required, Need::Wanted] {
            let directory = directory.join(need.directory());
            for name in names(&directory)? {
                found.add(need, &directory, &name, owner);
            }
        }
        for name in names(directory)? {
            let path = Path::new(directory).join(&name);
            if is_program(&path) {
                let why = "it is neither in required.d nor in wanted.d".to_owned();
                found.skipped.push((path.display().to_string(), why));
            }
        }
        Ok(found)
    }

    fn add(&mut self, need: Need, directory: &Utf8Path, name: &std::ffi::OsStr, owner: u32) {
        let path = Path::new(directory).join(name);
        let name = name.to_string_lossy().into_owned();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            // The way to switch one off that is to stay.
            Ok(_) if !is_program(&path) => {
                let why = "it is no executable file".to_owned();
                self.skipped.push((path.display().to_string(), why));
            }
            Ok(_) => self.checks.push(Check {
                need,
                name,
                program: trusted(&path, owner),
            }),
            Err(error) => self.checks.push(Check {
                need,
                name,
                program: Err(format!("it cannot be looked at: {error}")),
            }),
        }
    }
}

/// The names in a directory, in their order; none where there is no directory.
fn names(directory: &Utf8Path) -> Result<Vec<std::ffi::OsString>, Error> {
    let failed = |cause| Error::Io {
        attempted: format!("look for health checks in {directory}"),
        cause,
    };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        if !is_leftover(&name.to_string_lossy()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn is_leftover(name: &str) -> bool {
    let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix);
    name.starts_with('.')
        || name.ends_with('~')
        || suffix.is_some_and(|suffix| LEFTOVERS.contains(&suffix))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The file itself, where nobody but root and the owner can change it or put
/// another one in its place; else why it is not run.
fn trusted(path: &Path, owner: u32) -> Result<Utf8PathBuf, String> {
    let told = |error: io::Error| format!("it cannot be looked at: {error}");
    let path = fs::canonicalize(path).map_err(told)?;
    for part in path.ancestors() {
        let metadata = fs::symlink_metadata(part).map_err(told)?;
        let (uid, mode) = (metadata.uid(), metadata.permissions().mode());
        let which = part.display();
        if uid != 0 && uid != owner {
            return Err(format!("{which} belongs to user {uid}, not to root"));
        }
        // In a sticky directory only its owner and a file's can take that away.
        let sticky = metadata.is_dir() && mode & 0o1000 != 0;
        if mode & 0o022 != 0 && !sticky {
            return Err(format!(
                "{which} can be written by others than root (mode {:04o})",
                mode & 0o7777
            ));
        }
    }
    Utf8PathBuf::from_path_buf(path).map_err(|path| format!("{} is not UTF-8", path.display()))
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Outcome {
    /// Exit status 0.
    Passed,
    /// Another exit status.
    Failed {
        /// Which.
        exit: i32,
    },
    /// A signal ended it.
    Signalled {
        /// Which.
        signal: i32,
    },
    /// It was killed at the time limit.
    TimedOut {
        /// The limit, seconds.
        limit: u64,
        /// It is still there, in a system call that does not end.
        hangs: bool,
    },
    /// It was not run.
    Refused {
        /// Why not.
        why: String,
    },
}

impl Outcome {
    /// One phrase.
    #[must_use]
    pub fn phrase(&self) -> String {
        match self {
            Self::Passed => "passed".to_owned(),
            Self::Failed { exit } => format!("failed with exit status {exit}"),
            Self::Signalled { signal } => format!("was ended by signal {signal}"),
            Self::TimedOut { limit, hangs } => {
                let hangs = if *hangs { ", and hangs" } else { "" };
                format!("was killed after {limit} seconds{hangs}")
            }
            Self::Refused { why } => format!("was not run: {why}"),
        }
    }
}

/// A check that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// Its file's name.
    pub name: String,
    /// What its failure means.
    pub need: Need,
    /// What it came to.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took, milliseconds.
    pub milliseconds: u64,
    /// The last lines it wrote.
    pub output: Vec<String>,
}

impl Ran {
    /// It stands in the way of a healthy system.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.need == Need::Required && self.outcome != Outcome::Passed
    }
}

impl Check {
    /// Runs it; `told` gets each line it writes.
    pub fn run(&self, limit: Duration, told: &mut dyn FnMut(&str)) -> Ran {
        let begun = Instant::now();
        let mut output: Vec<String> = Vec::new();
        let outcome = match &self.program {
            Err(why) => Outcome::Refused { why: why.clone() },
            Ok(program) => {
                let ended = limited::run(program, limit, &mut |line| {
                    told(line);
                    if output.len() == KEPT {
                        output.remove(0);
                    }
                    output.push(line.to_owned());
                });
                match ended {
                    Ok(Ended::Exited(0)) => Outcome::Passed,
                    Ok(Ended::Exited(exit)) => Outcome::Failed { exit },
                    Ok(Ended::Signalled(signal)) => Outcome::Signalled { signal },
                    Ok(ended @ (Ended::TimedOut | Ended::Unkillable)) => Outcome::TimedOut {
                        limit: limit.as_secs(),
                        hangs: ended == Ended::Unkillable,
                    },
                    Err(error) => Outcome::Refused {
                        why: format!("it cannot be started: {error}"),
                    },
                }
            }
        };
        Ran {
            name: self.name.clone(),
            need: self.need,
            outcome,
            milliseconds: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            output,
        }
    }
}

#[cfg(test)]
mod tests;
