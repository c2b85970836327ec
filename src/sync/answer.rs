//! How conflicts are decided: by one side for all of them, or each by somebody who was
//! asked.

use std::collections::BTreeMap;
use std::fmt;

use super::change::Winner;
use super::read::{Met, Row};
use super::version::Seen;

/// What somebody said about one conflict.
#[derive(Clone, PartialEq, Eq)]
pub enum Choice {
    /// The source's version.
    Source,
    /// The target's.
    Target,
    /// These contents.
    Edited(Vec<u8>),
}

// Contents may be secret.
impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("Source"),
            Self::Target => f.write_str("Target"),
            Self::Edited(bytes) => f.debug_tuple("Edited").field(&bytes.len()).finish(),
        }
    }
}

/// The same, with the versions that were shown: of others it says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    choice: Choice,
    versions: [Option<Seen>; 2],
}

/// Who wins a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ruling {
    pub(super) winner: Winner,
    /// Somebody said so about this very file.
    pub(super) asked: bool,
}

/// How conflicts are decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdicts {
    /// Who wins all of them.
    pub all: Option<Winner>,
    /// By path.
    answers: BTreeMap<Vec<u8>, Answer>,
}

impl From<Option<Winner>> for Verdicts {
    fn from(all: Option<Winner>) -> Self {
        Self {
            all,
            answers: BTreeMap::new(),
        }
    }
}

impl Verdicts {
    /// Takes an answer about a conflict.
    pub fn answer(&mut self, row: &Row, choice: Choice) {
        let versions = row.versions.clone();
        self.answers
            .insert(row.path.clone(), Answer { choice, versions });
    }

    /// Somebody has said something about this file, as it is.
    #[must_use]
    pub fn has_answer(&self, row: &Row) -> bool {
        self.answers
            .get(&row.path)
            .is_some_and(|answer| answer.versions == row.versions)
    }

    fn choice(&self, path: &[u8], met: &Met) -> Option<&Choice> {
        let answer = self.answers.get(path)?;
        let [source, target] = &answer.versions;
        (*source == met.source && *target == met.target).then_some(&answer.choice)
    }

    /// Who wins.
    pub(super) fn ruling(&self, path: &[u8], met: &Met) -> Option<Ruling> {
        let answered = match self.choice(path, met) {
            Some(Choice::Source) => Some(Winner::Source),
            Some(Choice::Target) => Some(Winner::Target),
            Some(Choice::Edited(_)) | None => None,
        };
        let winner = answered.or(self.all)?;
        Some(Ruling {
            winner,
            asked: answered.is_some(),
        })
    }

    /// What was made of a file.
    pub(super) fn edited(&self, path: &[u8], met: &Met) -> Option<&[u8]> {
        match self.choice(path, met)? {
            Choice::Edited(bytes) => Some(bytes),
            Choice::Source | Choice::Target => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::decide::{Action, Kind, Metadata};
    use crate::sync::list::Policy;
    use crate::sync::read::Since;

    fn seen(content: &str) -> Option<Seen> {
        Some(Seen {
            kind: Kind::File,
            content: content.into(),
            size: 1,
            metadata: Metadata {
                mode: 0o644,
                uid: 0,
                gid: 0,
                xattrs: BTreeMap::new(),
            },
        })
    }

    fn met(source: &str) -> Met {
        Met {
            policy: Policy::Overwrite,
            base_source: None,
            source: seen(source),
            base_target: None,
            target: seen("target"),
            links: 1,
            part: Vec::new(),
        }
    }

    #[test]
    fn an_answer_is_about_the_versions_that_were_shown() {
        let row = Row {
            path: b"etc/motd".to_vec(),
            policy: Policy::Overwrite,
            base: None,
            source: Since::New,
            target: Since::New,
            action: Action::Conflict,
            why: String::new(),
            details: Vec::new(),
            change: None,
            kept: false,
            versions: [seen("source"), seen("target")],
        };
        let mut verdicts = Verdicts::default();
        verdicts.answer(&row, Choice::Source);
        let winner = |met: &Met| verdicts.ruling(b"etc/motd", met).map(|one| one.winner);
        assert_eq!(winner(&met("source")), Some(Winner::Source));
        assert_eq!(winner(&met("written meanwhile")), None);
        verdicts.answer(&row, Choice::Edited(b"secret".to_vec()));
        assert_eq!(
            verdicts.edited(b"etc/motd", &met("source")),
            Some(&b"secret"[..])
        );
        assert_eq!(
            verdicts.edited(b"etc/motd", &met("written meanwhile")),
            None
        );
        assert!(!format!("{verdicts:?}").contains("secret"));
    }
}
