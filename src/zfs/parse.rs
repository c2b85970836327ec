//! Readers of what `zfs` and `zpool` print with `-Hp`: pure, total functions.
//!
//! Tab-separated text and not JSON, on every release: OpenZFS before 2.3,
//! illumos and FreeBSD 13 have no JSON; where there is, characters beyond the
//! Basic Multilingual Plane are missing from it, and in a wrong locale it is
//! cut short with exit status 0. A value can hold tabs and newlines, so
//! whatever a person can write freely stands in the last column, and a line
//! that does not begin a record continues the one before.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Canmount, Dataset, DatasetName, Guid, Kind, PREFIX, Pool, Property, SURVEYED, Snapshot,
    SnapshotName, Source,
};

/// What could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of its output is not understood ({why}): {text:?}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// What was missing.
    pub why: String,
    /// The line, at most 200 characters of it.
    pub text: String,
}

fn fail(line: usize, why: impl ToString, text: &str) -> ParseError {
    ParseError {
        line,
        why: why.to_string(),
        text: text.chars().take(200).collect(),
    }
}

/// The columns of [`pools`].
pub const POOL_COLUMNS: &str = "name,guid,health,readonly,free,size,bootfs,altroot";

/// Reads `zpool list -Hp -o` [`POOL_COLUMNS`].
///
/// # Errors
/// The first line that is not of that shape.
pub fn pools(text: &str) -> Result<Vec<Pool>, ParseError> {
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            let fields: Vec<&str> = line.splitn(8, '\t').collect();
            let [name, guid, health, readonly, free, size, bootfs, altroot] = fields[..] else {
                return Err(fail(index + 1, "8 columns expected", line));
            };
            let number = |text: &str| -> Result<u64, ParseError> {
                // A faulted pool shows "-" for its sizes.
                match text {
                    "-" => Ok(0),
                    text => text
                        .parse()
                        .map_err(|_| fail(index + 1, format!("{text:?} is no number"), line)),
                }
            };
            Ok(Pool {
                name: name.parse().map_err(|error| fail(index + 1, error, line))?,
                guid: Guid(number(guid)?),
                health: health.to_owned(),
                readonly: readonly == "on",
                free: number(free)?,
                size: number(size)?,
                bootfs: match bootfs {
                    "-" | "" => None,
                    name => Some(name.parse().map_err(|error| fail(index + 1, error, line))?),
                },
                altroot: match altroot {
                    "-" | "" => None,
                    path => Some(path.into()),
                },
            })
        })
        .collect()
}

/// The columns of [`tree`] before the user properties.
const TREE_COLUMNS: [&str; 18] = [
    "name",
    "type",
    "guid",
    "createtxg",
    "creation",
    "used",
    "referenced",
    "written",
    "origin",
    "canmount",
    "mounted",
    "readonly",
    "encryptionroot",
    "keystatus",
    "receive_resume_token",
    "clones",
    "userrefs",
    "mountpoint",
];

/// The argument of `zfs list -o` that [`tree`] reads.
#[must_use]
pub fn tree_columns() -> String {
    TREE_COLUMNS
        .iter()
        .map(|column| (*column).to_owned())
        .chain(SURVEYED.iter().map(|key| format!("{PREFIX}{key}")))
        .collect::<Vec<_>>()
        .join(",")
}

/// A record: the number of its line, and its text without the newline.
type Record = (usize, String);

/// Joins the lines of values that hold newlines: a record begins with a line
/// for which `begins` says so.
fn records(text: &str, begins: impl Fn(&str) -> bool) -> Result<Vec<Record>, ParseError> {
    let mut records: Vec<Record> = Vec::new();
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.is_empty() {
        return Ok(records);
    }
    for (index, line) in text.split('\n').enumerate() {
        if begins(line) {
            records.push((index + 1, line.to_owned()));
        } else if let Some((_, last)) = records.last_mut() {
            last.push('\n');
            last.push_str(line);
        } else {
            return Err(fail(index + 1, "a name expected", line));
        }
    }
    Ok(records)
}

/// Reads `zfs list -Hp -r -t filesystem,volume[,snapshot] -o` [`tree_columns`].
///
/// Snapshots are gathered in their datasets, oldest first.
///
/// # Errors
/// The first record that is not of that shape, or a name that comes twice (a
/// forged line inside a value).
pub fn tree(text: &str) -> Result<Vec<Dataset>, ParseError> {
    let begins = |line: &str| {
        let mut fields = line.splitn(4, '\t');
        fields.next().is_some_and(|name| {
            let name = name.split('@').next().unwrap_or_default();
            name.parse::<DatasetName>().is_ok()
        }) && matches!(fields.next(), Some("filesystem" | "volume" | "snapshot"))
            && fields
                .next()
                .is_some_and(|guid| guid.parse::<u64>().is_ok())
    };
    let mut datasets: Vec<Dataset> = Vec::new();
    let mut at: BTreeMap<DatasetName, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (line, record) in records(text, begins)? {
        let fields: Vec<&str> = record
            .splitn(TREE_COLUMNS.len() + SURVEYED.len(), '\t')
            .collect();
        let row = Row {
            line,
            record: &record,
            fields: &fields,
        };
        if fields.len() != TREE_COLUMNS.len() + SURVEYED.len() {
            return Err(row.fail(format!(
                "{} columns expected",
                TREE_COLUMNS.len() + SURVEYED.len()
            )));
        }
        if !seen.insert(row.get(0).to_owned()) {
            return Err(row.fail("listed twice".to_owned()));
        }
        if row.get(1) == "snapshot" {
            let snapshot = row.snapshot()?;
            let owner = at
                .get(&snapshot.name.dataset())
                .and_then(|index| datasets.get_mut(*index));
            match owner {
                Some(dataset) => dataset.snapshots.push(snapshot),
                None => return Err(row.fail("its dataset is not listed before it".to_owned())),
            }
        } else {
            let dataset = row.dataset()?;
            at.insert(dataset.name.clone(), datasets.len());
            datasets.push(dataset);
        }
    }
    for dataset in &mut datasets {
        dataset.snapshots.sort_by_key(|snapshot| snapshot.createtxg);
    }
    Ok(datasets)
}

struct Row<'a> {
    line: usize,
    record: &'a str,
    fields: &'a [&'a str],
}

impl Row<'_> {
    fn fail(&self, why: String) -> ParseError {
        fail(self.line, why, self.record)
    }

    fn get(&self, column: usize) -> &str {
        self.fields.get(column).copied().unwrap_or_default()
    }

    fn number(&self, column: usize) -> Result<u64, ParseError> {
        match self.get(column) {
            // A property that does not apply, or cannot be read just now.
            "-" => Ok(0),
            text => text
                .parse()
                .map_err(|_| self.fail(format!("{text:?} is no number"))),
        }
    }

    fn name<T: std::str::FromStr<Err = super::NameError>>(
        &self,
        text: &str,
    ) -> Result<T, ParseError> {
        text.parse()
            .map_err(|error: super::NameError| self.fail(error.to_string()))
    }

    fn optional_name<T: std::str::FromStr<Err = super::NameError>>(
        &self,
        column: usize,
    ) -> Result<Option<T>, ParseError> {
        match self.get(column) {
            "-" | "" => Ok(None),
            text => self.name(text).map(Some),
        }
    }

    fn creation(&self) -> Result<i64, ParseError> {
        i64::try_from(self.number(4)?).map_err(|error| self.fail(error.to_string()))
    }

    fn marks(&self) -> BTreeMap<String, String> {
        SURVEYED
            .iter()
            .zip(self.fields.iter().skip(TREE_COLUMNS.len()))
            .filter(|(_, value)| **value != "-")
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn dataset(&self) -> Result<Dataset, ParseError> {
        let kind = match self.get(1) {
            "volume" => Kind::Volume,
            _ => Kind::Filesystem,
        };
        Ok(Dataset {
            name: self.name(self.get(0))?,
            kind,
            guid: Guid(self.number(2)?),
            createtxg: self.number(3)?,
            creation: self.creation()?,
            used: self.number(5)?,
            referenced: self.number(6)?,
            written: self.number(7)?,
            origin: self.optional_name::<SnapshotName>(8)?,
            canmount: match self.get(9) {
                "noauto" => Canmount::Noauto,
                "off" => Canmount::Off,
                _ => Canmount::On,
            },
            mounted: self.get(10) == "yes",
            readonly: self.get(11) == "on",
            encryption_root: self.optional_name(12)?,
            key_loaded: self.get(13) != "unavailable",
            receiving: !matches!(self.get(14), "-" | ""),
            mountpoint: self.get(17).parse().unwrap_or(super::Mountpoint::None),
            marks: self.marks(),
            snapshots: Vec::new(),
        })
    }

    fn snapshot(&self) -> Result<Snapshot, ParseError> {
        Ok(Snapshot {
            name: self.name(self.get(0))?,
            guid: Guid(self.number(2)?),
            createtxg: self.number(3)?,
            creation: self.creation()?,
            used: self.number(5)?,
            referenced: self.number(6)?,
            written: self.number(7)?,
            clones: match self.get(15) {
                "-" | "" => Vec::new(),
                list => list
                    .split(',')
                    .map(|name| self.name(name))
                    .collect::<Result<_, _>>()?,
            },
            holds: self.number(16)?,
            marks: self.marks(),
        })
    }
}

/// Reads `zfs get -Hp -r -s local,received -o name,property,source,value all`.
///
/// # Errors
/// Output that does not begin with a record.
pub fn properties(text: &str) -> Result<BTreeMap<DatasetName, Vec<Property>>, ParseError> {
    let begins = |line: &str| {
        let mut fields = line.splitn(4, '\t');
        fields
            .next()
            .is_some_and(|name| name.parse::<DatasetName>().is_ok())
            && fields
                .next()
                .is_some_and(|name| !name.is_empty() && name.chars().all(is_property_char))
            && matches!(fields.next(), Some("local" | "received"))
            && fields.next().is_some()
    };
    let mut found: BTreeMap<DatasetName, Vec<Property>> = BTreeMap::new();
    for (line, record) in records(text, begins)? {
        let mut fields = record.splitn(4, '\t');
        let (Some(name), Some(property), Some(source), Some(value)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(fail(line, "4 columns expected", &record));
        };
        let dataset = name.parse().map_err(|error| fail(line, error, &record))?;
        found.entry(dataset).or_default().push(Property {
            name: property.to_owned(),
            source: match source {
                "local" => Source::Local,
                "received" => Source::Received,
                other => Source::Other(other.to_owned()),
            },
            value: value.to_owned(),
        });
    }
    Ok(found)
}

/// zfsprops(7), "User Properties": lowercase letters, digits and `:-._`;
/// native ones such as `userquota@…` add `@` and capitals.
fn is_property_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.' | '_' | '@' | '#')
}

/// Reads the table `zfs get` prints when it is called without arguments: the
/// native properties that can be set. `version` can, and is left out: a clone
/// has its origin's, and asking for it is slow. Empty where there is no table.
#[must_use]
pub fn settable(usage: &str) -> Vec<String> {
    usage
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let name = fields.next()?;
            let settable = fields.next() == Some("YES")
                && matches!(fields.next(), Some("YES" | "NO"))
                && name != "version"
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            settable.then(|| name.to_owned())
        })
        .collect()
}

/// Reads what `user_properties.lua` returns, as JSON.
///
/// # Errors
/// Where it is not of that shape.
pub fn user_properties(text: &str) -> Result<BTreeMap<DatasetName, Vec<Property>>, ParseError> {
    #[derive(serde::Deserialize)]
    struct Returned {
        #[serde(rename = "return")]
        value: BTreeMap<DatasetName, BTreeMap<String, String>>,
    }
    let returned: Returned = serde_json::from_str(text).map_err(|error| fail(1, error, text))?;
    returned
        .value
        .into_iter()
        .map(|(dataset, properties)| {
            let properties = properties
                .into_iter()
                .map(|(name, encoded)| {
                    let property = user_property(&name, &encoded);
                    property.ok_or_else(|| fail(1, format!("{name} is not encoded"), &encoded))
                })
                .collect::<Result<_, _>>()?;
            Ok((dataset, properties))
        })
        .collect()
}

fn user_property(name: &str, encoded: &str) -> Option<Property> {
    let (source, digits) = encoded.split_at_checked(1)?;
    let bytes: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    Some(Property {
        name: name.to_owned(),
        source: match source {
            "l" => Source::Local,
            "r" => Source::Received,
            other => Source::Other(other.to_owned()),
        },
        value: String::from_utf8(bytes?).ok()?,
    })
}

/// Reads the estimate out of `zfs send -nP`: bytes.
///
/// # Errors
/// Where there is no line `size<TAB>BYTES`.
pub fn send_size(text: &str) -> Result<u64, ParseError> {
    text.lines()
        .find_map(|line| line.strip_prefix("size\t"))
        .and_then(|size| size.trim().parse().ok())
        .ok_or_else(|| fail(1, "a line 'size' expected", text))
}

/// Reads the active features out of `zpool get -H -o property,value all`.
#[must_use]
pub fn active_features(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("feature@")?.strip_suffix("\tactive"))
        .map(str::to_owned)
        .collect()
}

/// Reads `zfs holds -H`: the tags of one snapshot.
#[must_use]
pub fn holds(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split('\t').nth(1))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, kind: &str, description: &str) -> String {
        format!(
            "{name}\t{kind}\t17\t5\t1700000000\t100\t50\t0\t-\tnoauto\tno\toff\t-\t-\t-\t-\t0\t/\t-\t-\t-\t-\t-\t-\t{description}\n"
        )
    }

    #[test]
    fn a_description_with_tabs_and_newlines_is_read_whole() {
        let text = format!(
            "{}{}",
            line("p/ROOT/a", "filesystem", "one\ttwo\n\nthree"),
            line("p/ROOT/a@s", "snapshot", "-")
        );
        let read = tree(&text).unwrap();
        assert_eq!(read[0].marks["description"], "one\ttwo\n\nthree");
        assert_eq!(read[0].snapshots[0].name.as_str(), "p/ROOT/a@s");
    }

    #[test]
    fn a_line_forged_in_a_value_is_an_error_and_not_a_dataset() {
        let forged = line("p/ROOT/b", "filesystem", "-");
        let text = format!(
            "{}{}",
            line(
                "p/ROOT/a",
                "filesystem",
                &format!("x\n{}", forged.trim_end())
            ),
            forged
        );
        assert!(tree(&text).unwrap_err().why.contains("listed twice"));
    }

    #[test]
    fn rubbish_is_an_error_and_never_an_empty_list() {
        for text in ["rubbish\n", "a\tb\n", "{\"datasets\":{}}\n", "\n\n"] {
            assert!(tree(text).is_err(), "{text:?}");
            assert!(pools(text).is_err(), "{text:?}");
            assert!(properties(text).is_err(), "{text:?}");
        }
        assert_eq!(tree("").unwrap(), vec![]);
    }

    #[test]
    fn a_property_with_newlines_ends_where_the_next_begins() {
        let text = "p/a\tcom.x:y\tlocal\tone\n\ttwo\n\np/a\tcompression\treceived\tzstd\n";
        let read = properties(text).unwrap();
        let read = &read[&"p/a".parse().unwrap()];
        assert_eq!(read[0].value, "one\n\ttwo\n");
        assert_eq!(read[1].value, "zstd");
        assert_eq!(read[1].source, Source::Received);
    }

    #[test]
    fn the_settable_properties_are_read_from_the_usage_text() {
        let usage = "usage:\n\tget [-rHp] ...\n\n\tPROPERTY       EDIT  INHERIT   VALUES\n\n\t\
                     used            NO       NO   <size>\n\tatime          YES      YES   on | off\n\t\
                     quota          YES       NO   <size> | none\n\tversion        YES       NO   1 | 2\n\t\
                     userquota@...  YES       NO   <size> | none\n";
        assert_eq!(settable(usage), ["atime", "quota"]);
        assert!(settable("rubbish").is_empty());
    }

    #[test]
    fn user_properties_are_read_byte_for_byte() {
        let text = r#"{"return":{"p/a":{"a:b":"l7809790af09f9a80"},"p/a/b":{}}}"#;
        let read = user_properties(text).unwrap();
        let property = &read[&"p/a".parse().unwrap()][0];
        assert_eq!(property.value, "x\ty\n\u{1f680}");
        assert_eq!(property.source, Source::Local);
        for bad in ["", "{}", r#"{"return":{"p/a":{"a:b":"lzz"}}}"#] {
            assert!(user_properties(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_active_features_are_those_and_no_others() {
        let text = "size\t1G\nfeature@lz4_compress\tactive\nfeature@edonr\tenabled\n\
            feature@draid\tdisabled\ncomment\tfeature@x active\nfeature@head_errlog\tactive\n";
        assert_eq!(active_features(text), ["lz4_compress", "head_errlog"]);
        assert_eq!(active_features(""), Vec::<String>::new());
    }

    #[test]
    fn pools_are_read_with_bootfs_and_altroot() {
        let text = "rpool\t12\tONLINE\toff\t100\t200\trpool/ROOT/a\t/mnt\nb\t13\tSUSPENDED\ton\t-\t-\t-\t-\n";
        let read = pools(text).unwrap();
        assert_eq!(read[0].bootfs.as_ref().unwrap().as_str(), "rpool/ROOT/a");
        assert_eq!(read[0].altroot.as_deref().unwrap(), "/mnt");
        assert!(read[1].readonly);
        assert_eq!(read[1].bootfs, None);
    }
}
