//! What is known of trial boots: two records on the beroot.
//!
//! [`Trial`] says that an environment is being tried, [`FellBack`] that the last
//! one that was did not work. JSON on one line, with a version: what a newer
//! program wrote is told as that, and never taken for something else.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Survey;
use super::files::{FILES, Files};
use crate::zfs::{Guid, PREFIX};

/// The version of both records that this program writes and reads.
pub const VERSION: u64 = 1;

/// The property of [`Trial`], without its prefix.
pub const TRIAL: &str = "trial";

/// The property of [`FellBack`], without its prefix.
pub const FELL_BACK: &str = "fell-back";

/// An environment is being tried, and has not been confirmed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Which environment.
    pub target: Guid,
    /// The last good one, which the loader goes back to.
    pub back: Guid,
    /// How many boots it was given.
    pub tries: u32,
    /// When it was activated.
    pub since: DateTime<Utc>,
}

/// The last trial did not work, and the machine went back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FellBack {
    /// Which environment was tried.
    pub target: Guid,
    /// What it was called then; it may be gone.
    pub name: String,
    /// How many boots it was given; while it is still tried, which of them this is
    /// about.
    pub tries: u32,
    /// When that was noticed.
    pub when: DateTime<Utc>,
    /// Why, as far as it is known: one sentence.
    pub why: String,
}

/// Why a record says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// A newer program wrote it.
    #[error("its version is {0}, and this program knows {VERSION}")]
    Newer(u64),
    /// It is none.
    #[error("{0}")]
    Damaged(String),
}

/// A record with its version before the fields.
#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u64,
    #[serde(flatten)]
    record: &'a T,
}

pub(super) fn encode<T: Serialize>(record: &T) -> String {
    let version = VERSION;
    // Plain data without maps: serialising it cannot fail.
    let text = serde_json::to_string(&Versioned { version, record }).unwrap_or_default();
    // JSON has no need to escape these, and a mark that holds them is not understood.
    text.chars()
        .fold(String::with_capacity(text.len()), |mut escaped, c| {
            if c.is_control() {
                escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                escaped.push(c);
            }
            escaped
        })
}

pub(super) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Unread> {
    let damaged = |error: &dyn fmt::Display| Unread::Damaged(error.to_string());
    let mut fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| damaged(&error))?;
    // By its version before anything else: what else there is, is that version's.
    match fields.remove("version").map(|version| version.as_u64()) {
        Some(Some(VERSION)) => {
            serde_json::from_value(fields.into()).map_err(|error| damaged(&error))
        }
        Some(Some(version)) if version > VERSION => Err(Unread::Newer(version)),
        _ => Err(damaged(&"it has no version")),
    }
}

impl Trial {
    /// The text of the marker.
    #[must_use]
    pub fn encode(&self) -> String {
        encode(self)
    }

    /// Reads the text of the marker.
    ///
    /// # Errors
    /// A newer program's, or damaged.
    pub fn decode(text: &str) -> Result<Self, Unread> {
        decode(text)
    }
}

impl FellBack {
    /// The text of the marker.
    #[must_use]
    pub fn encode(&self) -> String {
        encode(self)
    }

    /// Reads the text of the marker.
    ///
    /// # Errors
    /// A newer program's, or damaged.
    pub fn decode(text: &str) -> Result<Self, Unread> {
        decode(text)
    }
}

/// Whether the text of a mark is one that no version of this program writes;
/// what is no record of a trial is not judged.
#[must_use]
pub fn is_damaged(key: &str, text: &str) -> bool {
    let unread = match key {
        TRIAL => Trial::decode(text).err(),
        FELL_BACK => FellBack::decode(text).err(),
        FILES => Files::decode(text).err(),
        _ => None,
    };
    matches!(unread, Some(Unread::Damaged(_)))
}

/// A record on the beroot that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{PREFIX}{key} of {beroot} cannot be read: {why}")]
pub struct UnreadRecord {
    /// Whose it is.
    pub beroot: String,
    /// The property, without its prefix.
    pub key: &'static str,
    /// Why not.
    pub why: Unread,
}

impl Survey {
    /// The environment that is being tried.
    ///
    /// # Errors
    /// There is a record that this program cannot read.
    pub fn trial(&self) -> Result<Option<Trial>, UnreadRecord> {
        self.record(TRIAL, Trial::decode)
    }

    /// The trial after which the machine went back.
    ///
    /// # Errors
    /// There is a record that this program cannot read.
    pub fn fell_back(&self) -> Result<Option<FellBack>, UnreadRecord> {
        self.record(FELL_BACK, FellBack::decode)
    }

    pub(super) fn record<T>(
        &self,
        key: &'static str,
        decode: impl FnOnce(&str) -> Result<T, Unread>,
    ) -> Result<Option<T>, UnreadRecord> {
        let unread = |why| UnreadRecord {
            beroot: self.beroot.to_string(),
            key,
            why,
        };
        self.beroot_mark(key)
            .map(decode)
            .transpose()
            .map_err(unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    #[test]
    fn the_records_are_read_as_they_were_written() {
        let trial = Trial {
            target: Guid(7),
            back: Guid(u64::MAX),
            tries: 3,
            since: moment(),
        };
        assert_eq!(
            trial.encode(),
            r#"{"version":1,"target":"7","back":"18446744073709551615","tries":3,"since":"2023-11-14T22:13:20Z"}"#
        );
        assert_eq!(Trial::decode(&trial.encode()), Ok(trial));
        let fell_back = FellBack {
            target: Guid(7),
            name: "new \"one\"".to_owned(),
            tries: 3,
            when: moment(),
            why: "tab\tand\nnewline".to_owned(),
        };
        assert_eq!(
            fell_back.encode(),
            r#"{"version":1,"target":"7","name":"new \"one\"","tries":3,"when":"2023-11-14T22:13:20Z","why":"tab\tand\nnewline"}"#
        );
        assert_eq!(FellBack::decode(&fell_back.encode()), Ok(fell_back.clone()));
        let odd = FellBack {
            why: "a check named \u{7f}\u{9b}é".to_owned(),
            ..fell_back
        };
        assert!(odd.encode().contains(r"a check named \u007f\u009bé"));
        assert_eq!(FellBack::decode(&odd.encode()), Ok(odd));
    }

    #[test]
    fn what_a_newer_program_wrote_is_told_as_that_whatever_it_holds() {
        for text in [
            r#"{"version":2}"#,
            r#"{"target":{"uuid":"x"},"version":2,"tries":"many"}"#,
        ] {
            assert_eq!(Trial::decode(text), Err(Unread::Newer(2)));
            assert_eq!(FellBack::decode(text), Err(Unread::Newer(2)));
            assert!(!is_damaged(TRIAL, text), "{text}");
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_and_not_a_trial() {
        let whole =
            r#"{"version":1,"target":"7","back":"8","tries":3,"since":"2023-11-14T22:13:20Z"}"#;
        assert!(Trial::decode(whole).is_ok());
        for text in [
            "",
            "yes",
            "[]",
            "{}",
            r#"{"version":0}"#,
            r#"{"version":-1}"#,
            r#"{"version":"1"}"#,
            &whole[..whole.len() - 1],
            &whole.replace("\"7\"", "7"),
            &whole.replace("\"7\"", "\"-7\""),
            &whole.replace("3,", "4294967296,"),
            &whole.replace("3,", "3,\"why\":\"more\","),
            &whole.replace("\"back\":\"8\",", ""),
            &whole.replace("2023-11-14T22:13:20Z", "yesterday"),
        ] {
            assert!(
                matches!(Trial::decode(text), Err(Unread::Damaged(_))),
                "{text}"
            );
            assert!(is_damaged(TRIAL, text), "{text}");
            assert!(!is_damaged("pinned", text), "{text}");
        }
    }
}
