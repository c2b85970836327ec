//! Which commands an upgrade runs.

use std::ffi::OsString;

use super::super::context::Context;
use super::super::error::Trouble;
use crate::be::BootEnvironment;
use crate::diff;
use crate::diff::tree::Tree;
use crate::packages::upgrade::{WAYS, Way, find};
use crate::survey::Survey;

/// What is run in the clone.
pub(super) struct Work {
    /// The package manager whose commands they are.
    pub(super) way: Option<&'static Way>,
    /// The commands, in this order.
    pub(super) commands: Vec<Vec<OsString>>,
}

impl Work {
    /// The command given, or those of the package manager that the source has; or
    /// a refusal that says how to name one.
    pub(super) fn of(
        context: &Context,
        survey: &Survey,
        source: &BootEnvironment<'_>,
        words: &[OsString],
    ) -> Result<Self, Trouble> {
        if !words.is_empty() {
            return Ok(Self {
                way: None,
                commands: vec![words.to_vec()],
            });
        }
        // Its files are opened, which a dry run needs root for as well.
        context.only_root()?;
        let way = match diff::side(&context.host, survey, source, None)? {
            Some(side) => {
                let tree = Tree::open(&context.host, &side)?;
                find(|path| is_there(&tree, path))
            }
            None => None,
        };
        let Some(way) = way else {
            let known: Vec<&str> = WAYS.iter().map(|way| way.name).collect();
            return Err(Trouble::refused(format!(
                "cannot upgrade {}: no package manager is found in it (known are {})",
                source.name(),
                known.join(", ")
            ))
            .remedy("name the command: beadm-rs upgrade -- COMMAND"));
        };
        let words = |command: &&[&str]| command.iter().map(OsString::from).collect();
        Ok(Self {
            way: Some(way),
            commands: way.commands.iter().map(words).collect(),
        })
    }
}

/// A directory, a link (dnf is one), or a file that is not empty.
fn is_there(tree: &Tree, path: &str) -> bool {
    let Ok(Some(found)) = tree.find(path.as_bytes()) else {
        return false;
    };
    let empty = found.stat.as_ref().is_none_or(|stat| stat.stx_size == 0);
    !(found.kind().is_file() && empty)
}
