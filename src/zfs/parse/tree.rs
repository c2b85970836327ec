//! `zfs list`.

use std::collections::{BTreeMap, BTreeSet};

use super::{ParseError, fail, number, records};
use crate::zfs::{
    Canmount, Dataset, DatasetName, Guid, Kind, Mountpoint, NameError, PREFIX, SURVEYED, Snapshot,
    SnapshotName,
};

/// The columns of [`tree`] in whose values there is no tab.
const PLAIN: [&str; 17] = [
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
];

/// The columns not every ZFS has (encryption came to illumos in 2019), and
/// without which there is still an answer: nothing is encrypted, or received in
/// a way that can be resumed.
pub const OPTIONAL_COLUMNS: [&str; 3] = ["encryptionroot", "keystatus", "receive_resume_token"];

/// Stands for the marks among the columns that are lacking: they are not asked
/// for because one of them makes the text ambiguous.
pub const MARKS: &str = "org.beadm-rs:*";

/// `zfs list` cuts a list of clones without a word, and then it is exactly so
/// many bytes long: `strlcat` in `get_clones_string` of libzfs, whose buffer
/// (`ZFS_MAXPROPLEN`) is 4,096 bytes up to 2.2 and 8,192 since 2.3.
const CUT: [usize; 2] = [4095, 8191];

/// What `zfs list` showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The datasets with their snapshots, oldest first.
    pub datasets: Vec<Dataset>,
    /// Snapshots with so many clones that `zfs list` left some out.
    pub cut: Vec<SnapshotName>,
}

/// The argument of `zfs list -o` that [`tree`] reads; `lacking` are those of
/// [`OPTIONAL_COLUMNS`] that are not known, and perhaps [`MARKS`].
///
/// The mountpoint, and the description after it, may hold anything. The guid
/// after the one and before the other, and the name at the end, tell where
/// they end.
#[must_use]
pub fn tree_columns(lacking: &[&str]) -> String {
    let (description, machine) = marks();
    let mut columns: Vec<String> = PLAIN
        .iter()
        .filter(|column| !lacking.contains(column))
        .map(|column| (*column).to_owned())
        .chain(["mountpoint".to_owned(), "guid".to_owned()])
        .collect();
    if !lacking.contains(&MARKS) {
        columns.extend(machine.iter().map(|key| format!("{PREFIX}{key}")));
        columns.extend(["guid".to_owned(), format!("{PREFIX}{description}")]);
    }
    columns.push("name".to_owned());
    columns.join(",")
}

/// The last of the marks, which a person writes, and those before it.
fn marks() -> (&'static str, &'static [&'static str]) {
    let (description, machine) = SURVEYED.split_last().unwrap_or((&"", &[]));
    (description, machine)
}

/// The optional column `zfs list` said it does not know (`addlist` in libzfs:
/// "bad property list: invalid property 'encryptionroot'").
#[must_use]
pub fn unknown_column(stderr: &str) -> Option<&'static str> {
    let (_, after) = stderr.split_once("invalid property '")?;
    let (name, _) = after.split_once('\'')?;
    OPTIONAL_COLUMNS.into_iter().find(|column| *column == name)
}

/// Reads `zfs list -Hp -r -t filesystem,volume[,snapshot] -o` [`tree_columns`].
///
/// # Errors
/// The first record that is not of that shape; a name that comes twice; a
/// snapshot whose dataset does not stand before it.
pub fn tree(text: &str, lacking: &[&str]) -> Result<Listing, ParseError> {
    let end = |line: &str| {
        let mut fields = line.splitn(4, '\t');
        let name = fields.next()?;
        let dataset = name.split_once('@').map_or(name, |(dataset, _)| dataset);
        let begins = matches!(fields.next(), Some("filesystem" | "volume" | "snapshot"))
            && fields.next().is_some_and(|guid| number(guid).is_some())
            && dataset.parse::<DatasetName>().is_ok();
        begins.then(|| format!("\t{name}"))
    };
    let mut listing = Listing::default();
    let mut at: BTreeMap<DatasetName, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (line, record) in records(text, end)? {
        let row = Row::new(line, record, lacking)?;
        if !seen.insert(row.get("name")) {
            return Err(row.fail("listed twice"));
        }
        if row.get("type") == "snapshot" {
            let (snapshot, cut) = row.snapshot()?;
            if cut {
                listing.cut.push(snapshot.name.clone());
            }
            let owner = at
                .get(&snapshot.name.dataset())
                .and_then(|index| listing.datasets.get_mut(*index));
            match owner {
                Some(dataset) => dataset.snapshots.push(snapshot),
                None => return Err(row.fail("its dataset is not listed before it")),
            }
        } else {
            let dataset = row.dataset()?;
            at.insert(dataset.name.clone(), listing.datasets.len());
            listing.datasets.push(dataset);
        }
    }
    for dataset in &mut listing.datasets {
        dataset.snapshots.sort_by_key(|snapshot| snapshot.createtxg);
    }
    Ok(listing)
}

/// What stands between the plain columns and the name at the end.
fn mountpoint_and_marks<'a>(
    text: &'a str,
    guid: &str,
) -> Result<(&'a str, BTreeMap<String, String>), &'static str> {
    let separator = format!("\t{guid}\t");
    let (mountpoint, rest) = text
        .split_once(&separator)
        .ok_or("its guid expected after the mountpoint")?;
    let (machine, description) = rest
        .split_once(&separator)
        .ok_or("its guid expected before the description")?;
    let (last, keys) = marks();
    let values: Vec<&str> = machine.split('\t').collect();
    if values.len() != keys.len() || format!("{description}\t").contains(&separator) {
        return Err("a property org.beadm-rs:* or the mountpoint holds a tab");
    }
    let marks = keys
        .iter()
        .zip(values)
        .chain([(&last, description)])
        .filter(|(_, value)| *value != "-")
        .map(|(key, value)| ((*key).to_owned(), value.to_owned()))
        .collect();
    Ok((mountpoint, marks))
}

struct Row<'a> {
    line: usize,
    record: &'a str,
    /// In the order of [`PLAIN`], "-" for what is not known.
    plain: Vec<&'a str>,
    mountpoint: &'a str,
    marks: BTreeMap<String, String>,
}

impl<'a> Row<'a> {
    fn new(line: usize, record: &'a str, lacking: &[&str]) -> Result<Self, ParseError> {
        let amiss = |why: &str| fail(line, why, record);
        let mut rest = record;
        let mut plain = Vec::with_capacity(PLAIN.len());
        for column in PLAIN {
            if lacking.contains(&column) {
                plain.push("-");
                continue;
            }
            let (field, after) = rest
                .split_once('\t')
                .ok_or_else(|| amiss(&format!("it ends before its {column}")))?;
            plain.push(field);
            rest = after;
        }
        let (name, guid) = match plain[..] {
            [name, _, guid, ..] => (name, guid),
            _ => return Err(amiss("a name and a guid expected")),
        };
        let rest = rest
            .strip_suffix(name)
            .and_then(|rest| rest.strip_suffix('\t'))
            .ok_or_else(|| amiss("its name expected at the end"))?;
        let (mountpoint, marks) = if lacking.contains(&MARKS) {
            let mountpoint = rest
                .strip_suffix(guid)
                .and_then(|rest| rest.strip_suffix('\t'))
                .ok_or_else(|| amiss("its guid expected after the mountpoint"))?;
            (mountpoint, BTreeMap::new())
        } else {
            mountpoint_and_marks(rest, guid).map_err(amiss)?
        };
        Ok(Self {
            line,
            record,
            plain,
            mountpoint,
            marks,
        })
    }

    fn fail(&self, why: impl ToString) -> ParseError {
        fail(self.line, why, self.record)
    }

    fn get(&self, column: &str) -> &'a str {
        PLAIN
            .iter()
            .zip(&self.plain)
            .find(|(name, _)| **name == column)
            .map_or("-", |(_, value)| value)
    }

    fn number(&self, column: &str) -> Result<u64, ParseError> {
        let text = self.get(column);
        number(text).ok_or_else(|| self.fail(format!("its {column} {text:?} is no number")))
    }

    /// A number that does not apply to all, or cannot be read just now.
    fn optional_number(&self, column: &str) -> Result<u64, ParseError> {
        match self.get(column) {
            "-" => Ok(0),
            _ => self.number(column),
        }
    }

    fn name<T: std::str::FromStr<Err = NameError>>(&self, text: &str) -> Result<T, ParseError> {
        text.parse().map_err(|error: NameError| self.fail(error))
    }

    fn optional_name<T: std::str::FromStr<Err = NameError>>(
        &self,
        column: &str,
    ) -> Result<Option<T>, ParseError> {
        match self.get(column) {
            "-" | "" => Ok(None),
            text => self.name(text).map(Some),
        }
    }

    /// Which of the values of a column it is.
    fn choice<T>(&self, column: &str, choices: &[(&str, T)]) -> Result<T, ParseError>
    where
        T: Copy,
    {
        let text = self.get(column);
        choices
            .iter()
            .find(|(value, _)| *value == text)
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| self.fail(format!("its {column} {text:?} is not known")))
    }

    fn creation(&self) -> Result<i64, ParseError> {
        i64::try_from(self.number("creation")?).map_err(|error| self.fail(error))
    }

    fn dataset(&self) -> Result<Dataset, ParseError> {
        let kind = self.choice(
            "type",
            &[("filesystem", Kind::Filesystem), ("volume", Kind::Volume)],
        )?;
        let canmount: &[(&str, Canmount)] = match kind {
            Kind::Filesystem => &[
                ("on", Canmount::On),
                ("noauto", Canmount::Noauto),
                ("off", Canmount::Off),
            ],
            Kind::Volume => &[("-", Canmount::On)],
        };
        let mountpoint = self.mountpoint;
        if !mountpoint.starts_with('/') && !matches!(mountpoint, "legacy" | "none" | "-") {
            return Err(self.fail(format!("its mountpoint {mountpoint:?} is not known")));
        }
        Ok(Dataset {
            name: self.name(self.get("name"))?,
            kind,
            guid: Guid(self.number("guid")?),
            createtxg: self.number("createtxg")?,
            creation: self.creation()?,
            used: self.optional_number("used")?,
            referenced: self.optional_number("referenced")?,
            written: self.optional_number("written")?,
            origin: self.optional_name::<SnapshotName>("origin")?,
            canmount: self.choice("canmount", canmount)?,
            mounted: self.choice("mounted", &[("yes", true), ("no", false), ("-", false)])?,
            readonly: self.choice("readonly", &[("on", true), ("off", false), ("-", false)])?,
            encryption_root: self.optional_name("encryptionroot")?,
            key_loaded: self.choice(
                "keystatus",
                &[
                    ("available", true),
                    ("unavailable", false),
                    ("none", true),
                    ("-", true),
                ],
            )?,
            token: match self.get("receive_resume_token") {
                "-" | "" => None,
                token => Some(token.to_owned()),
            },
            mountpoint: mountpoint.parse().unwrap_or(Mountpoint::None),
            marks: self.marks.clone(),
            snapshots: Vec::new(),
        })
    }

    /// The snapshot, and whether some of its clones are missing.
    fn snapshot(&self) -> Result<(Snapshot, bool), ParseError> {
        let column = self.get("clones");
        let cut = CUT.contains(&column.len());
        let clones: Vec<&str> = match column {
            "-" | "" => Vec::new(),
            // The last one may be half of a name.
            list if cut => list.rsplit(',').skip(1).collect(),
            list => list.split(',').collect(),
        };
        let snapshot = Snapshot {
            name: self.name(self.get("name"))?,
            guid: Guid(self.number("guid")?),
            createtxg: self.number("createtxg")?,
            creation: self.creation()?,
            used: self.optional_number("used")?,
            referenced: self.optional_number("referenced")?,
            written: self.optional_number("written")?,
            clones: clones
                .into_iter()
                .map(|name| self.name(name))
                .collect::<Result<_, _>>()?,
            holds: self.optional_number("userrefs")?,
            marks: self.marks.clone(),
        };
        Ok((snapshot, cut))
    }
}
