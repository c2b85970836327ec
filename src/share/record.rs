//! What is shared, as it is noted on the shared dataset itself: the mark
//! `org.beadm-rs:share`, a line of JSON.
//!
//! A property, not a file in the dataset: it is set in one transaction group
//! with the rest of the operation, no rollback of the files takes it back, and
//! whoever may write in the dataset (a mail server, the root of a zone that has
//! a directory of it) cannot set it.

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::intent::OpId;

/// The version of the format this program writes and reads.
const VERSION: u32 = 1;

/// How a directory of an environment leads to the shared dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// It is a symbolic link: `/var/mail -> share/mail`.
    Link,
    /// It is a directory with a bind mount on it.
    Bind,
}

impl Form {
    /// As a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Bind => "bind",
        }
    }
}

/// One shared directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is in an environment.
    pub path: Utf8PathBuf,
    /// What it is called in the shared dataset.
    pub name: String,
    /// How the one leads to the other.
    pub form: Form,
    /// Since when.
    pub at: DateTime<Utc>,
    /// The operation that moved it there; names what was there before.
    pub id: OpId,
}

/// All of them, by path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    v: u32,
    /// The entries.
    pub shared: Vec<Entry>,
    /// Those that were, and of which something is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Entry>,
}

impl Record {
    /// The text of the mark.
    #[must_use]
    pub fn encode(&self) -> String {
        let known = Self {
            v: VERSION,
            ..self.clone()
        };
        // Plain data without maps: serialising it cannot fail.
        serde_json::to_string(&known).unwrap_or_default()
    }

    /// Reads the text of the mark.
    ///
    /// # Errors
    /// Where it is a newer program's, or damaged.
    pub fn decode(text: &str) -> Result<Self, String> {
        let record: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if record.v != VERSION {
            return Err(format!("its version is {}, not {VERSION}", record.v));
        }
        let mut entries = record.shared.iter().chain(&record.removed);
        match entries.find(|entry| !is_sound(entry)) {
            None => Ok(record),
            Some(entry) => Err(format!("{:?} is no place", entry.path)),
        }
    }

    /// The entry of a path.
    #[must_use]
    pub fn find(&self, path: &Utf8Path) -> Option<&Entry> {
        self.shared.iter().find(|entry| entry.path == path)
    }

    /// The same with one more, in the place of one of the same path.
    #[must_use]
    pub fn with(&self, entry: Entry) -> Self {
        let mut record = self.without(&entry.path);
        record.shared.push(entry);
        record
            .shared
            .sort_by(|one, other| one.path.cmp(&other.path));
        record
    }

    /// The same without one.
    #[must_use]
    pub fn without(&self, path: &Utf8Path) -> Self {
        let mut record = self.clone();
        record.shared.retain(|entry| entry.path != path);
        record
    }
}

/// An absolute path without `..`, and a name that is one component.
fn is_sound(entry: &Entry) -> bool {
    let plain = |part: camino::Utf8Component<'_>| {
        matches!(
            part,
            camino::Utf8Component::Normal(_) | camino::Utf8Component::RootDir
        )
    };
    entry.path.is_absolute()
        && entry.path.components().all(plain)
        && !entry.name.is_empty()
        && !entry.name.starts_with('.')
        && !entry.name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, name: &str) -> Entry {
        Entry {
            path: path.into(),
            name: name.to_owned(),
            form: Form::Link,
            at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            id: OpId::from_bits(0xabc),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record::default()
            .with(entry("/var/spool", "spool"))
            .with(entry("/var/mail", "mail"));
        assert_eq!(
            record.encode(),
            r#"{"v":1,"shared":[{"path":"/var/mail","name":"mail","form":"link","at":"2023-11-14T22:13:20Z","id":"0000000000000abc"},{"path":"/var/spool","name":"spool","form":"link","at":"2023-11-14T22:13:20Z","id":"0000000000000abc"}]}"#
        );
        let read = Record::decode(&record.encode()).unwrap();
        assert_eq!(read.shared, record.shared);
        assert_eq!(read.without("/var/mail".into()).shared.len(), 1);
    }

    #[test]
    fn a_record_that_leads_elsewhere_is_damage() {
        for (path, name) in [
            ("/var/../etc", "etc"),
            ("var", "var"),
            ("/var/x", ".."),
            ("/x", "a/b"),
        ] {
            let text = Record::default().with(entry(path, name)).encode();
            assert!(Record::decode(&text).is_err(), "{path} {name}");
        }
        assert!(Record::decode(r#"{"v":2,"shared":[]}"#).is_err());
        assert!(Record::decode("{}").is_err());
    }
}
