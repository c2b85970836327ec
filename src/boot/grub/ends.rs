//! The steps that follow: after a commit, an interruption, a confirmation, and
//! when an environment goes or is called differently.

use super::Grub;
use super::block::Block;
use super::menu::Menu;
use super::picture::Picture;
use super::steps::{kept, switched};
use crate::boot::command_line::with_root;
use crate::boot::copies::{bootfs, may_be_renamed};
use crate::boot::{Forgotten, Loader as _, Switch};
use crate::plan::activate::failback_target;
use crate::plan::{Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, DatasetName, Guid};

impl Grub {
    pub(super) fn afterwards(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
    ) -> Vec<Step> {
        let mut steps: Vec<Step> = bootfs(survey, target, switch).into_iter().collect();
        if let (Ok(picture), Some(menu)) = (self.picture(), self.made().as_ref()) {
            let files = picture.leftovers(picture.next(), menu);
            steps.extend(picture.store.sweep("tidy", files));
        }
        steps
    }

    pub(super) fn tidied(&self, survey: &Survey, done: Option<(&Dataset, Switch)>) -> Vec<Step> {
        let mut steps: Vec<Step> = done
            .and_then(|(target, switch)| bootfs(survey, target, switch))
            .into_iter()
            .collect();
        let Ok(picture) = self.picture() else {
            return steps;
        };
        let led = done.map(|(target, switch)| Self::followed(survey, &picture, target, switch));
        match led {
            // What cannot be written is left as it is: it boots what it says.
            Some(Ok((led, number, menu))) if !led.is_empty() => {
                steps.extend(led);
                let files = picture.leftovers(number, &menu);
                steps.extend(picture.store.sweep("tidy", files));
            }
            _ => steps.extend(picture.store.sweep("tidy", picture.orphans())),
        }
        steps
    }

    /// The steps after which block and menu are what the switch that is done makes
    /// of them. Where its target booted already, it counts as done before its
    /// commit: the pool's records are those after it, and these here are not.
    fn followed(
        survey: &Survey,
        picture: &Picture,
        target: &Dataset,
        switch: Switch,
    ) -> Result<(Vec<Step>, u64, Menu), Refusal> {
        let attempted = "follow what was activated";
        let mut block = picture.block.clone();
        if switch == Switch::Good && picture.menu.of(target.guid).is_some() {
            block = switched(&block, block.menu, target.guid, switch);
        }
        let back = failback_target(survey).ok().map(|back| back.guid());
        let menu = picture.menu.clone().leading_back_to(back);
        let mut steps = Vec::new();
        if menu != picture.menu {
            block.menu = picture.next();
            steps.push(Self::stage_menu(picture, block.menu, &menu, attempted)?);
        }
        if block != picture.block {
            steps.push(Self::change_block("follow", picture, &block, attempted)?);
        }
        Ok((steps, block.menu, menu))
    }

    pub(super) fn confirmed(
        &self,
        survey: &Survey,
        target: &Dataset,
        back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        let attempted = format!("confirm {}", target.name.leaf());
        let picture = self.changeable(&attempted)?;
        if picture.menu.of(target.guid).is_none() {
            return Err(
                Refusal::new(attempted, "GRUB's menu has no entry for it").remedy(format!(
                    "beadm-rs activate --no-trial {}",
                    target.name.leaf()
                )),
            );
        }
        let mut steps = Vec::new();
        let mut block = Block {
            good: Some(target.guid),
            ..picture.block.clone().without_trial()
        };
        let menu = picture.menu.clone().leading_back_to(back);
        if menu != picture.menu {
            // The menu there is stays until the next switch: this may be taken back.
            block.menu = picture.next();
            steps.push(Self::stage_menu(&picture, block.menu, &menu, &attempted)?);
        }
        if block != picture.block {
            let step = Self::change_block("confirm-entry", &picture, &block, &attempted)?;
            steps.push(step);
        }
        steps.extend(bootfs(survey, target, Switch::Good));
        steps.extend(picture.store.sweep("tidy", picture.orphans()));
        Ok(steps)
    }

    pub(super) fn forgotten(&self, survey: &Survey, gone: &Dataset) -> Forgotten {
        let Ok(picture) = self.picture() else {
            return Forgotten::default();
        };
        // What boots is not destroyed.
        let guid = Some(gone.guid);
        if picture.menu.of(gone.guid).is_none() || picture.block.good == guid {
            return Forgotten::default();
        }
        let number = picture.next();
        let mut block = Block {
            menu: number,
            ..picture.block.clone()
        };
        if block.trial == guid {
            block = block.without_trial();
        }
        block.once = block.once.filter(|once| Some(*once) != guid);
        let mut menu = kept(survey, &picture.menu, &block);
        menu.entries.retain(|entry| entry.guid != gone.guid);
        let back = menu.failback;
        let menu = menu.leading_back_to(back);
        let attempted = "forget it";
        let steps = [
            Self::stage_menu(&picture, number, &menu, attempted),
            Self::change_block("forget-entry", &picture, &block, attempted),
        ];
        match steps {
            [Ok(staged), Ok(changed)] => Forgotten {
                before: vec![staged, changed],
                after: picture
                    .store
                    .sweep("tidy", picture.leftovers(number, &menu))
                    .into_iter()
                    .collect(),
            },
            _ => Forgotten::default(),
        }
    }

    pub(super) fn rewritten(
        &self,
        survey: &Survey,
        root: &Dataset,
        to: &DatasetName,
    ) -> Result<Vec<Step>, Refusal> {
        let attempted = format!("rename {} to {}", root.name.leaf(), to.leaf());
        may_be_renamed(survey, root, self.name(), &attempted)?;
        let Ok(picture) = self.picture() else {
            return Ok(Vec::new());
        };
        if picture
            .menu
            .of(root.guid)
            .is_none_or(|entry| entry.root == *to)
        {
            return Ok(Vec::new());
        }
        let number = picture.next();
        let block = Block {
            menu: number,
            ..picture.block.clone()
        };
        let mut menu = kept(survey, &picture.menu, &block);
        for entry in &mut menu.entries {
            if entry.guid == root.guid {
                entry.options = with_root(&entry.options, to.as_str());
                entry.root = to.clone();
                entry.title = to.leaf().to_owned();
            }
        }
        let mut steps = vec![
            Self::stage_menu(&picture, number, &menu, &attempted)?,
            Self::change_block("replace-menu", &picture, &block, &attempted)?,
        ];
        let files = picture.leftovers(number, &menu);
        steps.extend(picture.store.sweep("tidy", files));
        // It is done again where it was not done; nothing of it is taken back.
        for step in &mut steps {
            step.undo.clear();
        }
        Ok(steps)
    }

    pub(super) fn once_cancelled(&self) -> Option<Step> {
        let picture = self.picture().ok()?;
        picture.block.once?;
        let block = Block {
            once: None,
            ..picture.block.clone()
        };
        let step = Self::change_block("commit", &picture, &block, "take back what boots once");
        step.ok().map(Step::commits)
    }
}
