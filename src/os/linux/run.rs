//! A command inside an environment: namespaces of its own, and what is mounted
//! in them.
//!
//! Everything is mounted in a mount namespace that only one thread of this
//! process is in, and the command runs in a process namespace whose first
//! process ([`super::init`]) ends with this one. So there is nothing to unwind:
//! however the command, this program or the mounting ends, the kernel kills
//! what is left and takes the mounts away with the namespaces.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::private::{self, Prepared, Version};
use super::tree::{self, Tree};
use super::{Linux, device, init};
use crate::os::inside::SHARED;
use crate::os::inside::{Ended, Inside, LoaderMount, NotRun, Output, Program, Surroundings};
use crate::os::mountinfo::unescape;
use crate::os::{Error, MountRequest, Platform as _, Result};
use crate::sys::command;

/// Below this directory everything for the command is mounted, in its namespace
/// alone: the environment on `root`; files shown inside in `files`; what
/// private versions are made of in `private`.
const STAGE: &str = "inside";

/// What is mounted, as seen from the thread that did it.
struct Stage {
    directory: Utf8PathBuf,
    versions: Vec<Version>,
    notes: Vec<String>,
}

/// What of the running machine is shown inside.
pub(super) fn surroundings(linux: &Linux) -> Result<Surroundings> {
    // An ESP is often mounted at the first look at it (systemd-gpt-auto-generator).
    for place in ["/boot", "/efi", "/boot/efi"] {
        let _ = fs::read_dir(place).map(Iterator::count);
    }
    let read = |path: &str| {
        let path = linux.proc.join(path);
        fs::read_to_string(&path).map_err(Error::io(format!("read {path}")))
    };
    Ok(Surroundings {
        command_line: read("cmdline")?,
        loader: loader_mounts(&read("self/mountinfo")?),
    })
}

/// The mounts at and below `/boot`, `/efi` and `/var/share` in a mountinfo, the
/// automount points that wait there left out.
fn loader_mounts(text: &str) -> Vec<LoaderMount> {
    text.lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let directory = Utf8PathBuf::from(plain(before.split(' ').nth(4)?)?);
            let mut after = after.split(' ');
            let kind = after.next()?.to_owned();
            let source = plain(after.next()?)?;
            let shown = ["/boot", "/efi", SHARED]
                .iter()
                .any(|place| directory.starts_with(place));
            (shown && kind != "autofs").then_some(LoaderMount {
                directory,
                kind,
                source,
            })
        })
        .collect()
}

/// A field of mountinfo without its escapes.
fn plain(field: &str) -> Option<String> {
    String::from_utf8(unescape(field.as_bytes())).ok()
}

/// Runs a command inside. `mounted` is called when everything is mounted.
pub(super) fn run(
    linux: &Linux,
    inside: &Inside,
    program: &Program,
    interrupted: &AtomicBool,
    mounted: &mut (dyn FnMut() + Send),
) -> std::result::Result<Ended, NotRun> {
    // What a terminal's keys send goes to the command by itself: it is in this
    // program's process group. What is sent to this process alone is passed on,
    // by this thread: the one that makes namespaces can start no others
    // (unshare(2), CLONE_NEWPID).
    // A command whose output goes elsewhere may sit in a session of its own
    // (dpkg on a pseudo-terminal), where no key reaches it.
    let alone = matches!(program.output, Output::To(_));
    let kinds: &[i32] = if alone {
        &[SIGTERM, SIGHUP, SIGINT]
    } else {
        &[SIGTERM, SIGHUP]
    };
    let mut signals =
        Signals::new(kinds).map_err(Error::io("prepare for signals to the command"))?;
    let handle = signals.handle();
    let started: Mutex<Option<Pid>> = Mutex::new(None);
    let body = || {
        let _closing = Closing(handle);
        let mut stage = Stage {
            directory: linux.run.join(STAGE),
            versions: Vec::new(),
            notes: Vec::new(),
        };
        stage.enter(linux)?;
        let mut ran = || {
            stage.mount(linux, inside)?;
            mounted();
            if interrupted.load(Ordering::Relaxed) {
                return Err(NotRun::Interrupted);
            }
            start(&stage.directory, program, &started)
        };
        match ran() {
            Ok(status) => stage.leave(status),
            Err(error) => {
                // Whoever takes the environment back finds it free.
                stage.versions.clear();
                let _ = stage.unmount();
                Err(error)
            }
        }
    };
    let joined = std::thread::scope(|scope| {
        let worker = scope.spawn(body);
        let mut asked = false;
        for signal in signals.forever() {
            let pid = *started.lock().unwrap_or_else(PoisonError::into_inner);
            let signal = match (alone, asked) {
                (false, _) => Signal::try_from(signal).ok(),
                (true, false) => Some(Signal::SIGTERM),
                (true, true) => Some(Signal::SIGKILL),
            };
            asked = true;
            if let (Some(pid), Some(signal)) = (pid, signal) {
                let _ = kill(pid, signal);
            }
        }
        worker.join()
    });
    joined.map_err(|_| Error::Unexpected {
        attempted: "run a command inside".to_owned(),
        detail: "the thread that did it panicked".to_owned(),
    })?
}

/// Ends the waiting for signals, however the thread that holds it ends.
struct Closing(Handle);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Stage {
    fn part(&self, name: &str) -> Utf8PathBuf {
        self.directory.join(name)
    }

    /// Leaves the machine's namespaces, for ones of this thread's own.
    fn enter(&self, linux: &Linux) -> Result<()> {
        linux.directory(&self.directory)?;
        let told = || Error::io("make namespaces for the command");
        let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
        nix::sched::unshare(flags).map_err(told())?;
        let none = None::<&str>;
        nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .map_err(told())?;
        // Who called may have any umask; what is made here is for everybody.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        let build = || -> io::Result<()> {
            let mount = tree::new("tmpfs", &[("mode", "0755")], device::PLAIN)?;
            tree::attach(mount, tree::open(&self.directory)?)?;
            for name in ["root", "dataset", "files", "private"] {
                fs::create_dir(self.part(name))?;
            }
            Ok(())
        };
        build().map_err(Error::io(format!("mount a tmpfs on {}", self.directory)))
    }

    fn mount(&mut self, linux: &Linux, inside: &Inside) -> Result<()> {
        for placed in &inside.datasets {
            let is_root = placed.below.as_str().is_empty();
            let at = self.part(if is_root { "root" } else { "dataset" });
            linux.mount(&MountRequest {
                dataset: placed.dataset.clone(),
                directory: at.clone(),
                readonly: false,
                legacy: placed.legacy,
            })?;
            let attempted = format!("mount {} on /{} inside", placed.dataset, placed.below);
            let finish = || -> io::Result<()> {
                let mount = tree::open(&at)?;
                // A device file in it would open the machine's disks.
                tree::restrict(&mount, rustix::mount::MountFlags::NODEV)?;
                if is_root {
                    return Ok(());
                }
                let on = self.tree()?.directory_or_new(&placed.below)?;
                tree::attach(mount, on)
            };
            finish().map_err(Error::io(attempted))?;
        }
        let root = self
            .tree()
            .map_err(Error::io("open the environment's root"))?;
        device::mount(&root)?;
        self.files(inside, &root)?;
        for (index, private) in inside.private.iter().enumerate() {
            let place = &private.place;
            let attempted = format!("give the command a private version of {place}");
            let scratch = self.part("private").join(index.to_string());
            let prepared =
                fs::create_dir(&scratch).and_then(|()| private::prepare(&scratch, private, &root));
            match prepared.map_err(Error::io(attempted))? {
                Prepared::Version(version) => self.versions.push(version),
                Prepared::NoPlace => self
                    .notes
                    .push(format!("it has no directory {place}, so nothing is there")),
            }
        }
        Ok(())
    }

    fn tree(&self) -> io::Result<Tree> {
        Tree::at(&self.part("root"))
    }

    /// Single files that are shown instead of the environment's own. They lie in
    /// a read-only tmpfs; nothing is written into the environment.
    fn files(&mut self, inside: &Inside, root: &Tree) -> Result<()> {
        let directory = self.part("files");
        let resolver = fs::read("/etc/resolv.conf");
        let write = || -> io::Result<()> {
            let mount = tree::new("tmpfs", &[("mode", "0755")], device::SHOWN)?;
            tree::attach(&mount, tree::open(&directory)?)?;
            fs::write(directory.join(init::COMMAND_LINE), &inside.command_line)?;
            if let Ok(text) = &resolver {
                fs::write(directory.join("resolv.conf"), text)?;
            }
            // invoke-rc.d(8): 101 is "do not".
            let policy = directory.join("policy-rc.d");
            fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&policy, mode)?;
            tree::restrict(tree::open(&directory)?, rustix::mount::MountFlags::RDONLY)
        };
        write().map_err(Error::io("write the files that are shown inside"))?;
        if resolver.is_err() {
            let note = "the machine has no /etc/resolv.conf: names are not resolved inside";
            self.notes.push(note.to_owned());
        } else if let Err(error) = show(&directory, "resolv.conf", root, "etc/resolv.conf") {
            self.notes.push(format!(
                "names may not be resolved inside: nothing can be mounted on its /etc/resolv.conf: {error}"
            ));
        }
        // Where there is none, nothing has to be done: without a known runlevel,
        // which /run/utmp would tell, invoke-rc.d starts nothing, and without
        // /run/systemd/system no package's script asks systemd to.
        match show(&directory, "policy-rc.d", root, "usr/sbin/policy-rc.d") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Io {
                attempted: "keep services from being started inside".to_owned(),
                cause: error,
            }),
            _ => Ok(()),
        }
    }

    /// The thread's end would do it too, but some time after it is joined: the
    /// next command would find the datasets in use.
    fn unmount(&self) -> Result<()> {
        nix::mount::umount2(
            self.directory.as_std_path(),
            MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
        )
        .map_err(Error::io(format!("unmount {}", self.directory)))
    }

    /// After the command: what it changed in private places.
    fn leave(mut self, status: u8) -> std::result::Result<Ended, NotRun> {
        let mut changes = Vec::new();
        for version in &self.versions {
            match version.changes() {
                Ok(found) => changes.extend(found),
                Err(error) => self.notes.push(format!(
                    "not all changes in private places are listed: {error}"
                )),
            }
        }
        self.versions.clear();
        self.unmount()?;
        Ok(Ended {
            status,
            changes,
            notes: self.notes,
        })
    }
}

/// Mounts a file over what stands at a path, a symbolic link as well: what it
/// points to does not matter, it is not followed.
fn show(files: &Utf8Path, name: &str, root: &Tree, at: &str) -> io::Result<()> {
    let on = root.entry(Utf8Path::new(at))?;
    tree::attach(tree::again_at(&files.join(name))?, on)
}

/// Starts the first process of the command's process namespace and waits for
/// it; the command's exit status. `started` is its id while it runs.
fn start(
    stage: &Utf8Path,
    program: &Program,
    started: &Mutex<Option<Pid>>,
) -> std::result::Result<u8, NotRun> {
    let terminal = Terminal::now();
    let ended = first_process(stage, program, started);
    terminal.restore();
    let (said, status) = ended.map_err(Error::io("start the command's first process"))?;
    init::understand(&said)?;
    let killed = || 128 + status.signal().unwrap_or(0);
    Ok(u8::try_from(status.code().unwrap_or_else(killed)).unwrap_or(u8::MAX))
}

/// What the first process said, and how it ended.
fn first_process(
    stage: &Utf8Path,
    program: &Program,
    started: &Mutex<Option<Pid>>,
) -> io::Result<(String, ExitStatus)> {
    nix::sched::unshare(CloneFlags::CLONE_NEWPID)?;
    // Closed when this process is gone, however that came about.
    let (alive_there, _alive_here) = io::pipe()?;
    let (mut said_here, said_there) = io::pipe()?;
    // These two are inherited; nothing else is.
    fcntl(&alive_there, FcntlArg::F_SETFD(FdFlag::empty()))?;
    fcntl(&said_there, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let mut words: Vec<OsString> = vec![
        init::ENTRY.into(),
        alive_there.as_raw_fd().to_string().into(),
        said_there.as_raw_fd().to_string().into(),
        stage.as_str().into(),
    ];
    words.extend(program.words.iter().cloned());
    let copy = command::copy_of_itself()?;
    let mut command = command::again(&copy, &words);
    match &program.output {
        Output::Callers => {}
        Output::StandardError => {
            command.stdout(io::stderr());
        }
        Output::To(file) => {
            command
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file.try_clone()?);
        }
    }
    command.envs(program.environment.iter().copied());
    let mut child = command.spawn()?;
    // The command holds what it writes to, too.
    drop((alive_there, said_there, copy, command));
    set(started, i32::try_from(child.id()).ok().map(Pid::from_raw));
    // Its end closes the pipe; its id is free for others only after `wait`.
    let mut said = String::new();
    let read = said_here.read_to_string(&mut said);
    set(started, None);
    let status = child.wait()?;
    read?;
    Ok((said, status))
}

fn set(started: &Mutex<Option<Pid>>, pid: Option<Pid>) {
    *started.lock().unwrap_or_else(PoisonError::into_inner) = pid;
}

/// Whose the terminal was. A shell inside takes it for a process group of its
/// own, and cannot give it back: this program's group has no number inside.
struct Terminal {
    foreground: bool,
}

impl Terminal {
    fn now() -> Self {
        let own = nix::unistd::getpgrp();
        // 0 is a group without a number here: there is none to give it back to.
        let foreground =
            own.as_raw() > 0 && nix::unistd::tcgetpgrp(io::stdin()).is_ok_and(|group| group == own);
        Self { foreground }
    }

    fn restore(&self) {
        if !self.foreground {
            return;
        }
        // tcsetpgrp(3) from the background stops the caller otherwise.
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTTOU);
        if signals.thread_block().is_ok() {
            let _ = nix::unistd::tcsetpgrp(io::stdin(), nix::unistd::getpgrp());
            let _ = signals.thread_unblock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_mounts_are_told_from_the_others() {
        let text = "\
22 1 0:20 / / rw shared:1 - zfs rpool/ROOT/debian rw
23 22 0:21 / /boot rw shared:2 - autofs systemd-1 rw
24 23 8:2 / /boot rw - ext4 /dev/sda2 rw
25 24 8:1 / /boot/e\\040fi rw - vfat /dev/sda1 rw
26 22 0:23 / /bootstrap rw - tmpfs none rw
27 22 0:24 / /efi rw - zfs rpool/efi rw
";
        let found: Vec<(String, String, String)> = loader_mounts(text)
            .into_iter()
            .map(|mount| (mount.directory.to_string(), mount.kind, mount.source))
            .collect();
        let expected = [
            ("/boot", "ext4", "/dev/sda2"),
            ("/boot/e fi", "vfat", "/dev/sda1"),
            ("/efi", "zfs", "rpool/efi"),
        ];
        assert_eq!(
            found,
            expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()))
        );
    }
}
