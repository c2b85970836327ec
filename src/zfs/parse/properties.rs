//! `zfs get`.

use std::collections::{BTreeMap, BTreeSet};

use super::{ParseError, fail, records};
use crate::zfs::{DatasetName, Property, Source};

/// The columns of [`properties`]: `zfs get` takes five at most. The last tells
/// where a value ends.
pub const PROPERTY_COLUMNS: &str = "name,property,source,value,property";

/// Reads `zfs get -Hp -r -s local,received -o` [`PROPERTY_COLUMNS`].
///
/// A value made to look like records can make properties appear on datasets
/// that come after its own and do not have them set; it changes none that is
/// set, and adds nothing to those before. So text that anybody may set is asked
/// for otherwise ([`user_properties`](super::user_properties)) wherever that is
/// possible.
///
/// # Errors
/// The first record that is not of that shape; a property that comes twice; a
/// dataset that comes after one it stands before in the order of names
/// (`zfs_compare` in `zfs_iter.c`).
pub fn properties(text: &str) -> Result<BTreeMap<DatasetName, Vec<Property>>, ParseError> {
    read(text, |source| match source {
        "local" => Some(Source::Local),
        "received" => Some(Source::Received),
        _ => None,
    })
}

/// Reads `zfs get -Hp -r -s local,received,inherited -o` [`PROPERTY_COLUMNS`], as
/// [`properties`] does.
///
/// # Errors
/// As [`properties`].
pub fn effective(text: &str) -> Result<BTreeMap<DatasetName, Vec<Property>>, ParseError> {
    read(text, |source| match source {
        "local" => Some(Source::Local),
        "received" => Some(Source::Received),
        other => {
            let from = other.strip_prefix("inherited from ")?;
            from.parse::<DatasetName>().ok()?;
            Some(Source::Other(other.to_owned()))
        }
    })
}

fn read(
    text: &str,
    source_of: fn(&str) -> Option<Source>,
) -> Result<BTreeMap<DatasetName, Vec<Property>>, ParseError> {
    let end = |line: &str| {
        let mut fields = line.splitn(4, '\t');
        let (name, property) = (fields.next()?, fields.next()?);
        let begins = !property.is_empty()
            && property.chars().all(is_property_char)
            && fields.next().and_then(source_of).is_some()
            && fields.next().is_some()
            && name.parse::<DatasetName>().is_ok();
        begins.then(|| format!("\t{property}"))
    };
    let mut found: BTreeMap<DatasetName, Vec<Property>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut current = None;
    for (line, record) in records(text, end)? {
        let fields: Vec<&str> = record.splitn(4, '\t').collect();
        let [name, property, source, rest] = fields[..] else {
            return Err(fail(line, "5 columns expected", record));
        };
        let value = rest
            .strip_suffix(property)
            .and_then(|rest| rest.strip_suffix('\t'))
            .ok_or_else(|| fail(line, "5 columns expected", record))?;
        let dataset: DatasetName = name.parse().map_err(|error| fail(line, error, record))?;
        if !seen.insert((name, property)) {
            return Err(fail(line, "listed twice", record));
        }
        if current > Some(name) {
            return Err(fail(line, "its dataset does not come in its order", record));
        }
        current = Some(name);
        let source = source_of(source).ok_or_else(|| fail(line, "an unknown source", record))?;
        found.entry(dataset).or_default().push(Property {
            name: property.to_owned(),
            source,
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
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            settable.then(|| name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_with_newlines_ends_where_the_next_begins() {
        let text = "p/a\tcom.x:y\tlocal\tone\n\ttwo\n\tcom.x:y\np/a\tcompression\treceived\tzstd\tcompression\n";
        let read = properties(text).unwrap();
        let read = &read[&"p/a".parse().unwrap()];
        assert_eq!(read[0].value, "one\n\ttwo\n");
        assert_eq!(read[1].value, "zstd");
        assert_eq!(read[1].source, Source::Received);
    }

    #[test]
    fn a_property_forged_in_a_value_is_an_error() {
        for (text, why) in [
            (
                "p/a\tx:y\tlocal\t1\np/a\texec\tlocal\toff\tx:y\n",
                "it does not end as it began before a line that looks like another one",
            ),
            (
                "p/a\tx:y\tlocal\t1\tx:y\np/a\texec\tlocal\toff\tx:y\n",
                "it does not end as it began",
            ),
            (
                "p/a\tx:y\tlocal\t1\tx:y\np/a\tx:y\tlocal\t2\tx:y\n",
                "listed twice",
            ),
            (
                "p\ta:b\tlocal\t0\ta:b\np/a\tx:y\tlocal\t1\tx:y\np\tx:y\tlocal\t2\tx:y\n",
                "its dataset does not come in its order",
            ),
        ] {
            assert_eq!(properties(text).unwrap_err().why, why, "{text:?}");
        }
    }

    #[test]
    fn inherited_values_are_read_where_they_are_asked_for() {
        let text = "p/a\tx:y\tinherited from p\ton\tx:y\np/a/b\tx:y\tlocal\toff\tx:y\n";
        let read = effective(text).unwrap();
        assert_eq!(read[&"p/a".parse().unwrap()][0].value, "on");
        assert_eq!(read[&"p/a/b".parse().unwrap()][0].source, Source::Local);
        assert!(properties(text).is_err());
        assert!(effective("p/a\tx:y\tinherited from \ton\tx:y\n").is_err());
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
}
