//! The merge: line by line by what each is known by, and the order of the result.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::field::{self, Four, Kind};
use super::file::{Broken, File, Key, Text, fields, is_nis};
use super::{Conflict, Failure, Format, clash, lock};
use crate::sync::content::Contents;

/// The four files.
pub(super) struct Files<'a> {
    pub base_source: File<'a>,
    pub source: File<'a>,
    pub base_target: File<'a>,
    pub target: File<'a>,
}

/// A line of the result.
pub(super) type Line<'a> = (Key<'a>, Cow<'a, [u8]>);

/// Merges.
///
/// # Errors
/// Where a version is broken, or the changes do not go together.
pub fn merge(format: Format, contents: &Contents<'_>) -> Result<Vec<u8>, Failure> {
    if let Some(bytes) = contents.of_one_side() {
        return Ok(bytes.to_vec());
    }
    let read = |version, bytes| {
        File::read(format, bytes).map_err(|Broken { line, what }| Failure::Broken {
            version,
            line,
            what,
        })
    };
    let files = Files {
        source: read("the source", Some(contents.source))?,
        target: read("the target", Some(contents.target))?,
        base_source: read("the source's base", contents.base_source)?,
        base_target: read("the target's base", contents.base_target)?,
    };
    let mut conflicts = Vec::new();
    let mut lines = files.lines(&mut conflicts);
    let mut tangled = files.tangled();
    order(&mut lines, &mut tangled);
    conflicts.extend(tangled.iter().map(|text| Conflict::Order {
        record: text.shown(),
    }));
    clash::find(&files, &lines, &mut conflicts);
    if !conflicts.is_empty() {
        return Err(Failure::Conflicts(conflicts));
    }
    Ok(files.written(&lines))
}

/// What becomes of a line.
enum Fate<'a> {
    Is(Cow<'a, [u8]>),
    Gone,
    Conflict(Conflict),
}

impl<'a> Files<'a> {
    /// The lines of the result, in order. A line in conflict is the target's.
    fn lines(&self, conflicts: &mut Vec<Conflict>) -> Vec<Line<'a>> {
        let mut kept: Vec<Line<'a>> = Vec::new();
        for (key, line) in &self.target.lines {
            match self.fate(key) {
                Fate::Is(line) => kept.push((*key, line)),
                Fate::Gone => {}
                Fate::Conflict(conflict) => {
                    conflicts.push(conflict);
                    kept.push((*key, Cow::Borrowed(line)));
                }
            }
        }
        let there: HashSet<Key<'a>> = kept.iter().map(|(key, _)| *key).collect();
        // By the line they follow.
        let mut new: HashMap<Option<Key<'a>>, Vec<Line<'a>>> = HashMap::new();
        let mut follows = None;
        for (key, _) in &self.source.lines {
            if there.contains(key) {
                follows = Some(*key);
            } else if self.target.get(key).is_none() {
                match self.fate(key) {
                    Fate::Is(line) => new.entry(follows).or_default().push((*key, line)),
                    Fate::Gone => {}
                    Fate::Conflict(conflict) => conflicts.push(conflict),
                }
            }
        }
        let nis = kept.iter().rev().take_while(|(_, line)| is_nis(line));
        let end = kept.len() - nis.count();
        let mut lines = Vec::new();
        for (at, (key, line)) in kept.into_iter().enumerate() {
            if at == end {
                lines.extend(new.remove(&None).unwrap_or_default());
            }
            lines.push((key, line));
            lines.extend(new.remove(&Some(key)).unwrap_or_default());
        }
        lines.extend(new.remove(&None).unwrap_or_default());
        lines
    }

    /// What is there several times, and was changed on both sides, or on one where they
    /// were different before: which of them is which cannot be told.
    fn tangled(&self) -> BTreeSet<Text<'a>> {
        let files = [
            &self.base_source,
            &self.source,
            &self.base_target,
            &self.target,
        ];
        let lines = files.iter().flat_map(|file| &file.lines);
        let several = lines.filter(|(key, _)| key.nth > 0 && !key.text.is_empty());
        let several: BTreeSet<Text<'a>> = several.map(|(key, _)| key.text).collect();
        let tangled = several.into_iter().filter(|text| {
            let [before, source, known, target] = files.map(|file| file.all(*text));
            source != before && source != target && (target != known || before != known)
        });
        tangled.collect()
    }

    fn fate(&self, key: &Key<'a>) -> Fate<'a> {
        let record = matches!(key.text, Text::Record(_));
        let borrowed = |line| Fate::Is(Cow::Borrowed(line));
        let deleted = |by_source| {
            Fate::Conflict(Conflict::Deleted {
                record: key.text.shown(),
                by_source,
            })
        };
        let (before, known) = (self.base_source.get(key), self.base_target.get(key));
        match (self.source.get(key), self.target.get(key)) {
            (None, None) => Fate::Gone,
            (None, Some(target)) => match (before, known) {
                (None, _) => borrowed(target),
                (Some(_), Some(known)) if known == target => Fate::Gone,
                (Some(_), Some(known)) if self.only_locked(known, target) => Fate::Gone,
                (Some(_), None) if !record => borrowed(target),
                (Some(_), _) => deleted(true),
            },
            (Some(source), None) => match (before, known) {
                (Some(before), _) if before == source => Fate::Gone,
                (_, None) => borrowed(source),
                (Some(before), Some(_)) if self.only_locked(before, source) => Fate::Gone,
                (None, Some(_)) if !record => borrowed(source),
                (_, Some(_)) => deleted(false),
            },
            (Some(source), Some(target)) if source == target => borrowed(target),
            (Some(source), Some(target)) => self.both(key, before, source, known, target),
        }
    }

    /// A record both have, and different.
    fn both(
        &self,
        key: &Key<'a>,
        before: Option<&'a [u8]>,
        source: &'a [u8],
        known: Option<&'a [u8]>,
        target: &'a [u8],
    ) -> Fate<'a> {
        let (before, known) = (before.map(fields), known.map(fields));
        let (sources, targets) = (fields(source), fields(target));
        let mut merged: Vec<Cow<'a, [u8]>> = Vec::new();
        let names = self.source.format.fields().iter();
        for (at, ((name, kind), (source, target))) in
            names.zip(sources.into_iter().zip(targets)).enumerate()
        {
            let base = |fields: &Option<Vec<&'a [u8]>>| fields.as_ref()?.get(at).copied();
            let four = Four {
                base_source: base(&before),
                source,
                base_target: base(&known),
                target,
            };
            match field::merge(*kind, &four) {
                Some(field) if field == target => merged.push(Cow::Borrowed(target)),
                Some(field) => merged.push(Cow::Owned(field)),
                None => {
                    let record = key.text.shown();
                    let field = *name;
                    return Fate::Conflict(match before {
                        None => Conflict::Added { record, field },
                        Some(_) => Conflict::Field { record, field },
                    });
                }
            }
        }
        Fate::Is(Cow::Owned(merged.join(&b':')))
    }

    /// Whether all that was done to a record is that the account was locked: who deletes
    /// it does that and more.
    fn only_locked(&self, before: &[u8], after: &[u8]) -> bool {
        let names = self.source.format.fields().iter();
        let (before, after) = (fields(before), fields(after));
        let mut locked = false;
        let allowed = names.zip(before.into_iter().zip(after)).all(
            |((_, kind), (before, after))| match kind {
                _ if before == after => true,
                Kind::Password if !lock::is_locked(before) && lock::is_locked(after) => {
                    locked = true;
                    true
                }
                Kind::Expiry if lock::ends(after) => {
                    locked = true;
                    true
                }
                Kind::Changed => true,
                _ => false,
            },
        );
        allowed && locked
    }

    fn written(&self, lines: &[Line<'_>]) -> Vec<u8> {
        let lines: Vec<&[u8]> = lines.iter().map(|(_, line)| &**line).collect();
        let mut bytes = lines.join(&b'\n');
        let (source, target) = (self.source.ended, self.target.ended);
        let ended = if source == self.base_source.ended || source.is_none() {
            target.or(source)
        } else {
            source
        };
        // An empty line at the end is one only by its own end.
        let empty = lines.last().is_some_and(|line| line.is_empty());
        if !lines.is_empty() && (empty || ended != Some(false)) {
            bytes.push(b'\n');
        }
        bytes
    }
}

/// Lines of one text, or records of one name, are told apart by their number; without
/// one of them in the middle, those behind it would be taken for others the next time. Of
/// records besides, only the first counts: which one that is must not change. Empty lines
/// are not worth a conflict.
fn order<'a>(lines: &mut Vec<Line<'a>>, tangled: &mut BTreeSet<Text<'a>>) {
    let mut count: HashMap<Text<'_>, usize> = HashMap::new();
    lines.retain(|(key, _)| {
        let count = count.entry(key.text).or_default();
        if key.nth != *count {
            if key.text.is_empty() {
                return false;
            }
            tangled.insert(key.text);
        }
        *count += 1;
        true
    });
}
