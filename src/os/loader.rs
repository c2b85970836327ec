//! What belongs to the boot loader and not to ZFS: the files of its partition,
//! the firmware's variables, and the few ways in which either is changed.
//!
//! The partition is FAT: there is no journal, and what is written over may be
//! lost with what it was before. So nothing that is in use is ever written
//! over: files are made under a new name, made durable, and renamed to a name
//! that was free ([`LoaderChange::Rename`]), which is the one change that counts.
//! The exception is a block that the loader itself writes in place
//! ([`LoaderChange::Block`]): what changes in it lies in one sector, and a disk
//! writes a sector whole or not at all.

#[cfg(test)]
mod tests;

use std::io::{self, Read, Seek as _, Write};

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::firmware::{self, BootOption};
use super::{Error, Object, Platform, Result, label, mirror};
use crate::zfs::{DatasetName, PoolName};

/// A mounted partition that a loader may read.
#[derive(Debug)]
pub struct LoaderPartition {
    /// Where it is mounted.
    pub directory: Utf8PathBuf,
    /// Its files.
    pub dir: Dir,
    /// The partition's own identity (GPT), in small letters; `None` where it is
    /// not known.
    pub uuid: Option<String>,
    /// Free bytes.
    pub free: u64,
    /// It is mounted so that nothing can be written.
    pub readonly: bool,
    /// It is on a RAID or a mapped device (LVM, dm-crypt): what is one device here
    /// is several to a loader, or another one.
    pub layered: bool,
}

/// One change of a loader's files or variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum LoaderChange {
    /// A file of a dataset is copied, unless the copy is there.
    Copy {
        /// The dataset.
        dataset: DatasetName,
        /// The file in it, without links on the way.
        file: Utf8PathBuf,
        /// Where the partition is mounted.
        partition: Utf8PathBuf,
        /// The copy; its directory is made.
        to: Utf8PathBuf,
        /// SHA-256 of the file when this was planned.
        digest: String,
    },
    /// A file with that text, under a name nothing reads.
    Write {
        /// Where the partition is mounted.
        partition: Utf8PathBuf,
        /// The file.
        file: Utf8PathBuf,
        /// The text.
        text: String,
    },
    /// A file's name, to one that is free.
    Rename {
        /// Where the partition is mounted.
        partition: Utf8PathBuf,
        /// The old one.
        from: Utf8PathBuf,
        /// The new one.
        to: Utf8PathBuf,
    },
    /// The archive with the installed dead man's switch, unless it is there.
    Watch {
        /// Where the partition is mounted.
        partition: Utf8PathBuf,
        /// The archive; its directory is made.
        to: Utf8PathBuf,
        /// SHA-256 of it when this was planned.
        digest: String,
    },
    /// The end of files, and of directories that are empty then; those that
    /// are not there are passed over.
    Remove {
        /// Where the partition is mounted.
        partition: Utf8PathBuf,
        /// The files, in this order.
        files: Vec<Utf8PathBuf>,
    },
    /// Another partition gets this program's files of the first.
    Mirror {
        /// Where the first is mounted.
        partition: Utf8PathBuf,
        /// Where the other one is.
        to: Utf8PathBuf,
    },
    /// A block of fixed length, in place: neither its length nor where it lies on
    /// the disk changes. Nothing is done where it is not what was planned with.
    Block {
        /// Where the partition is mounted.
        partition: Utf8PathBuf,
        /// The file.
        file: Utf8PathBuf,
        /// What is in it.
        #[serde(serialize_with = "unfilled")]
        from: String,
        /// What will be in it; as long.
        #[serde(serialize_with = "unfilled")]
        to: String,
    },
    /// A variable of the loader in the firmware.
    Variable {
        /// Its name.
        name: String,
        /// Its value; `None` takes it away.
        value: Option<String>,
    },
    /// One of this program's boot options in the firmware.
    BootOption {
        /// Where the partition is mounted that it starts something from.
        partition: Utf8PathBuf,
        /// Its number.
        number: u16,
        /// What it starts; `None` takes it away.
        to: Option<BootOption>,
    },
    /// Which of its options the firmware starts once. Nothing is done where that is
    /// not what was planned with.
    BootNext {
        /// The option.
        from: Option<u16>,
        /// The option there will be; `None` for none.
        to: Option<u16>,
    },
    /// What boots once by the labels of a pool. Nothing is done where that is not
    /// what was planned with.
    Label {
        /// The pool.
        pool: PoolName,
        /// What they say.
        from: Option<String>,
        /// What they will say; `None` for nothing.
        to: Option<String>,
    },
}

/// A block without what it is filled up with.
fn unfilled<S: Serializer>(text: &str, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(text.trim_end_matches('#'))
}

/// The lines of a block that another one has not.
fn changed(from: &str, to: &str) -> String {
    let before: Vec<&str> = from.lines().collect();
    let lines: Vec<&str> = to
        .lines()
        .filter(|line| !line.starts_with('#') && !before.contains(line))
        .collect();
    lines.join(", ")
}

impl std::fmt::Display for LoaderChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Copy {
                dataset,
                file,
                partition,
                to,
                ..
            } => write!(f, "copy /{file} of {dataset} to {}", partition.join(to)),
            Self::Write {
                partition, file, ..
            } => write!(f, "write {}", partition.join(file)),
            Self::Rename {
                partition,
                from,
                to,
            } => write!(
                f,
                "rename {} to {}",
                partition.join(from),
                partition.join(to)
            ),
            Self::Watch { partition, to, .. } => {
                write!(f, "put the dead man's switch into {}", partition.join(to))
            }
            Self::Remove { partition, files } => {
                f.write_str("remove ")?;
                for (index, file) in files.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{}", partition.join(file))?;
                }
                Ok(())
            }
            Self::Mirror { partition, to } => {
                write!(f, "copy the files of beadm-rs on {partition} to {to}")
            }
            Self::Block {
                partition,
                file,
                from,
                to,
            } => write!(f, "set in {}: {}", partition.join(file), changed(from, to)),
            Self::Variable { name, value } => match value {
                Some(value) => write!(f, "set the EFI variable {name} to {value}"),
                None => write!(f, "clear the EFI variable {name}"),
            },
            Self::BootOption {
                partition,
                number,
                to,
            } => match to {
                Some(to) => write!(
                    f,
                    "make the firmware's boot option {number:04X}, {}, for {}",
                    to.title,
                    partition.join(&to.file)
                ),
                None => write!(f, "remove the firmware's boot option {number:04X}"),
            },
            Self::BootNext { to, .. } => match to {
                Some(to) => write!(f, "have the firmware start its boot option {to:04X} once"),
                None => f.write_str("have the firmware start nothing else once"),
            },
            Self::Label { pool, to, .. } => match to {
                Some(to) => write!(f, "have the labels of pool {pool} say {to} boots once"),
                None => write!(f, "have the labels of pool {pool} say nothing boots once"),
            },
        }
    }
}

/// A digest as text.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of everything a reader gives, and how much that was; each part is
/// shown to `see`.
fn digested(
    mut from: impl Read,
    mut see: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(String, u64)> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let count = from.read(&mut buffer)?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
            return Ok((hexadecimal(&digest.finalize()), bytes));
        };
        digest.update(part);
        see(part)?;
        bytes += part.len() as u64;
    }
}

/// SHA-256 of everything a reader gives.
///
/// # Errors
/// Where it cannot be read.
pub fn digest_of(from: impl Read) -> io::Result<String> {
    digested(from, |_| Ok(())).map(|(digest, _)| digest)
}

/// Opens a regular file for reading; a link is not followed, a pipe not waited for.
pub(crate) fn open(dir: &Dir, file: &Utf8Path) -> io::Result<std::fs::File> {
    let flags = (nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOFOLLOW).bits();
    let opened = dir.open_with(file, OpenOptions::new().read(true).custom_flags(flags))?;
    let opened = opened.into_std();
    if opened.metadata()?.is_file() {
        Ok(opened)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// The name a copy has until it is whole.
pub(super) fn unfinished(to: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{to}.new"))
}

/// A new file, durable, with what `write` puts in it.
pub(super) fn make(
    dir: &Dir,
    file: &Utf8Path,
    write: impl FnOnce(&mut std::fs::File) -> io::Result<()>,
) -> io::Result<()> {
    if let Some(parent) = file.parent().filter(|parent| !parent.as_str().is_empty()) {
        dir.create_dir_all(parent)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let mut made = dir.open_with(file, &options)?.into_std();
    write(&mut made)?;
    made.sync_all()
}

/// Only what is whole has its name; a disk that went bad is written anew.
fn is_there(dir: &Dir, to: &Utf8Path, digest: &str) -> io::Result<bool> {
    match open(dir, to) {
        Ok(there) => Ok(digest_of(there)? == digest),
        Err(_) => Ok(false),
    }
}

fn copy(source: &Dir, file: &Utf8Path, dir: &Dir, to: &Utf8Path, digest: &str) -> io::Result<()> {
    if is_there(dir, to, digest)? {
        return Ok(());
    }
    place(dir, to, digest, open(source, file)?)
}

/// A file of that digest, whole or not at all.
fn place(dir: &Dir, to: &Utf8Path, digest: &str, from: impl Read) -> io::Result<()> {
    let begun = unfinished(to);
    make(dir, &begun, |made| {
        let (found, _) = digested(from, |part| made.write_all(part))?;
        if found == digest {
            Ok(())
        } else {
            Err(io::Error::other("it was changed since it was looked at"))
        }
    })
    .inspect_err(|_| {
        // What is left of it is in nobody's way but for the space.
        let _ = dir.remove_file(&begun);
    })?;
    dir.rename(&begun, dir, to)
}

fn rename(dir: &Dir, from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    if dir.symlink_metadata(to).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("there is {to} already"),
        ));
    }
    dir.rename(from, dir, to)
}

pub(super) fn remove(dir: &Dir, file: &Utf8Path) -> io::Result<()> {
    let removed = match dir.symlink_metadata(file) {
        Ok(metadata) if metadata.is_dir() => match dir.remove_dir(file) {
            // Somebody else's file in it: it stays.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other,
        },
        Ok(_) => dir.remove_file(file),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// How much a disk writes whole or not at all, bytes.
const SECTOR: usize = 512;

/// Writes a block in place, where it is what was planned with, or is what it is
/// to be already. Only the sectors that change are written.
fn write_block(dir: &Dir, file: &Utf8Path, from: &str, to: &str) -> io::Result<()> {
    let flags = (nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOFOLLOW).bits();
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(flags);
    let mut block = dir.open_with(file, &options)?.into_std();
    let metadata = block.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if from.len() != to.len() || metadata.len() != to.len() as u64 {
        return Err(io::Error::other(format!(
            "it has {} bytes, and a block of {} belongs there",
            metadata.len(),
            to.len()
        )));
    }
    let mut found = Vec::with_capacity(to.len());
    (&mut block).take(metadata.len()).read_to_end(&mut found)?;
    if found != to.as_bytes() {
        if found != from.as_bytes() {
            return Err(io::Error::other("it was changed since it was looked at"));
        }
        let sectors = from.as_bytes().chunks(SECTOR);
        for ((before, after), at) in sectors.zip(to.as_bytes().chunks(SECTOR)).zip(0u64..) {
            if before != after {
                block.seek(io::SeekFrom::Start(at * SECTOR as u64))?;
                block.write_all(after)?;
            }
        }
    }
    block.sync_all()
}

/// Makes one change on a platform.
///
/// # Errors
/// Whatever the system says; the change was made or not, and what is in use
/// is whole either way.
pub fn perform<P: Platform + ?Sized>(platform: &P, change: &LoaderChange) -> Result<()> {
    let failed = || Error::io(change.to_string());
    match change {
        LoaderChange::Copy {
            dataset,
            file,
            partition,
            to,
            digest,
        } => {
            let dir = platform.open_partition(partition)?;
            let source = platform.open_files(&Object::Dataset(dataset.clone()))?;
            copy(&source.root, file, &dir, to, digest).map_err(failed())?;
            platform.make_durable(&dir)
        }
        LoaderChange::Write {
            partition,
            file,
            text,
        } => {
            let dir = platform.open_partition(partition)?;
            make(&dir, file, |made| made.write_all(text.as_bytes())).map_err(failed())?;
            platform.make_durable(&dir)
        }
        LoaderChange::Rename {
            partition,
            from,
            to,
        } => {
            let dir = platform.open_partition(partition)?;
            rename(&dir, from, to).map_err(failed())?;
            platform.make_durable(&dir)
        }
        LoaderChange::Watch {
            partition,
            to,
            digest,
        } => {
            let dir = platform.open_partition(partition)?;
            if is_there(&dir, to, digest).map_err(failed())? {
                return Ok(());
            }
            let archive = platform
                .watch_program()?
                .and_then(|program| crate::boot::watch::archive(&program))
                .unwrap_or_default();
            place(&dir, to, digest, archive.as_slice()).map_err(|cause| Error::Io {
                attempted: change.to_string(),
                cause,
            })?;
            platform.make_durable(&dir)
        }
        LoaderChange::Remove { partition, files } => {
            let dir = platform.open_partition(partition)?;
            files
                .iter()
                .try_for_each(|file| remove(&dir, file))
                .map_err(failed())?;
            platform.make_durable(&dir)
        }
        LoaderChange::Mirror { partition, to } => {
            let from = platform.open_partition(partition)?;
            let to = platform.open_partition(to)?;
            mirror::equalize(&from, &to).map_err(failed())?;
            platform.make_durable(&to)
        }
        LoaderChange::Block {
            partition,
            file,
            from,
            to,
        } => {
            let dir = platform.open_partition(partition)?;
            write_block(&dir, file, from, to).map_err(failed())?;
            platform.make_durable(&dir)
        }
        LoaderChange::Variable { name, value } => platform.set_variable(name, value.as_deref()),
        LoaderChange::BootOption {
            partition,
            number,
            to,
        } => {
            let attempted = change.to_string();
            firmware::set_option(platform, &attempted, partition, *number, to.as_ref())
        }
        LoaderChange::BootNext { from, to } => {
            firmware::set_next(platform, &change.to_string(), *from, *to)
        }
        LoaderChange::Label { pool, from, to } => {
            let attempted = change.to_string();
            label::change(platform, &attempted, pool, from.as_deref(), to.as_deref())
        }
    }
}

/// A variable as the firmware has it: four bytes of attributes, then UTF-16
/// with a NUL at its end.
#[must_use]
pub fn variable_text(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes
        .get(4..)
        .unwrap_or_default()
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_le_bytes([*pair.first()?, *pair.get(1)?])))
        .take_while(|unit| *unit != 0)
        .collect();
    String::from_utf16_lossy(&units)
}

/// `EFI_VARIABLE_NON_VOLATILE`, `BOOTSERVICE_ACCESS`, `RUNTIME_ACCESS`.
pub(super) const ATTRIBUTES: u32 = 7;

/// The bytes of a variable that outlives a reboot and that the system may read.
#[must_use]
pub fn variable_bytes(text: &str) -> Vec<u8> {
    let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
    for unit in text.encode_utf16().chain([0]) {
        bytes.extend(unit.to_le_bytes());
    }
    bytes
}
