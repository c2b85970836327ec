//! Files carried from one environment to another.
//!
//! The target is changed between two snapshots of it. The source has one, from
//! before anything is read for good: what is written there later belongs to the
//! next time. The source's and the target's later one are the pair that is the
//! next time's base, from the commit point on. When it goes, `plan::bases` says.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Plan, Planned, Refusal, Step, bad_name, changeable, environment, finished, fits,
    has_key, intent_clear, intent_mark, pools_of, snapshot_component, unlocked,
};
use crate::be::{BeName, BootEnvironment};
use crate::diff::side::Side;
use crate::intent::{OpId, Undertaking};
use crate::os::Object;
use crate::survey::Survey;
use crate::sync::change::{Carry, Looked, Resolve, Sides, TakeBack};
use crate::sync::sides::{PAIR, pair_of};
use crate::zfs::{Dataset, DatasetName, Guard, NameError, PoolName, SnapshotName, SyncOp};

/// The purpose of snapshots that go with the operation that took them.
const SYNC: &str = "sync";

/// `sync --from SOURCE --to TARGET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whose files are carried.
    pub source: BeName,
    /// Where they are carried to.
    pub target: BeName,
    /// The target may run: it is a boot, and nothing that writes these files does yet.
    pub at_boot: bool,
}

/// The snapshots of one operation, by the part of their names after `@`.
struct Names {
    /// Of the source.
    source: String,
    /// Of the target before it is changed.
    before: String,
    /// Of the target afterwards.
    after: String,
}

impl Names {
    fn new(component: &str) -> Self {
        Self {
            source: format!("{component}.from"),
            before: format!("{component}.before"),
            after: format!("{component}.to"),
        }
    }
}

/// Both environments, where they may be synchronized at all: what is asked
/// before any file is looked at.
///
/// # Errors
/// Why not.
pub fn environments<'a>(
    survey: &'a Survey,
    request: &Request,
) -> Result<[BootEnvironment<'a>; 2], Refusal> {
    let attempted = attempted(request);
    let source = environment(survey, &attempted, &request.source)?;
    let target = environment(survey, &attempted, &request.target)?;
    if source.guid() == target.guid() {
        return Err(
            Refusal::new(&attempted, "that is one and the same environment")
                .remedy("name two with --from and --to"),
        );
    }
    if target.is_running() && !request.at_boot {
        return Err(Refusal::new(
            &attempted,
            "the target is the running environment, and its programs write the same files",
        )
        .remedy("boot the other one, and synchronize from there"));
    }
    for one in [&source, &target] {
        finished(survey, &attempted, one)?;
        has_key(&attempted, one.root)?;
    }
    Ok([source, target])
}

/// Leaves out of a side the datasets whose keys are not loaded; a sentence about each.
/// `reaches` says whether anything in a place, from the root of the tree, is looked at.
///
/// # Errors
/// Something in one of them is.
pub fn without_locked(
    survey: &Survey,
    request: &Request,
    side: &mut Side,
    reaches: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<String>, Refusal> {
    let mut told = Vec::new();
    let mut parts = Vec::new();
    for part in std::mem::take(&mut side.parts) {
        let name = part.object.dataset();
        let dataset = survey.datasets.get(&name);
        match dataset.map_or(Ok(()), |dataset| has_key(&attempted(request), dataset)) {
            Ok(()) => parts.push(part),
            Err(refusal) if reaches(part.place.as_str().as_bytes()) => {
                return Err(refusal);
            }
            Err(_) => told.push(format!(
                "the key of {name} is not loaded; the synclist names nothing in it"
            )),
        }
    }
    side.parts = parts;
    Ok(told)
}

fn attempted(request: &Request) -> String {
    format!("synchronize {} with {}", request.target, request.source)
}

/// The plan. `looked` is what came of a look at both as they are, without
/// conflicts.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, request: &Request, looked: &Looked) -> Planned {
    let [source, target] = environments(survey, request)?;
    let attempted = attempted(request);
    let mut plan = Plan::new(survey, SYNC);
    refused(&attempted, looked)?;
    if looked.decided.rows.is_empty() {
        plan.outcome = format!(
            "nothing was changed in {} or {} that has to be carried",
            source.name(),
            target.name()
        );
        return Ok(plan);
    }
    let pools = pools(survey, &source, &target);
    changeable(survey, &attempted, &pools)?;
    writable(survey, &attempted, looked)?;
    let component = snapshot_component(survey);
    let names = Names::new(&component);
    let roots = |environment: &BootEnvironment<'_>| -> Vec<DatasetName> {
        let roots = environment.roots();
        roots.iter().map(|root| root.name.clone()).collect()
    };
    let (intent, bytes) = intent_mark(
        survey,
        Undertaking::Sync {
            from: roots(&source),
            to: roots(&target),
            snapshot: component.clone(),
        },
    );
    fits(&attempted, bytes)?;
    let work = Work {
        id: survey.id,
        names: &names,
        source: source.datasets(),
        target: target.datasets(),
        wrong: &bad_name_of(&attempted),
    };
    for (index, pool) in pools.iter().enumerate() {
        let (mut operations, mut undo) = work.before(pool)?;
        if index == 0 {
            operations.insert(0, intent.clone());
            undo.push(intent_clear(survey));
        }
        let name = if index == 0 {
            "snapshot"
        } else {
            "snapshot-boot"
        };
        push(&mut plan, name, pool, operations, undo);
    }
    let carry = Carry {
        id: survey.id,
        target: places(&looked.sides.target),
        looked: Looked {
            sides: work.at_rest(&looked.sides)?,
            ..looked.clone()
        },
    };
    let changes = carry.count();
    let back = TakeBack {
        id: survey.id,
        roots: roots(&target),
        snapshot: names.before.clone(),
    };
    plan.steps.push(
        Step::new("carry", Action::Carry(Box::new(carry))).undone_by(vec![Action::TakeBack(back)]),
    );
    for pool in pools.iter().skip(1) {
        let (operations, undo) = work.after(pool)?;
        push(&mut plan, "pair-boot", pool, operations, undo);
    }
    if let Some(pool) = pools.first() {
        let (operations, _) = work.after(pool)?;
        let pair = Action::Transact {
            pool: pool.clone(),
            operations,
        };
        plan.steps.push(Step::new("pair", pair).commits());
    }
    end(survey, &target, &names, survey.id, &mut plan);
    plan.outcome = match changes {
        0 => format!(
            "nothing had to be changed in {}; both are what the next synchronization begins with",
            target.name()
        ),
        1 => format!(
            "1 file of {} is carried to {}",
            source.name(),
            target.name()
        ),
        many => format!(
            "{many} files of {} are carried to {}",
            source.name(),
            target.name()
        ),
    };
    Ok(plan)
}

/// The plan of `sync --resolve`: one file, in one move; what is kept of it goes after.
///
/// # Errors
/// Why it is refused.
pub fn plan_resolve(survey: &Survey, name: &BeName, work: Resolve) -> Planned {
    let path = String::from_utf8_lossy(&work.path).into_owned();
    let attempted = format!("settle /{path} of {name}");
    let target = environment(survey, &attempted, name)?;
    finished(survey, &attempted, &target)?;
    unlocked(&attempted, &target)?;
    changeable(survey, &attempted, &pools_of(&target))?;
    let mut plan = Plan::new(survey, "resolve");
    plan.outcome = format!("/{path} of {name} is settled");
    plan.steps
        .push(Step::new("resolve", Action::Resolve(Box::new(work))));
    Ok(plan)
}

fn push(
    plan: &mut Plan,
    name: &'static str,
    pool: &PoolName,
    operations: Vec<SyncOp>,
    undo: Vec<SyncOp>,
) {
    if operations.is_empty() {
        return;
    }
    let transact = |operations| Action::Transact {
        pool: pool.clone(),
        operations,
    };
    let step = Step::new(name, transact(operations)).undone_by(vec![transact(undo)]);
    plan.steps.push(step);
}

fn bad_name_of(attempted: &str) -> impl Fn(NameError) -> Refusal + '_ {
    move |error| bad_name(attempted)(error)
}

/// The pools of both, the beroot's first: there the intent is.
fn pools(
    survey: &Survey,
    source: &BootEnvironment<'_>,
    target: &BootEnvironment<'_>,
) -> Vec<PoolName> {
    let mut pools = vec![survey.beroot.pool()];
    for pool in pools_of(source).into_iter().chain(pools_of(target)) {
        if !pools.contains(&pool) {
            pools.push(pool);
        }
    }
    pools
}

/// What must not be replaced is named, and nothing is changed.
fn refused(attempted: &str, looked: &Looked) -> Result<(), Refusal> {
    let refused = &looked.decided.refused;
    let Some(first) = refused.first() else {
        return Ok(());
    };
    let path = String::from_utf8_lossy(&first.path);
    let others = match refused.len() - 1 {
        0 => String::new(),
        others => format!("; and {others} more"),
    };
    Err(
        Refusal::new(attempted, format!("/{path}: {}{others}", first.why))
            .remedy(format!("a line '/{path} -' in the synclist leaves it out")),
    )
}

/// The target's datasets that are written to must be such that they can be.
fn writable(survey: &Survey, attempted: &str, looked: &Looked) -> Result<(), Refusal> {
    let changed: BTreeSet<&Vec<u8>> = looked
        .decided
        .changes()
        .into_iter()
        .map(|change| &change.part)
        .collect();
    for (place, name) in places(&looked.sides.target) {
        let readonly = survey
            .datasets
            .get(&name)
            .is_some_and(|dataset| dataset.readonly);
        if readonly && changed.contains(&place) {
            return Err(Refusal::new(attempted, format!("{name} is read-only")).remedy(format!(
                "beadm-rs unmount {} where it is mounted read-only, or zfs set readonly=off {name}",
                looked.sides.target.name
            )));
        }
    }
    Ok(())
}

/// The datasets of a side in their places.
fn places(side: &Side) -> Vec<(Vec<u8>, DatasetName)> {
    side.parts
        .iter()
        .map(|part| {
            let place = part.place.as_str().as_bytes().to_vec();
            (place, part.object.dataset())
        })
        .collect()
}

/// What is done to both environments' datasets.
struct Work<'a> {
    id: OpId,
    names: &'a Names,
    source: Vec<&'a Dataset>,
    target: Vec<&'a Dataset>,
    wrong: &'a dyn Fn(NameError) -> Refusal,
}

impl Work<'_> {
    fn snapshot(&self, dataset: &Dataset, component: &str) -> Result<SnapshotName, Refusal> {
        dataset.name.snapshot(component).map_err(self.wrong)
    }

    fn text(&self, purpose: &str) -> String {
        format!("{} {purpose}", self.id)
    }

    fn mark(&self, snapshot: &SnapshotName, purpose: &str) -> SyncOp {
        SyncOp::Mark {
            object: snapshot.to_string(),
            key: "op".to_owned(),
            text: self.text(purpose),
        }
    }

    fn end(&self, snapshot: &SnapshotName, purpose: &str) -> SyncOp {
        SyncOp::Destroy {
            object: snapshot.to_string(),
            guard: Guard::Mark {
                key: "op".to_owned(),
                text: self.text(purpose),
            },
            missing_ok: true,
        }
    }

    fn in_pool<'a>(
        datasets: &'a [&'a Dataset],
        pool: &'a PoolName,
    ) -> impl Iterator<Item = &'a Dataset> {
        datasets
            .iter()
            .copied()
            .filter(move |dataset| dataset.name.pool() == *pool)
    }

    /// A snapshot of everything, and its end.
    fn before(&self, pool: &PoolName) -> Result<(Vec<SyncOp>, Vec<SyncOp>), Refusal> {
        let mut operations = Vec::new();
        let mut undo = Vec::new();
        for (datasets, component) in [
            (&self.source, &self.names.source),
            (&self.target, &self.names.before),
        ] {
            for dataset in Self::in_pool(datasets, pool) {
                let snapshot = self.snapshot(dataset, component)?;
                let mark = self.mark(&snapshot, SYNC);
                undo.push(self.end(&snapshot, SYNC));
                operations.extend([SyncOp::Snapshot { snapshot }, mark]);
            }
        }
        Ok((operations, undo))
    }

    /// The pair: a snapshot of the target, and the source's becomes one of it.
    fn after(&self, pool: &PoolName) -> Result<(Vec<SyncOp>, Vec<SyncOp>), Refusal> {
        let mut operations = Vec::new();
        let mut undo = Vec::new();
        for dataset in Self::in_pool(&self.target, pool) {
            let snapshot = self.snapshot(dataset, &self.names.after)?;
            let mark = self.mark(&snapshot, PAIR);
            undo.push(self.end(&snapshot, PAIR));
            operations.extend([SyncOp::Snapshot { snapshot }, mark]);
        }
        for dataset in Self::in_pool(&self.source, pool) {
            let snapshot = self.snapshot(dataset, &self.names.source)?;
            operations.push(self.mark(&snapshot, PAIR));
            undo.push(self.mark(&snapshot, SYNC));
        }
        Ok((operations, undo))
    }

    /// Both sides as the snapshots have them.
    fn at_rest(&self, sides: &Sides) -> Result<Sides, Refusal> {
        let side = |side: &Side, component: &str| -> Result<Side, Refusal> {
            let mut side = side.clone();
            for part in &mut side.parts {
                let name = part.object.dataset().snapshot(component);
                part.object = Object::Snapshot(name.map_err(self.wrong)?);
            }
            Ok(side)
        };
        Ok(Sides {
            source: side(&sides.source, &self.names.source)?,
            target: side(&sides.target, &self.names.before)?,
            ..sides.clone()
        })
    }
}

/// What follows the commit point: the note in the target goes, the snapshots from
/// before, the intent.
fn end(survey: &Survey, target: &BootEnvironment<'_>, names: &Names, id: OpId, plan: &mut Plan) {
    plan.steps.push(Step::new(
        "tidy",
        Action::Forget {
            dataset: target.root.name.clone(),
            id,
        },
    ));
    let mut of_pools: BTreeMap<PoolName, Vec<SyncOp>> = BTreeMap::new();
    for dataset in target.datasets() {
        let Ok(snapshot) = dataset.name.snapshot(&names.before) else {
            continue;
        };
        let operation = SyncOp::Destroy {
            object: snapshot.to_string(),
            guard: Guard::Mark {
                key: "op".to_owned(),
                text: format!("{id} {SYNC}"),
            },
            missing_ok: true,
        };
        let pool = dataset.name.pool();
        of_pools.entry(pool).or_default().push(operation);
    }
    let here = survey.beroot.pool();
    let mut last = of_pools.remove(&here).unwrap_or_default();
    last.push(intent_clear(survey));
    for (pool, operations) in of_pools {
        plan.transact("finish-boot", &pool, operations);
    }
    plan.transact("finish", &here, last);
}

/// What completes one that stopped after its commit point; `false` where it had
/// not come to it.
pub(super) fn complete(
    survey: &Survey,
    id: OpId,
    target: &DatasetName,
    component: &str,
    plan: &mut Plan,
) -> bool {
    let names = Names::new(component);
    let Some(target) = survey.environment_at(target) else {
        return false;
    };
    let own = id.to_string();
    let committed = target
        .root
        .snapshots
        .iter()
        .filter(|snapshot| snapshot.name.component() == names.after)
        .any(|snapshot| pair_of(snapshot) == Some(&own));
    if committed {
        end(survey, &target, &names, id, plan);
    }
    committed
}

/// What puts the target's files back, where they can have been changed.
pub(super) fn back(
    survey: &Survey,
    id: OpId,
    roots: &[DatasetName],
    component: &str,
) -> Option<TakeBack> {
    let names = Names::new(component);
    let root = survey.datasets.get(roots.first()?)?;
    let there = root
        .snapshots
        .iter()
        .any(|snapshot| snapshot.name.component() == names.before);
    there.then(|| TakeBack {
        id,
        roots: roots.to_vec(),
        snapshot: names.before,
    })
}

/// The operation's own snapshots of a tree: their names after `@`, with the
/// purposes they are marked with.
pub(super) fn own(component: &str) -> [(String, &'static str); 4] {
    let names = Names::new(component);
    [
        (names.source.clone(), SYNC),
        (names.source, PAIR),
        (names.before, SYNC),
        (names.after, PAIR),
    ]
}
