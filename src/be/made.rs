//! What made an environment, where this program did it unasked or in the course
//! of more: a mark on its root, set before it becomes an environment.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};

use super::BootEnvironment;
use crate::intent::OpId;
use crate::marker;

/// The mark's key.
pub const KEY: &str = "made";

/// What made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// `upgrade`, which has not ended: packages in it may be half installed.
    Upgrade,
    /// A hook of a package manager, before a transaction: which one.
    Hook(String),
}

/// What made an environment, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The operation.
    pub id: OpId,
    /// What.
    pub by: Maker,
    /// When.
    pub at: DateTime<Utc>,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        match &self.by {
            Maker::Upgrade => write!(f, "{} upgrade {at}", self.id),
            Maker::Hook(manager) => write!(f, "{} hook {manager} {at}", self.id),
        }
    }
}

/// It is not the text of such a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not say what made an environment")]
pub struct NotMade;

impl FromStr for Made {
    type Err = NotMade;

    fn from_str(text: &str) -> Result<Self, NotMade> {
        let words: Vec<&str> = text.split(' ').collect();
        let (id, by, at) = match words.as_slice() {
            [id, "upgrade", at] => (id, Maker::Upgrade, at),
            [id, "hook", manager, at] => (id, Maker::Hook((*manager).to_owned()), at),
            _ => return Err(NotMade),
        };
        Ok(Self {
            id: id.parse().map_err(|_| NotMade)?,
            by,
            at: DateTime::parse_from_rfc3339(at)
                .map_err(|_| NotMade)?
                .with_timezone(&Utc),
        })
    }
}

impl BootEnvironment<'_> {
    /// What made it, where this program noted that.
    #[must_use]
    pub fn made(&self) -> Option<Made> {
        marker::read(&self.root.marks, KEY, self.guid())?
            .parse()
            .ok()
    }

    /// When the upgrade began that made it and has not ended.
    #[must_use]
    pub fn unfinished_upgrade(&self) -> Option<DateTime<Utc>> {
        self.made()
            .filter(|made| made.by == Maker::Upgrade)
            .map(|made| made.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for by in [Maker::Upgrade, Maker::Hook("apt".to_owned())] {
            let made = Made {
                id: OpId::from_bits(0xabc),
                by,
                at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            };
            assert_eq!(made.to_string().parse(), Ok(made));
        }
        for other in [
            "",
            "0000000000000abc create",
            "0000000000000abc upgrade",
            "0000000000000abc upgrade soon",
            "x upgrade 2027-01-15T08:00:00Z",
            "0000000000000abc hook 2027-01-15T08:00:00Z",
            "0000000000000abc  hook apt 2027-01-15T08:00:00Z",
            "{\"v\":1}",
        ] {
            assert_eq!(other.parse::<Made>(), Err(NotMade), "{other:?}");
        }
    }
}
