//! What makes the machine boot one environment and not another.
//!
//! One trait, [`Loader`]. The one here, [`Bootfs`], stands for every loader
//! that follows the pool's `bootfs` property and can neither count tries nor
//! boot something once. Loaders with entries of their own put their steps in
//! [`Loader::stage`] and [`Loader::commit`]: the places in the plan of an
//! activation are the same.

use crate::plan::{Action, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Pool};

/// What the loader will do, as far as it is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootState {
    /// The root of the environment that boots by default; `None` where nothing
    /// is set or it is not under the beroot.
    pub next: Option<DatasetName>,
    /// The root of the environment that boots once, at the next boot.
    pub once: Option<DatasetName>,
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

    /// What it will do at the next boot.
    fn state(&self, beroot: &DatasetName, pools: &[Pool]) -> BootState;

    /// The steps that make its files ready; nothing changes for the next boot yet.
    fn stage(&self, survey: &Survey, target: &Dataset) -> Vec<Step>;

    /// The one write after which the target boots.
    fn commit(&self, survey: &Survey, target: &Dataset) -> Step;
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
            once: None,
        }
    }

    fn stage(&self, _survey: &Survey, _target: &Dataset) -> Vec<Step> {
        Vec::new()
    }

    fn commit(&self, survey: &Survey, target: &Dataset) -> Step {
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
        Step::new("commit", action).undone_by(undo).commits()
    }
}
