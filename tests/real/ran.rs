//! Programs run, and how they ended.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            // A killed process has no exit status; the shell's way to write it.
            exit: output.status.code().unwrap_or_else(|| {
                use std::os::unix::process::ExitStatusExt as _;
                128 + output.status.signal().unwrap_or(0)
            }),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It did what it was asked.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.exit, 0, "{self:#?}");
        self
    }

    /// It ended with that exit code, and standard error says that.
    #[track_caller]
    pub fn fails(self, exit: i32, text: &str) -> Self {
        assert_eq!(self.exit, exit, "{self:#?}");
        assert!(self.stderr.contains(text), "no {text:?} in {self:#?}");
        self
    }

    /// It ended with that exit code, and this is its whole first line.
    #[track_caller]
    pub fn says(self, exit: i32, line: &str) -> Self {
        let first = self.stderr.lines().next().unwrap_or_default();
        let said = first.strip_prefix("beadm-rs: ").unwrap_or(first);
        assert_eq!((self.exit, said), (exit, line), "{self:#?}");
        self
    }

    /// It offers this as the way on.
    #[track_caller]
    pub fn offers(self, remedy: &str) -> Self {
        let offered = self
            .stderr
            .lines()
            .find_map(|line| line.strip_prefix("  remedy: "));
        assert_eq!(offered, Some(remedy), "{self:#?}");
        self
    }

    /// What it printed, as JSON of that schema.
    #[track_caller]
    pub fn json(&self, schema: &str) -> serde_json::Value {
        let value: serde_json::Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self:#?}"));
        assert_eq!(value["schema"], format!("beadm-rs/{schema}/v1"));
        value
    }
}

/// Runs a program of the system, however it ends.
#[track_caller]
pub fn try_sh(program: &str, arguments: &[&str]) -> Ran {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    Ran::of(output)
}

/// Runs a program of the system, which has to succeed; its output, trimmed.
#[track_caller]
pub fn sh(program: &str, arguments: &[&str]) -> String {
    let ran = try_sh(program, arguments);
    assert_eq!(ran.exit, 0, "{program} {arguments:?}: {ran:#?}");
    ran.stdout.trim_end().to_owned()
}

/// The program under test.
pub fn program() -> PathBuf {
    std::env::var_os("BEADM_RS_BIN")
        .map(PathBuf::from)
        .expect("BEADM_RS_BIN names the program under test; run tests/lab/run")
}

/// Whether the tests that take long are asked for.
pub fn long() -> bool {
    std::env::var("BEADM_RS_LONG").is_ok_and(|value| !value.is_empty())
}

/// A mount that goes with the test.
pub struct Mounted(pub &'static str);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}
