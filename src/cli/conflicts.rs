//! Conflicts that nobody was asked about, and that wait for somebody.

use serde_json::{Value, json};

use super::context::Context;
use super::error::{FAILED, Trouble};
use super::{mount, output};
use crate::be::BootEnvironment;
use crate::diff;
use crate::diff::tree::Tree;
use crate::survey::Survey;
use crate::sync::kept::{self, Note};

/// The conflicts of one environment.
pub(super) struct Waiting {
    /// Which.
    pub(super) environment: String,
    /// In the order of paths.
    pub(super) notes: Vec<Note>,
}

/// Those of an environment; what cannot be read of them is told.
pub(super) fn of(
    context: &Context,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
) -> Result<Waiting, Trouble> {
    mount::keys_are_loaded(environment)?;
    let name = environment.name();
    let mut notes = Vec::new();
    if let Some(side) = diff::side(&context.host, survey, environment, None)? {
        let tree = Tree::open(&context.host, &kept::reachable(&side))?;
        let found = kept::notes(&tree).map_err(|error| {
            let attempted = format!("read /{} of {name}", kept::DIRECTORY);
            Trouble::new(FAILED, format!("cannot {attempted}: {error}"))
        })?;
        notes = found.0;
        for problem in found.1 {
            context.warn(&format!("{problem} (in {name})"));
        }
    }
    Ok(Waiting {
        environment: name.to_owned(),
        notes,
    })
}

/// Those of the running environment and of the one that boots next; nothing for who
/// may not look.
pub(super) fn waiting(context: &Context, survey: &Survey) -> Vec<Waiting> {
    if !context.is_root() {
        return Vec::new();
    }
    let running = survey.running();
    let next = survey.next().filter(|next| {
        running
            .as_ref()
            .is_none_or(|running| running.guid() != next.guid())
    });
    running
        .iter()
        .chain(&next)
        .filter_map(|environment| match of(context, survey, environment) {
            Ok(waiting) => Some(waiting),
            Err(trouble) => {
                let name = environment.name();
                context.warn(&format!("conflicts in {name}: {}", trouble.message));
                None
            }
        })
        .collect()
}

fn path(bytes: &[u8]) -> String {
    format!("/{}", output::one_line(&String::from_utf8_lossy(bytes)))
}

impl Waiting {
    /// A row for each.
    pub(super) fn rows(&self) -> impl Iterator<Item = Vec<String>> + '_ {
        self.notes.iter().map(|note| {
            let Note {
                from, why, when, ..
            } = note;
            let kept = match note.other {
                Some(_) => format!("what {from} had is in"),
                None => format!("that {from} had none is noted in"),
            };
            let text = format!(
                "{} in {}: {why}; {kept} {} ({})",
                path(&note.path()),
                self.environment,
                path(&kept::directory(&note.path())),
                when.format("%Y-%m-%d %H:%M:%SZ")
            );
            vec!["conflict".to_owned(), output::one_line(&text)]
        })
    }

    /// Each as data.
    pub(super) fn json(&self) -> impl Iterator<Item = Value> + '_ {
        self.notes.iter().map(|note| {
            json!({
                "environment": self.environment,
                "path": path(&note.path()),
                "from": note.from,
                "when": note.when,
                "why": note.why,
                "other": note.other.as_ref().map(|other| &other.kind),
                "kept": path(&kept::directory(&note.path())),
            })
        })
    }
}
