//! `failback --restore-share`: what is shared as it was before the activation
//! that is undone.

use std::cell::RefCell;
use std::os::fd::{AsFd as _, OwnedFd};

use camino::{Utf8Path, Utf8PathBuf};

use super::super::activate::look_back;
use super::super::context::{Context, Report};
use super::super::error::Trouble;
use super::super::output;
use super::history::{inside, present, request};
use super::{plain, survey, unread, unseen};
use crate::diff::tree::{names, stat};
use crate::host::Host;
use crate::os::Object;
use crate::plan::share::{activation, restore};
use crate::plan::{Action, Plan};
use crate::share::copy::{listable, parent_of};
use crate::share::find::{self, Share};
use crate::share::lost::{self, Lost};
use crate::share::record::Form;
use crate::zfs::{SnapshotName, SyncOp};

/// What is put back, looked at before anything is done.
pub(in crate::cli) struct Back {
    snapshot: SnapshotName,
    /// Which in the shared dataset, and by which path whoever has it open knows it.
    places: Vec<(Utf8PathBuf, Utf8PathBuf)>,
    force: bool,
    /// The plans, as they are now.
    plans: Vec<Plan>,
    /// What it comes to, for people.
    told: String,
}

impl Back {
    /// Looks at what there is to put back, and asks where that is all of it.
    ///
    /// # Errors
    /// Why it cannot be put back; nobody agreed.
    pub(in crate::cli) fn look(
        context: &Context,
        path: Option<&Utf8Path>,
        force: bool,
    ) -> Result<Self, Trouble> {
        let host = &context.host;
        let seen = look_back(host)?;
        if seen.intent().is_some() {
            return Err(Trouble::refused(
                "an operation did not end, and may have changed what is shared",
            )
            .remedy("beadm-rs recover"));
        }
        let current = seen.next().or_else(|| seen.running()).ok_or_else(|| {
            Trouble::refused("no boot environment is running here, and none is set to boot next")
        })?;
        let taken = activation::undone(&seen, &current)?;
        let snapshot = taken.snapshots.first().map(|snapshot| (*snapshot).clone());
        let snapshot = snapshot.ok_or_else(|| Trouble::refused("it has no snapshot"))?;
        let share = present(find::find(host, &seen, None)?)?;
        let (places, whole) = match path {
            Some(path) => {
                let path = plain(path)?;
                (vec![(inside(&share, &path)?, path)], false)
            }
            None => (everything(host, &share, &snapshot.name)?, true),
        };
        let places = unbound(host, &share, &snapshot.name, places)?;
        let mut plans = Vec::new();
        let before = SnapshotName::clone(&snapshot.name);
        for (index, (inside, path)) in places.iter().enumerate() {
            let mut request = request(host, &share, (inside, path), &snapshot.name, force)?;
            // What the first will have taken: here only that there is one.
            request.before = (index > 0).then(|| before.clone());
            plans.push(restore::plan(&seen, Some(&share), &request)?);
        }
        let lost = lost(host, &share, &snapshot.name, &places)?;
        let told = format!(
            "{} as when {} was activated ({}): {}",
            if whole {
                format!("put back all of {}", share.dataset.name)
            } else {
                format!(
                    "put back {}",
                    path.map(Utf8Path::as_str).unwrap_or_default()
                )
            },
            taken.activation.name,
            output::time(snapshot.creation),
            sentence(&lost)
        );
        if whole && !context.dry_run {
            context.agree(&told)?;
        }
        Ok(Self {
            snapshot: snapshot.name,
            places,
            force,
            plans,
            told,
        })
    }

    /// Does it, and adds it to what the failback came to.
    ///
    /// # Errors
    /// How it failed; the failback is done.
    pub(in crate::cli) fn restore(
        self,
        context: &Context,
        report: &mut Report,
    ) -> Result<(), Trouble> {
        report.plan.notes.push(self.told.clone());
        if !report.done {
            for plan in self.plans {
                add(report, plan);
            }
            return Ok(());
        }
        let mut before = None;
        let mut done = vec![report.plan.outcome.clone()];
        for (inside, path) in &self.places {
            let made = self
                .one(context, (inside, path), before.as_ref())
                .map_err(|trouble| {
                    trouble.after(&done.join("; ")).remedy(format!(
                        "beadm-rs share restore {path} --from {} does the rest",
                        self.snapshot.component()
                    ))
                })?;
            before = before.or_else(|| taken(&made.plan));
            done.push(made.plan.outcome.clone());
            add(report, made.plan);
        }
        Ok(())
    }

    fn one(
        &self,
        context: &Context,
        place: (&Utf8Path, &Utf8Path),
        before: Option<&SnapshotName>,
    ) -> Result<Report, Trouble> {
        let picture = RefCell::new(None);
        context.change(
            |host| {
                let survey = survey(host)?;
                let share = present(find::find(host, &survey, None)?)?;
                let mut request = request(host, &share, place, &self.snapshot, self.force)?;
                request.before = before.cloned();
                picture.replace(Some((share, request)));
                Ok(survey)
            },
            |survey| match &*picture.borrow() {
                Some((share, request)) => restore::plan(survey, Some(share), request),
                None => unseen(),
            },
            |_| None,
        )
    }
}

/// The commit point is the failback's.
fn add(report: &mut Report, mut plan: Plan) {
    for step in &mut plan.steps {
        step.commit = false;
    }
    report.plan.steps.extend(plan.steps);
    report.plan.notes.push(plan.outcome);
}

/// The snapshot of the state before that a plan takes.
fn taken(plan: &Plan) -> Option<SnapshotName> {
    plan.steps.iter().find_map(|step| match &step.action {
        Action::Transact { operations, .. } => {
            operations.iter().find_map(|operation| match operation {
                SyncOp::Snapshot { snapshot } => Some(snapshot.clone()),
                _ => None,
            })
        }
        _ => None,
    })
}

/// Everything in a snapshot but what operations left there.
fn everything(
    host: &Host,
    share: &Share,
    snapshot: &SnapshotName,
) -> Result<Vec<(Utf8PathBuf, Utf8PathBuf)>, Trouble> {
    let files = host
        .platform
        .open_files(&Object::Snapshot(snapshot.clone()))?;
    let listed = listable(files.root.as_fd())
        .and_then(|root| names(root.as_fd(), true))
        .map_err(unread(snapshot))?;
    let entries = share.record.iter().flat_map(|record| &record.shared);
    let paths: Vec<_> = entries.collect();
    listed
        .into_iter()
        .map(|name| String::from_utf8(name.name))
        .filter(|name| !matches!(name, Ok(name) if name.contains(".beadm-rs-")))
        .map(|name| {
            let name = name.map_err(|_| {
                Trouble::refused(format!("{snapshot} has names that are no UTF-8"))
                    .remedy("name what is to be put back: --restore-share PATH")
            })?;
            let entry = paths.iter().find(|entry| entry.name == name);
            let path = match entry {
                Some(entry) => entry.path.clone(),
                None => Utf8Path::new(crate::share::DIRECTORY).join(&name),
            };
            Ok((Utf8PathBuf::from(name), path))
        })
        .collect()
}

/// How many names of a mounted directory are put back one by one.
const ONE_BY_ONE: usize = 200;

/// What is mounted somewhere cannot give way itself, or the mount would show what
/// was there before: what is in it does, name by name.
fn unbound(
    host: &Host,
    share: &Share,
    snapshot: &SnapshotName,
    places: Vec<(Utf8PathBuf, Utf8PathBuf)>,
) -> Result<Vec<(Utf8PathBuf, Utf8PathBuf)>, Trouble> {
    let occupied = host.platform.occupied()?;
    let record = share.record.clone().unwrap_or_default();
    let is_bound = |inside: &Utf8Path| {
        let mut entries = record.shared.iter();
        entries.any(|entry| {
            inside == entry.name && entry.form == Form::Bind && occupied.contains(&entry.path)
        })
    };
    let mut all = Vec::new();
    for (inside, path) in places {
        if !is_bound(&inside) {
            all.push((inside, path));
            continue;
        }
        let files = host
            .platform
            .open_files(&Object::Snapshot(snapshot.clone()))?;
        let listed = parent_of(files.root.as_fd(), &inside)
            .and_then(|(parent, leaf)| super::list::listable_at(&parent, &leaf))
            .and_then(|directory| names(directory.as_fd(), false));
        let listed = match listed {
            // The planner tells.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                all.push((inside, path));
                continue;
            }
            listed => listed.map_err(unread(&path))?,
        };
        let below: Option<Vec<String>> = listed
            .into_iter()
            .map(|name| String::from_utf8(name.name).ok())
            .collect();
        let below = below
            .filter(|names| names.len() <= ONE_BY_ONE)
            .ok_or_else(|| {
                Trouble::refused(format!(
                    "{path} is a mount, and what is in it is put back name by name: there are too \
                 many, or some are no UTF-8"
                ))
                .remedy("name what is to be put back, or do it from a rescue system (-R)")
            })?;
        let both = |name: String| (inside.join(&name), path.join(&name));
        all.extend(below.into_iter().map(both));
    }
    Ok(all)
}

/// A name in a directory that is held open.
type Held = (OwnedFd, Vec<u8>);

fn at(found: Option<&Held>) -> Option<lost::At<'_>> {
    found.map(|(parent, leaf)| (parent.as_fd(), leaf.as_slice()))
}

fn lost(
    host: &Host,
    share: &Share,
    snapshot: &SnapshotName,
    places: &[(Utf8PathBuf, Utf8PathBuf)],
) -> Result<Lost, Trouble> {
    let was = host
        .platform
        .open_files(&Object::Snapshot(snapshot.clone()))?;
    let is = host
        .platform
        .open_files(&Object::Dataset(share.dataset.name.clone()))?;
    let mut lost = Lost::default();
    for (inside, path) in places {
        let mut look = || {
            let there = |root| match parent_of(root, inside) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
                Ok((parent, leaf)) => {
                    let found = stat(parent.as_fd(), &leaf)?;
                    Ok(found.map(|_| (parent, leaf)))
                }
            };
            let (was, is) = (there(was.root.as_fd())?, there(is.root.as_fd())?);
            lost::add(&mut lost, at(was.as_ref()), at(is.as_ref()))
        };
        look().map_err(unread(path))?;
    }
    Ok(lost)
}

/// What gives way, in words.
fn sentence(lost: &Lost) -> String {
    let files = |count: u64| match count {
        1 => "1 file".to_owned(),
        many => format!("{many} files"),
    };
    let written = match &lost.newest {
        None => "nothing was written since".to_owned(),
        Some((when, path)) => format!(
            "{} of {} written since then give way, the newest {path} ({})",
            files(lost.files),
            output::size(lost.bytes),
            output::time(*when)
        ),
    };
    match lost.back {
        0 => written,
        1 => format!("{written}; 1 file removed since comes back"),
        back => format!("{written}; {back} files removed since come back"),
    }
}
