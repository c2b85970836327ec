//! A new boot environment: clones of one snapshot of a whole tree, a copy in
//! another pool, or an empty one.
//!
//! The order (DESIGN of the pool's records: `crate::intent`): intent and
//! snapshots in one transaction group; clones, whose root keeps
//! `mountpoint=none`, so that whatever a power cut leaves mounts nowhere (ZFS
//! sets a clone's properties in a later transaction group than the clone, and
//! until then a child inherits its mountpoint); names in its files; and the
//! root's mountpoint as the commit point, which ends the intent with it: that
//! is recorded on the root by then.

mod copy;

pub use copy::beroot_in;

use std::collections::BTreeSet;

use super::{
    Action, Plan, Planned, Refusal, Step, Why, bad_name, changeable, environment, finished, fits,
    intent_clear, intent_mark, intent_mark_on, marked_snapshots, no_boot_of, pools_of,
    snapshot_component, unlocked, without_marked,
};
use crate::be::rewrite::Names;
use crate::be::{BeName, BootEnvironment, NewBeName};
use crate::intent::Undertaking;
use crate::marker;
use crate::survey::Survey;
use crate::zfs::{
    Canmount, CloneOf, Dataset, DatasetName, Guard, Mountpoint, PREFIX, PoolName, Setting,
    SnapshotName, SyncOp,
};

/// What a new environment is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// The environment; the running one where none is named.
    pub environment: Option<BeName>,
    /// A snapshot of it that there is already.
    pub snapshot: Option<String>,
}

impl From {
    /// What its snapshots are called, those that there are or those to be taken.
    pub(super) fn component(&self, survey: &Survey) -> String {
        let given = self.snapshot.clone();
        given.unwrap_or_else(|| snapshot_component(survey))
    }
}

/// `create NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The new name.
    pub name: NewBeName,
    /// What it is made from.
    pub from: From,
    /// What to note about it.
    pub description: Option<String>,
    /// Properties for its root.
    pub settings: Vec<Setting>,
    /// Another pool to copy it to.
    pub pool: Option<PoolName>,
    /// Only the root, without what lies below it.
    pub shallow: bool,
}

/// The environment a request is about: the one named, or the running one.
///
/// # Errors
/// Where it does not exist, or none is named and none runs.
pub fn source<'a>(
    survey: &'a Survey,
    attempted: &str,
    named: Option<&BeName>,
) -> Result<BootEnvironment<'a>, Refusal> {
    match named {
        Some(name) => environment(survey, attempted, name),
        None => survey.running().ok_or_else(|| {
            Refusal::new(
                attempted,
                "no boot environment is running here to make it from",
            )
            .why(Why::NoEnvironment)
            .remedy(format!("name one with -e; there are: {}", survey.names()))
        }),
    }
}

/// Properties that only the creation of a dataset sets, or that belong to its
/// encryption: a clone has its origin's (zfsprops(7)).
const NEVER_COPIED: [&str; 13] = [
    "casesensitivity",
    "normalization",
    "utf8only",
    "encryption",
    "keyformat",
    "keylocation",
    "pbkdf2iters",
    "pbkdf2salt",
    "volsize",
    "volblocksize",
    "version",
    "canmount",
    "mountpoint",
];

/// Properties that print 0 (or the greatest number) for `none` but do not take
/// it (`zfs_valid_proplist`).
const LIMITS: [&str; 6] = [
    "quota",
    "refquota",
    "reservation",
    "refreservation",
    "filesystem_limit",
    "snapshot_limit",
];

fn spelled(name: &str, value: &str) -> String {
    let none = matches!(value, "0" | "18446744073709551615");
    if none && LIMITS.contains(&name) {
        "none".to_owned()
    } else {
        value.to_owned()
    }
}

/// The settings that make a clone what its source is.
fn settings_of(survey: &Survey, source: &Dataset) -> Vec<Setting> {
    let canmount = match source.canmount {
        Canmount::Off => Canmount::Off,
        Canmount::On | Canmount::Noauto => Canmount::Noauto,
    };
    let mut settings = vec![("canmount".to_owned(), canmount.as_str().to_owned())];
    let own = survey.properties.get(&source.name).into_iter().flatten();
    if own
        .into_iter()
        .any(|property| property.name == "mountpoint")
    {
        settings.push(("mountpoint".to_owned(), mountpoint_of(survey, source)));
    }
    settings.extend(own_settings(survey, source));
    settings
}

/// The same without `canmount` and `mountpoint`.
pub(super) fn own_settings(survey: &Survey, source: &Dataset) -> Vec<Setting> {
    let own = survey.properties.get(&source.name).into_iter().flatten();
    own.filter(|property| {
        !NEVER_COPIED.contains(&property.name.as_str()) && !marker::is_identity(&property.name)
    })
    .map(|property| {
        let value = spelled(&property.name, &property.value);
        (property.name.clone(), value)
    })
    .collect()
}

/// The mountpoint as it is stored: without the pool's altroot.
pub(super) fn mountpoint_of(survey: &Survey, dataset: &Dataset) -> String {
    dataset
        .mountpoint
        .clone()
        .without(survey.altroot_of(&dataset.name))
        .to_string()
}

fn replace(settings: &mut Vec<Setting>, name: &str, value: &str) {
    settings.retain(|(other, _)| other != name);
    settings.push((name.to_owned(), value.to_owned()));
}

/// What the user asked for the root's properties.
fn asked_settings(attempted: &str, request: &Request) -> Result<Vec<Setting>, Refusal> {
    for (name, _) in &request.settings {
        if matches!(name.as_str(), "canmount" | "mountpoint") || name.starts_with(PREFIX) {
            return Err(Refusal::new(
                attempted,
                format!("-o {name}: beadm-rs sets that itself"),
            ));
        }
    }
    let mut settings = request.settings.clone();
    if let Some(text) = &request.description {
        settings.push((format!("{PREFIX}description"), text.clone()));
    }
    Ok(settings)
}

/// A dataset of the source with its snapshot and its place in the new tree.
struct Piece<'a> {
    source: &'a Dataset,
    snapshot: SnapshotName,
    target: DatasetName,
}

/// Checks that are the same for every kind of creation; the new root's name.
fn new_root(
    survey: &Survey,
    attempted: &str,
    request: &Request,
    beroot: &DatasetName,
) -> Result<DatasetName, Refusal> {
    changeable(survey, attempted, [&survey.beroot.pool(), &beroot.pool()])?;
    let root = request
        .name
        .name()
        .below(beroot)
        .map_err(bad_name(attempted))?;
    if survey.datasets.contains_key(&root) {
        return Err(Refusal::new(attempted, format!("{root} exists already")).why(Why::Exists));
    }
    if *beroot == survey.beroot {
        no_boot_of(survey, attempted, request.name.name())?;
    }
    Ok(root)
}

/// The plan of `create NAME`. The survey has the source's properties.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, request: &Request) -> Planned {
    let attempted = format!("create {}", request.name.name());
    let source = source(survey, &attempted, request.from.environment.as_ref())?;
    finished(survey, &attempted, &source)?;
    changeable(survey, &attempted, &pools_of(&source))?;
    readable(&attempted, &source)?;
    match &request.pool {
        Some(pool) if *pool != survey.beroot.pool() => {
            copy::copy(survey, request, &attempted, &source, pool)
        }
        _ => clone(survey, request, &attempted, &source),
    }
}

/// A locked or half-received source cannot be made sense of, and one without
/// a mountpoint would never be an environment.
fn readable(attempted: &str, source: &BootEnvironment<'_>) -> Result<(), Refusal> {
    if source.root.mountpoint == Mountpoint::None {
        return Err(Refusal::new(
            attempted,
            format!(
                "{} has no mountpoint, so that it cannot be booted",
                source.root.name
            ),
        )
        .remedy(format!("zfs set mountpoint=/ {}", source.root.name)));
    }
    unlocked(attempted, source)?;
    for dataset in source.datasets() {
        if dataset.receiving() {
            return Err(Refusal::new(
                attempted,
                format!("{} is being received", dataset.name),
            ));
        }
    }
    Ok(())
}

/// The pieces of the source: everything, or only the roots.
fn pieces<'a>(
    survey: &Survey,
    request: &Request,
    attempted: &str,
    source: &BootEnvironment<'a>,
    new: impl Fn(&Dataset) -> Result<DatasetName, Refusal>,
    component: &str,
) -> Result<Vec<Piece<'a>>, Refusal> {
    let roots = source.roots();
    source
        .datasets()
        .into_iter()
        .filter(|dataset| !request.shallow || roots.iter().any(|root| root.guid == dataset.guid))
        .map(|dataset| {
            let snapshot = dataset
                .name
                .snapshot(component)
                .map_err(bad_name(attempted))?;
            if request.from.snapshot.is_some() && survey.snapshot(&snapshot).is_none() {
                return Err(
                    Refusal::new(attempted, format!("there is no snapshot {snapshot}"))
                        .why(Why::NoSnapshot)
                        .remedy(
                            "every dataset of the environment needs the snapshot; \
                     --shallow takes the root alone",
                        ),
                );
            }
            Ok(Piece {
                source: dataset,
                snapshot,
                target: new(dataset)?,
            })
        })
        .collect()
}

fn note_apart(plan: &mut Plan, source: &BootEnvironment<'_>, shallow: bool) {
    if shallow {
        return;
    }
    for (dataset, why) in source.apart() {
        plan.notes.push(format!(
            "{} is {} and is not cloned",
            dataset.name,
            why.as_str()
        ));
    }
}

/// Snapshots of the pieces of one pool, marked.
fn snapshots(survey: &Survey, pieces: &[&Piece<'_>]) -> Vec<SyncOp> {
    let names = pieces.iter().map(|piece| &piece.snapshot);
    marked_snapshots(names, &snapshot_text(survey))
}

fn snapshot_text(survey: &Survey) -> String {
    format!("{} create", survey.id)
}

/// The end of the snapshots of one pool.
fn without_snapshots(survey: &Survey, pieces: &[&Piece<'_>]) -> Vec<SyncOp> {
    let names = pieces.iter().map(|piece| &piece.snapshot);
    without_marked(names, &snapshot_text(survey), true)
}

fn clone(
    survey: &Survey,
    request: &Request,
    attempted: &str,
    source: &BootEnvironment<'_>,
) -> Planned {
    let new = new_root(survey, attempted, request, &survey.beroot)?;
    let own = request.from.snapshot.is_none();
    let component = request.from.component(survey);
    let mut roots = Vec::new();
    for root in source.roots() {
        let parent = root.name.parent().unwrap_or_else(|| root.name.clone());
        let target = request
            .name
            .name()
            .below(&parent)
            .map_err(bad_name(attempted))?;
        if survey.datasets.contains_key(&target) {
            return Err(Refusal::new(attempted, format!("{target} exists already")));
        }
        roots.push((root.name.clone(), target));
    }
    let place = |dataset: &Dataset| {
        roots
            .iter()
            .find(|(from, _)| dataset.name.is_within(from))
            .map_or(Ok(dataset.name.clone()), |(from, to)| {
                dataset.name.moved(from, to).map_err(bad_name(attempted))
            })
    };
    let pieces = pieces(survey, request, attempted, source, place, &component)?;
    let asked = asked_settings(attempted, request)?;

    let mut plan = Plan::new(survey, "create");
    note_apart(&mut plan, source, request.shallow);
    let undertaking = Undertaking::Create {
        roots: roots.iter().map(|(_, to)| to.clone()).collect(),
        from: roots.iter().map(|(from, _)| from.clone()).collect(),
        snapshot: component,
        own,
    };
    let (intent, bytes) = intent_mark(survey, undertaking.clone());
    fits(attempted, bytes)?;
    for (index, pool) in pools_of(source).iter().enumerate() {
        let here: Vec<&Piece<'_>> = pieces
            .iter()
            .filter(|piece| piece.target.pool() == *pool)
            .collect();
        let mut operations = Vec::new();
        let mut undo = Vec::new();
        if own {
            operations = snapshots(survey, &here);
            undo = without_snapshots(survey, &here);
        }
        if index == 0 {
            operations.insert(0, intent.clone());
            undo.push(intent_clear(survey));
        }
        if operations.is_empty() {
            continue;
        }
        let name = if index == 0 {
            "snapshot"
        } else {
            "snapshot-boot"
        };
        let action = Action::Transact {
            pool: pool.clone(),
            operations,
        };
        plan.steps
            .push(Step::new(name, action).undone_by(vec![Action::Transact {
                pool: pool.clone(),
                operations: undo,
            }]));
    }
    let mut last = Vec::new();
    let mut boots = Vec::new();
    // A `/boot` with datasets below it has no mountpoint until these have their settings: they
    // have `canmount=on` for a transaction group, and could be mounted over those of the
    // running environment if the power failed then.
    let hidden_at = |piece: &Piece<'_>, settings: &[Setting]| {
        let is_root = roots.iter().any(|(_, root)| *root == piece.target);
        let has_more = |other: &Piece<'_>| other.target.parent().as_ref() == Some(&piece.target);
        let path = |(name, value): &&Setting| name == "mountpoint" && value.starts_with('/');
        (settings.iter().find(path).map(|(_, value)| value.clone()))
            .filter(|_| is_root && pieces.iter().any(has_more))
    };
    let clones: Vec<CloneOf> = pieces
        .iter()
        .map(|piece| {
            let mut settings = settings_of(survey, piece.source);
            if piece.target == new {
                for (name, value) in &asked {
                    replace(&mut settings, name, value);
                }
                let mountpoint = mountpoint_of(survey, source.root);
                last = set_last(survey, &new, &mut settings, &mountpoint);
            } else if let Some(mountpoint) = hidden_at(piece, &settings) {
                let settings = set_last(survey, &piece.target, &mut settings, &mountpoint);
                let dataset = piece.target.clone();
                boots.push(Step::new("settle-boot", Action::Set { dataset, settings }));
            }
            CloneOf {
                snapshot: piece.snapshot.clone(),
                target: piece.target.clone(),
                settings,
            }
        })
        .collect();
    let undo = undo_clones(&clones, &pools_of(source), &intent);
    // A snapshot that was there may be older than its environment's name.
    let targets = clones.iter().map(|clone| clone.target.clone()).collect();
    let names = Names {
        moves: roots,
        own: if own { BTreeSet::new() } else { targets },
    };
    // The new root takes the intent over, so that the commit ends it in its own group.
    let (handed_over, _) = intent_mark_on(&new, survey, undertaking);
    let clone = Action::Clone {
        clones,
        operations: vec![handed_over, intent_clear(survey)],
        names,
    };
    plan.steps.push(Step::new("clone", clone).undone_by(undo));
    plan.steps.extend(boots);
    last.push((format!("{PREFIX}op"), "-".to_owned()));
    let set = Action::Set {
        dataset: new,
        settings: last,
    };
    plan.steps.push(Step::new("commit", set).commits());
    plan.outcome = format!(
        "{} is a clone of {}{}",
        request.name.name(),
        source.name(),
        request
            .from
            .snapshot
            .as_ref()
            .map(|snapshot| format!("@{snapshot}"))
            .unwrap_or_default()
    );
    Ok(plan)
}

/// What of a root's settings waits until what is below it is there; the others stay.
///
/// All of them where that can be, since ZFS sets those of a clone in a transaction group
/// of its own (`zfs_ioc_clone`): below a dataset with `mountpoint=none`, which the clone
/// inherits meanwhile, and where all can be set in one group (`zfs_set_prop_nvlist`:
/// quotas, for one, cannot).
fn set_last(
    survey: &Survey,
    root: &DatasetName,
    settings: &mut Vec<Setting>,
    mountpoint: &str,
) -> Vec<Setting> {
    let bare = root
        .parent()
        .and_then(|parent| survey.datasets.get(&parent))
        .is_some_and(|parent| parent.mountpoint == Mountpoint::None);
    let at_once = |name: &str| matches!(name, "canmount" | "mountpoint") || name.contains(':');
    let mut last = vec![("mountpoint".to_owned(), mountpoint.to_owned())];
    if bare && settings.iter().all(|(name, _)| at_once(name)) {
        settings.retain(|(name, _)| name != "mountpoint");
        last.append(settings);
    } else {
        replace(settings, "mountpoint", "none");
    }
    last
}

/// Children first; a clone is this operation's by the snapshot it comes from. Before the
/// new root goes, the beroot has the intent again: the snapshots are still to go.
fn undo_clones(clones: &[CloneOf], pools: &[PoolName], intent: &SyncOp) -> Vec<Action> {
    pools
        .iter()
        .enumerate()
        .map(|(index, pool)| {
            let back = (index == 0).then(|| intent.clone());
            let gone = clones
                .iter()
                .rev()
                .filter(|clone| clone.target.pool() == *pool)
                .map(|clone| SyncOp::Destroy {
                    object: clone.target.to_string(),
                    guard: Guard::Origin(clone.snapshot.clone()),
                    missing_ok: true,
                });
            Action::Transact {
                pool: pool.clone(),
                operations: back.into_iter().chain(gone).collect(),
            }
        })
        .collect()
}

/// The plan of `create --empty NAME`.
///
/// # Errors
/// Why it is refused.
pub fn plan_empty(survey: &Survey, request: &Request) -> Planned {
    let attempted = format!("create {}", request.name.name());
    let root = new_root(survey, &attempted, request, &survey.beroot)?;
    let mut settings = vec![
        ("canmount".to_owned(), Canmount::Noauto.as_str().to_owned()),
        (
            "mountpoint".to_owned(),
            Mountpoint::Path("/".into()).to_string(),
        ),
    ];
    settings.extend(asked_settings(&attempted, request)?);
    let mut plan = Plan::new(survey, "create");
    // One call of ZFS, which does it all or nothing: no intent is needed.
    plan.steps.push(
        Step::new(
            "commit",
            Action::CreateDataset {
                dataset: root,
                settings,
            },
        )
        .commits(),
    );
    plan.outcome = format!("{} is empty", request.name.name());
    Ok(plan)
}
