//! The end of an import that was interrupted.

use super::super::{Action, Plan, Step};
use super::{clear, completed, take_away, took_back};
use crate::intent::{Arriving, Intent};
use crate::survey::Survey;
use crate::zfs::{Dataset, Guard, Guid, Mountpoint, SyncOp};

/// What is known of it.
pub(super) struct Import<'a> {
    pub(super) intent: &'a Intent,
    /// Its root.
    pub(super) own: &'a Arriving,
    /// Its `/boot`, where that arrives in another pool.
    pub(super) boot: Option<&'a Arriving>,
    pub(super) mark: &'a str,
    /// The part of the snapshots' names after `@` that go when it has arrived.
    pub(super) component: Option<&'a str>,
    /// What has arrived stays.
    pub(super) keep: bool,
}

impl Import<'_> {
    /// The root gets its name last: where it has that, all is there.
    pub(super) fn end(&self, survey: &Survey) -> Plan {
        let mut plan = Plan::new(survey, "recover");
        let arrived = survey.datasets.get(&self.own.root);
        if arrived.is_some_and(|root| self.is_own(root)) {
            self.complete(survey, &mut plan);
        } else if self.keep {
            self.leave(survey, &mut plan);
        } else {
            self.take_back(survey, &mut plan);
        }
        plan
    }

    fn is_own(&self, dataset: &Dataset) -> bool {
        dataset.marks.get("op").map(String::as_str) == Some(self.mark)
    }

    fn complete(&self, survey: &Survey, plan: &mut Plan) {
        plan.outcome = completed(&self.intent.undertaking);
        let tidied = |tree: &Arriving| -> Vec<SyncOp> {
            let own = survey.within(&tree.root).filter(|it| self.is_own(it));
            own.flat_map(|dataset| {
                let snapshots = dataset.snapshots.iter();
                snapshots
                    .filter(|snapshot| self.component == Some(snapshot.name.component()))
                    .map(|snapshot| gone(snapshot.name.to_string(), snapshot.guid))
                    .chain([SyncOp::Unmark {
                        object: dataset.name.to_string(),
                        key: "op".to_owned(),
                    }])
            })
            .collect()
        };
        if let Some(boot) = self.boot {
            plan.transact("finish-boot", &boot.root.pool(), tidied(boot));
        }
        clear(survey, plan, tidied(self.own));
    }

    /// As a try that failed leaves it: nothing has its name yet.
    fn leave(&self, survey: &Survey, plan: &mut Plan) {
        let Arriving { root, staging } = self.own;
        plan.outcome = format!(
            "import {root}, begun {}, was interrupted; what has arrived stays as {staging}, and \
             'import --resume' goes on",
            self.intent.at.format("%Y-%m-%d %H:%M:%SZ")
        );
        let there = |name| survey.datasets.get(name).filter(|it| self.is_own(it));
        if let Some(boot) = self.boot.filter(|boot| there(&boot.root).is_some()) {
            let action = Action::Rename {
                from: boot.root.clone(),
                to: boot.staging.clone(),
            };
            plan.steps.push(Step::new("rename-boot", action));
        }
        // It may have been settled already, and is no environment yet.
        if there(staging).is_some_and(|dataset| dataset.mountpoint != Mountpoint::None) {
            let action = Action::Set {
                dataset: staging.clone(),
                settings: vec![("mountpoint".to_owned(), "none".to_owned())],
            };
            plan.steps.push(Step::new("unsettle", action));
        }
        clear(survey, plan, Vec::new());
    }

    fn take_back(&self, survey: &Survey, plan: &mut Plan) {
        plan.outcome = took_back(self.intent);
        let boot = self.boot.map(|boot| [&boot.root, &boot.staging]);
        for root in std::iter::once(&self.own.staging).chain(boot.into_iter().flatten()) {
            // The staging name is the operation's; what is in the middle of being received
            // there has no mark yet.
            let left: Vec<&Dataset> = survey
                .within(root)
                .filter(|dataset| self.is_own(dataset) || dataset.receiving())
                .collect();
            take_away(plan, left.into_iter(), |dataset| {
                let snapshots = dataset.snapshots.iter().rev();
                snapshots
                    .map(|snapshot| gone(snapshot.name.to_string(), snapshot.guid))
                    .chain([gone(dataset.name.to_string(), dataset.guid)])
                    .collect()
            });
        }
        clear(survey, plan, Vec::new());
    }
}

fn gone(object: String, guid: Guid) -> SyncOp {
    SyncOp::Destroy {
        object,
        guard: Guard::Guid(guid),
        missing_ok: true,
    }
}
