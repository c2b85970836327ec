//! Files of records, merged record by record: the users and groups of both sides.
//!
//! A record is known by its name, in subuid and subgid by name and first number, for there
//! a name may have several; of records of the same name, each is known by which of them it
//! is. Lines that are none (comments, empty ones, those of NIS, which begin with `+` or
//! `-`) are known by their text. Per line, and within a record per field:
//!
//! - unchanged in the source: the target's stays, byte by byte;
//! - changed in the source and not in the target: it becomes the source's;
//! - changed on both sides differently: a conflict, but a lock wins ([`lock`]);
//! - a list of names (a group's members) takes what either side added, and loses what
//!   either removed.
//!
//! The order is the target's. A new line follows the line it followed in the source, or
//! the nearest before that which is there, or comes last, before NIS lines that end the file.
//!
//! An account is in passwd and in shadow, and each file is merged by itself: what is
//! added or deleted in both on one side is added or deleted in both. They can only come
//! apart where one of them is in conflict, which nothing here decides for; [`lonely`]
//! finds it in what was decided otherwise.

mod clash;
mod favour;
mod field;
mod file;
pub mod lock;
mod merge;

pub use favour::in_favour;
pub use merge::merge;

use std::fmt;

use file::File;

/// A file format: lines of fields with colons between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// passwd(5).
    Passwd,
    /// shadow(5).
    Shadow,
    /// group(5).
    Group,
    /// gshadow(5).
    Gshadow,
    /// subuid(5).
    Subuid,
    /// subgid(5).
    Subgid,
}

/// Whether a file is of its format.
///
/// # Errors
/// The first line that is not, by its number, without what is in it.
pub fn check(format: Format, bytes: &[u8]) -> Result<(), String> {
    match File::read(format, Some(bytes)) {
        Ok(_) => Ok(()),
        Err(broken) => Err(format!("line {}: {}", broken.line, broken.what)),
    }
}

impl Format {
    /// The format of the file at a path, with or without the slash at the beginning.
    #[must_use]
    pub fn of(path: &[u8]) -> Option<Self> {
        match path.strip_prefix(b"/").unwrap_or(path) {
            b"etc/passwd" => Some(Self::Passwd),
            b"etc/shadow" => Some(Self::Shadow),
            b"etc/group" => Some(Self::Group),
            b"etc/gshadow" => Some(Self::Gshadow),
            b"etc/subuid" => Some(Self::Subuid),
            b"etc/subgid" => Some(Self::Subgid),
            _ => None,
        }
    }

    /// The manual's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passwd => "passwd",
            Self::Shadow => "shadow",
            Self::Group => "group",
            Self::Gshadow => "gshadow",
            Self::Subuid => "subuid",
            Self::Subgid => "subgid",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What two sides did to a file of records that does not go together. Fields are
/// named, and what is in them is not in it, but for names and numbers of users and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// Both sides changed a field differently.
    Field {
        /// Whose record.
        record: String,
        /// Which field.
        field: &'static str,
    },
    /// Both sides made a record of the same name, with different fields.
    Added {
        /// Whose record.
        record: String,
        /// The first field that differs.
        field: &'static str,
    },
    /// One side deleted a record, the other one changed or made it.
    Deleted {
        /// Whose record.
        record: String,
        /// The source deleted it, not the target.
        by_source: bool,
    },
    /// Two records that never were in one file have the same number, or numbers.
    Clash {
        /// Which number: "uid", "gid", …
        what: &'static str,
        /// The number.
        number: u64,
        /// Whose record of the source.
        source: String,
        /// Whose record of the target.
        target: String,
    },
    /// There are several records of a name, or several times the same comment, and the
    /// changes are of different ones of them.
    Order {
        /// Whose records.
        record: String,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { record, field } => {
                write!(f, "{record}: both sides changed the {field} differently")
            }
            Self::Added { record, field } => {
                write!(f, "{record}: both sides made one, with a different {field}")
            }
            Self::Deleted {
                record,
                by_source: true,
            } => write!(f, "{record}: deleted in the source, changed in the target"),
            Self::Deleted {
                record,
                by_source: false,
            } => write!(f, "{record}: changed in the source, deleted in the target"),
            Self::Clash {
                what,
                number,
                source,
                target,
            } => write!(
                f,
                "{what} {number} is {source} in the source and {target} in the target"
            ),
            Self::Order { record } => {
                write!(
                    f,
                    "{record}: there are several, and each side changed others of them"
                )
            }
        }
    }
}

/// Why a file is not merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A line has not the fields its format has.
    Broken {
        /// Which version.
        version: &'static str,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The two sides' changes do not go together.
    Conflicts(Vec<Conflict>),
}

/// The names that are in one of two files that belong together, as passwd and shadow do,
/// and not in the other: of what is in `first` and lacks in `second`, and of what is in
/// `second` and lacks in `first`. Broken files have none.
#[must_use]
pub fn lonely(first: (Format, &[u8]), second: (Format, &[u8])) -> [Vec<String>; 2] {
    let names = |(format, bytes)| {
        File::read(format, Some(bytes)).map_or_else(|_| Vec::new(), |file| file.names())
    };
    let (one, other) = (names(first), names(second));
    let lacking = |from: &[&[u8]], to: &[&[u8]]| {
        let to: std::collections::HashSet<&[u8]> = to.iter().copied().collect();
        let lacking = from.iter().filter(|name| !to.contains(*name));
        lacking.map(|name| file::shown(name)).collect()
    };
    [lacking(&one, &other), lacking(&other, &one)]
}
