//! What the loaders with files of their own have in common: the machine, where
//! their files are, what is configured, and what is to be told about a plan.

use std::sync::{Mutex, MutexGuard, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};

use super::place::Place;
use crate::config;
use crate::os::Platform;

/// What a loader works on.
pub struct Site {
    pub(super) platform: Box<dyn Platform>,
    pub(super) place: Place,
    pub(super) tries: u32,
    /// How long what is tried may take, seconds.
    pub(super) watch: u64,
    told: Mutex<Vec<String>>,
}

impl Site {
    /// That of a machine whose files are below a root; its partition is where it is
    /// said to be, or looked for.
    #[must_use]
    pub fn new(
        platform: Box<dyn Platform>,
        root: Option<&Utf8Path>,
        esp: Option<Utf8PathBuf>,
        config: &config::Boot,
    ) -> Self {
        Self {
            platform,
            place: Place::new(root, esp),
            tries: config.tries,
            watch: config.watch,
            told: Mutex::default(),
        }
    }

    /// What is to be told about the plan that is being made.
    pub(super) fn told(&self) -> MutexGuard<'_, Vec<String>> {
        // Every change of it is one call: what another thread's panic left is whole.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
