//! Decisions seen together: files lie in directories.

use std::collections::BTreeMap;

use super::decide::{Action, Decision, Kind};

/// Makes decisions go together: a directory is deleted, or gives way to a file, only
/// where nothing in it stays; nothing is put where its directory is not.
///
/// `decisions` has every path that was decided about, from the root of the tree, without
/// a slash at the beginning; among them
/// - whatever the target has in a directory that is to go, also what is not carried
///   ([`Decision::not_carried`]);
/// - the directories above, of a path the target has not: where it has not them either,
///   they are made as the source has them, if they are decided about, too.
///
/// `target` says what the target has at a path, one that was not decided about, too.
///
/// Carried out in reverse order of paths for what is deleted, and then in order for the
/// rest, every directory is empty when it goes and there when it is needed.
pub fn settle(decisions: &mut BTreeMap<Vec<u8>, Decision>, target: &dyn Fn(&[u8]) -> Option<Kind>) {
    let paths: Vec<Vec<u8>> = decisions.keys().cloned().collect();
    // What is in a directory sorts behind it.
    for path in paths.iter().rev() {
        if target(path) == Some(Kind::Directory) {
            keep_what_is_not_empty(decisions, path);
        }
    }
    for path in &paths {
        need_a_directory(decisions, path, target);
    }
}

fn keep_what_is_not_empty(decisions: &mut BTreeMap<Vec<u8>, Decision>, path: &[u8]) {
    let goes = |decision: &Decision| decision.becomes != Some(Kind::Directory);
    if !decisions.get(path).is_some_and(goes) {
        return;
    }
    let inside = [path, b"/"].concat();
    let stays = decisions
        .range(inside.clone()..)
        .take_while(|(other, _)| other.starts_with(&inside))
        .any(|(_, decision)| decision.becomes.is_some());
    let Some(decision) = decisions.get_mut(path).filter(|_| stays) else {
        return;
    };
    let (action, why) = match decision.action {
        Action::Delete => (
            Action::Keep,
            "deleted in the source, and something in it stays in the target",
        ),
        _ => (
            Action::Conflict,
            "no directory any more in the source, and something in it stays in the target",
        ),
    };
    *decision = Decision {
        action,
        becomes: Some(Kind::Directory),
        metadata: None,
        why: why.to_owned(),
    };
}

fn need_a_directory(
    decisions: &mut BTreeMap<Vec<u8>, Decision>,
    path: &[u8],
    target: &dyn Fn(&[u8]) -> Option<Kind>,
) {
    let Some(end) = path.iter().rposition(|byte| *byte == b'/') else {
        return;
    };
    let above = path.get(..end).unwrap_or_default();
    let has = match decisions.get(above) {
        Some(decision) => decision.becomes,
        None => target(above),
    };
    let Some(decision) = decisions.get_mut(path) else {
        return;
    };
    if decision.action == Action::Copy && has != Some(Kind::Directory) {
        *decision = Decision {
            action: Action::Conflict,
            becomes: None,
            metadata: None,
            why: format!("{}, and the target has no directory for it", decision.why),
        };
    }
}
