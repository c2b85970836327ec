//! `--conflicts ask`: each conflict is shown, and somebody decides it.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};

use super::super::context::Context;
use super::super::error::{FAILED, Trouble, USAGE};
use super::super::{editor, output};
use super::print;
use crate::sync::answer::{Choice, Verdicts};
use crate::sync::change::Winner;
use crate::sync::read::{Decided, Opened, Row};

/// Who decides about files that both sides changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Conflicts {
    /// The source's version is taken
    Source,
    /// The target's version stays
    Target,
    /// Each is shown and asked about, on a terminal
    Ask,
}

impl Conflicts {
    /// Who wins without being asked about.
    pub(in crate::cli) fn winner(self) -> Option<Winner> {
        match self {
            Self::Source => Some(Winner::Source),
            Self::Target => Some(Winner::Target),
            Self::Ask => None,
        }
    }
}

/// Whether there is somebody to ask.
pub(in crate::cli) fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Refuses to ask where nobody can answer: before anything is done.
///
/// # Errors
/// That.
pub(in crate::cli) fn is_possible(conflicts: Option<Conflicts>) -> Result<(), Trouble> {
    if conflicts != Some(Conflicts::Ask) || has_terminal() {
        return Ok(());
    }
    Err(
        Trouble::new(USAGE, "--conflicts ask needs a terminal to ask on")
            .state("nothing was changed")
            .remedy("--conflicts source, or --conflicts target"),
    )
}

/// What was answered.
enum Answer {
    Take(Choice),
    Edit,
    Stop,
}

/// Asks about one conflict until it is understood; the end of the input is a stop.
fn answer(context: &Context, can_edit: bool) -> Answer {
    let edit = if can_edit { ", edit (e)" } else { "" };
    let question = format!("source (s), target (t){edit} or stop (q)? ");
    loop {
        let Some(line) = context.ask(&question) else {
            return Answer::Stop;
        };
        match line.trim() {
            "s" | "source" => return Answer::Take(Choice::Source),
            "t" | "target" => return Answer::Take(Choice::Target),
            "e" | "edit" if can_edit => return Answer::Edit,
            "q" | "stop" => return Answer::Stop,
            _ => {}
        }
    }
}

/// What has been made of texts so far, by path.
pub(super) type Drafts = BTreeMap<Vec<u8>, Vec<u8>>;

/// Asks about all that is in conflict; `false` where somebody stopped it.
///
/// # Errors
/// What cannot be read.
pub(super) fn ask(
    context: &Context,
    opened: &Opened,
    decided: &Decided,
    verdicts: &mut Verdicts,
    drafts: &mut Drafts,
) -> Result<bool, Trouble> {
    let count = decided.conflicts().count();
    for (number, row) in decided.conflicts().enumerate() {
        show(row, number + 1, count, verdicts.has_answer(row));
        let choice = one(context, opened, row, drafts)?;
        let Some(choice) = choice else {
            return Ok(false);
        };
        verdicts.answer(row, choice);
    }
    Ok(true)
}

fn show(row: &Row, number: usize, count: usize, again: bool) {
    let mut text = format!("\nconflict {number} of {count}: {}\n", print::path(row));
    for line in std::iter::once(&row.why).chain(&row.details) {
        text += &format!("  {}\n", output::one_line(line));
    }
    if again {
        text += "  what was answered does not decide it\n";
    }
    // Nobody is left to be asked when standard error is gone.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn one(
    context: &Context,
    opened: &Opened,
    row: &Row,
    drafts: &mut Drafts,
) -> Result<Option<Choice>, Trouble> {
    let marked = opened.marked(row).map_err(|error| {
        let path = print::path(row);
        Trouble::new(FAILED, format!("cannot read {path}: {error}")).state("nothing was changed")
    })?;
    loop {
        match answer(context, marked.is_some()) {
            Answer::Stop => return Ok(None),
            Answer::Take(choice) => return Ok(Some(choice)),
            Answer::Edit => {}
        }
        let text = drafts.get(&row.path).or(marked.as_ref());
        let Some(text) = text else { continue };
        match editor::edit(&row.path, text, None) {
            Ok(bytes) => return Ok(Some(Choice::Edited(bytes))),
            Err(unfit) => {
                context.warn(&unfit.trouble.message);
                if let Some(draft) = unfit.draft {
                    drafts.insert(row.path.clone(), draft);
                }
            }
        }
    }
}
