//! What makes the machine boot one environment and not another.
//!
//! One trait, [`Loader`]. [`Bootfs`] stands for every loader that follows the
//! pool's `bootfs` property and can neither count tries nor boot something
//! once; [`Firmware`] for the same on a machine whose firmware does the latter;
//! [`Label`] for those of FreeBSD and illumos, which do it too.
//! Loaders with entries of their own put their steps in [`Loader::stage`] and
//! [`Loader::commit`]: the places in the plan of an activation are the same:
//! [`SystemdBoot`], [`Grub`]. [`find`] says which one it is.

mod archive;
pub(crate) mod command_line;
mod copies;
#[cfg(test)]
mod failing_back;
mod firmware;
pub mod grub;
mod label;
#[cfg(test)]
mod machine;
mod mirrored;
mod place;
mod site;
mod systemd_boot;
pub(crate) mod watch;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::config::{self, LoaderName};
use crate::os::Platform;
use crate::plan::{Action, Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Guid, Pool};

use self::mirrored::{Mirrored, Partitions};
use self::site::Site;

pub use firmware::Firmware;
pub use grub::Grub;
pub use label::Label;
pub use systemd_boot::SystemdBoot;
pub(crate) use systemd_boot::failback;

/// What the loader will do, as far as it is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootState {
    /// The root of the environment that boots by default; `None` where nothing
    /// is set or it is not under the beroot.
    pub next: Option<DatasetName>,
    /// The root of the environment that boots once, at the next boot.
    pub once: Option<DatasetName>,
    /// An environment whose tries the loader counts.
    pub trial: Option<TrialEntry>,
    /// The root of the environment that boots by default where no tries are left;
    /// what boots next, where none are counted.
    pub back: Option<DatasetName>,
}

/// An environment the loader tries a number of times, as it stands in its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialEntry {
    /// The root of the environment.
    pub dataset: DatasetName,
    /// How many tries there are left; with none left it does not boot next.
    pub tries_left: u32,
    /// How many were made.
    pub tries_done: u32,
}

/// How a target is to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// From now on.
    #[default]
    Good,
    /// So many times, then the last good one again, unless it is confirmed.
    Trial {
        /// How many times.
        tries: u32,
    },
    /// At the next boot, and only then.
    Once,
}

impl Switch {
    /// How many times it is tried, where it is.
    #[must_use]
    pub fn tries(self) -> Option<u32> {
        match self {
            Self::Trial { tries } => Some(tries),
            Self::Good | Self::Once => None,
        }
    }
}

/// The steps by which a loader forgets an environment that goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// While it is there: what would boot it.
    pub before: Vec<Step>,
    /// When it is gone: what only that needed.
    pub after: Vec<Step>,
}

/// What a loader can do beside booting a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Count the tries of an entry and go back to another.
    pub counting: bool,
    /// Boot something once.
    pub once: bool,
}

/// A boot loader.
pub trait Loader: Send + Sync {
    /// What it is called in messages.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// How many tries a trial gets.
    fn tries(&self) -> u32 {
        config::TRIES
    }

    /// What it will do at the next boot.
    fn state(&self, beroot: &DatasetName, pools: &[Pool]) -> BootState;

    /// The steps that make its files ready; nothing changes for the next boot yet.
    /// `back` is the environment that `failback` leads to after the switch.
    ///
    /// # Errors
    /// Why the target cannot be made to boot so.
    fn stage(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
        back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal>;

    /// The one write after which the target boots.
    ///
    /// # Errors
    /// Why the target cannot be made to boot so.
    fn commit(&self, survey: &Survey, target: &Dataset, switch: Switch) -> Result<Step, Refusal>;

    /// All its steps of a switch: what makes ready, the commit, what follows it.
    ///
    /// # Errors
    /// Why the target cannot be made to boot so.
    fn switch(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
        back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        let mut steps = self.stage(survey, target, switch, back)?;
        steps.push(self.commit(survey, target, switch)?);
        steps.extend(self.after(survey, target, switch, back));
        Ok(steps)
    }

    /// Why it would not do what its files are there for, and what to do about that.
    fn trouble(&self) -> Option<(String, String)> {
        None
    }

    /// It boots copies of kernels, not those in the environments.
    fn copies(&self) -> bool {
        false
    }

    /// Whether its copies are those of what the environment that boots next has
    /// now.
    ///
    /// # Errors
    /// Why that cannot be told.
    fn is_current(&self, _survey: &Survey, _next: &Dataset) -> Result<bool, Refusal> {
        Ok(true)
    }

    /// What follows the commit: the pool's `bootfs`, where the loader does not
    /// follow that itself, the way back in its menu, and the end of what is not
    /// needed any more.
    fn after(
        &self,
        _survey: &Survey,
        _target: &Dataset,
        _switch: Switch,
        _back: Option<Guid>,
    ) -> Vec<Step> {
        Vec::new()
    }

    /// Its part of a recovery, before the pool's: what was begun and is not
    /// needed goes; and what follows the commit, where that was done.
    fn recovered(&self, _survey: &Survey, _done: Option<(&Dataset, Switch)>) -> Vec<Step> {
        Vec::new()
    }

    /// Its part of a confirmation: the target, which was on trial, boots from
    /// now on, and `failback` leads to `back`. Nothing where no tries are counted.
    ///
    /// # Errors
    /// Why it cannot.
    fn confirm(
        &self,
        _survey: &Survey,
        _target: &Dataset,
        _back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        Ok(Vec::new())
    }

    /// The steps that take away what it has of an environment that goes.
    fn forget(&self, _survey: &Survey, _gone: &Dataset) -> Forgotten {
        Forgotten::default()
    }

    /// The steps, after an environment's root has its new name, by which the
    /// loader learns it.
    ///
    /// # Errors
    /// Why it must not be renamed.
    fn renamed(
        &self,
        _survey: &Survey,
        _root: &Dataset,
        _to: &DatasetName,
    ) -> Result<Vec<Step>, Refusal> {
        Ok(Vec::new())
    }

    /// What is to be told about the switch its steps were made for last: what a
    /// machine that hangs does.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// The step that takes back what was set to boot once; `None` where that was
    /// set by something else.
    fn cancel_once(&self, _survey: &Survey) -> Option<Step> {
        None
    }

    /// The steps, at every boot, by which its files are the same wherever they
    /// have to be.
    fn put_right(&self) -> Vec<Step> {
        Vec::new()
    }

    /// Where its files have to be too, and nothing is mounted that can be written.
    fn lost(&self) -> &[Utf8PathBuf] {
        &[]
    }
}

/// The loader of a machine: as it is configured, else the one of its operating
/// system, else the one that surely boots it, else whatever follows `bootfs`.
#[must_use]
pub fn find(
    config: &config::Boot,
    platform: Box<dyn Platform>,
    altroot: Option<&Utf8Path>,
) -> Box<dyn Loader> {
    let vendor = platform.label_vendor();
    let partitions = Partitions::find(platform.as_ref(), config, altroot);
    let esp = partitions.first.as_deref();
    let name = match config.loader {
        LoaderName::Auto if vendor.is_some() => LoaderName::Label,
        LoaderName::Auto if systemd_boot::find::is_certain(platform.as_ref(), altroot, esp) => {
            LoaderName::SystemdBoot
        }
        LoaderName::Auto
            if grub::is_certain(platform.as_ref(), altroot, esp)
                || (altroot.is_none() && grub::started_it(platform.as_ref())) =>
        {
            LoaderName::Grub
        }
        said => said,
    };
    let esp = partitions.first.clone();
    let site = |platform| Site::new(platform, altroot, esp.clone(), config);
    match (name, vendor) {
        (LoaderName::SystemdBoot, _) => {
            let loader = SystemdBoot::new(site(platform));
            Mirrored::around(loader, partitions)
        }
        (LoaderName::Grub, _) => {
            let loader = Grub::new(site(platform));
            Mirrored::around(loader, partitions)
        }
        (LoaderName::Label, Some(vendor)) => Box::new(Label::new(platform, vendor)),
        (LoaderName::Bootfs | LoaderName::Auto, _)
            if altroot.is_none() && firmware::serves(platform.as_ref(), esp.as_deref()) =>
        {
            Box::new(Firmware::new(site(platform)))
        }
        (LoaderName::Label | LoaderName::Bootfs | LoaderName::Auto, _) => Box::new(Bootfs),
    }
}

/// A loader that boots what the pool's `bootfs` names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bootfs;

impl Loader for Bootfs {
    fn name(&self) -> &'static str {
        "the pool's bootfs"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            counting: false,
            once: false,
        }
    }

    fn state(&self, beroot: &DatasetName, pools: &[Pool]) -> BootState {
        BootState {
            next: pools
                .iter()
                .find(|pool| pool.name == beroot.pool())
                .and_then(|pool| pool.bootfs.clone())
                .filter(|bootfs| bootfs.parent().as_ref() == Some(beroot)),
            ..BootState::default()
        }
    }

    fn stage(
        &self,
        _survey: &Survey,
        _target: &Dataset,
        _switch: Switch,
        _back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        Ok(Vec::new())
    }

    fn commit(&self, survey: &Survey, target: &Dataset, _switch: Switch) -> Result<Step, Refusal> {
        let pool = target.name.pool();
        let before = survey.pools.get(&pool).and_then(|pool| pool.bootfs.clone());
        let undo = vec![Action::SetBootfs {
            pool: pool.clone(),
            dataset: before,
        }];
        let action = Action::SetBootfs {
            pool,
            dataset: Some(target.name.clone()),
        };
        Ok(Step::new("commit", action).undone_by(undo).commits())
    }
}

/// Why a loader that only boots something once makes no trial.
fn counts_no_tries(loader: &dyn Loader, target: &Dataset) -> Refusal {
    let name = target.name.leaf();
    let why = format!("{} counts no tries", loader.name());
    Refusal::new(format!("try {name}"), why).remedy(format!("beadm-rs activate --once {name}"))
}

/// Why what boots once by its name keeps that.
fn keeps_its_name(loader: &str, root: &Dataset, to: &DatasetName) -> Refusal {
    Refusal::new(
        format!("rename {} to {}", root.name.leaf(), to.leaf()),
        format!(
            "{loader} boots it once, by its name, and a machine that stopped between the two \
             changes would not find it"
        ),
    )
    .remedy("beadm-rs activate -T takes that back")
}
