//! Which environment has the machine's newest files: a record on the beroot, made by a
//! switch that synchronizes, by which the next boot knows what it has to carry from where.

use serde::{Deserialize, Serialize};

use super::Survey;
use super::trial::{Unread, UnreadRecord, decode, encode};
use crate::zfs::Guid;

/// The property of [`Files`], without its prefix.
pub const FILES: &str = "files";

/// Where the newest files are, and who is to get them when it comes up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The environment that ran last.
    pub newest: Guid,
    /// Those that may come up next: when one of them does, what was changed in the
    /// newest since both were synchronized is carried to it.
    pub among: Vec<Guid>,
    /// From which that could not be done when the newest came up: it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed: Option<Guid>,
}

impl Files {
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

    /// The same when one has come up that is to get what changed in another.
    #[must_use]
    pub fn owed_to(&self, running: Guid, source: Guid) -> Self {
        Self {
            newest: running,
            among: self.among.clone(),
            owed: Some(source),
        }
    }

    /// From which environment something is to be carried to the one that runs; none from
    /// one that is gone.
    #[must_use]
    pub fn source(&self, running: Guid) -> Option<Guid> {
        if running == self.newest {
            return self.owed;
        }
        let both = [running, self.newest];
        let are_there = both.iter().all(|guid| self.among.contains(guid));
        are_there.then_some(self.newest)
    }

    /// The same of those environments that are there.
    fn of_those(mut self, is_there: impl Fn(Guid) -> bool) -> Self {
        self.among.retain(|guid| is_there(*guid));
        self.owed = self.owed.filter(|guid| is_there(*guid));
        self
    }
}

impl Survey {
    /// Where the newest files are. Environments that are gone are not among those that are
    /// to get them, and nothing is owed from one, whoever destroyed it.
    ///
    /// # Errors
    /// There is a record that this program cannot read.
    pub fn files(&self) -> Result<Option<Files>, UnreadRecord> {
        let record = self.record(FILES, Files::decode)?;
        let is_there = |guid| self.environment_with(guid).is_some();
        Ok(record.map(|files| files.of_those(is_there)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(owed: Option<Guid>) -> Files {
        Files {
            newest: Guid(1),
            among: vec![Guid(1), Guid(2)],
            owed,
        }
    }

    #[test]
    fn the_record_is_read_as_it_was_written() {
        let record = files(None);
        assert_eq!(
            record.encode(),
            r#"{"version":1,"newest":"1","among":["1","2"]}"#
        );
        assert_eq!(Files::decode(&record.encode()), Ok(record));
        assert_eq!(
            Files::decode(r#"{"version":2,"newest":"1"}"#),
            Err(Unread::Newer(2))
        );
    }

    #[test]
    fn what_comes_up_gets_what_ran_last() {
        assert_eq!(files(None).source(Guid(2)), Some(Guid(1)));
        assert_eq!(files(None).source(Guid(1)), None);
        assert_eq!(files(None).source(Guid(3)), None);
        assert_eq!(files(Some(Guid(2))).source(Guid(1)), Some(Guid(2)));
    }

    #[test]
    fn from_what_is_gone_nothing_comes() {
        let left = |there: u64| files(Some(Guid(2))).of_those(|guid| guid == Guid(there));
        assert_eq!(left(1).among, [Guid(1)]);
        assert_eq!(left(1).source(Guid(1)), None);
        assert_eq!(left(2).source(Guid(2)), None);
        assert_eq!(left(2).owed, Some(Guid(2)));
    }
}
