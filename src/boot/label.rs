//! The loaders of FreeBSD and illumos: what the pool's `bootfs` names boots, and
//! what the pool's labels say boots once ([`crate::os::label`]). They start the
//! kernel in the environment itself, so there are no copies; and they count
//! nothing, so there are no trials.
//!
//! `bectl activate -t` and `beadm activate -t` write the same, so what they set is
//! seen here and can be taken back.

#[cfg(test)]
mod tests;

use super::{
    BootState, Bootfs, Capabilities, Forgotten, Loader, Switch, counts_no_tries, keeps_its_name,
};
use crate::os::label::{self, Vendor};
use crate::os::loader::LoaderChange;
use crate::os::{Platform, Result as Read};
use crate::plan::{Action, Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Guid, Pool, PoolName};

/// The loader.
pub struct Label {
    platform: Box<dyn Platform>,
    vendor: Vendor,
}

impl Label {
    /// The one of a machine.
    #[must_use]
    pub fn new(platform: Box<dyn Platform>, vendor: Vendor) -> Self {
        Self { platform, vendor }
    }

    /// What the labels say boots once.
    fn once(&self, pool: &PoolName) -> Read<Option<String>> {
        Ok(self.platform.pool_label(pool)?.once)
    }

    /// What they say, where it is an environment there is here.
    fn own_once(&self, survey: &Survey) -> Option<(DatasetName, String)> {
        let device = self.once(&survey.beroot.pool()).ok()??;
        let root = root_under(&device, &survey.beroot)?;
        Some((root, device))
    }

    fn cleared(&self, name: &'static str, survey: &Survey, device: String) -> Step {
        change(name, survey.beroot.pool(), Some(device), None)
    }
}

fn root_under(device: &str, beroot: &DatasetName) -> Option<DatasetName> {
    label::dataset(device).filter(|root| root.parent().as_ref() == Some(beroot))
}

/// A step that has something else boot once; undone by the contrary.
fn change(name: &'static str, pool: PoolName, from: Option<String>, to: Option<String>) -> Step {
    let back = Action::Loader(LoaderChange::Label {
        pool: pool.clone(),
        from: to.clone(),
        to: from.clone(),
    });
    let there = Action::Loader(LoaderChange::Label { pool, from, to });
    Step::new(name, there).undone_by(vec![back])
}

impl Loader for Label {
    fn name(&self) -> &'static str {
        self.vendor.loader()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            counting: false,
            once: true,
        }
    }

    fn state(&self, beroot: &DatasetName, pools: &[Pool]) -> BootState {
        let BootState { next, .. } = Bootfs.state(beroot, pools);
        let once = self.once(&beroot.pool()).ok().flatten();
        BootState {
            back: next.clone(),
            next,
            once: once.and_then(|device| root_under(&device, beroot)),
            trial: None,
        }
    }

    fn stage(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
        _back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        let name = target.name.leaf();
        match switch {
            Switch::Good => return Ok(Vec::new()),
            Switch::Trial { .. } => return Err(counts_no_tries(self, target)),
            Switch::Once => {}
        }
        let attempted = format!("activate {name} for one boot");
        let pool = target.name.pool();
        let label = self
            .platform
            .pool_label(&pool)
            .map_err(|error| Refusal::new(&attempted, error))?;
        if label.foreign {
            return Err(Refusal::new(
                attempted,
                format!(
                    "the labels of pool {pool} hold something else there, as GRUB's environment \
                     block, and that would be lost"
                ),
            ));
        }
        match label.once {
            Some(device) if root_under(&device, &survey.beroot).is_none() => Err(Refusal::new(
                attempted,
                format!(
                    "the labels of pool {pool} say that {device} boots once, which is no \
                         environment under {}",
                    survey.beroot
                ),
            )
            .remedy(format!("{} takes that back", self.vendor.clearing(&pool)))),
            _ => Ok(Vec::new()),
        }
    }

    fn commit(&self, survey: &Survey, target: &Dataset, switch: Switch) -> Result<Step, Refusal> {
        if switch != Switch::Once {
            return Bootfs.commit(survey, target, switch);
        }
        let pool = target.name.pool();
        let attempted = format!("activate {} for one boot", target.name.leaf());
        let from = self
            .once(&pool)
            .map_err(|error| Refusal::new(attempted, error))?;
        Ok(change("commit", pool, from, Some(label::device(&target.name))).commits())
    }

    /// What is activated for good boots next, and not what was to boot once.
    fn after(
        &self,
        survey: &Survey,
        _target: &Dataset,
        switch: Switch,
        _back: Option<Guid>,
    ) -> Vec<Step> {
        let once = self.own_once(survey).filter(|_| switch == Switch::Good);
        once.map(|(_, device)| self.cleared("not-once", survey, device))
            .into_iter()
            .collect()
    }

    fn recovered(&self, survey: &Survey, done: Option<(&Dataset, Switch)>) -> Vec<Step> {
        done.map(|(target, switch)| self.after(survey, target, switch, None))
            .unwrap_or_default()
    }

    fn forget(&self, survey: &Survey, gone: &Dataset) -> Forgotten {
        let once = self.own_once(survey);
        let of_it = once.filter(|(root, _)| *root == gone.name);
        Forgotten {
            before: of_it
                .map(|(_, device)| self.cleared("forget-once", survey, device))
                .into_iter()
                .collect(),
            after: Vec::new(),
        }
    }

    /// `bootfs` follows by itself, the labels do not.
    fn renamed(
        &self,
        survey: &Survey,
        root: &Dataset,
        to: &DatasetName,
    ) -> Result<Vec<Step>, Refusal> {
        if self
            .own_once(survey)
            .is_none_or(|(once, _)| once != root.name)
        {
            return Ok(Vec::new());
        }
        Err(keeps_its_name(self.name(), root, to))
    }

    fn notes(&self) -> Vec<String> {
        vec![
            "without a dead man's switch: there is none for this loader; where it hangs, somebody \
             has to restart the machine"
                .to_owned(),
        ]
    }

    fn cancel_once(&self, survey: &Survey) -> Option<Step> {
        let (_, device) = self.own_once(survey)?;
        Some(self.cleared("commit", survey, device).commits())
    }
}
