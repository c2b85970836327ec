//! What the commands of an upgrade say: into the log, its last line on a
//! terminal, all of it to standard error where that is asked for.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::output::one_line;

/// How many lines are remembered, for who wants to know why it failed.
const REMEMBERED: usize = 8;

/// The longest line that is remembered, bytes.
const LONGEST: usize = 400;

/// Takes what is written into a pipe until all its writers are gone.
pub(super) struct Said {
    writer: File,
    thread: JoinHandle<(VecDeque<String>, io::Result<()>)>,
}

/// The lines as they come, in pieces of any size.
#[derive(Default)]
struct Lines {
    current: Vec<u8>,
    last: VecDeque<String>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end(),
                byte if self.current.len() < LONGEST => self.current.push(*byte),
                _ => {}
            }
        }
    }

    fn end(&mut self) {
        let line = one_line(&String::from_utf8_lossy(&self.current));
        self.current.clear();
        if line.trim().is_empty() {
            return;
        }
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

impl Said {
    /// Begins to take.
    pub(super) fn begin(mut log: File, name: &str, verbose: bool) -> io::Result<Self> {
        let (mut reader, writer) = io::pipe()?;
        let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        // indicatif draws nothing where that is not a terminal.
        let target = if verbose {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style);
        bar.set_prefix(name.to_owned());
        let thread = std::thread::spawn(move || {
            let mut lines = Lines::default();
            let mut logged = Ok(());
            let mut buffer = [0; 8192];
            loop {
                let length = match reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => {
                        logged = Err(error);
                        break;
                    }
                };
                let bytes = buffer.get(..length).unwrap_or_default();
                // A full /var/log does not stop the command: what it writes is
                // read on, or it would wait for ever.
                if logged.is_ok() {
                    logged = log.write_all(bytes);
                }
                if verbose {
                    let _ = io::stderr().write_all(bytes);
                }
                lines.take(bytes);
                if let Some(line) = lines.last.back() {
                    bar.set_message(line.clone());
                    bar.tick();
                }
            }
            lines.end();
            bar.finish_and_clear();
            (lines.last, logged.and_then(|()| log.sync_all()))
        });
        Ok(Self {
            writer: File::from(OwnedFd::from(writer)),
            thread,
        })
    }

    /// What a command can write to.
    pub(super) fn writer(&self) -> io::Result<File> {
        self.writer.try_clone()
    }

    /// A line of this program's own.
    pub(super) fn title(&self, text: &str) {
        // Who reads it is in this process; without it a line is missing.
        let _ = (&self.writer).write_all(text.as_bytes());
    }

    /// Waits until everything is taken: the last lines, and whether all of it is
    /// in the log.
    pub(super) fn end(self) -> (VecDeque<String>, io::Result<()>) {
        drop(self.writer);
        self.thread.join().unwrap_or_else(|_| {
            let failed = io::Error::other("the thread that wrote it panicked");
            (VecDeque::new(), Err(failed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_remembered_without_what_a_terminal_obeys() {
        let mut lines = Lines::default();
        for piece in ["one\ntw", "o\r\n\nth\x1b[31mree", "\n"] {
            lines.take(piece.as_bytes());
        }
        assert_eq!(lines.last, ["one", "two", "th [31mree"]);
        lines.take("x".repeat(2 * LONGEST).as_bytes());
        lines.end();
        assert_eq!(lines.last.back().unwrap().len(), LONGEST);
        for _ in 0..20 {
            lines.take(b"y\n");
        }
        assert_eq!(lines.last.len(), REMEMBERED);
    }

    #[test]
    fn everything_that_is_written_is_in_the_log_when_it_ends() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        let said = Said::begin(File::create(&path).unwrap(), "new", false).unwrap();
        said.title("$ a command\n");
        let mut writer = said.writer().unwrap();
        writer.write_all(&b"line\n".repeat(10_000)).unwrap();
        drop(writer);
        let (last, logged) = said.end();
        logged.unwrap();
        assert_eq!(last.back().map(String::as_str), Some("line"));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 50_012);
    }
}
