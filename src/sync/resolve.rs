//! What is in conflict: who wins, what a person is shown, what is merged.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};

use super::LARGEST;
use super::answer::{Ruling, Verdicts};
use super::change::{Contents as From, Winner};
use super::content::{Conflict, Contents, How, Outcome};
use super::decide::{Action, Decision, Kind, Metadata};
use super::read::{Met, Opened, Row, Since, dressed, see};
use super::records::{self, Format};
use super::text;
use super::version::{Seen, content_of};
use crate::diff::tree::Tree;

/// A directory and something else do not take each other's place: what would
/// have to be taken away cannot be put back in one move.
pub(super) fn same_kind(decision: Decision, met: &Met) -> Decision {
    let (Some(source), Some(target)) = (&met.source, &met.target) else {
        return decision;
    };
    let directory = |seen: &Seen| seen.kind == Kind::Directory;
    let replaces = matches!(
        decision.action,
        Action::Copy | Action::Merge(_) | Action::Metadata
    );
    if !replaces || directory(source) == directory(target) {
        return decision;
    }
    Decision {
        action: Action::Conflict,
        becomes: Some(target.kind),
        metadata: None,
        why: format!(
            "it is {} in the source and {} in the target",
            article(source.kind),
            article(target.kind)
        ),
    }
}

fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "a file",
        Kind::Directory => "a directory",
        Kind::Link => "a symbolic link",
        Kind::Special => "a special file",
    }
}

/// Has the conflicts that were edited come to what was made of them.
pub(super) fn by_answer(
    decisions: &mut BTreeMap<Vec<u8>, Decision>,
    met: &BTreeMap<Vec<u8>, Met>,
    verdicts: &Verdicts,
) {
    for (path, decision) in decisions {
        let edited = met
            .get(path)
            .filter(|met| verdicts.edited(path, met).is_some());
        if let (Action::Conflict, Some(met)) = (decision.action, edited) {
            *decision = Decision {
                action: Action::Merge(How::Text),
                becomes: Some(Kind::File),
                metadata: met.target.as_ref().map(|target| target.metadata.clone()),
                why: decision.why.clone(),
            };
        }
    }
}

/// Lets one side win the conflicts that are about whole files; `lost` gets the paths
/// of which the source's version is to be kept beside.
pub(super) fn by_winner(
    decisions: &mut BTreeMap<Vec<u8>, Decision>,
    met: &BTreeMap<Vec<u8>, Met>,
    ruling: &dyn Fn(&[u8], &Met) -> Option<Ruling>,
    lost: &mut BTreeSet<Vec<u8>>,
) {
    for (path, decision) in decisions {
        let Some(met) = met.get(path) else { continue };
        let Some(ruling) = ruling(path, met) else {
            continue;
        };
        let winner = ruling.winner;
        // Whole files of accounts would take with them what the other side did.
        if decision.action != Action::Conflict
            || (Format::of(path).is_some() && winner != Winner::Beside)
        {
            continue;
        }
        if winner == Winner::Beside {
            lost.insert(path.clone());
        }
        let (action, metadata) = match winner {
            Winner::Target | Winner::Beside => (Action::Keep, None),
            Winner::Source => match &met.source {
                None => (Action::Delete, None),
                Some(source) => (Action::Copy, Some(source.metadata.clone())),
            },
        };
        let becomes = match winner {
            Winner::Source => &met.source,
            Winner::Target | Winner::Beside => &met.target,
        };
        let won = Decision {
            action,
            becomes: becomes.as_ref().map(|seen| seen.kind),
            metadata,
            why: format!("{}: {}", decision.why, won(ruling, "version")),
        };
        *decision = same_kind(won, met);
    }
}

fn won(ruling: Ruling, what: &str) -> String {
    let said = match ruling.asked {
        true => "as was answered",
        false => "as --conflicts says",
    };
    match ruling.winner {
        Winner::Source => format!("the source's {what} is taken, {said}"),
        Winner::Target => format!("the target's {what} stays, {said}"),
        Winner::Beside => format!("the target's {what} stays"),
    }
}

/// Whether what is in a file is for everybody to read.
fn is_public(met: &Met) -> bool {
    [&met.base_source, &met.source, &met.base_target, &met.target]
        .into_iter()
        .flatten()
        .all(|seen| seen.metadata.mode & 0o004 != 0)
}

/// Both sides' changes of a whole file: what it was and is, not what is in it.
pub(super) fn details(met: &Met) -> Vec<String> {
    let side = |name: &str, since: Since, seen: &Option<Seen>| {
        let what = match seen {
            None => String::new(),
            Some(seen) => format!(": {}", described(seen)),
        };
        format!("{name} {}{what}", since.as_str())
    };
    vec![
        side("source", met.source_since(), &met.source),
        side("target", met.target_since(), &met.target),
    ]
}

fn described(seen: &Seen) -> String {
    let Metadata { mode, uid, gid, .. } = seen.metadata;
    match seen.kind {
        Kind::Link => format!(
            "a symbolic link to {}",
            String::from_utf8_lossy(&seen.content)
        ),
        Kind::File => format!(
            "a file of {} bytes, mode {mode:04o}, owner {uid}:{gid}",
            seen.size
        ),
        Kind::Directory => format!("a directory, mode {mode:04o}, owner {uid}:{gid}"),
        Kind::Special => "a special file".to_owned(),
    }
}

/// What the contents of both sides come to.
pub(super) fn merge(
    opened: &Opened,
    met: &Met,
    how: How,
    metadata: Option<Metadata>,
    verdicts: &Verdicts,
    row: &mut Row,
) -> io::Result<Option<(Option<Seen>, From)>> {
    let (Some(source), Some(target)) = (&met.source, &met.target) else {
        return Ok(None);
    };
    let made = |bytes: Vec<u8>| {
        let made = Seen {
            kind: Kind::File,
            content: content_of(&bytes),
            size: bytes.len() as u64,
            metadata: metadata.clone().unwrap_or_else(|| target.metadata.clone()),
        };
        Ok(Some((Some(made), From::Made(bytes))))
    };
    if let Some(bytes) = verdicts.edited(&row.path, met) {
        "both sides changed it, and it was edited".clone_into(&mut row.why);
        return made(bytes.to_vec());
    }
    let read = |tree: &Tree, seen: &Option<Seen>| match seen {
        Some(seen) if seen.kind == Kind::File => contents(tree, &row.path, seen),
        _ => Ok(None),
    };
    let base_source = read(&opened.base_source, &met.base_source)?;
    let base_target = read(&opened.base_target, &met.base_target)?;
    let source_text = read(&opened.source, &met.source)?.unwrap_or_default();
    let target_text = read(&opened.target, &met.target)?.unwrap_or_default();
    let all = Contents {
        base_source: base_source.as_deref(),
        source: &source_text,
        base_target: base_target.as_deref(),
        target: &target_text,
    };
    let conflicts = match all.merge(how) {
        Outcome::Same => {
            let same = dressed(target.clone(), metadata);
            return Ok(Some((Some(same), From::Target)));
        }
        Outcome::New(bytes) => return made(bytes),
        Outcome::Conflict(conflicts) => conflicts,
    };
    row.details = told(&conflicts, is_public(met));
    let ruling = verdicts.ruling(&row.path, met);
    row.kept = ruling.is_some_and(|ruling| ruling.winner == Winner::Beside);
    let why = "both sides changed it, and the changes do not go together";
    if let Some(ruling) = ruling {
        let winner = ruling.winner;
        if let How::Records(format) = how
            && let Some(bytes) = fields_of(winner, format, &all, &conflicts)
        {
            row.why = format!("{why}: {}", won(ruling, "field"));
            return made(bytes);
        }
        if winner == Winner::Beside || !matches!(how, How::Records(_)) {
            row.why = format!("{why}: {}", won(ruling, "file"));
            return Ok(match winner {
                Winner::Target | Winner::Beside => {
                    row.action = Action::Keep;
                    None
                }
                Winner::Source => {
                    row.action = Action::Copy;
                    Some((Some(source.clone()), From::Source))
                }
            });
        }
    }
    row.action = Action::Conflict;
    why.clone_into(&mut row.why);
    Ok(None)
}

/// The merged file with one side's fields where both changed the same ones.
fn fields_of(
    winner: Winner,
    format: Format,
    all: &Contents<'_>,
    conflicts: &[Conflict],
) -> Option<Vec<u8>> {
    let records: Vec<records::Conflict> = conflicts
        .iter()
        .map(|conflict| match conflict {
            Conflict::Record(record) => Some(record.clone()),
            Conflict::Lines(_) | Conflict::Unfit(_) => None,
        })
        .collect::<Option<_>>()?;
    let yielded = match winner {
        Winner::Source => records::in_favour(format, all.target, all.source, &records)?,
        Winner::Target | Winner::Beside => {
            records::in_favour(format, all.source, all.target, &records)?
        }
    };
    let again = match winner {
        Winner::Source => Contents {
            target: &yielded,
            ..*all
        },
        Winner::Target | Winner::Beside => Contents {
            source: &yielded,
            ..*all
        },
    };
    match again.merge(How::Records(format)) {
        Outcome::Same => Some(again.target.to_vec()),
        Outcome::New(bytes) => Some(bytes),
        Outcome::Conflict(_) => None,
    }
}

/// The text for somebody to decide a conflict in, with markers where the sides do not go
/// together; `None` where one of them has no text there, or is too large.
pub(super) fn marked(opened: &Opened, row: &Row) -> io::Result<Option<Vec<u8>>> {
    let [Some(source), Some(target)] = &row.versions else {
        return Ok(None);
    };
    let is_text = |seen: &Seen| seen.kind == Kind::File && seen.size <= LARGEST;
    if !(is_text(source) && is_text(target)) {
        return Ok(None);
    }
    let [from, to] = [(&opened.source, source), (&opened.target, target)]
        .map(|(tree, seen)| contents(tree, &row.path, seen));
    let base = match see(&opened.base_source.find(&row.path)?)? {
        Some(seen) if is_text(&seen) => contents(&opened.base_source, &row.path, &seen)?,
        _ => None,
    };
    let (Some(source), Some(target)) = (from?, to?) else {
        return Ok(None);
    };
    let all = Contents {
        base_source: base.as_deref(),
        source: &source,
        base_target: None,
        target: &target,
    };
    Ok(text::marked(&all, &opened.from, &opened.to))
}

/// The contents of a file, which is small enough to be merged.
fn contents(tree: &Tree, path: &[u8], seen: &Seen) -> io::Result<Option<Vec<u8>>> {
    let replaced = || io::Error::other("it was replaced while it was read");
    let file = match tree.find(path)? {
        Some(found) => found.open()?.ok_or_else(replaced)?,
        None => return Err(replaced()),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if content_of(&bytes) == seen.content {
        Ok(Some(bytes))
    } else {
        Err(replaced())
    }
}

/// Conflicts inside a file. Lines are shown only of files that everybody may read.
fn told(conflicts: &[Conflict], public: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for conflict in conflicts {
        lines.push(conflict.to_string());
        if let (Conflict::Lines(hunk), true) = (conflict, public) {
            let mut side = |name: &str, text: &[u8]| {
                for line in String::from_utf8_lossy(text).lines() {
                    lines.push(format!("  {name} | {line}"));
                }
            };
            side("base  ", &hunk.base);
            side("source", &hunk.source);
            side("target", &hunk.target);
        }
    }
    lines
}
