//! Progress on a terminal: a bar for transfers, nothing on a pipe.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::execute::Progress;
use crate::plan::{Action, Step};

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
        if !matches!(step.action, Action::Transfer(_)) {
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
