//! What lost a conflict where nobody is asked, kept in the target for somebody to
//! decide: `/etc/beadm-rs/conflicts/NAME/`, NAME being the path with `/` as `%2F`, with
//! `note.json` and, where the source has a file there, `other`.
//!
//! Not beside the file itself: many directories of the list are read by programs that
//! take every name in them for meant (cron(8), sudoers(5), exports(5)). Root's alone,
//! whatever the file's own permissions are: what was never readable for others must not
//! become so, and what it was is in the note.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::LARGEST;
use super::change::{Change, Contents};
use super::decide::{Kind, Metadata};
use super::read::{Opened, Row, see};
use super::records::Format;
use super::version::{Seen, content_of};
use crate::diff::side::Side;
use crate::diff::tree::{Tree, below, join};

/// Where they are, from the root of the environment.
pub const DIRECTORY: &str = "etc/beadm-rs/conflicts";

/// What the other version is called.
pub const OTHER: &str = "other";

/// What the note is called.
pub const NOTE: &str = "note.json";

/// The version of the notes that this program writes and reads.
const VERSION: u32 = 1;

/// The largest note that is read, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The longest name that is made of a path, bytes; NAME_MAX is 255.
const MAX_NAME: usize = 200;

/// What is known of a version that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// `file`, `directory`, `link` or `special`.
    pub kind: String,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its extended attributes, in hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
    /// Where it leads, where it is a symbolic link, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// One conflict that waits for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    version: u32,
    /// The path, encoded as in the name of its directory.
    path: String,
    /// The environment whose version is kept.
    pub from: String,
    /// When it was.
    pub when: DateTime<Utc>,
    /// Why it is a conflict.
    pub why: String,
    /// What is kept; `None` where the other side has deleted it.
    pub other: Option<Other>,
}

impl Note {
    /// The path from the root of the environment.
    #[must_use]
    pub fn path(&self) -> Vec<u8> {
        decode(&self.path)
    }

    /// The other version's owner, permissions and attributes.
    #[must_use]
    pub fn metadata(&self) -> Option<Metadata> {
        let other = self.other.as_ref()?;
        let xattrs = other.xattrs.iter().map(|(name, value)| {
            let value = unhex(value)?;
            Some((unhex(name)?, value))
        });
        Some(Metadata {
            mode: other.mode & 0o7777,
            uid: other.uid,
            gid: other.gid,
            xattrs: xattrs.collect::<Option<_>>()?,
        })
    }

    /// Where the other version leads, where it is a symbolic link.
    #[must_use]
    pub fn link(&self) -> Option<Vec<u8>> {
        unhex(self.other.as_ref()?.target.as_ref()?)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty()
        .then(|| pairs.iter().map(byte).collect())
        .flatten()
}

/// A path as one name.
fn encode(path: &[u8]) -> String {
    path.iter().fold(String::new(), |mut name, byte| {
        if byte.is_ascii_alphanumeric() || b"._-+@".contains(byte) {
            name.push(char::from(*byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
        name
    })
}

fn decode(name: &str) -> Vec<u8> {
    let mut path = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.first_chunk::<2>().filter(|_| *first == b'%');
        let byte =
            escaped.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        match byte {
            Some(byte) => {
                path.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    path
}

/// The directory of one path's conflict, from the root of the environment. The name of
/// a path that is too long for one is a digest of it.
#[must_use]
pub fn directory(path: &[u8]) -> Vec<u8> {
    let mut name = encode(path);
    if name.len() > MAX_NAME {
        name = hex(&content_of(path));
    }
    join(DIRECTORY.as_bytes(), name.as_bytes())
}

/// Root's, in a simulation the user's.
fn own(mode: u32) -> Metadata {
    Metadata {
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        xattrs: BTreeMap::new(),
    }
}

fn other(seen: &Seen) -> Other {
    let Metadata {
        mode,
        uid,
        gid,
        xattrs,
    } = &seen.metadata;
    Other {
        kind: seen.kind.as_str().to_owned(),
        mode: *mode,
        uid: *uid,
        gid: *gid,
        xattrs: xattrs
            .iter()
            .map(|(name, value)| (hex(name), hex(value)))
            .collect(),
        target: (seen.kind == Kind::Link).then(|| hex(&seen.content)),
    }
}

/// What keeps a row's source version in the target; `before` is what is made there for
/// other rows.
pub(super) fn keep(
    opened: &Opened,
    row: &Row,
    source: Option<&Seen>,
    before: &[Change],
) -> io::Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut change = |path: Vec<u8>, to: Option<Seen>, contents: Contents| -> io::Result<()> {
        if before.iter().any(|other| other.path == path) {
            return Ok(());
        }
        let was = opened.target_seen(&path)?;
        let directory =
            |seen: &Option<Seen>| seen.as_ref().map(|seen| seen.kind == Kind::Directory);
        if was.is_some() && directory(&was) != directory(&to).or(Some(false)) {
            let path = String::from_utf8_lossy(&path);
            return Err(io::Error::other(format!("/{path} is in the way")));
        }
        if was != to {
            changes.push(Change {
                part: opened.target_part(&path),
                path,
                was,
                to,
                contents,
            });
        }
        Ok(())
    };
    let made = |mode| {
        Some(Seen {
            kind: Kind::Directory,
            content: Vec::new(),
            size: 0,
            metadata: own(mode),
        })
    };
    let at = directory(&row.path);
    let above = b"etc/beadm-rs".to_vec();
    if opened.target_seen(&above)?.is_none() {
        change(above, made(0o755), Contents::Target)?;
    }
    change(DIRECTORY.as_bytes().to_vec(), made(0o700), Contents::Target)?;
    change(at.clone(), made(0o700), Contents::Target)?;
    let note = Note {
        version: VERSION,
        path: encode(&row.path),
        from: opened.from.clone(),
        when: Utc::now(),
        why: row.why.clone(),
        other: source.map(other),
    };
    let mut text = serde_json::to_vec_pretty(&note)?;
    text.push(b'\n');
    let file = |content: Vec<u8>, size| {
        Some(Seen {
            kind: Kind::File,
            content,
            size,
            metadata: own(0o600),
        })
    };
    let noted = file(content_of(&text), text.len() as u64);
    change(join(&at, NOTE.as_bytes()), noted, Contents::Made(text))?;
    let copy = source
        .filter(|source| source.kind == Kind::File)
        .and_then(|source| file(source.content.clone(), source.size));
    let contents = Contents::SourceAt(row.path.clone());
    change(join(&at, OTHER.as_bytes()), copy, contents)?;
    Ok(changes)
}

/// What is to be there where a conflict was.
#[derive(Clone, PartialEq, Eq)]
pub enum Choice {
    /// What is there.
    Mine,
    /// The version that is kept.
    Other,
    /// These contents.
    Edited(Vec<u8>),
}

// Contents may be secret.
impl std::fmt::Debug for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mine => f.write_str("Mine"),
            Self::Other => f.write_str("Other"),
            Self::Edited(bytes) => f.debug_tuple("Edited").field(&bytes.len()).finish(),
        }
    }
}

/// What ends a conflict: the file, then what is kept of it, the note last but for its
/// directory, so that one that was interrupted is still known.
///
/// # Errors
/// Where something cannot be read, or the one cannot take the other's place.
pub fn resolution(tree: &Tree, note: &Note, choice: &Choice) -> io::Result<Vec<Change>> {
    let path = note.path();
    if *choice == Choice::Other && Format::of(&path).is_some() {
        return Err(io::Error::other(
            "the other version as a whole would take accounts away that only this one has; \
             settle it in an editor, or change it by hand and keep yours",
        ));
    }
    let at = directory(&path);
    let mut changes = Vec::new();
    let mut change = |path: Vec<u8>, was: Option<Seen>, to: Option<Seen>, contents| {
        if was != to {
            changes.push(Change {
                part: tree.part_of(&path),
                path,
                was,
                to,
                contents,
            });
        }
    };
    let kept = join(&at, OTHER.as_bytes());
    let found = tree.find(&path)?;
    let links = found
        .as_ref()
        .and_then(|found| found.stat)
        .map_or(0, |stat| stat.stx_nlink);
    let mine = see(&found)?;
    let other = see(&tree.find(&kept)?)?;
    let to = match choice {
        Choice::Mine => mine.clone(),
        Choice::Other => theirs(note, other.as_ref(), mine.as_ref())?,
        Choice::Edited(bytes) => Some(Seen {
            kind: Kind::File,
            content: content_of(bytes),
            size: bytes.len() as u64,
            metadata: mine
                .as_ref()
                .map(|mine| mine.metadata.clone())
                .or_else(|| note.metadata())
                .ok_or_else(|| io::Error::other("its permissions are not known"))?,
        }),
    };
    let is_file = mine.as_ref().is_some_and(|mine| mine.kind == Kind::File);
    if mine != to && is_file && links > 1 {
        return Err(io::Error::other(format!(
            "it has {links} names (hard links), and a new file would have one of them"
        )));
    }
    let contents = match choice {
        Choice::Mine => Contents::Target,
        Choice::Other => Contents::SourceAt(kept.clone()),
        Choice::Edited(bytes) => Contents::Made(bytes.clone()),
    };
    change(path, mine, to, contents);
    change(kept, other, None, Contents::Target);
    let noted = join(&at, NOTE.as_bytes());
    let was = see(&tree.find(&noted)?)?;
    change(noted, was, None, Contents::Target);
    let was = see(&tree.find(&at)?)?;
    change(at, was, None, Contents::Target);
    Ok(changes)
}

/// The version that was kept, with its own permissions.
fn theirs(note: &Note, kept: Option<&Seen>, mine: Option<&Seen>) -> io::Result<Option<Seen>> {
    let Some(other) = &note.other else {
        return Ok(None);
    };
    let none = || io::Error::other("the other version is not there any more");
    let metadata = note.metadata().ok_or_else(none)?;
    let directory = |mine: &&Seen| mine.kind == Kind::Directory;
    let seen = match other.kind.as_str() {
        "file" if mine.filter(directory).is_none() => {
            let kept = kept
                .filter(|kept| kept.kind == Kind::File)
                .ok_or_else(none)?;
            Seen {
                metadata,
                ..kept.clone()
            }
        }
        "link" if mine.filter(directory).is_none() => Seen {
            kind: Kind::Link,
            content: note.link().ok_or_else(none)?,
            size: 0,
            metadata,
        },
        "directory" if mine.is_none_or(|mine| directory(&mine)) => Seen {
            kind: Kind::Directory,
            content: Vec::new(),
            size: 0,
            metadata,
        },
        kind => {
            return Err(io::Error::other(format!(
                "the other version is a {kind}, and that cannot take its place"
            )));
        }
    };
    Ok(Some(seen))
}

/// What is in a file, up to the largest that is edited.
///
/// # Errors
/// It is none, or too large.
pub fn contents(tree: &Tree, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let Some(found) = tree.find(path)? else {
        return Ok(None);
    };
    let file = found
        .open()?
        .ok_or_else(|| io::Error::other("it is no file"))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    Ok(Some(bytes))
}

/// An environment with only what is needed to look for conflicts.
#[must_use]
pub fn reachable(side: &Side) -> Side {
    let mut side = side.clone();
    side.parts.retain(|part| {
        let place = part.place.as_str().as_bytes();
        below(place, DIRECTORY.as_bytes()).is_some() || below(DIRECTORY.as_bytes(), place).is_some()
    });
    side
}

/// The notes in a tree, by path; those that cannot be read are told.
///
/// # Errors
/// Where the directory cannot be read.
pub fn notes(tree: &Tree) -> io::Result<(Vec<Note>, Vec<String>)> {
    let (mut notes, mut problems) = (Vec::new(), Vec::new());
    let at = DIRECTORY.as_bytes();
    let Some(found) = tree.find(at)? else {
        return Ok((notes, problems));
    };
    let Some(entered) = found.enter()? else {
        problems.push(format!("/{DIRECTORY} is no directory"));
        return Ok((notes, problems));
    };
    for name in tree.names(&entered, at)? {
        let path = join(&join(at, &name.name), NOTE.as_bytes());
        match read(tree, &path) {
            Ok(note) => notes.push(note),
            Err(error) => {
                let path = String::from_utf8_lossy(&path);
                problems.push(format!("/{path} cannot be read: {error}"));
            }
        }
    }
    notes.sort_by_key(Note::path);
    Ok((notes, problems))
}

fn read(tree: &Tree, path: &[u8]) -> io::Result<Note> {
    let none = || io::Error::other("it is no file");
    let found = tree.find(path)?.ok_or_else(none)?;
    let file = found.open()?.ok_or_else(none)?;
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    let note: Note = serde_json::from_slice(&text)?;
    if note.version != VERSION {
        let version = note.version;
        return Err(io::Error::other(format!("its version is {version}")));
    }
    Ok(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_name_and_can_be_read_back() {
        let path = "etc/cron.d/50% of \u{e4}".as_bytes();
        assert_eq!(encode(path), "etc%2Fcron.d%2F50%25%20of%20%C3%A4");
        assert_eq!(decode(&encode(path)), path);
        assert_eq!(decode("%"), b"%");
        let long = vec![b'a'; 500];
        assert_eq!(directory(&long).len(), DIRECTORY.len() + 1 + 64);
        assert_eq!(
            directory(b"etc/shadow"),
            b"etc/beadm-rs/conflicts/etc%2Fshadow"
        );
    }
}
