//! The first process of a command's process namespace: this program again,
//! started by [`super::run`] under a name no person types.
//!
//! It mounts `/proc`, which only a process in the namespace can; leaves the
//! machine's files behind; gives up the capabilities through which root reaches
//! a kernel's disks, firmware, modules and mounts; starts the command; passes
//! signals on; reaps; and ends with the command, or with the beadm-rs that
//! started it. With it the kernel kills everything in the namespace
//! (pid_namespaces(7)).

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;

use camino::{Utf8Path, Utf8PathBuf};
use nix::mount::MntFlags;
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::mount::{MountAttrFlags, MountFlags};
use rustix::thread::{CapabilitySet, CapabilitySets};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;

use super::tree::{self, Tree};
use crate::os::Error;
use crate::os::inside::NotRun;
use crate::sys::command;

/// The first argument that makes this program the first process.
pub const ENTRY: &str = "--inside";

/// The name of the file that is shown as `/proc/cmdline`.
pub const COMMAND_LINE: &str = "cmdline";

/// Its exit code where the starting beadm-rs is gone; nobody sees it.
const ORPHANED: i32 = 137;

/// Its exit code after a failure, which it has said otherwise.
const FAILED: u8 = 1;

/// How it says that there is no such command.
const NOT_FOUND: &str = "not-found";

/// How it says that the command cannot be executed.
const NOT_EXECUTABLE: &str = "not-executable";

/// How it says that something else failed.
const OTHER: &str = "other";

/// The command's shell where the environment's passwd names none.
const SHELL: &str = "/bin/sh";

/// The most that is read of a passwd, bytes.
const MAX_PASSWD: u64 = 4 << 20;

/// What root keeps inside: what packages and their scripts do to files, owners,
/// processes and sockets. Left out, with what each could do to the running
/// machine: `SYS_ADMIN` (mounts, so efivarfs and devtmpfs too; ZFS; the host's
/// name), `MKNOD` (a disk's device file), `SYS_RAWIO`, `SYS_MODULE`, `SYS_BOOT`,
/// `SYS_TIME`, `NET_ADMIN`, `SYSLOG`, `BPF`, `PERFMON`, `MAC_ADMIN`,
/// `AUDIT_CONTROL`, `DAC_READ_SEARCH` (`open_by_handle_at(2)` reaches every file
/// of a file system of which one is open; for reading, `DAC_OVERRIDE` is enough)
/// and the rest of capabilities(7).
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::LINUX_IMMUTABLE)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::IPC_OWNER)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::LEASE)
    .union(CapabilitySet::AUDIT_WRITE);

/// What the first process was given.
struct Orders {
    /// Ends when the starting beadm-rs does.
    alive: File,
    /// Where the environment is mounted.
    stage: Utf8PathBuf,
    words: Vec<OsString>,
}

/// Runs as the first process where the command line says so; its exit code.
pub fn entry(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let _program = arguments.next();
    if arguments.next().is_none_or(|word| word != ENTRY) {
        return None;
    }
    let mut number = || arguments.next()?.to_str()?.parse::<u32>().ok();
    let (alive, said) = (number(), number());
    let stage = arguments.next().and_then(|word| word.into_string().ok());
    let (Some(alive), Some(said), Some(stage), true) =
        (alive, said, stage, nix::unistd::getpid().as_raw() == 1)
    else {
        let _ = writeln!(io::stderr(), "beadm-rs: {ENTRY} is for beadm-rs run alone");
        return Some(ExitCode::from(FAILED));
    };
    let Ok(mut said) = inherited(said, true) else {
        return Some(ExitCode::from(FAILED));
    };
    let ended = inherited(alive, false)
        .map_err(|error| NotRun::Os(Error::io("keep watch of beadm-rs")(error)))
        .and_then(|alive| {
            run(Orders {
                alive,
                stage: stage.into(),
                words: arguments.collect(),
            })
        });
    let code = ended.unwrap_or_else(|error| {
        let kind = match error {
            NotRun::NotFound(_) => NOT_FOUND,
            NotRun::NotExecutable(_) => NOT_EXECUTABLE,
            NotRun::Os(_) | NotRun::Interrupted => OTHER,
        };
        let _ = write!(said, "{kind}\n{error}");
        FAILED
    });
    Some(ExitCode::from(code))
}

/// What the first process said of its failure, if anything.
///
/// # Errors
/// That.
pub fn understand(said: &str) -> std::result::Result<(), NotRun> {
    let Some((kind, text)) = said.split_once('\n') else {
        return Ok(());
    };
    let text = text.to_owned();
    Err(match kind {
        NOT_FOUND => NotRun::NotFound(text),
        NOT_EXECUTABLE => NotRun::NotExecutable(text),
        _ => NotRun::Os(Error::Io {
            attempted: "run the command".to_owned(),
            cause: io::Error::other(text),
        }),
    })
}

/// A descriptor that was inherited, as one of this process's own that the
/// command will not inherit.
fn inherited(number: u32, write: bool) -> io::Result<File> {
    let file = File::options()
        .read(!write)
        .write(write)
        .open(format!("/proc/self/fd/{number}"))?;
    let number = i32::try_from(number).map_err(io::Error::other)?;
    nix::unistd::close(number)?;
    Ok(file)
}

fn run(orders: Orders) -> std::result::Result<u8, NotRun> {
    let told = |attempted: &str| Error::io(attempted.to_owned());
    let shell = root_shell(&orders.stage);
    mount(&orders.stage).map_err(told("mount /proc inside"))?;
    leave(&orders.stage).map_err(told("leave the machine's files"))?;
    give_up().map_err(told("give up capabilities"))?;
    let mut alive = orders.alive;
    std::thread::spawn(move || {
        let _ = alive.read(&mut [0]);
        std::process::exit(ORPHANED)
    });
    // Before the command exists: none is lost then.
    let mut signals = Signals::new([SIGTERM, SIGHUP]).map_err(told("prepare for signals"))?;
    let child = spawn(&orders.words, &shell)?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if let Ok(signal) = Signal::try_from(signal) {
                let _ = kill(child, signal);
            }
        }
    });
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => {
                return Ok(u8::try_from(status & 0xff).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(u8::try_from(128 + signal as i32).unwrap_or(u8::MAX));
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(told("wait for the command")(errno.into()).into()),
        }
    }
}

/// `/proc` of this process namespace, where nothing but processes' own files
/// can be written.
fn mount(stage: &Utf8Path) -> io::Result<()> {
    // So that the thread that will look at private places keeps the names it
    // has for them.
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    let root = Tree::at(&stage.join("root"))?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = tree::new("proc", &[], flags)?;
    tree::attach(&proc, root.directory(Utf8Path::new("proc"))?)?;
    // Whatever this kernel and its drivers have there: /proc/sys,
    // /proc/sysrq-trigger, /proc/irq, /proc/spl, …
    for entry in rustix::fs::Dir::read_from(rustix::fs::openat(
        &proc,
        ".",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let place = Utf8Path::new("proc").join(&name);
        let Ok(found) = root.entry(&place) else {
            continue;
        };
        let metadata = File::from(found.try_clone()?).metadata()?;
        let writable = metadata.is_file() && metadata.permissions().mode() & 0o222 != 0;
        if name == "kcore" {
            // The kernel's memory, the machine's keys in it.
            cover(&stage.join("root/dev/null"), &found)?;
        } else if name == "cmdline" {
            cover(&stage.join("files").join(COMMAND_LINE), &found)?;
        } else if metadata.is_dir() || writable {
            let again = tree::again(&found)?;
            tree::attach(&again, &found)?;
            tree::restrict(&again, MountFlags::RDONLY)?;
        }
    }
    Ok(())
}

fn cover(with: &Utf8Path, on: &OwnedFd) -> io::Result<()> {
    tree::attach(tree::again_at(with)?, on)
}

/// Makes the stage this process's root: nothing of the machine's files has a
/// name any more.
fn leave(stage: &Utf8Path) -> io::Result<()> {
    nix::unistd::chdir(stage.as_std_path())?;
    nix::unistd::pivot_root(".", ".")?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir("/")?;
    Ok(())
}

/// For good: what is not in the bounding set, no program gets again
/// (capabilities(7)).
fn give_up() -> io::Result<()> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT.contains(one) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            // The kernel has no such capability, and none after it.
            Err(rustix::io::Errno::INVAL) => break,
            result => result?,
        }
    }
    let has = rustix::thread::capabilities(None)?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: has.effective & KEPT,
            permitted: has.permitted & KEPT,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    rustix::thread::clear_ambient_capability_set()?;
    Ok(())
}

/// Starts the command in the environment's root. This process stays above it:
/// that the root of process 1 is another one is how programs tell that they run
/// in a chroot (systemctl(1), ischroot(1)).
fn spawn(words: &[OsString], shell: &str) -> std::result::Result<Pid, NotRun> {
    let body = || -> std::result::Result<Pid, NotRun> {
        let enter = || -> nix::Result<()> {
            // The directories of this thread alone.
            nix::sched::unshare(CloneFlags::CLONE_FS)?;
            nix::unistd::chroot("/root")?;
            nix::unistd::chdir("/")
        };
        enter().map_err(Error::io("enter the environment"))?;
        let mut command = command::of_the_user(words, shell);
        let child = command.spawn().map_err(|error| {
            let name = words
                .first()
                .map_or(shell.into(), |word| word.to_string_lossy());
            let text = format!("cannot run {name} in it: {error}");
            match error.kind() {
                io::ErrorKind::NotFound => NotRun::NotFound(text),
                _ => NotRun::NotExecutable(text),
            }
        })?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other);
        Ok(Pid::from_raw(pid.map_err(Error::io("find the command"))?))
    };
    std::thread::scope(|scope| scope.spawn(body).join()).map_err(|_| Error::Unexpected {
        attempted: "run the command".to_owned(),
        detail: "the thread that did it panicked".to_owned(),
    })?
}

/// What root's line in the environment's passwd(5) says.
fn root_shell(stage: &Utf8Path) -> String {
    Tree::at(&stage.join("root"))
        .and_then(|root| root.read(Utf8Path::new("etc/passwd"), MAX_PASSWD))
        .ok()
        .and_then(|text| shell_of_root(&text))
        .unwrap_or_else(|| SHELL.to_owned())
}

fn shell_of_root(passwd: &str) -> Option<String> {
    let fields: Vec<&str> = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&"root"))?;
    let shell = fields.get(6)?.trim();
    shell.starts_with('/').then(|| shell.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_shell_is_read_from_passwd() {
        let passwd = "daemon:x:1:1::/:/usr/sbin/nologin\nroot:x:0:0:root:/root:/bin/zsh\n";
        assert_eq!(shell_of_root(passwd).as_deref(), Some("/bin/zsh"));
        for without in ["", "root", "root:x:0:0:root:/root:", "root:x:0:0::/:sh\n"] {
            assert_eq!(shell_of_root(without), None, "{without:?}");
        }
    }

    #[test]
    fn what_the_first_process_says_is_understood() {
        assert!(understand("").is_ok());
        assert!(
            matches!(understand("not-found\nno x"), Err(NotRun::NotFound(text)) if text == "no x")
        );
        assert!(matches!(
            understand("not-executable\nno x"),
            Err(NotRun::NotExecutable(_))
        ));
        assert_eq!(
            understand("other\nit broke").unwrap_err().to_string(),
            "cannot run the command: it broke"
        );
    }
}
