//! Programs that stand before `zfs` and `zpool` and pass most calls through.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::machine::Machine;
use crate::ran::Ran;

/// Writes a script that can be run.
pub fn write_program(path: &Path, script: &str) {
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A directory with a `zfs` and a `zpool` of its own.
pub struct Fakes {
    directory: tempfile::TempDir,
}

impl Fakes {
    /// Both pass everything through.
    pub fn new() -> Self {
        let fakes = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fakes.zfs("");
        fakes.zpool("");
        fakes
    }

    /// A `zfs` that runs these lines of shell first: `$1` is the subcommand,
    /// `$here` the directory, `real` the real one.
    pub fn zfs(&self, lines: &str) -> &Self {
        self.write("zfs", lines)
    }

    /// A `zpool` that does.
    pub fn zpool(&self, lines: &str) -> &Self {
        self.write("zpool", lines)
    }

    /// There is no such program.
    pub fn without(&self, name: &str) -> &Self {
        std::fs::remove_file(self.path().join(name)).unwrap();
        self
    }

    fn write(&self, name: &str, lines: &str) -> &Self {
        let here = self.path().display();
        let script = format!(
            "#!/bin/sh\nhere={here}\nreal() {{ /usr/sbin/{name} \"$@\"; }}\n{lines}\nexec /usr/sbin/{name} \"$@\"\n"
        );
        write_program(&self.path().join(name), &script);
        self
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The program under test, with these before the real ones.
    pub fn command(&self, machine: &Machine, arguments: &[&str]) -> Command {
        let mut command = machine.command(arguments);
        command.env("BEADM_RS_ZFS_DIRECTORY", self.path());
        command
    }

    /// Runs it.
    pub fn run(&self, machine: &Machine, arguments: &[&str]) -> Ran {
        Ran::of(self.command(machine, arguments).output().unwrap())
    }
}
