//! The one place child processes are started: absolute path, argument array,
//! cleared environment, no shell, standard error kept.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tracing::debug;

/// Where system programs are looked for, in this order; never in `$PATH`,
/// which belongs to whoever called sudo.
const DIRECTORIES: [&str; 6] = [
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
];

/// `LC_ALL`: with plain `C` OpenZFS prints truncated JSON for non-ASCII values
/// and exits 0 (`libnvpair_json.c` ignores what mbrtowc(3) says).
const LOCALE: &str = "C.UTF-8";

/// The absolute path of a system program, or `None` where it is not installed.
#[must_use]
pub fn find(program: &str) -> Option<Utf8PathBuf> {
    DIRECTORIES
        .iter()
        .map(|directory| Utf8Path::new(directory).join(program))
        .find(|path| path.is_file())
}

/// What a child process left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it wrote on standard output.
    pub stdout: Vec<u8>,
    /// Everything it wrote on standard error, trimmed.
    pub stderr: String,
}

/// A command ready to be started, with the environment every child gets.
#[must_use]
pub fn command(program: &Utf8Path, arguments: &[String]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", DIRECTORIES.join(":"))
        .env("LC_ALL", LOCALE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own process group: Ctrl-C is for this program, which then undoes
        // what the child did, not for a child in the middle of its work.
        .process_group(0);
    command
}

/// A child that is waited for.
#[derive(Debug)]
struct Running {
    name: String,
    /// How many times it was to be stopped.
    asked: u32,
}

static RUNNING: Mutex<BTreeMap<u32, Running>> = Mutex::new(BTreeMap::new());

fn running() -> MutexGuard<'static, BTreeMap<u32, Running>> {
    // Every change of it is one call: what another thread's panic left is whole.
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of asking the children to stop: of those waited for, the one that
/// has been asked most often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// No child is waited for.
    Nothing,
    /// It is given the time to end by itself.
    Asked(String),
    /// It had been given that, and was killed.
    Killed(String),
    /// It had been killed, and is still there.
    Unkillable(String),
}

/// Asks the children that are waited for to stop: at the first time they may go
/// on to their end, at the second they are killed.
pub fn interrupt_running() -> Stopped {
    let mut result = Stopped::Nothing;
    let mut most = 0;
    for (group, child) in running().iter_mut() {
        child.asked += 1;
        if child.asked == 2 {
            kill(*group);
        }
        if child.asked > most {
            most = child.asked;
            let name = child.name.clone();
            result = match most {
                1 => Stopped::Asked(name),
                2 => Stopped::Killed(name),
                _ => Stopped::Unkillable(name),
            };
        }
    }
    result
}

/// Kills the children that are waited for: they only read.
pub fn kill_running() {
    for group in running().keys() {
        kill(*group);
    }
}

/// Kills a process group that [`command`] made.
pub(super) fn kill(group: u32) {
    if let Ok(group) = i32::try_from(group) {
        // One that has ended meanwhile is as good as killed.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

/// Starts a command; [`finish`] has to follow.
///
/// # Errors
/// Where it cannot be started.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let child = command.spawn()?;
    let name = Utf8Path::new(&command.get_program().to_string_lossy())
        .file_name()
        .unwrap_or_default()
        .to_owned();
    running().insert(child.id(), Running { name, asked: 0 });
    Ok(child)
}

/// What a command inside an environment keeps of the caller's environment: the
/// terminal, the language, the way to the network, how Debian's packages ask.
/// Everything else may name what is not there.
const KEPT: [&str; 17] = [
    "TERM",
    "COLORTERM",
    "LANG",
    "LANGUAGE",
    "TZ",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "DEBIAN_FRONTEND",
    "DEBIAN_PRIORITY",
];

/// The variable that keeps the hooks of package managers from making an environment.
pub const SKIP: &str = "BEADM_SKIP";

/// What it is told: that systemd is not to be talked to, that an ESP is one
/// although it is no FAT on a disk (systemd's docs/ENVIRONMENT.md), and that
/// dracut cannot make device files.
const TOLD: [(&str, &str); 9] = [
    ("HOME", "/root"),
    ("USER", "root"),
    ("LOGNAME", "root"),
    ("SYSTEMD_OFFLINE", "1"),
    ("SYSTEMD_IN_CHROOT", "1"),
    ("SYSTEMD_RELAX_ESP_CHECKS", "1"),
    ("SYSTEMD_RELAX_XBOOTLDR_CHECKS", "1"),
    ("DRACUT_NO_MKNOD", "1"),
    // This program's own hooks: what is changed here is no running system.
    (SKIP, "1"),
];

/// A copy of this program in memory that nobody can change any more. What runs
/// from it shows no file of the machine in its `/proc/PID/exe`: through that
/// link root in another mount namespace could open or change the file.
///
/// # Errors
/// Where there is no memory for it, or it cannot be read.
pub fn copy_of_itself() -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Linux 6.3 and later want to be told, where vm.memfd_noexec is set; earlier
    // ones do not know the word.
    let executable = MFdFlags::from_bits_retain(nix::libc::MFD_EXEC);
    let made = match memfd_create(c"beadm-rs", flags | executable) {
        Err(Errno::EINVAL) => memfd_create(c"beadm-rs", flags),
        made => made,
    };
    let mut copy = File::from(made?);
    io::copy(&mut File::open("/proc/self/exe")?, &mut copy)?;
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(copy)
}

/// What the caller's environment has of what it is to have inside one.
fn kept() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        KEPT.contains(&name.as_ref()) || name.starts_with("LC_")
    })
}

/// Runs a program of the system's to its end on the caller's terminal and in its process
/// group: somebody works with it.
///
/// # Errors
/// Where it cannot be started.
pub fn on_the_terminal(program: &Utf8Path, arguments: &[String]) -> io::Result<ExitStatus> {
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(kept())
        .env("PATH", DIRECTORIES.join(":"))
        .status()
}

/// This very program again, from a copy of it, on the caller's terminal and in
/// its process group, with the environment that a command inside gets from it.
#[must_use]
pub fn again(copy: &File, arguments: &[OsString]) -> Command {
    let mut command = Command::new(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    command
        .arg0("beadm-rs")
        .args(arguments)
        .env_clear()
        .envs(kept())
        .env("PATH", DIRECTORIES.join(":"))
        .envs(TOLD);
    command
}

/// A command of the user's, with this process's own terminal, process group and
/// environment; without words the shell, as at a login.
#[must_use]
pub fn of_the_user(words: &[OsString], shell: &str) -> Command {
    let mut command = match words {
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
        [] => {
            let mut command = Command::new(shell);
            let name = shell.rsplit('/').next().unwrap_or(shell);
            command.arg0(format!("-{name}"));
            command
        }
    };
    command.env("SHELL", shell);
    command
}

/// Runs a program to its end.
///
/// # Errors
/// Where it cannot be started or its output not be read; a failing exit
/// status is not an error here.
pub fn run(program: &Utf8Path, arguments: &[String], input: Option<&str>) -> io::Result<Finished> {
    let mut command = command(program, arguments);
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let started = std::time::Instant::now();
    let mut child = spawn(&mut command)?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        // A child that ends without reading says why on standard error.
        match pipe.write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                drop(pipe);
                finish(child)?;
                return Err(error);
            }
            _ => {}
        }
    }
    let finished = finish(child)?;
    debug!(
        program = %program,
        ?arguments,
        status = %finished.status,
        milliseconds = started.elapsed().as_millis(),
        stderr = finished.stderr,
        "child"
    );
    Ok(finished)
}

/// Waits for a child and takes what it wrote.
///
/// # Errors
/// Where its output cannot be read.
pub fn finish(child: Child) -> io::Result<Finished> {
    let id = child.id();
    let output = child.wait_with_output();
    running().remove(&id);
    let output = output?;
    Ok(Finished {
        status: output.status,
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Waits for a child whose output goes elsewhere.
///
/// # Errors
/// Where it cannot be waited for.
pub(super) fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let status = child.wait();
    forget(child.id());
    status
}

/// It is waited for no longer.
pub(super) fn forget(id: u32) {
    running().remove(&id);
}
