//! Progress on a terminal: a bar for transfers, nothing on a pipe.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::diff::Watch;
use crate::diff::summary::escaped;
use crate::execute::Progress;
use crate::plan::{Action, Step};
use crate::share::change::ShareChange;

/// A bar that shows while bytes flow.
#[derive(Debug, Default)]
pub struct Bar {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    /// A bar on standard error; indicatif draws nothing where that is not a
    /// terminal.
    #[must_use]
    pub fn for_terminal() -> Self {
        Self::default()
    }

    fn with(&self, work: impl FnOnce(&mut Option<ProgressBar>)) {
        if let Ok(mut bar) = self.bar.lock() {
            work(&mut bar);
        }
    }
}

impl Progress for Bar {
    fn begin(&self, step: &Step) {
        let flows = matches!(
            step.action,
            Action::Transfer(_)
                | Action::Send(_)
                | Action::Receive(_)
                | Action::Share(ShareChange::Copy { .. })
        );
        if !flows {
            return;
        }
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        bar.set_style(style);
        bar.set_message(step.action.to_string());
        self.with(|current| *current = Some(bar));
    }

    fn total(&self, bytes: u64) {
        self.with(|bar| {
            if let Some(bar) = bar {
                bar.set_length(bytes);
            }
        });
    }

    fn advance(&self, bytes: u64) {
        self.with(|bar| {
            if let Some(bar) = bar {
                bar.inc(bytes);
            }
        });
    }

    fn end(&self) {
        self.with(|bar| {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        });
    }
}

/// How many names a comparison has looked at, shown on a terminal.
#[derive(Debug)]
pub struct Counter<'a> {
    bar: ProgressBar,
    interrupted: &'a AtomicBool,
}

impl<'a> Counter<'a> {
    /// On standard error, where that is a terminal; ends when `interrupted`.
    #[must_use]
    pub fn for_terminal(interrupted: &'a AtomicBool) -> Self {
        let style =
            ProgressStyle::with_template("{spinner} {human_pos} names, {per_sec} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style);
        Self { bar, interrupted }
    }

    /// Takes it away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Counter<'_> {
    fn looked_at(&self, path: &[u8]) -> bool {
        self.bar.inc(1);
        if self.bar.position().is_multiple_of(256) && !self.bar.is_hidden() {
            self.bar.set_message(format!("/{}", escaped(path)));
        }
        !self.interrupted.load(Ordering::Relaxed)
    }
}
