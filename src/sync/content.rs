//! The contents of a file where both sides have their say.

use std::fmt;

use super::records::{self, Format};
use super::{append, text};

/// How contents are made of those of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Record by record.
    Records(Format),
    /// Line by line.
    Text,
    /// What the source has more at its end is put at the target's.
    Append,
    /// What the source has more at its beginning is put at the target's.
    Prepend,
}

/// The contents of the four versions; a base that is not there is `None`.
#[derive(Clone, Copy)]
pub struct Contents<'a> {
    /// The source at the last time.
    pub base_source: Option<&'a [u8]>,
    /// The source.
    pub source: &'a [u8],
    /// The target at the last time.
    pub base_target: Option<&'a [u8]>,
    /// The target.
    pub target: &'a [u8],
}

/// What the target is to contain.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What it contains already.
    Same,
    /// This.
    New(Vec<u8>),
    /// It cannot be said: these are the reasons.
    Conflict(Vec<Conflict>),
}

/// What two sides did that does not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// In a file of records; it has names and numbers in it, and nothing that is secret.
    Record(records::Conflict),
    /// In a text; it has the lines of both sides in it.
    Lines(text::Hunk),
    /// The file cannot be merged in that way: why.
    Unfit(String),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(conflict) => conflict.fmt(f),
            Self::Lines(hunk) => write!(
                f,
                "line {}: both sides changed the same lines differently",
                hunk.line
            ),
            Self::Unfit(why) => f.write_str(why),
        }
    }
}

// Contents may be secret: neither is shown by its bytes.
impl fmt::Debug for Contents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents")
            .field("base_source", &self.base_source.map(<[u8]>::len))
            .field("source", &self.source.len())
            .field("base_target", &self.base_target.map(<[u8]>::len))
            .field("target", &self.target.len())
            .finish()
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("Same"),
            Self::New(bytes) => f.debug_tuple("New").field(&bytes.len()).finish(),
            Self::Conflict(conflicts) => f.debug_tuple("Conflict").field(conflicts).finish(),
        }
    }
}

impl<'a> Contents<'a> {
    /// Makes the target's contents.
    ///
    /// A file that cannot be merged in that way is carried whole where only the
    /// source changed it and both had the same to begin with.
    #[must_use]
    pub fn merge(&self, how: How) -> Outcome {
        let made = match how {
            How::Records(format) => {
                records::merge(format, self).map_err(|failure| records(failure, format))
            }
            How::Text => text::merge(self).map_err(lines),
            How::Append => append::append(self).map_err(|append::Binary| binary()),
            How::Prepend => append::prepend(self).map_err(|append::Binary| binary()),
        };
        match made {
            Ok(bytes) if bytes == self.target => Outcome::Same,
            Ok(bytes) => Outcome::New(bytes),
            Err(conflicts) => Outcome::Conflict(conflicts),
        }
    }

    /// The contents, where one side's are all there is to say.
    pub(super) fn of_one_side(&self) -> Option<&'a [u8]> {
        if self.base_source == Some(self.source) || self.source == self.target {
            Some(self.target)
        } else if self.base_source == self.base_target && self.base_target == Some(self.target) {
            Some(self.source)
        } else {
            None
        }
    }
}

fn unfit(why: impl Into<String>) -> Vec<Conflict> {
    vec![Conflict::Unfit(why.into())]
}

fn binary() -> Vec<Conflict> {
    unfit("it is no text: there is a NUL in it")
}

fn records(failure: records::Failure, format: Format) -> Vec<Conflict> {
    match failure {
        records::Failure::Conflicts(conflicts) => {
            conflicts.into_iter().map(Conflict::Record).collect()
        }
        records::Failure::Broken {
            version,
            line,
            what,
        } => unfit(format!(
            "it is no {format}: line {line} of {version}: {what}"
        )),
    }
}

fn lines(failure: text::Failure) -> Vec<Conflict> {
    match failure {
        text::Failure::Binary => binary(),
        text::Failure::Long => unfit(format!(
            "it has more than {} lines, too many to compare",
            text::MOST
        )),
        text::Failure::Ambiguous => unfit(
            "changed on both sides, and lines repeat so that it cannot be told which belong together",
        ),
        text::Failure::Conflicts(hunks) => hunks.into_iter().map(Conflict::Lines).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debugging_output_has_anything_of_a_file_in_it() {
        let contents = Contents {
            base_source: Some(b"secret"),
            source: b"secrets",
            base_target: None,
            target: b"",
        };
        assert_eq!(
            format!("{contents:?} {:?}", contents.merge(How::Append)),
            "Contents { base_source: Some(6), source: 7, base_target: None, target: 0 } New(7)"
        );
    }
}
