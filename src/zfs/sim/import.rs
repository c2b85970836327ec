//! Files of the host brought into a dataset: what a demonstration shows.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use camino::Utf8PathBuf;
use cap_std_ext::cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};

use super::Sim;
use crate::os::{self, Platform as _};
use crate::zfs::DatasetName;

/// What is brought in, and how much of it at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Where in the dataset, relative to its root; made where it is not there.
    pub into: Utf8PathBuf,
    /// The longest file, in bytes.
    pub file_bytes: u64,
    /// All files, in bytes.
    pub total_bytes: u64,
}

/// What became of an [`Import`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Files and links brought in.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files and directories that could not be read.
    pub unreadable: u64,
    /// Devices, sockets and pipes.
    pub special: u64,
    /// Files left out because they, or all together, are too large.
    pub too_large: u64,
}

impl ImportReport {
    /// How many were left out.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.unreadable + self.special + self.too_large
    }
}

impl Sim {
    /// Copies a directory of the host into a dataset. What cannot be read is
    /// skipped and counted. Owners are those of this process.
    ///
    /// # Errors
    /// Where the dataset is not there or cannot be written to.
    pub fn import_tree(
        &self,
        dataset: &DatasetName,
        from: &Path,
        import: &Import,
    ) -> os::Result<ImportReport> {
        let mut report = ImportReport::default();
        self.with_files(dataset, true, &mut |root| {
            root.create_dir_all(&import.into)?;
            let into = root.open_dir(&import.into)?;
            copy(from, &into, import, &mut report)
        })?;
        Ok(report)
    }
}

fn copy(from: &Path, into: &Dir, import: &Import, report: &mut ImportReport) -> io::Result<()> {
    let Ok(entries) = std::fs::read_dir(from) else {
        report.unreadable += 1;
        return Ok(());
    };
    for entry in entries {
        let Ok((metadata, entry)) = entry.and_then(|entry| Ok((entry.metadata()?, entry))) else {
            report.unreadable += 1;
            continue;
        };
        let (source, name) = (entry.path(), entry.file_name());
        if metadata.is_dir() {
            into.create_dir_all(&name)?;
            copy(&source, &into.open_dir(&name)?, import, report)?;
        } else if metadata.is_symlink() {
            match std::fs::read_link(&source) {
                Ok(target) => {
                    into.symlink_contents(target, &name)?;
                    report.files += 1;
                }
                Err(_) => report.unreadable += 1,
            }
        } else if !metadata.is_file() {
            report.special += 1;
        } else if metadata.len() > import.file_bytes
            || report.bytes.saturating_add(metadata.len()) > import.total_bytes
        {
            report.too_large += 1;
        } else {
            let Ok(mut read) = std::fs::File::open(&source) else {
                report.unreadable += 1;
                continue;
            };
            let mut options = OpenOptions::new();
            // The owner can always read and write it, as root could.
            let mode = metadata.permissions().mode() & 0o777 | 0o600;
            options.write(true).create(true).truncate(true).mode(mode);
            let mut written = into.open_with(&name, &options)?.into_std();
            io::copy(&mut read, &mut written)?;
            if let Ok(modified) = metadata.modified() {
                written.set_modified(modified)?;
            }
            report.files += 1;
            report.bytes += metadata.len();
        }
    }
    Ok(())
}
