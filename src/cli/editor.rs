//! A file with both sides' changes that somebody makes one of, in an editor.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::{FAILED, Trouble};
use crate::sync::records::{self, Format};
use crate::sync::text;
use crate::sys::command;

/// What came back is not what is to be there.
pub(super) struct Unfit {
    pub(super) trouble: Trouble,
    /// What was made of it so far.
    pub(super) draft: Option<Vec<u8>>,
}

impl From<Trouble> for Unfit {
    fn from(trouble: Trouble) -> Self {
        Self {
            trouble,
            draft: None,
        }
    }
}

fn failed(path: &[u8], error: impl std::fmt::Display) -> Trouble {
    let path = String::from_utf8_lossy(path);
    Trouble::new(FAILED, format!("cannot settle /{path}: {error}")).state("nothing was changed")
}

/// The editor that is set, in words.
///
/// # Errors
/// None is.
fn words() -> Result<Vec<OsString>, Trouble> {
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
        .ok_or_else(|| {
            Trouble::refused("neither VISUAL nor EDITOR names an editor").remedy("set one")
        })?;
    let words = editor
        .as_bytes()
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty());
    Ok(words
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect())
}

/// A directory for root alone, in memory, where there is such a place: what is in it may be
/// a secret.
fn scratch() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let scratch = builder.prefix("beadm-rs-resolve.");
    scratch.tempdir_in("/run").or_else(|_| scratch.tempdir())
}

fn name(path: &[u8]) -> &OsStr {
    let name = Path::new(OsStr::from_bytes(path)).file_name();
    name.unwrap_or(OsStr::new("file"))
}

/// Leaves what was made of a text where it can be found; where that is.
///
/// # Errors
/// Where it cannot be written.
pub(super) fn leave(path: &[u8], draft: &[u8]) -> io::Result<PathBuf> {
    let scratch = scratch()?;
    std::fs::write(scratch.path().join(name(path)), draft)?;
    Ok(scratch.keep().join(name(path)))
}

/// What somebody makes of a text, on a copy that nobody else can read. `beside` is
/// another version to look at.
///
/// # Errors
/// The editor fails, or what comes back is the same, has markers of a conflict in it, or is
/// no file of accounts where it has to be one.
pub(super) fn edit(path: &[u8], text: &[u8], beside: Option<&[u8]>) -> Result<Vec<u8>, Unfit> {
    let told = |error: io::Error| failed(path, error);
    let mut words = words()?;
    let scratch = scratch().map_err(told)?;
    let name = name(path);
    let copy = scratch.path().join(name);
    std::fs::write(&copy, text).map_err(told)?;
    words.push(copy.clone().into_os_string());
    if let Some(beside) = beside {
        let other = [name, OsStr::new(".other")].join(OsStr::new(""));
        let other = scratch.path().join(other);
        std::fs::write(&other, beside).map_err(told)?;
        words.push(other.into_os_string());
    }
    let status = command::of_the_user(&words, "/bin/sh")
        .status()
        .map_err(told)?;
    if !status.success() {
        return Err(failed(path, format!("the editor ended with {status}")).into());
    }
    let bytes = std::fs::read(&copy).map_err(told)?;
    if bytes == text {
        return Err(Trouble::refused("nothing was changed in the editor").into());
    }
    let why = if text::has_markers(&bytes) {
        Some("there are markers of the conflict left in it".to_owned())
    } else {
        Format::of(path)
            .and_then(|format| records::check(format, &bytes).err())
            .map(|why| why.to_string())
    };
    match why {
        None => Ok(bytes),
        Some(why) => Err(Unfit {
            trouble: failed(path, why),
            draft: Some(bytes),
        }),
    }
}
