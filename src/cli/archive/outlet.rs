//! Where an archive is written to: a file that is there when it is whole, or
//! standard output.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd as _;

use camino::{Utf8Path, Utf8PathBuf};
use tempfile::NamedTempFile;

use crate::cli::context::Context;
use crate::cli::error::Trouble;
use crate::execute::freight::Outlet;

/// A file under another name until it is kept. Only its owner can read it: it may
/// hold `/etc/shadow`.
struct ToFile {
    written: Option<NamedTempFile>,
    path: Utf8PathBuf,
    directory: Utf8PathBuf,
    /// What is there is replaced.
    replace: bool,
}

impl ToFile {
    fn file(&mut self) -> io::Result<&mut NamedTempFile> {
        self.written
            .as_mut()
            .ok_or_else(|| io::Error::other("it was kept already"))
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
        self.file()?.as_file().sync_all()?;
        let Some(written) = self.written.take() else {
            return Ok(());
        };
        if self.replace {
            written.persist(&self.path)?;
        } else {
            written.persist_noclobber(&self.path)?;
        }
        File::open(&self.directory)?.sync_all()
    }
}

struct ToStandardOutput(File);

impl Write for ToStandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Outlet for ToStandardOutput {
    fn keep(&mut self) -> io::Result<()> {
        match self.0.sync_all() {
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
        return Ok(Some(Box::new(ToStandardOutput(descriptor.into()))));
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
    let made = tempfile::Builder::new()
        .prefix(&format!(".{}.", path.file_name().unwrap_or("archive")))
        .suffix(".part")
        .tempfile_in(&directory);
    let made = made.map_err(|error| {
        Trouble::refused(format!(
            "no file can be made in {directory}: {}",
            error.kind()
        ))
    })?;
    Ok(Some(Box::new(ToFile {
        written: Some(made),
        path: path.to_owned(),
        directory,
        replace: there.is_some(),
    })))
}
