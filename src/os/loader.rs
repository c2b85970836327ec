//! What belongs to the boot loader and not to ZFS: the files of its partition,
//! the firmware's variables, and the few ways in which either is changed.
//!
//! The partition is FAT: there is no journal, and what is written over may be
//! lost with what it was before. So nothing that is in use is ever written
//! over: files are made under a new name, made durable, and renamed to a name
//! that was free ([`LoaderChange::Rename`]), which is the one change that counts.

use std::io::{self, Read, Write};

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Error, Object, Platform, Result};
use crate::zfs::DatasetName;

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
    /// A variable of the loader in the firmware.
    Variable {
        /// Its name.
        name: String,
        /// Its value; `None` takes it away.
        value: Option<String>,
    },
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
            Self::Variable { name, value } => match value {
                Some(value) => write!(f, "set the EFI variable {name} to {value}"),
                None => write!(f, "clear the EFI variable {name}"),
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
fn open(dir: &Dir, file: &Utf8Path) -> io::Result<std::fs::File> {
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
fn unfinished(to: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{to}.new"))
}

/// A new file, durable, with what `write` puts in it.
fn make(
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

fn remove(dir: &Dir, file: &Utf8Path) -> io::Result<()> {
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
        LoaderChange::Variable { name, value } => platform.set_variable(name, value.as_deref()),
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

/// The bytes of a variable that outlives a reboot and that the system may read.
#[must_use]
pub fn variable_bytes(text: &str) -> Vec<u8> {
    /// `EFI_VARIABLE_NON_VOLATILE`, `BOOTSERVICE_ACCESS`, `RUNTIME_ACCESS`.
    const ATTRIBUTES: u32 = 7;
    let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
    for unit in text.encode_utf16().chain([0]) {
        bytes.extend(unit.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use cap_std_ext::cap_std::ambient_authority;
    use proptest::prelude::*;

    use super::*;

    fn place() -> (tempfile::TempDir, Dir) {
        let directory = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(directory.path(), ambient_authority()).unwrap();
        (directory, dir)
    }

    #[test]
    fn a_copy_is_whole_or_not_there() {
        let (_source, source) = place();
        let (_target, target) = place();
        source.write("linux", "a kernel").unwrap();
        let digest = digest_of(&b"a kernel"[..]).unwrap();
        let to = Utf8Path::new("beadm-rs/x/linux");
        copy(&source, "linux".into(), &target, to, &digest).unwrap();
        assert_eq!(target.read(to).unwrap(), b"a kernel");
        // It is there: the source is not needed.
        source.remove_file("linux").unwrap();
        copy(&source, "linux".into(), &target, to, &digest).unwrap();
        source.write("linux", "another").unwrap();
        let other = Utf8Path::new("beadm-rs/y/linux");
        let error = copy(&source, "linux".into(), &target, other, &digest).unwrap_err();
        assert_eq!(error.to_string(), "it was changed since it was looked at");
        assert_eq!(target.read_dir("beadm-rs/y").unwrap().count(), 0);
    }

    #[test]
    fn a_link_is_not_copied_and_a_name_in_use_not_taken() {
        let (_source, source) = place();
        source.write("secret", "x").unwrap();
        source.symlink("secret", "linux").unwrap();
        assert!(open(&source, "linux".into()).is_err());
        source.write("one", "1").unwrap();
        let error = rename(&source, "one".into(), "secret".into()).unwrap_err();
        assert_eq!(error.to_string(), "there is secret already");
    }

    #[test]
    fn what_is_not_empty_stays() {
        let (_target, target) = place();
        target.create_dir_all("beadm-rs/x").unwrap();
        target.write("beadm-rs/x/mine", "").unwrap();
        for file in ["beadm-rs/x/none", "beadm-rs/x", "nowhere/at/all"] {
            remove(&target, file.into()).unwrap();
        }
        assert!(target.exists("beadm-rs/x/mine"));
        remove(&target, "beadm-rs/x/mine".into()).unwrap();
        remove(&target, "beadm-rs/x".into()).unwrap();
        assert!(!target.exists("beadm-rs/x"));
    }

    proptest! {
        #[test]
        fn a_variable_is_read_as_it_was_written(text in "[^\0]{0,40}") {
            prop_assert_eq!(variable_text(&variable_bytes(&text)), text);
        }

        #[test]
        fn any_bytes_are_some_text(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = variable_text(&bytes);
        }
    }
}
