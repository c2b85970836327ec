//! The shared dataset: `share init`; [`add`] moves into it, [`remove`] out of it,
//! [`restore`] goes back to one of its snapshots; [`apply`]: other environments
//! get the same; [`activation`]: what an activation does about it.

pub mod activation;
pub mod add;
pub mod apply;
pub mod remove;
pub mod restore;

use super::{Action, Plan, Planned, Refusal, Step, changeable};
use crate::share::change::ShareChange;
use crate::share::find::Share;
use crate::share::look::{Seen, What};
use crate::share::record::Record;
use crate::share::{DATASET, DIRECTORY, KEY};
use crate::survey::Survey;
use crate::zfs::{Canmount, Dataset, DatasetName, Guard, Mountpoint, PREFIX, PoolName, SyncOp};

/// `share init [-p POOL]`.
#[derive(Debug, Clone)]
pub struct Request {
    /// The pool, where it is named.
    pub pool: Option<PoolName>,
    /// The root dataset of that pool, or of the environments'.
    pub parent: Option<Dataset>,
    /// What is in the place of the directory.
    pub directory: Seen,
}

/// The mark with the record.
pub(crate) fn noted(share: &DatasetName, record: &Record) -> SyncOp {
    SyncOp::Mark {
        object: share.to_string(),
        key: KEY.to_owned(),
        text: record.encode(),
    }
}

fn share(name: &'static str, change: ShareChange) -> Step {
    Step::new(name, Action::Share(change))
}

/// The plan of `share init`. There is no intent: each step is harmless alone,
/// and a second time what is missing is done.
///
/// # Errors
/// Why it is refused.
pub fn init(survey: &Survey, found: Option<&Share>, request: &Request) -> Planned {
    let attempted = "make the shared dataset";
    let refused = |reason: String| Refusal::new(attempted, reason);
    let running = running(survey, attempted)?;
    let here = survey.beroot.pool();
    let pool = match (found, &request.pool) {
        (Some(found), _) => found.dataset.name.pool(),
        (None, Some(pool)) => pool.clone(),
        (None, None) => here,
    };
    changeable(survey, attempted, [&pool])?;
    let mut plan = Plan::new(survey, "share-init");
    let name = match found {
        Some(found) => found.dataset.name.clone(),
        None => DatasetName::from(pool.clone())
            .child(DATASET)
            .map_err(super::bad_name(attempted))?,
    };
    let mounted = found.is_some_and(|found| found.mounted);
    if !mounted {
        directory(attempted, &request.directory)?;
    }
    let encrypted = running.root.encryption_root.is_some();
    match found {
        Some(found) => adopt(survey, attempted, found, &mut plan)?,
        None => {
            let Some(parent) = &request.parent else {
                return Err(refused(format!("there is no pool '{pool}'"))
                    .remedy(format!("zpool import {pool}")));
            };
            if encrypted && parent.encryption_root.is_none() {
                return Err(refused(format!(
                    "{} is encrypted and {} is not: what is moved would be readable to whoever \
                     has the disk",
                    running.root.name, parent.name
                ))
                .remedy(format!(
                    "zfs create -o encryption=on -o keyformat=… -o mountpoint={DIRECTORY} {name}, \
                     and again: it is adopted"
                )));
            }
            if !parent.key_loaded {
                return Err(refused(format!("the key of {} is not loaded", parent.name))
                    .remedy(format!("zfs load-key {}", parent.name)));
            }
            plan.steps.push(create(survey, &name));
        }
    }
    if !mounted {
        if request.directory.what == What::Missing
            && let Some(home) = &request.directory.home
        {
            let make = |off| ShareChange::Directory {
                home: home.clone(),
                below: request.directory.below.clone(),
                off,
            };
            plan.steps
                .push(share("directory", make(false)).undone_by(vec![Action::Share(make(true))]));
        }
        let unmount = ShareChange::Unmount {
            share: name.clone(),
        };
        let mount = ShareChange::Mount {
            share: name.clone(),
        };
        plan.steps
            .push(share("mount", mount).undone_by(vec![Action::Share(unmount)]));
    }
    let record = found.and_then(|found| found.record.clone());
    if record.is_none() {
        let mut marks = vec![noted(&name, &Record::default())];
        if found.is_none() {
            marks.push(SyncOp::Unmark {
                object: name.to_string(),
                key: "op".to_owned(),
            });
        }
        plan.transact("commit", &pool, marks);
    }
    if let Some(last) = plan.steps.last_mut() {
        last.commit = true;
        last.undo.clear();
    }
    plan.outcome = if plan.steps.is_empty() {
        format!("{name} is on {DIRECTORY} already")
    } else {
        format!("{name} is on {DIRECTORY}, for all environments")
    };
    Ok(plan)
}

/// The environment that runs: what is shared is its files.
pub(super) fn running<'a>(
    survey: &'a Survey,
    attempted: &str,
) -> Result<crate::be::BootEnvironment<'a>, Refusal> {
    survey.running().ok_or_else(|| {
        Refusal::new(
            attempted,
            "the machine does not run from one of its boot environments",
        )
        .remedy("boot one of them: what is shared is moved out of the running one")
    })
}

/// Nothing may be hidden by the mount.
fn directory(attempted: &str, seen: &Seen) -> Result<(), Refusal> {
    let refused = |reason: String| Refusal::new(attempted, reason);
    if let Some(loose) = &seen.loose {
        return Err(refused(loose.clone()).remedy("set that right first"));
    }
    if seen.home.is_none() {
        return Err(refused(format!(
            "{DIRECTORY} does not lie in a dataset of the running environment"
        )));
    }
    if let Some(mounted) = seen.mounted.first() {
        return Err(
            refused(format!("something else is mounted on {mounted}")).remedy(format!(
                "unmount it; what is shared is mounted on {DIRECTORY}"
            )),
        );
    }
    match &seen.what {
        What::Missing => Ok(()),
        What::Directory if seen.content.files == 0 => Ok(()),
        What::Directory => Err(refused(format!(
            "{DIRECTORY} has files in it, which the mount would hide"
        ))
        .remedy(format!(
            "move them away, and into it afterwards: mv {DIRECTORY} {DIRECTORY}.before"
        ))),
        What::Link(target) => Err(
            refused(format!("{DIRECTORY} is a symbolic link to {target}"))
                .remedy(format!("rm {DIRECTORY}")),
        ),
        What::Other => Err(refused(format!("{DIRECTORY} is not a directory"))),
    }
}

/// Access control lists and attributes are kept, whatever the pool's default is.
/// Mounted by zfs-mount.service, which comes after the environment's own datasets
/// (`own::unit`): it belongs to whichever environment runs.
fn create(survey: &Survey, name: &DatasetName) -> Step {
    let id = survey.id.to_string();
    let settings = [
        ("canmount", "on"),
        ("mountpoint", DIRECTORY),
        ("acltype", "posixacl"),
        ("xattr", "sa"),
        ("org.beadm-rs:op", &id),
    ];
    let settings = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let destroy = SyncOp::Destroy {
        object: name.to_string(),
        guard: Guard::Setting {
            key: "op".to_owned(),
            value: id,
        },
        missing_ok: true,
    };
    Step::new(
        "create",
        Action::CreateDataset {
            dataset: name.clone(),
            settings,
        },
    )
    .undone_by(vec![Action::Transact {
        pool: name.pool(),
        operations: vec![destroy],
    }])
}

/// One that is there already is mounted at each boot too.
fn adopt(survey: &Survey, attempted: &str, found: &Share, plan: &mut Plan) -> Result<(), Refusal> {
    let dataset = &found.dataset;
    let name = &dataset.name;
    let refused = |reason: String| Refusal::new(attempted, reason);
    if name.is_within(&survey.beroot) {
        return Err(refused(format!(
            "{name} is mounted on {DIRECTORY}, and belongs to one environment"
        ))
        .remedy(format!(
            "move its files away and destroy it, or zfs rename it to {}/{DATASET}",
            name.pool()
        )));
    }
    if !dataset.key_loaded {
        let root = dataset.encryption_root.as_ref().unwrap_or(name);
        return Err(refused(format!("the key of {name} is not loaded"))
            .remedy(format!("zfs load-key {root}")));
    }
    let place = dataset.mountpoint.clone().without(survey.altroot_of(name));
    let right = place == Mountpoint::Path(DIRECTORY.into());
    if !right && !found.mounted {
        return Err(refused(format!("{name} is there, with mountpoint={place}"))
            .remedy(format!("zfs set mountpoint={DIRECTORY} {name}")));
    }
    if right && dataset.canmount != Canmount::On {
        let set = |value: Canmount| Action::Set {
            dataset: name.clone(),
            settings: vec![("canmount".to_owned(), value.as_str().to_owned())],
        };
        plan.steps
            .push(Step::new("canmount", set(Canmount::On)).undone_by(vec![set(dataset.canmount)]));
    }
    if !right {
        plan.notes.push(format!(
            "{name} has mountpoint={place}: something else mounts it, and has to do so at each \
             boot, whichever environment runs"
        ));
    }
    if found.record.is_none() {
        plan.notes.push(format!(
            "{name} was there and is adopted; {PREFIX}{KEY} on it notes what is shared"
        ));
    }
    Ok(())
}
