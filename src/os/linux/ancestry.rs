//! Whose transaction a hook is called for: the process of the package manager,
//! found above this one, and whether it has been here before.

use std::fs::{self, File};
use std::io;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};

use crate::os::{Error, Result};

/// Programs between a package manager and this one.
const SHELLS: [&str; 4] = ["sh", "dash", "bash", "busybox"];

/// How long after the last call of the same process a call is of the same
/// transaction. Some managers run for days (packagekitd), and others call for
/// every package (unattended-upgrades).
const LASTS: Duration = Duration::from_secs(600);

/// How many processes above this one are looked at.
const DEEPEST: usize = 64;

/// What is known of a process (proc_pid_stat(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    id: u32,
    name: String,
    parent: u32,
    /// When it was started, clock ticks since the boot: with the id unlike any
    /// other process of this boot.
    started: u64,
}

fn parse(text: &str) -> Option<Process> {
    // The name may hold anything, parentheses and spaces too.
    let (id, rest) = text.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    // The third field of the line is the first here.
    let fields: Vec<&str> = rest.split(' ').collect();
    Some(Process {
        id: id.parse().ok()?,
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn look(id: u32) -> Option<Process> {
    parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// The manager above a process: the first that is no shell, and of its forks the
/// first one. apt forks before it calls its hooks, each time anew (`RunScripts`,
/// apt-pkg/deb/dpkgpm.cc).
fn manager(own: u32, look: impl Fn(u32) -> Option<Process>) -> Option<Process> {
    let above = |process: &Process| look(process.parent);
    let mut found = above(&look(own)?)?;
    for _ in 0..DEEPEST {
        if !SHELLS.contains(&found.name.as_str()) {
            break;
        }
        found = above(&found)?;
    }
    for _ in 0..DEEPEST {
        match above(&found) {
            Some(parent) if parent.name == found.name => found = parent,
            _ => break,
        }
    }
    Some(found)
}

/// A transaction of a package manager.
#[derive(Debug)]
pub struct Transaction {
    stamp: Utf8PathBuf,
}

/// The transaction this process is called for; `None` where nothing is known of
/// the processes above.
#[must_use]
pub fn transaction(directory: &Utf8Path, name: &str) -> Option<Transaction> {
    let Process { id, started, .. } = manager(std::process::id(), look)?;
    Some(Transaction {
        stamp: directory.join(format!("{name}-{id}-{started}")),
    })
}

fn is_recent(path: &Utf8Path) -> bool {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age < LASTS))
}

impl Transaction {
    /// It has been noted, and lasts; longer now.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let known = is_recent(&self.stamp);
        if known {
            // Where that fails there is one environment too many.
            let _ = File::options()
                .append(true)
                .open(&self.stamp)
                .and_then(|file| file.set_modified(SystemTime::now()));
        }
        known
    }

    /// Notes it, and forgets those that are over.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn note(&self, directory: &Utf8Path) -> Result<()> {
        let write = || -> io::Result<()> {
            for entry in directory.read_dir_utf8()? {
                let path = entry?.into_path();
                if !is_recent(&path) {
                    fs::remove_file(path)?;
                }
            }
            File::create(&self.stamp)?.set_modified(SystemTime::now())
        };
        write().map_err(Error::io(format!("note the transaction in {}", self.stamp)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let line = "7 (a) S (b) R 5 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4321 9 10";
        let expected = Process {
            id: 7,
            name: "a) S (b".to_owned(),
            parent: 5,
            started: 4321,
        };
        assert_eq!(parse(line), Some(expected));
        for broken in ["", "7 (a", "7 (a) S", "x (a) S 5", "7 (a) S 5 7"] {
            assert_eq!(parse(broken), None, "{broken:?}");
        }
        let own = look(std::process::id()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
    }

    #[test]
    fn the_manager_is_above_shells_and_its_own_forks() {
        let tree = [
            (2, "bash", 1),
            (3, "sudo", 2),
            (4, "apt-get", 3),
            (5, "apt-get", 4),
            (6, "sh", 5),
            (7, "beadm-rs", 6),
            (8, "pacman", 2),
            (9, "beadm-rs", 8),
        ];
        let look = |id| {
            let (id, name, parent) = tree.into_iter().find(|(known, _, _)| *known == id)?;
            Some(Process {
                id,
                name: name.to_owned(),
                parent,
                started: 0,
            })
        };
        let found = |own| manager(own, look).map(|process| process.id);
        assert_eq!(found(7), Some(4));
        assert_eq!(found(9), Some(8));
        assert_eq!(found(2), None);
        // Typed at a prompt: nothing above the shell is to be seen.
        assert_eq!(found(3), None);
    }

    #[test]
    fn a_transaction_is_known_until_it_has_been_quiet_for_long() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(scratch.path()).unwrap();
        let one = transaction(directory, "apt").unwrap();
        assert!(!one.is_known());
        one.note(directory).unwrap();
        assert!(one.is_known());
        assert!(!transaction(directory, "dnf").unwrap().is_known());
        let file = File::options().append(true).open(&one.stamp).unwrap();
        file.set_modified(SystemTime::now() - LASTS * 2).unwrap();
        assert!(!one.is_known());
        let other = transaction(directory, "dnf").unwrap();
        other.note(directory).unwrap();
        assert!(!one.stamp.exists() && other.stamp.exists());
    }
}
