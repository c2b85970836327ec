//! A child process with a time limit, whose lines are told while it runs.

use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::command;

/// A line longer than this is told in pieces, bytes.
const LINE: usize = 4096;

/// How long a killed child may take to go, and what it wrote to arrive: one in
/// the middle of a system call on a dead device never goes.
const GRACE: Duration = Duration::from_secs(5);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Exited(i32),
    /// By this signal, which somebody else sent it.
    Signalled(i32),
    /// It was killed at the limit.
    TimedOut,
    /// It was to be killed at the limit, and is still there.
    Unkillable,
}

enum Event {
    Wrote(Vec<u8>),
    /// It has written all it ever will.
    Closed,
    Ended,
}

#[derive(Default)]
struct Seen {
    ended: bool,
    closed: bool,
}

/// Runs a program without arguments in `/`, until it ends or the time is up;
/// then everything in its process group is killed. `told` gets each line it
/// writes, on standard output or standard error.
///
/// # Errors
/// Where it cannot be started.
pub fn run(program: &Utf8Path, limit: Duration, told: &mut dyn FnMut(&str)) -> io::Result<Ended> {
    let (reader, writer) = io::pipe()?;
    let mut command = command::command(program, &[]);
    command
        .current_dir("/")
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let deadline = Instant::now() + limit;
    let mut child = command::spawn(&mut command)?;
    // With it this process's own ends of the pipe, which would keep it open.
    drop(command);
    let (sender, events) = sync_channel(16);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
    std::thread::spawn({
        let sender = sender.clone();
        move || forward(reader, &sender)
    });
    std::thread::spawn(move || {
        // It stays a zombie: so long no other process group gets its number, and
        // the kill below hits nobody else.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(Errno::EINTR) {}
        let _ = sender.send(Event::Ended);
    });

    let mut lines = Lines::new(told);
    let mut seen = Seen::default();
    listen(&events, deadline, &mut lines, &mut seen, |seen| seen.ended);
    let in_time = seen.ended;
    // Also what it started and left behind.
    command::kill(child.id());
    // What left the group may keep the pipe open; it is not waited for longer.
    let grace = Instant::now() + GRACE;
    listen(&events, grace, &mut lines, &mut seen, |seen| {
        seen.ended && seen.closed
    });
    lines.end();
    if !seen.ended {
        command::forget(child.id());
        return Ok(Ended::Unkillable);
    }
    let status = command::wait(&mut child)?;
    Ok(match (in_time, status.code(), status.signal()) {
        (false, ..) => Ended::TimedOut,
        (true, Some(code), _) => Ended::Exited(code),
        (true, None, signal) => Ended::Signalled(signal.unwrap_or_default()),
    })
}

fn forward(mut reader: io::PipeReader, sender: &SyncSender<Event>) {
    let mut buffer = [0; LINE];
    loop {
        let event = match reader.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(read @ 1..) => Event::Wrote(buffer.get(..read).unwrap_or_default().to_vec()),
            Ok(0) | Err(_) => Event::Closed,
        };
        let last = matches!(event, Event::Closed);
        // Nobody listens any more once the grace is over.
        if sender.send(event).is_err() || last {
            return;
        }
    }
}

/// Takes what comes until there is enough, or until the deadline.
fn listen(
    events: &Receiver<Event>,
    deadline: Instant,
    lines: &mut Lines<'_>,
    seen: &mut Seen,
    enough: impl Fn(&Seen) -> bool,
) {
    while !enough(seen) {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.recv_timeout(left) {
            Ok(Event::Wrote(bytes)) => lines.add(&bytes),
            Ok(Event::Closed) => seen.closed = true,
            Ok(Event::Ended) => seen.ended = true,
            // The deadline, or both threads are done.
            Err(_) => return,
        }
    }
}

/// What was written, line by line.
struct Lines<'a> {
    told: &'a mut dyn FnMut(&str),
    begun: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn new(told: &'a mut dyn FnMut(&str)) -> Self {
        Self {
            told,
            begun: Vec::new(),
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.tell(),
                byte => self.begun.push(*byte),
            }
            if self.begun.len() == LINE {
                self.tell();
            }
        }
    }

    fn tell(&mut self) {
        (self.told)(&String::from_utf8_lossy(&self.begun));
        self.begun.clear();
    }

    fn end(&mut self) {
        if !self.begun.is_empty() {
            self.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use camino::Utf8PathBuf;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    /// What a script comes to, and what it wrote.
    fn ran(script: &str, limit: Duration) -> (Ended, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().join("check")).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut lines = Vec::new();
        // Another test's child may hold the file open for writing between its
        // fork and its exec.
        loop {
            match run(&path, limit, &mut |line| lines.push(line.to_owned())) {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                ended => return (ended.unwrap(), lines),
            }
        }
    }

    #[test]
    fn what_it_writes_is_told_line_by_line_and_how_it_ended() {
        let script = "printf 'one\\ntwo'; echo three >&2; printf 'four\\n\\nlast'; exit 3";
        let lines = ["one", "twothree", "four", "", "last"].map(str::to_owned);
        assert_eq!(ran(script, LONG), (Ended::Exited(3), lines.to_vec()));
        assert_eq!(ran("kill -9 $$", LONG), (Ended::Signalled(9), vec![]));
        let (ended, lines) = ran("head -c 5000 /dev/zero | tr '\\0' x", LONG);
        assert_eq!(ended, Ended::Exited(0));
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [4096, 904]);
    }

    #[test]
    fn at_the_limit_it_is_killed_with_what_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Opened by the grandchild, which nobody will ever write to.
        let script = format!("echo begun; sh -c 'read x < {}' & wait", fifo.display());
        let (ended, lines) = ran(&script, Duration::from_millis(300));
        assert_eq!(ended, Ended::TimedOut);
        assert!(lines.is_empty() || lines == ["begun"], "{lines:?}");
        // Nobody reads it any more: a writer finds nobody.
        let flags = nix::fcntl::OFlag::O_WRONLY | nix::fcntl::OFlag::O_NONBLOCK;
        let opened = nix::fcntl::open(&fifo, flags, nix::sys::stat::Mode::empty());
        assert_eq!(opened.err(), Some(Errno::ENXIO));
    }

    #[test]
    fn what_it_leaves_behind_does_not_keep_it_from_ending() {
        let (ended, _) = ran(
            "sh -c 'read x < /dev/zero; :' & cat /dev/zero >/dev/null & exit 0",
            LONG,
        );
        assert_eq!(ended, Ended::Exited(0));
    }

    #[test]
    fn it_gets_no_input_and_nothing_of_the_callers_environment() {
        let (ended, lines) = ran(
            "cat; pwd; env | sed 's/=.*//' | grep -v -e PWD -e _ | sort",
            LONG,
        );
        assert_eq!(ended, Ended::Exited(0));
        assert_eq!(lines, ["/", "PATH"]);
    }
}
