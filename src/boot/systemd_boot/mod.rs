//! systemd-boot, with entries of the Boot Loader Specification, type 1.
//!
//! Each environment that was activated has an entry of its own,
//! `beadm-rs-GUID-NUMBER.conf`, and a copy of its kernel and initramfs in
//! `beadm-rs/HASH/`, shared where they are identical. systemd-boot boots the
//! first entry in its order; this program's have the same sort key and their
//! number for a version, so that the newest comes first. To activate is to make
//! an entry with a greater number. It is written under a name systemd-boot does
//! not read, and **one rename** makes it one: that is the commit. So nothing
//! that could be booted is ever written over, and going back to an environment
//! is the same as going forward to it.
//!
//! An entry on trial has a counter in its name. systemd-boot counts it down
//! before each try, and puts an entry without tries left behind all others:
//! then what came first before is first again, and that has no counter. Unless
//! something says which entry is the default: then the order decides nothing.
//!
//! - `failback`: the entry that fails back.
//! - `entry`: one entry's file; `order`: who comes first; `picture`: what is
//!   there.
//! - `find`: whether it is systemd-boot that boots this machine's environments.
//! - `steps`, `ends`: what is done; `intended`: whether that will do.

mod ends;
mod entry;
pub(crate) mod failback;
pub(super) mod find;
mod intended;
mod order;
mod picture;
mod steps;
#[cfg(test)]
pub(super) mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use self::entry::Entry;
use self::picture::Picture;
use super::site::Site;
use super::{BootState, Capabilities, Forgotten, Loader, Switch, TrialEntry};
use crate::plan::{Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Guid, Pool};

/// The loader.
pub struct SystemdBoot {
    site: Site,
    /// The entries that were made ready for the plan that is being made.
    made: Mutex<Vec<Entry>>,
}

impl SystemdBoot {
    /// The one of a machine.
    #[must_use]
    pub fn new(site: Site) -> Self {
        Self {
            site,
            made: Mutex::default(),
        }
    }

    fn made(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is now, or why that cannot be told.
    fn picture(&self) -> Result<Picture, String> {
        match find::picture(&self.site.place, self.site.platform.as_ref()) {
            Ok(Some(picture)) => Ok(picture),
            Ok(None) => Err(format!(
                "no EFI system partition with systemd-boot is mounted on {}",
                self.site.place
            )),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The picture for a change.
    fn changeable(&self, attempted: &str) -> Result<Picture, Refusal> {
        let picture = self
            .picture()
            .map_err(|why| Refusal::new(attempted, why).remedy("mount it, and try again"))?;
        picture.store.writable(attempted)?;
        Ok(picture)
    }
}

/// The environment's root that an entry names.
fn root_under(entry: &Entry, beroot: &DatasetName) -> Option<DatasetName> {
    picture::root(entry).filter(|root| root.parent().as_ref() == Some(beroot))
}

/// The entries that no counter takes away.
fn lasting(entries: &[Entry]) -> Vec<Entry> {
    entries
        .iter()
        .filter(|entry| entry.counted().1.is_none())
        .cloned()
        .collect()
}

impl Loader for SystemdBoot {
    fn name(&self) -> &'static str {
        "systemd-boot"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            counting: true,
            once: self.site.platform.variable("LoaderInfo").is_some(),
        }
    }

    fn tries(&self) -> u32 {
        self.site.tries
    }

    fn state(&self, beroot: &DatasetName, _pools: &[Pool]) -> BootState {
        let Ok(picture) = self.picture() else {
            return BootState::default();
        };
        let boots = |entries: &[Entry]| root_under(picture.chosen(entries)?, beroot);
        let own = picture.own();
        let trial = own.iter().find_map(|(entry, of)| {
            let counter = entry.counted().1?;
            // A newer one without a counter: its confirmation was interrupted.
            let newest = own.iter().find(|(_, other)| other.guid == of.guid)?;
            (newest.1.generation == of.generation).then_some(())?;
            Some(TrialEntry {
                dataset: root_under(entry, beroot)?,
                tries_left: counter.left,
                tries_done: counter.done,
            })
        });
        BootState {
            next: boots(&picture.entries),
            once: picture.once().and_then(|entry| root_under(entry, beroot)),
            trial,
            back: boots(&lasting(&picture.entries)),
        }
    }

    fn stage(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
        _back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        self.staged(survey, target, switch)
    }

    fn commit(&self, _survey: &Survey, target: &Dataset, switch: Switch) -> Result<Step, Refusal> {
        self.committing(target, switch)
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
        back: Option<Guid>,
    ) -> Vec<Step> {
        self.afterwards(survey, target, switch, back)
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
