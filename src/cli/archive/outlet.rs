//! Where an archive is written to: a file that is there when it is whole, or
//! standard output.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::poll::PollFlags;
use nix::sys::stat::Mode;
use nix::unistd::linkat;
use tempfile::NamedTempFile;

use super::inlet::ready;
use crate::cli::context::Context;
use crate::cli::error::Trouble;
use crate::execute::freight::Outlet;

/// A file that its directory does not show until it is kept. Only its owner can read
/// it: it may hold `/etc/shadow`.
struct ToFile {
    written: Option<Written>,
    path: Utf8PathBuf,
    directory: Utf8PathBuf,
    /// What is there is replaced.
    replace: bool,
}

/// What is written to.
enum Written {
    /// A file without a name (`O_TMPFILE`, open(2)), of which nothing is left however
    /// this process ends.
    Unnamed(File),
    /// Where the file system has no such thing, one under a hidden name, which a kill
    /// leaves behind.
    Named(NamedTempFile),
}

impl Written {
    fn file(&self) -> &File {
        match self {
            Self::Unnamed(file) => file,
            Self::Named(named) => named.as_file(),
        }
    }
}

impl ToFile {
    fn file(&self) -> io::Result<&File> {
        let written = self.written.as_ref().map(Written::file);
        written.ok_or_else(|| io::Error::other("it was kept already"))
    }

    /// Begins with a file that has no name yet, where that can be.
    fn begin(&self) -> io::Result<Written> {
        let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        match nix::fcntl::open(self.directory.as_std_path(), flags, mode) {
            Ok(descriptor) => Ok(Written::Unnamed(descriptor.into())),
            // The file system, or the kernel, does not have it (open(2)).
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT) => self
                .hidden(|path| {
                    File::options()
                        .write(true)
                        .create_new(true)
                        .mode(0o600)
                        .open(path)
                })
                .map(Written::Named),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes something under a hidden name beside the archive's.
    fn hidden(&self, make: impl FnMut(&Path) -> io::Result<File>) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(&format!(".{}.", self.path.file_name().unwrap_or("archive")))
            .suffix(".part")
            .make_in(&self.directory, make)
    }
}

impl Write for ToFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl Outlet for ToFile {
    fn keep(&mut self) -> io::Result<()> {
        self.file()?.sync_all()?;
        let named = match self.written.take() {
            None => return Ok(()),
            Some(Written::Named(named)) => named,
            Some(Written::Unnamed(file)) => self.hidden(|path| {
                let own = format!("/proc/self/fd/{}", file.as_raw_fd());
                linkat(
                    AT_FDCWD,
                    own.as_str(),
                    AT_FDCWD,
                    path,
                    AtFlags::AT_SYMLINK_FOLLOW,
                )?;
                file.try_clone()
            })?,
        };
        if self.replace {
            named.persist(&self.path)?;
        } else {
            named.persist_noclobber(&self.path)?;
        }
        File::open(&self.directory)?.sync_all()
    }
}

/// Standard output, until somebody interrupts it: whoever reads a pipe may hang.
struct ToStandardOutput {
    file: File,
    interrupted: &'static AtomicBool,
    /// It takes so much at once without making anybody wait, once it takes anything.
    at_once: usize,
}

/// What a pipe that can be written to takes at least (`PIPE_BUF`, pipe(7)).
const PIPE: usize = 4096;

impl Write for ToStandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        ready(&self.file, PollFlags::POLLOUT, self.interrupted)?;
        let part = bytes.get(..self.at_once).unwrap_or(bytes);
        self.file.write(part)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Outlet for ToStandardOutput {
    fn keep(&mut self) -> io::Result<()> {
        match self.file.sync_all() {
            // A pipe keeps nothing (fsync(2)).
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                Ok(())
            }
            kept => kept,
        }
    }
}

/// Opens what is written to; on a dry run only looks whether that can be.
///
/// # Errors
/// Where it cannot be written, is a terminal, or somebody does not want it replaced.
pub fn open(
    context: &Context,
    file: Option<&Utf8Path>,
) -> Result<Option<Box<dyn Outlet>>, Trouble> {
    let Some(path) = file.filter(|file| *file != "-") else {
        if io::stdout().is_terminal() && !context.dry_run {
            return Err(Trouble::refused("an archive is not written to a terminal")
                .remedy("name a file with -o FILE, or send it through a pipe"));
        }
        if context.json && !context.dry_run {
            return Err(Trouble::refused(
                "--json writes to standard output, and so would the archive",
            )
            .remedy("name a file with -o FILE"));
        }
        let descriptor = io::stdout().as_fd().try_clone_to_owned();
        let descriptor =
            descriptor.map_err(|error| Trouble::refused(format!("standard output: {error}")))?;
        let file = File::from(descriptor);
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        return Ok(Some(Box::new(ToStandardOutput {
            file,
            interrupted: context.interruption.asked(),
            at_once: if regular { usize::MAX } else { PIPE },
        })));
    };
    let there = path.symlink_metadata().ok();
    if there.as_ref().is_some_and(|metadata| !metadata.is_file()) {
        return Err(Trouble::refused(format!("{path} is there, and is no file"))
            .remedy("name another file; to a device or pipe: beadm-rs export > IT"));
    }
    if context.dry_run {
        return Ok(None);
    }
    if there.is_some() {
        context.agree(&format!("replace {path}"))?;
    }
    let parent = path.parent().filter(|parent| !parent.as_str().is_empty());
    let directory = parent.unwrap_or(Utf8Path::new(".")).to_owned();
    if !directory.is_dir() {
        return Err(Trouble::refused(format!(
            "there is no directory {directory}"
        )));
    }
    let mut to = ToFile {
        written: None,
        path: path.to_owned(),
        directory,
        replace: there.is_some(),
    };
    let begun = to.begin().map_err(|error| {
        Trouble::refused(format!(
            "no file can be made in {}: {}",
            to.directory,
            error.kind()
        ))
    })?;
    to.written = Some(begun);
    Ok(Some(Box::new(to)))
}
