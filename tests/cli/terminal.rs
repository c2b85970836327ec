//! Command lines typed on a terminal, by somebody who answers.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use camino::Utf8PathBuf;
use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};

use super::machine::Machine;
use super::transcript::program;

/// What a command came to.
pub struct Said {
    pub exit: i32,
    pub out: String,
    /// What it said on the terminal.
    pub terminal: String,
}

/// Types a command line and answers what it asks, with an editor that is a shell script
/// and gets the file as its first argument.
pub fn run(machine: &Machine, line: &str, answers: &str, editor: Option<&str>) -> Said {
    let pty = openpty(None, None).unwrap();
    let mut settings = tcgetattr(&pty.slave).unwrap();
    settings.local_flags.remove(LocalFlags::ECHO);
    settings.output_flags.remove(OutputFlags::OPOST);
    tcsetattr(&pty.slave, SetArg::TCSANOW, &settings).unwrap();
    let mut command = program();
    command.arg("--sim").arg(machine.directory());
    command.args(line.split(' '));
    if let Some(editor) = editor {
        let script: Utf8PathBuf = machine.scratch.join("editor");
        std::fs::write(&script, editor).unwrap();
        command.env("EDITOR", format!("/bin/sh {script}"));
    }
    command
        .stdin(Stdio::from(pty.slave.try_clone().unwrap()))
        .stderr(Stdio::from(pty.slave))
        .stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    // It has the terminal's other end.
    drop(command);
    let mut master = File::from(pty.master);
    master.write_all(answers.as_bytes()).unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        // It ends with an error when nobody has the other end any more: pts(4).
        let _ = master.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let output = child.wait_with_output().unwrap();
    Said {
        exit: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        terminal: reader.join().unwrap(),
    }
}
