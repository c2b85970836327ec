//! Numbers that two accounts would share though on neither side they did: the files of
//! the one would be the other's.

use std::collections::HashMap;

use super::file::{File, Key, Text, fields, shown};
use super::merge::{Files, Line};
use super::{Conflict, Format};

/// Numbers of a record: those from the first on, so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    count: u64,
}

impl Range {
    fn last(self) -> u64 {
        self.first.saturating_add(self.count - 1)
    }
}

/// What number of a record has to be nobody else's, and what it is called.
fn what(format: Format) -> Option<&'static str> {
    match format {
        Format::Passwd => Some("uid"),
        Format::Group => Some("gid"),
        Format::Subuid => Some("subordinate uid"),
        Format::Subgid => Some("subordinate gid"),
        Format::Shadow | Format::Gshadow => None,
    }
}

fn range(format: Format, line: &[u8]) -> Option<Range> {
    let fields = fields(line);
    let number = |at: usize| {
        let text = std::str::from_utf8(fields.get(at)?).ok()?;
        text.parse::<u64>().ok()
    };
    let range = match format {
        Format::Passwd | Format::Group => Range {
            first: number(2)?,
            count: 1,
        },
        _ => Range {
            first: number(1)?,
            count: number(2)?,
        },
    };
    (range.count > 0).then_some(range)
}

/// Finds the clashes in the lines of the result.
pub(super) fn find(files: &Files<'_>, lines: &[Line<'_>], conflicts: &mut Vec<Conflict>) {
    let format = files.target.format;
    let Some(what) = what(format) else {
        return;
    };
    let has = |file: &File<'_>, key: &Key<'_>, wanted: Range| {
        file.get(key).and_then(|line| range(format, line)) == Some(wanted)
    };
    let mut ranges: Vec<(Range, &[u8], bool)> = Vec::new();
    for (key, line) in lines {
        let (Text::Record(name), Some(range)) = (key.text, range(format, line)) else {
            continue;
        };
        // A number both sides have met the others of both already.
        let (source, target) = (
            has(&files.source, key, range),
            has(&files.target, key, range),
        );
        if source != target {
            ranges.push((range, name, source));
        }
    }
    ranges.sort_by_key(|(range, _, _)| range.first);
    // The range of each side that reaches farthest, of those that begin before.
    let mut farthest: HashMap<bool, (Range, &[u8])> = HashMap::new();
    for (range, name, of_source) in ranges {
        if let Some((other, others)) = farthest.get(&!of_source)
            && other.last() >= range.first
        {
            let (source, target) = if of_source {
                (name, *others)
            } else {
                (*others, name)
            };
            conflicts.push(Conflict::Clash {
                what,
                number: range.first,
                source: shown(source),
                target: shown(target),
            });
        }
        let reach = farthest.entry(of_source).or_insert((range, name));
        if range.last() > reach.0.last() {
            *reach = (range, name);
        }
    }
}
