//! An environment as an archive.
//!
//! A snapshot of the whole tree in one transaction group, with marks, and in another one of
//! its `/boot`, where that is in a pool of its own; the streams; the file gets its name,
//! which is the commit; the snapshot goes again. From a snapshot that is there already
//! nothing is changed at all.
//!
//! No intent: while streams flow other commands may change something, and one of them
//! may be the `import` at the other end of the pipe. The mark says that a snapshot is
//! an export's, and a lock of its own whether that is under way.

mod entry;
mod since;

use serde::Serialize;

use self::entry::{Placed, entry};
use self::since::{Before, place};
use super::create;
use super::{
    Action, Plan, Planned, Refusal, Step, bad_name, changeable, finished, marked_snapshots,
    without_marked,
};
use crate::archive::manifest::{FORMAT, Kind, Machine, Manifest, Tree};
use crate::be::{BeName, BootEnvironment};
use crate::marker;
use crate::survey::Survey;
use crate::zfs::{
    Blocks, Dataset, Guard, Mountpoint, Outgoing, PoolName, Snapshot, SnapshotName, SyncOp,
};

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// An archive of the whole tree.
    Archive {
        /// Packed by zstd.
        zstd: bool,
    },
    /// The root's stream alone, as `bectl export` writes it.
    Stream,
}

/// What was sent before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// An environment, or a snapshot of the exported one: whichever has the name.
    Named(String),
    /// A snapshot of an environment.
    Snapshot(BeName, String),
}

/// `export BE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to export.
    pub from: create::From,
    /// Only what is different since that.
    pub since: Option<Since>,
    /// How.
    pub form: Form,
    /// Where to, for messages.
    pub to: String,
}

/// What the planner cannot see in the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// This machine.
    pub machine: Machine,
    /// What system is in the environment.
    pub release: Option<String>,
    /// No other export is under way.
    pub alone: bool,
    /// Where the keys of its encryption roots are.
    pub key_locations: Vec<(crate::zfs::DatasetName, String)>,
}

/// Streams to be written, with what is said of them first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sending {
    /// What is said; guids, sizes and features are filled in when the snapshots are
    /// there.
    pub manifest: Manifest,
    /// The streams, in its order.
    pub pieces: Vec<Outgoing>,
    /// In which form.
    pub form: Form,
}

/// The plan of `export`. The survey has the source's properties.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, request: &Request, facts: &Facts) -> Planned {
    let named = request.from.environment.as_ref();
    let attempted = format!("export {}", named.map_or("", BeName::as_str));
    let attempted = attempted.trim_end();
    let source = create::source(survey, attempted, named)?;
    finished(survey, attempted, &source)?;
    let trees = trees(attempted, &source, request.form)?;
    let pools: Vec<PoolName> = trees.iter().map(|(_, root)| root.name.pool()).collect();
    changeable(survey, attempted, &pools)?;
    whole(survey, attempted, &source, &trees)?;
    let own = request.from.snapshot.is_none();
    let component = request.from.component(survey);
    let mut plan = Plan::new(survey, "export");
    let mut left_out = Vec::new();
    for (dataset, why) in source.apart() {
        left_out.push(format!("{} ({})", dataset.name, why.as_str()));
    }
    let since = match &request.since {
        Some(since) => Some(Before::find(survey, attempted, &source, since)?),
        None => None,
    };
    let mut pieces = Vec::new();
    let mut entries = Vec::new();
    for (tree, root) in &trees {
        let mut datasets = source.datasets();
        datasets.retain(|dataset| dataset.name.is_within(&root.name));
        datasets.retain(|dataset| request.form != Form::Stream || dataset.guid == root.guid);
        for dataset in datasets {
            let snapshot = dataset
                .name
                .snapshot(&component)
                .map_err(bad_name(attempted))?;
            if !own && survey.snapshot(&snapshot).is_none() {
                return Err(
                    Refusal::new(attempted, format!("there is no snapshot {snapshot}"))
                        .remedy("every dataset of the environment needs the snapshot"),
                );
            }
            let path = place(&root.name, dataset);
            let base = since.as_ref().and_then(|since| {
                since.base(survey, dataset, (*tree, &path), (!own).then_some(&snapshot))
            });
            pieces.push(Outgoing {
                snapshot: snapshot.clone(),
                base: base.as_ref().map(|base| base.name.clone()),
                blocks: match dataset.encryption_root {
                    Some(_) => Blocks::Raw,
                    None => Blocks::AsStored,
                },
            });
            let place = Placed {
                tree: *tree,
                path,
                dataset,
                snapshot,
                base,
            };
            entries.push(entry(survey, attempted, facts, place, &mut left_out)?);
        }
    }
    if since.is_some() && pieces.iter().all(|piece| piece.base.is_none()) {
        return Err(Refusal::new(
            attempted,
            "it has no snapshot in common with what --since names",
        )
        .remedy("export it without --since"));
    }
    let mark = format!("{} export", survey.id);
    for (pool, name) in pools.iter().zip(["snapshot", "snapshot-boot"]) {
        let mut first = Vec::new();
        if facts.alone {
            let stale = left_over(survey).filter(|it| it.name.dataset().pool() == *pool);
            first.extend(stale.map(gone));
        }
        if own {
            first.extend(marked_snapshots(of_pool(&pieces, pool), &mark));
        }
        plan.transact(name, pool, first);
        if let Some(step) = plan.steps.last_mut().filter(|_| own) {
            step.undo = vec![Action::Transact {
                pool: pool.clone(),
                operations: without_marked(of_pool(&pieces, pool), &mark, true),
            }];
        }
    }
    if request.form != Form::Stream {
        plan.notes.extend(
            left_out
                .iter()
                .map(|text| format!("not in the archive: {text}")),
        );
    }
    let printable = |text: &str| text.replace(|c: char| c.is_control(), " ");
    let manifest = Manifest {
        format: FORMAT,
        program: format!("beadm-rs {}", env!("CARGO_PKG_VERSION")),
        kind: Kind::Environment,
        name: source.name().to_owned(),
        description: source.description().map(printable),
        created: survey.now,
        machine: facts.machine.clone(),
        release: facts.release.clone(),
        snapshot: component,
        temporary: own,
        zstd: request.form == Form::Archive { zstd: true },
        needs: Vec::new(),
        boot_needs: Vec::new(),
        datasets: entries,
        left_out: left_out.iter().map(|text| printable(text)).collect(),
    };
    let sending = Sending {
        manifest,
        pieces: pieces.clone(),
        form: request.form,
    };
    plan.steps
        .push(Step::new("send", Action::Send(Box::new(sending))));
    let keep = Action::Keep {
        what: request.to.clone(),
    };
    plan.steps.push(Step::new("keep", keep).commits());
    if own {
        for (pool, name) in pools.iter().zip(["finish", "finish-boot"]) {
            // One that was promoted away meanwhile is not passed over: recover finds it.
            plan.transact(
                name,
                pool,
                without_marked(of_pool(&pieces, pool), &mark, false),
            );
        }
    }
    plan.outcome = format!(
        "{} holds {}{}",
        request.to,
        source.name(),
        match &request.from.snapshot {
            Some(snapshot) => format!("@{snapshot}"),
            None => String::new(),
        }
    );
    Ok(plan)
}

/// The roots of what is sent: the environment's own, and that of its `/boot`.
fn trees<'a>(
    attempted: &str,
    source: &BootEnvironment<'a>,
    form: Form,
) -> Result<Vec<(Tree, &'a Dataset)>, Refusal> {
    if form == Form::Stream {
        return Ok(vec![(Tree::Root, source.root)]);
    }
    let roots = source.roots();
    if let [_, one, other, ..] = roots.as_slice() {
        return Err(Refusal::new(
            attempted,
            format!(
                "two pools have a /boot for it, {} and {}",
                one.name, other.name
            ),
        )
        .remedy("zpool export the pool whose /boot is another machine's"));
    }
    Ok([Tree::Root, Tree::Boot].into_iter().zip(roots).collect())
}

/// A half-received source cannot be sent, and one without a mountpoint would never be
/// an environment. A locked one can: it is sent as it lies on disk.
fn whole(
    survey: &Survey,
    attempted: &str,
    source: &BootEnvironment<'_>,
    trees: &[(Tree, &Dataset)],
) -> Result<(), Refusal> {
    if let Some(why) = source.unbootable()
        && source.root.mountpoint == Mountpoint::None
    {
        return Err(Refusal::new(attempted, why)
            .remedy(format!("zfs set mountpoint=/ {}", source.root.name)));
    }
    let mut datasets = trees.iter().flat_map(|(_, root)| survey.within(&root.name));
    match datasets.find(|dataset| dataset.receiving()) {
        Some(dataset) => Err(Refusal::new(
            attempted,
            format!("{} is being received", dataset.name),
        )),
        None => Ok(()),
    }
}

/// The snapshots that lie in one pool.
fn of_pool<'a>(
    pieces: &'a [Outgoing],
    pool: &'a PoolName,
) -> impl Iterator<Item = &'a SnapshotName> {
    let snapshots = pieces.iter().map(|piece| &piece.snapshot);
    snapshots.filter(move |snapshot| snapshot.dataset().pool() == *pool)
}

/// The snapshots of exports that did not end: of all, where none is under way.
fn left_over(survey: &Survey) -> impl Iterator<Item = &Snapshot> {
    survey
        .datasets
        .values()
        .flat_map(|dataset| &dataset.snapshots)
        .filter(|snapshot| snapshot.holds == 0 && snapshot.clones.is_empty())
        .filter(|snapshot| {
            let text = marker::read(&snapshot.marks, "op", snapshot.guid);
            text.is_some_and(|text| text.ends_with(" export"))
        })
}

fn gone(snapshot: &Snapshot) -> SyncOp {
    SyncOp::Destroy {
        object: snapshot.name.to_string(),
        guard: Guard::Guid(snapshot.guid),
        missing_ok: true,
    }
}

/// The end of what interrupted exports left; `None` where they left nothing. No
/// export may be under way.
///
/// # Errors
/// Where the pools cannot be changed.
pub fn sweep(survey: &Survey) -> Result<Option<Plan>, Refusal> {
    if left_over(survey).next().is_none() {
        return Ok(None);
    }
    let mut plan = Plan::new(survey, "recover");
    plan.release(survey, "recover", left_over(survey))?;
    plan.outcome = "the snapshots of an interrupted export are gone".to_owned();
    Ok(Some(plan))
}
