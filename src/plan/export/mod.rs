//! An environment as an archive.
//!
//! A snapshot of the whole tree in one transaction group, with marks; the streams; the
//! file gets its name, which is the commit; the snapshot goes again. From a snapshot
//! that is there already nothing is changed at all.
//!
//! No intent: while streams flow other commands may change something, and one of them
//! may be the `import` at the other end of the pipe. The mark says that a snapshot is
//! an export's, and a lock of its own whether that is under way.

mod since;

use serde::Serialize;

use self::since::Before;
use super::create;
use super::{
    Action, Plan, Planned, Refusal, Step, bad_name, changeable, finished, marked_snapshots,
    without_marked,
};
use crate::archive::manifest::{Encryption, Entry, FORMAT, Kind, Machine, Manifest};
use crate::archive::policy;
use crate::be::{BeName, BootEnvironment};
use crate::marker;
use crate::survey::Survey;
use crate::zfs::{Blocks, Canmount, Dataset, Guard, Guid, Mountpoint, Outgoing, Snapshot, SyncOp};

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
    changeable(survey, attempted, [&survey.beroot.pool()])?;
    whole(survey, attempted, &source)?;
    let own = request.from.snapshot.is_none();
    let component = request.from.component(survey);
    let mut plan = Plan::new(survey, "export");
    let mut left_out = Vec::new();
    for (dataset, why) in source.apart() {
        left_out.push(format!("{} ({})", dataset.name, why.as_str()));
    }
    if source.roots().len() > 1 {
        left_out.push("/boot, which is on a pool of its own".to_owned());
    }
    let datasets: Vec<&Dataset> = source
        .datasets()
        .into_iter()
        .filter(|dataset| dataset.name.is_within(&source.root.name))
        .filter(|dataset| request.form != Form::Stream || dataset.guid == source.guid())
        .collect();
    let since = match &request.since {
        Some(since) => Some(Before::find(survey, attempted, &source, since)?),
        None => None,
    };
    let mut pieces = Vec::new();
    let mut entries = Vec::new();
    for dataset in &datasets {
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
        let path = dataset
            .name
            .as_str()
            .strip_prefix(source.root.name.as_str())
            .unwrap_or_default()
            .trim_start_matches('/');
        let base = since
            .as_ref()
            .and_then(|since| since.base(survey, dataset, path, (!own).then_some(&snapshot)));
        let (properties, without) = travelling(survey, dataset);
        left_out.extend(without);
        entries.push(Entry {
            path: path.to_owned(),
            source: dataset.name.clone(),
            // Where it is not known yet: not 0, which no snapshot has.
            guid: survey.snapshot(&snapshot).map_or(Guid(0), |it| it.guid),
            base: base.clone(),
            mountpoint: mountpoint(survey, attempted, dataset, path.is_empty(), &mut left_out)?,
            canmount: match dataset.canmount {
                Canmount::Off => Canmount::Off,
                Canmount::On | Canmount::Noauto => Canmount::Noauto,
            },
            properties,
            encryption: dataset.encryption_root.as_ref().map(|root| Encryption {
                root: root.clone(),
                location: key_location(facts, root),
            }),
            bytes: 0,
        });
        pieces.push(Outgoing {
            snapshot,
            base: base.map(|base| base.name),
            blocks: match dataset.encryption_root {
                Some(_) => Blocks::Raw,
                None => Blocks::AsStored,
            },
        });
    }
    if since.is_some() && pieces.iter().all(|piece| piece.base.is_none()) {
        return Err(Refusal::new(
            attempted,
            "it has no snapshot in common with what --since names",
        )
        .remedy("export it without --since"));
    }
    let pool = survey.beroot.pool();
    let mut first = Vec::new();
    if facts.alone {
        let stale = left_over(survey).filter(|it| it.name.dataset().pool() == pool);
        first.extend(stale.map(gone));
    }
    let mut undo = Vec::new();
    let mark = format!("{} export", survey.id);
    let snapshots = || pieces.iter().map(|piece| &piece.snapshot);
    if own {
        first.extend(marked_snapshots(snapshots(), &mark));
        undo = without_marked(snapshots(), &mark, true);
    }
    plan.transact("snapshot", &pool, first);
    if let Some(step) = plan.steps.last_mut().filter(|_| own) {
        step.undo = vec![Action::Transact {
            pool: pool.clone(),
            operations: undo,
        }];
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
        // One that was promoted away meanwhile is not passed over: recover finds it.
        plan.transact("finish", &pool, without_marked(snapshots(), &mark, false));
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

/// A half-received source cannot be sent, and one without a mountpoint would never be
/// an environment. A locked one can: it is sent as it lies on disk.
fn whole(survey: &Survey, attempted: &str, source: &BootEnvironment<'_>) -> Result<(), Refusal> {
    if let Some(why) = source.unbootable()
        && source.root.mountpoint == Mountpoint::None
    {
        return Err(Refusal::new(attempted, why)
            .remedy(format!("zfs set mountpoint=/ {}", source.root.name)));
    }
    let receiving = survey
        .within(&source.root.name)
        .find(|dataset| dataset.receiving());
    match receiving {
        Some(dataset) => Err(Refusal::new(
            attempted,
            format!("{} is being received", dataset.name),
        )),
        None => Ok(()),
    }
}

fn key_location(facts: &Facts, root: &crate::zfs::DatasetName) -> Option<String> {
    let mut known = facts.key_locations.iter();
    known
        .find(|(of, _)| of == root)
        .map(|(_, location)| location.clone())
}

/// The settings that an archive may say, and what it does not say.
fn travelling(survey: &Survey, dataset: &Dataset) -> (Vec<(String, String)>, Vec<String>) {
    let own = create::own_settings(survey, dataset);
    let (kept, rest): (Vec<_>, Vec<_>) = own
        .into_iter()
        .partition(|(name, value)| policy::travels(name, value));
    let without = rest
        .into_iter()
        .filter(|(name, _)| !marker::is_identity(name))
        .map(|(name, value)| {
            let value: String = value.chars().take(60).collect();
            format!("{name}={value} of {}", dataset.name)
        });
    (kept, without.collect())
}

fn mountpoint(
    survey: &Survey,
    attempted: &str,
    dataset: &Dataset,
    root: bool,
    left_out: &mut Vec<String>,
) -> Result<Option<String>, Refusal> {
    let own = survey.properties.get(&dataset.name).into_iter().flatten();
    let set = own
        .into_iter()
        .any(|property| property.name == "mountpoint");
    if !root && !set {
        return Ok(None);
    }
    let mountpoint = create::mountpoint_of(survey, dataset);
    match policy::check_mountpoint(&mountpoint, root) {
        Ok(()) => Ok(Some(mountpoint)),
        Err(why) if root => {
            Err(Refusal::new(attempted, why)
                .remedy(format!("zfs set mountpoint=/ {}", dataset.name)))
        }
        Err(_) => {
            left_out.push(format!("mountpoint={mountpoint} of {}", dataset.name));
            Ok(None)
        }
    }
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
