//! A file as lines, each with what it is known by.

use std::collections::HashMap;

use super::Format;
use super::field::Kind;

/// What a line is known by, and which of those of the same it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key<'a> {
    pub text: Text<'a>,
    pub nth: usize,
}

/// What a line is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Text<'a> {
    /// A record: its name, with the first number where that belongs to it.
    Record(&'a [u8]),
    /// A line that is none: all of it.
    Other(&'a [u8]),
}

#[derive(Debug)]
pub(super) struct File<'a> {
    pub format: Format,
    /// The lines, without their ends.
    pub lines: Vec<(Key<'a>, &'a [u8])>,
    index: HashMap<Key<'a>, usize>,
    /// The last line has an end; `None` where there is no line.
    pub ended: Option<bool>,
}

/// A line that has not the fields it should have.
pub(super) struct Broken {
    /// From 1.
    pub line: usize,
    pub what: String,
}

/// NIS' lines, which take the place of records in part (nsswitch.conf(5), "compat").
pub(super) fn is_nis(line: &[u8]) -> bool {
    matches!(line.first(), Some(b'+' | b'-'))
}

fn is_record(line: &[u8]) -> bool {
    !is_nis(line) && line.first() != Some(&b'#') && !line.trim_ascii().is_empty()
}

/// A name for a message.
pub(super) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name)
        .chars()
        .flat_map(char::escape_debug)
        .collect()
}

impl Text<'_> {
    /// The record's name, for a message.
    pub fn shown(&self) -> String {
        let (Text::Record(name) | Text::Other(name)) = self;
        shown(name)
    }

    /// It is a line with nothing in it.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Other(line) if line.trim_ascii().is_empty())
    }
}

impl<'a> File<'a> {
    /// Reads a file; one that is not there is empty.
    pub fn read(format: Format, bytes: Option<&'a [u8]>) -> Result<Self, Broken> {
        let bytes = bytes.unwrap_or_default();
        let ended = bytes.last().map(|last| *last == b'\n');
        let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let mut file = Self {
            format,
            lines: Vec::new(),
            index: HashMap::new(),
            ended,
        };
        if bytes.is_empty() {
            return Ok(file);
        }
        let mut count: HashMap<Text<'a>, usize> = HashMap::new();
        for (line, number) in lines.split(|byte| *byte == b'\n').zip(1..) {
            let text = if is_record(line) {
                let name = name(format, line).map_err(|what| Broken { line: number, what })?;
                Text::Record(name)
            } else {
                Text::Other(line)
            };
            let nth = count.entry(text).or_default();
            let key = Key { text, nth: *nth };
            *nth += 1;
            file.index.insert(key, file.lines.len());
            file.lines.push((key, line));
        }
        Ok(file)
    }

    /// The line of a key.
    pub fn get(&self, key: &Key<'_>) -> Option<&'a [u8]> {
        self.lines.get(*self.index.get(key)?).map(|(_, line)| *line)
    }

    /// The lines of a name, in order.
    pub fn all(&self, text: Text<'a>) -> Vec<&'a [u8]> {
        (0..)
            .map_while(|nth| self.get(&Key { text, nth }))
            .collect()
    }

    /// The records' names.
    pub fn names(&self) -> Vec<&'a [u8]> {
        let names = self.lines.iter().filter_map(|(key, _)| match key.text {
            Text::Record(name) => Some(name),
            Text::Other(_) => None,
        });
        names.collect()
    }
}

/// What a record is known by.
fn name(format: Format, line: &[u8]) -> Result<&[u8], String> {
    let wanted = format.fields();
    let fields = fields(line);
    if fields.len() != wanted.len() {
        return Err(format!(
            "it has {} fields, and a line of {format} has {}",
            fields.len(),
            wanted.len()
        ));
    }
    let keys = wanted.iter().filter(|(_, kind)| *kind == Kind::Key).count();
    let keys = fields.get(..keys).unwrap_or_default();
    if keys.iter().any(|key| key.is_empty()) {
        return Err("its name is empty".to_owned());
    }
    let length: usize = keys.iter().map(|key| key.len() + 1).sum();
    Ok(line.get(..length - 1).unwrap_or_default())
}

/// A record's fields.
pub(super) fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.split(|byte| *byte == b':').collect()
}
