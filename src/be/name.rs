//! The name of a boot environment: the last component of its dataset.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::zfs::{DatasetName, NameError};

/// The name of a boot environment, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BeName(String);

impl BeName {
    /// The name as people write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The dataset of that name below a beroot.
    ///
    /// # Errors
    /// Where the whole is longer than ZFS takes.
    pub fn below(&self, beroot: &DatasetName) -> Result<DatasetName, NameError> {
        beroot.child(&self.0)
    }
}

impl FromStr for BeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains('/') {
            return Err(NameError::Character {
                name: text.to_owned(),
                character: '/',
            });
        }
        text.parse::<NewBeName>()
            .map(|name| name.0)
            .or_else(|error| match error {
                // Other tools let these through; they have to stay reachable.
                NameError::Character { character: ' ', .. } => Ok(Self(text.to_owned())),
                NameError::LeadingDash(_) => Ok(Self(text.to_owned())),
                error => Err(error),
            })
    }
}

impl fmt::Display for BeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for BeName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<BeName> for String {
    fn from(name: BeName) -> Self {
        name.0
    }
}

/// A name that may be given to a new boot environment: without spaces, which
/// make a root on the kernel's command line unbootable (FreeBSD PR 254441).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBeName(BeName);

impl NewBeName {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &BeName {
        &self.0
    }
}

impl FromStr for NewBeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty(text.to_owned()));
        }
        if text.starts_with('-') {
            return Err(NameError::LeadingDash(text.to_owned()));
        }
        if let Some(character) = text.chars().find(|c| matches!(c, ' ' | '/')) {
            return Err(NameError::Character {
                name: text.to_owned(),
                character,
            });
        }
        // Checked as a component of a short parent: the real one's length is
        // the planner's to check.
        format!("p/{text}")
            .parse::<DatasetName>()
            .map_err(|error| match error {
                NameError::Character { character, .. } => NameError::Character {
                    name: text.to_owned(),
                    character,
                },
                NameError::Dots(_) => NameError::Dots(text.to_owned()),
                NameError::TooLong { bytes, .. } => NameError::TooLong {
                    name: text.to_owned(),
                    bytes,
                },
                other => other,
            })?;
        Ok(Self(BeName(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_names_are_stricter_than_existing_ones() {
        for good in ["a", "2026-11-20", "deb13_1.2:3"] {
            assert!(good.parse::<NewBeName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "a@b", "a%b", "-a", "ä", ".", "..", "a\n"] {
            assert!(bad.parse::<NewBeName>().is_err(), "{bad:?}");
        }
        for existing in ["a b", "-a"] {
            assert!(existing.parse::<BeName>().is_ok(), "{existing:?}");
        }
        for never in ["a/b", "a@b", "", "..", "a%b"] {
            assert!(never.parse::<BeName>().is_err(), "{never:?}");
        }
    }
}
