//! Command lines and what they print.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use snapbox::{Assert, Data};

use super::machine::Machine;
use super::redact::Redactions;

/// What was typed and what was printed, so far.
pub struct Transcript {
    pub machine: Machine,
    text: String,
    redactions: Redactions,
}

/// Stands for the day in a command line: that is in names the program makes up.
const TODAY: &str = "YYYY-MM-DD";

/// The program with nothing of this process's environment.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beadm-rs"));
    command.env_clear().env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// The words of a command line; single quotes keep spaces.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    let mut empty = true;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                empty = false;
            }
            ' ' if !quoted => {
                if !empty {
                    words.push(String::new());
                }
                empty = true;
            }
            c => {
                words.last_mut().unwrap().push(c);
                empty = false;
            }
        }
    }
    words
}

impl Transcript {
    /// Begins on a machine.
    pub fn on(machine: Machine) -> Self {
        let mut redactions = Redactions::default();
        redactions.directory(machine.directory().as_str(), "MACHINE");
        redactions.directory(machine.scratch.as_str(), "SCRATCH");
        Self {
            machine,
            text: String::new(),
            redactions,
        }
    }

    /// A line of explanation.
    pub fn note(&mut self, text: &str) -> &mut Self {
        let _ = writeln!(self.text, "# {text}\n");
        self
    }

    /// Types a command line; `SCRATCH` stands for the directory beside the
    /// machine.
    pub fn run(&mut self, line: &str) -> &mut Self {
        self.output(line);
        self
    }

    /// The same; what it said.
    pub fn output(&mut self, line: &str) -> Output {
        let mut command = program();
        command.arg("--sim").arg(self.machine.directory());
        let today = chrono::Utc::now().format("%Y-%m-%d").to_string();
        command.args(words(
            &line
                .replace("SCRATCH", self.machine.scratch.as_str())
                .replace(TODAY, &today),
        ));
        let output = command.output().unwrap();
        let _ = writeln!(self.text, "$ beadm-rs {line}");
        for (bytes, mark) in [(&output.stdout, ""), (&output.stderr, "2> ")] {
            let text = self.redactions.apply(str::from_utf8(bytes).unwrap());
            for line in text.lines() {
                // An empty line of an error has no space after the mark.
                let mark = if line.is_empty() {
                    mark.trim_end()
                } else {
                    mark
                };
                let _ = writeln!(self.text, "{mark}{line}");
            }
        }
        let exit = output.status.code().expect("it was not killed");
        let _ = writeln!(self.text, "exit {exit}\n");
        output
    }

    /// Types a command line of which nothing is told; whether it succeeded.
    pub fn silently(&mut self, line: &str) -> bool {
        let mut command = program();
        command.arg("--sim").arg(self.machine.directory());
        command.args(words(line)).output().unwrap().status.success()
    }

    /// Types a command line that is killed at a fail point: `confirm/finish:before`.
    #[cfg(feature = "failpoints")]
    pub fn is_killed(&self, line: &str, at: &str) {
        use std::os::unix::process::ExitStatusExt as _;
        let mut command = program();
        command.arg("--sim").arg(self.machine.directory());
        command.env("BEADM_RS_FAIL", format!("{at}=kill"));
        let ended = command.args(words(line)).output().unwrap();
        assert_eq!(ended.status.signal(), Some(9), "{line} at {at}: {ended:?}");
    }

    /// Something happens to the machine.
    pub fn then(&mut self, what: &str, work: impl FnOnce(&Machine)) -> &mut Self {
        work(&self.machine);
        self.note(what)
    }

    /// Starts the machine again.
    pub fn reboot(&mut self) -> &mut Self {
        let into = self.machine.sim.reboot().unwrap();
        let told = format!("The machine starts again, into {into}.");
        let told = self.redactions.apply(&told);
        self.note(&told)
    }

    /// The whole text is that of the file.
    pub fn is(&self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/cli")
            .join(format!("{name}.txt"));
        let expected = Data::read_from(&path, None).raw();
        Assert::new()
            .action_env("SNAPSHOTS")
            .eq(Data::text(&self.text).raw(), expected);
    }
}
