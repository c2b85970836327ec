//! GRUB, with a menu of this program's own.
//!
//! GRUB reads few pools, and writes to none. So everything it needs is on a FAT
//! partition that it was installed to: its own directory, copies of kernels
//! (`beadm-rs/HASH/`), an environment block (`beadm-rs/grubenv`), and a menu
//! (`beadm-rs/menu-NUMBER.cfg`). A few lines in `custom.cfg` lead from the
//! distribution's `grub.cfg` to the menu whose number the block says.
//!
//! To activate is to make another menu under a number that is free, and then to
//! write the block **in place**: everything it says lies in one sector, which a
//! disk writes whole or not at all. That is the commit. GRUB writes the same
//! block when it counts a try or has booted something once.
//!
//! - `envblock`, `block`: the block; `menu`, `script`: the menu; `stub`: the
//!   lines. Pure.
//! - `picture`: what is there; `find`: whether it is GRUB.
//! - `steps`, `ends`: what is done; `takeover`: the first time; `held`: what must
//!   stay until then.

pub mod block;
mod ends;
pub mod envblock;
mod find;
mod held;
pub mod menu;
mod picture;
mod script;
mod steps;
pub mod stub;
pub mod takeover;
#[cfg(test)]
pub(super) mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use self::menu::Menu;
use self::picture::{Picture, Unready};
use super::site::Site;
use super::{BootState, Capabilities, Forgotten, Loader, Switch, TrialEntry};
use crate::plan::{Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Guid, Pool};

pub use find::{is_certain, names_what_runs, started_it};
pub use held::not_held;

/// What it is called.
pub(crate) const NAME: &str = "GRUB";

/// The loader.
pub struct Grub {
    site: Site,
    /// The menu that was made ready for the plan that is being made.
    made: Mutex<Option<Menu>>,
}

impl Grub {
    /// The one of a machine.
    #[must_use]
    pub fn new(site: Site) -> Self {
        Self {
            site,
            made: Mutex::default(),
        }
    }

    fn made(&self) -> MutexGuard<'_, Option<Menu>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is now, or why that cannot be told.
    fn picture(&self) -> Result<Picture, Unready> {
        Picture::take(&self.site.place, self.site.platform.as_ref())
    }

    /// The picture for a change.
    fn changeable(&self, attempted: &str) -> Result<Picture, Refusal> {
        let picture = self
            .picture()
            .map_err(|unready| unready.refusal(attempted))?;
        picture.store.writable(attempted)?;
        Ok(picture)
    }
}

impl Loader for Grub {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            counting: true,
            once: true,
        }
    }

    fn tries(&self) -> u32 {
        self.site.tries
    }

    fn state(&self, beroot: &DatasetName, _pools: &[Pool]) -> BootState {
        let Ok(picture) = self.picture() else {
            return BootState::default();
        };
        let block = &picture.block;
        let under = |root: &DatasetName| root.parent().as_ref() == Some(beroot);
        let good = |guid: Option<Guid>| {
            let root = &picture.menu.of(guid?)?.root;
            under(root).then(|| root.clone())
        };
        let provisional = |guid| {
            let root = &picture.provisional(guid)?.root;
            under(root).then(|| root.clone())
        };
        let trial = provisional(block.trial);
        let back = good(block.good);
        let tried = trial.clone().filter(|_| block.tries > 0);
        BootState {
            next: tried.or_else(|| back.clone()),
            once: provisional(block.once),
            trial: trial.map(|dataset| TrialEntry {
                dataset,
                tries_left: block.tries,
                tries_done: block.done,
            }),
            back,
        }
    }

    fn stage(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
        back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        self.staged(survey, target, switch, back)
    }

    fn commit(&self, _survey: &Survey, target: &Dataset, switch: Switch) -> Result<Step, Refusal> {
        self.committing(target, switch)
    }

    fn trouble(&self) -> Option<(String, String)> {
        let unready = self.picture().err()?;
        Some((unready.to_string(), unready.remedy()))
    }

    fn copies(&self) -> bool {
        true
    }

    fn is_current(&self, survey: &Survey, next: &Dataset) -> Result<bool, Refusal> {
        self.has_its_kernel(survey, next)
    }

    fn after(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
        _back: Option<Guid>,
    ) -> Vec<Step> {
        self.afterwards(survey, target, switch)
    }

    fn recovered(&self, survey: &Survey, done: Option<(&Dataset, Switch)>) -> Vec<Step> {
        self.tidied(survey, done)
    }

    fn confirm(
        &self,
        survey: &Survey,
        target: &Dataset,
        back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        self.confirmed(survey, target, back)
    }

    fn forget(&self, survey: &Survey, gone: &Dataset) -> Forgotten {
        self.forgotten(survey, gone)
    }

    fn renamed(
        &self,
        survey: &Survey,
        root: &Dataset,
        to: &DatasetName,
    ) -> Result<Vec<Step>, Refusal> {
        self.rewritten(survey, root, to)
    }

    fn notes(&self) -> Vec<String> {
        self.site.told().clone()
    }

    fn cancel_once(&self, _survey: &Survey) -> Option<Step> {
        self.once_cancelled()
    }
}
