//! The steps of an import.

use std::collections::BTreeSet;

use super::super::{Action, Plan, Refusal, Step, bad_name, intent_clear};
use super::pieces::Pieces;
use super::place::{self, Place};
use super::{Piece, Receiving};
use crate::archive::offer::{Form, Offer, Offered};
use crate::be::rewrite::Names;
use crate::survey::Survey;
use crate::zfs::{DatasetName, Guard, PoolName, SyncOp};

/// What arrives, and where.
pub(super) struct Arrival<'a> {
    pub(super) offer: &'a Offer,
    /// Where its root goes.
    pub(super) own: &'a Place,
    /// Where its `/boot` goes, where that is another pool.
    pub(super) boot: Option<&'a Place>,
    /// Where each of its trees goes.
    pub(super) places: &'a [Place],
    pub(super) mark: &'a str,
    /// What has arrived stays where it fails.
    pub(super) keep: bool,
    /// In part too.
    pub(super) partly: bool,
}

impl Arrival<'_> {
    /// Adds them to a plan.
    pub(super) fn append(
        &self,
        survey: &Survey,
        plan: &mut Plan,
        Pieces { pieces, lost }: Pieces,
        intent: SyncOp,
    ) -> Result<(), Refusal> {
        let Self { offer, own, .. } = *self;
        let record = Step::new("record", transact(&own.pool, vec![intent]));
        plan.steps
            .push(record.undone_by(vec![transact(&own.pool, vec![intent_clear(survey)])]));
        let in_pools = || std::iter::once(own).chain(self.boot);
        for place in in_pools() {
            let lost = lost.iter().filter(|lost| lost.dataset.pool() == place.pool);
            let away = lost.map(|lost| SyncOp::Destroy {
                object: lost.dataset.to_string(),
                guard: Guard::Guid(lost.guid),
                missing_ok: true,
            });
            plan.transact("discard", &place.pool, away.collect());
        }
        let gone = in_pools()
            .filter(|_| !self.keep)
            .map(|place| transact(&place.pool, taken_away(&pieces, &place.pool, self.mark)))
            .collect();
        let receiving = Receiving {
            staging: in_pools().map(|place| place.staging.clone()).collect(),
            pieces,
            package: offer.form == Form::Package,
            keep: self.partly,
            bytes: offer.bytes(),
        };
        plan.steps
            .push(Step::new("receive", Action::Receive(Box::new(receiving))).undone_by(gone));
        if offer.datasets.iter().all(|it| it.encryption.is_none()) {
            plan.steps.push(Step::new("rewrite", self.rewrite()?));
        }
        self.settle(plan);
        if let Some(boot) = self.boot {
            // Before the root: an environment is there only when its kernel is.
            plan.steps.push(
                Step::new("rename-boot", renamed(&boot.staging, &boot.root))
                    .undone_by(vec![renamed(&boot.root, &boot.staging)]),
            );
        }
        plan.steps
            .push(Step::new("commit", renamed(&own.staging, &own.root)).commits());
        if let Some(boot) = self.boot {
            plan.transact("finish-boot", &boot.pool, self.tidied(&boot.pool)?);
        }
        let mut tidy = self.tidied(&own.pool)?;
        tidy.push(intent_clear(survey));
        plan.transact("finish", &own.pool, tidy);
        Ok(())
    }

    /// The final name of a dataset.
    fn named(&self, offered: &Offered) -> Result<DatasetName, Refusal> {
        let place = place::of(self.places, "import", offered)?;
        place.named(offered).map_err(bad_name("import"))
    }

    /// The names in its files.
    fn rewrite(&self) -> Result<Action, Refusal> {
        let datasets = &self.offer.datasets;
        let roots = datasets.iter().filter(|offered| offered.path.is_empty());
        let moves: Result<_, Refusal> = roots
            .map(|offered| Ok((offered.source.clone(), self.named(offered)?)))
            .collect();
        let own: Result<_, Refusal> = datasets.iter().map(|it| self.named(it)).collect();
        Ok(Action::Rewrite {
            dataset: self.own.staging.clone(),
            names: Names {
                moves: moves?,
                own: if self.offer.temporary {
                    BTreeSet::new()
                } else {
                    own?
                },
            },
        })
    }

    /// The mountpoint of the root.
    fn settle(&self, plan: &mut Plan) {
        let first = self.offer.datasets.first();
        let mountpoint = first.and_then(|first| first.mountpoint.as_deref());
        let set = |mountpoint: &str| Action::Set {
            dataset: self.own.staging.clone(),
            settings: vec![("mountpoint".to_owned(), mountpoint.to_owned())],
        };
        // Taken back where the rest stays, so that it can be told from an environment.
        let undo = if self.keep {
            vec![set("none")]
        } else {
            Vec::new()
        };
        plan.steps
            .push(Step::new("settle", set(mountpoint.unwrap_or("/"))).undone_by(undo));
    }

    /// The end of what it had for the journey alone, in one pool.
    fn tidied(&self, pool: &PoolName) -> Result<Vec<SyncOp>, Refusal> {
        let mut tidy = Vec::new();
        let mut unmarked = Vec::new();
        for offered in &self.offer.datasets {
            let there = self.named(offered)?;
            if there.pool() != *pool {
                continue;
            }
            for (component, _) in offered.snapshots.iter().filter(|_| self.offer.temporary) {
                let snapshot = there.snapshot(component).map_err(bad_name("import"))?;
                tidy.push(gone(snapshot.to_string(), self.mark));
            }
            unmarked.push(SyncOp::Unmark {
                object: there.to_string(),
                key: "op".to_owned(),
            });
        }
        tidy.extend(unmarked);
        Ok(tidy)
    }
}

fn transact(pool: &PoolName, operations: Vec<SyncOp>) -> Action {
    Action::Transact {
        pool: pool.clone(),
        operations,
    }
}

fn renamed(from: &DatasetName, to: &DatasetName) -> Action {
    Action::Rename {
        from: from.clone(),
        to: to.clone(),
    }
}

/// The end of what was received: it is known by its mark, and its snapshots, which
/// inherit that.
fn gone(object: String, mark: &str) -> SyncOp {
    SyncOp::Destroy {
        object,
        guard: Guard::Setting {
            key: "op".to_owned(),
            value: mark.to_owned(),
        },
        missing_ok: true,
    }
}

fn taken_away(pieces: &[Piece], pool: &PoolName, mark: &str) -> Vec<SyncOp> {
    let here = pieces.iter().rev();
    here.filter(|piece| piece.target.pool() == *pool)
        .flat_map(|piece| {
            let snapshots = piece.snapshots.iter().rev();
            snapshots
                .filter_map(|(component, _)| piece.target.snapshot(component).ok())
                .map(|snapshot| snapshot.to_string())
                .chain([piece.target.to_string()])
        })
        .map(|object| gone(object, mark))
        .collect()
}
