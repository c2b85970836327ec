//! Names of pools, datasets and snapshots, checked where they enter.
//!
//! The rules are those of `zfs_namecheck.c` in OpenZFS: components of ASCII
//! letters, digits and `-_.: `, no component `.` or `..`, at most 255 bytes in
//! all. A dataset name is never a path and never a bare `String`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name ZFS takes, in bytes, without the terminating NUL
/// (`ZFS_MAX_DATASET_NAME_LEN` is 256 with it).
pub const MAX_NAME_BYTES: usize = 255;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing between two separators.
    #[error("'{0}': a name, or a part of it between slashes, is empty")]
    Empty(String),
    /// A byte ZFS does not allow.
    #[error("'{name}': {character:?} is not allowed in a name (letters, digits and '-_.:' are)")]
    Character {
        /// The whole text.
        name: String,
        /// The first offending character.
        character: char,
    },
    /// `.` or `..` as a component.
    #[error("'{0}': '.' and '..' are not names")]
    Dots(String),
    /// A boot environment's name that an option parser would take for an option.
    #[error("'{0}': a boot environment's name cannot begin with '-'")]
    LeadingDash(String),
    /// A pool name that does not begin with a letter.
    #[error("'{0}': a pool's name begins with a letter")]
    Pool(String),
    /// Longer than ZFS takes.
    #[error("'{name}' is {bytes} bytes long with its parent; ZFS takes {MAX_NAME_BYTES}")]
    TooLong {
        /// The whole text.
        name: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// A snapshot name without `@`, or with more than one.
    #[error("'{0}': a snapshot is written DATASET@SNAPSHOT")]
    NotSnapshot(String),
}

fn check_component(whole: &str, part: &str) -> Result<(), NameError> {
    if part.is_empty() {
        return Err(NameError::Empty(whole.to_owned()));
    }
    if part == "." || part == ".." {
        return Err(NameError::Dots(whole.to_owned()));
    }
    match part.chars().find(|c| !is_name_char(*c)) {
        Some(character) => Err(NameError::Character {
            name: whole.to_owned(),
            character,
        }),
        None => Ok(()),
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | ' ')
}

fn check_length(whole: &str) -> Result<(), NameError> {
    if whole.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong {
            name: whole.to_owned(),
            bytes: whole.len(),
        });
    }
    Ok(())
}

macro_rules! text_type {
    ($type:ident) => {
        impl $type {
            /// The name as ZFS writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}

/// The name of a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PoolName(String);
text_type!(PoolName);

impl FromStr for PoolName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_component(text, text)?;
        check_length(text)?;
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(NameError::Pool(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a file system or volume: `pool[/component…]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatasetName(String);
text_type!(DatasetName);

impl FromStr for DatasetName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        for part in text.split('/') {
            check_component(text, part)?;
        }
        check_length(text)?;
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(NameError::Pool(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl DatasetName {
    /// The pool the dataset lies in.
    #[must_use]
    pub fn pool(&self) -> PoolName {
        PoolName(self.0.split('/').next().unwrap_or_default().to_owned())
    }

    /// The last component.
    #[must_use]
    pub fn leaf(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The dataset above; `None` for a pool's own root dataset.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The child of that name.
    ///
    /// # Errors
    /// Where the component is not one, or the whole grows too long.
    pub fn child(&self, component: &str) -> Result<Self, NameError> {
        let name = format!("{}/{component}", self.0);
        check_component(&name, component)?;
        check_length(&name)?;
        Ok(Self(name))
    }

    /// The snapshot of that name on this dataset.
    ///
    /// # Errors
    /// Where the component is not one, or the whole grows too long.
    pub fn snapshot(&self, component: &str) -> Result<SnapshotName, NameError> {
        format!("{}@{component}", self.0).parse()
    }

    /// Whether `self` is `root` or lies below it.
    #[must_use]
    pub fn is_within(&self, root: &Self) -> bool {
        self.below(root).is_some()
    }

    /// What follows `root` in the name: `""` for `root` itself, `"/var"` for
    /// its child `var`; `None` outside it.
    #[must_use]
    pub fn below(&self, root: &Self) -> Option<&str> {
        self.0
            .strip_prefix(root.as_str())
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The same place below another root.
    ///
    /// # Errors
    /// Where `self` is not within `from`, or the new name is too long.
    pub fn moved(&self, from: &Self, to: &Self) -> Result<Self, NameError> {
        match self.below(from) {
            Some(rest) => format!("{to}{rest}").parse(),
            None => Ok(self.clone()),
        }
    }

    /// How many components lie between the pool and this dataset.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.matches('/').count()
    }
}

impl From<PoolName> for DatasetName {
    fn from(pool: PoolName) -> Self {
        Self(pool.0)
    }
}

/// The name of a snapshot: `dataset@component`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotName(String);
text_type!(SnapshotName);

impl FromStr for SnapshotName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (dataset, component) = text
            .split_once('@')
            .ok_or_else(|| NameError::NotSnapshot(text.to_owned()))?;
        dataset.parse::<DatasetName>()?;
        check_component(text, component)?;
        check_length(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl SnapshotName {
    /// The dataset the snapshot is of.
    #[must_use]
    pub fn dataset(&self) -> DatasetName {
        DatasetName(
            self.0
                .split_once('@')
                .map_or("", |(dataset, _)| dataset)
                .to_owned(),
        )
    }

    /// What follows the `@`.
    #[must_use]
    pub fn component(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, part)| part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_zfs_are_taken_and_others_refused() {
        for good in ["rpool", "rpool/ROOT/de bian", "t:p/a.b_c-d/1"] {
            assert_eq!(good.parse::<DatasetName>().unwrap().as_str(), good);
        }
        for bad in [
            "", "/", "rpool/", "/rpool", "a//b", "a/./b", "a/../b", "a@b", "a%b", "a/ä", "9p/x",
            "a\tb", "a\nb",
        ] {
            assert!(bad.parse::<DatasetName>().is_err(), "{bad:?}");
        }
        let long = format!("rpool/{}", "x".repeat(250));
        assert_eq!(
            long.parse::<DatasetName>().unwrap_err().to_string(),
            format!("'{long}' is 256 bytes long with its parent; ZFS takes 255")
        );
    }

    #[test]
    fn a_sibling_with_the_same_beginning_is_not_within() {
        let a: DatasetName = "p/ROOT/a".parse().unwrap();
        let ab: DatasetName = "p/ROOT/ab/var".parse().unwrap();
        assert!(!ab.is_within(&a));
        assert_eq!(
            "p/ROOT/a/var"
                .parse::<DatasetName>()
                .unwrap()
                .moved(&a, &"p/ROOT/b".parse().unwrap())
                .unwrap()
                .as_str(),
            "p/ROOT/b/var"
        );
    }

    #[test]
    fn snapshot_names_have_one_at() {
        let snap: SnapshotName = "p/a@x:1".parse().unwrap();
        assert_eq!(snap.dataset().as_str(), "p/a");
        assert_eq!(snap.component(), "x:1");
        for bad in ["p/a", "p/a@", "@x", "p/a@b@c", "p/a@b/c"] {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad:?}");
        }
    }
}
