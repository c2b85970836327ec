//! `share add PATH`: a directory of the running environment moves into the
//! shared dataset.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::{noted, running, share};
use crate::intent::Undertaking;
use crate::plan::{
    Action, Plan, Planned, Refusal, Step, changeable, finished, fits, intent_clear, intent_mark,
};
use crate::share::change::ShareChange;
use crate::share::find::Share;
use crate::share::look::{Seen, What};
use crate::share::record::{Entry, Form, Record};
use crate::share::{DIRECTORY, Place, aside};
use crate::survey::Survey;
use crate::zfs::{DatasetName, SyncOp};

/// `share add PATH`.
#[derive(Debug, Clone)]
pub struct Request {
    /// The directory, as it is.
    pub seen: Seen,
    /// The names in the shared dataset that are taken.
    pub taken: BTreeSet<String>,
    /// Whoever uses it is no reason to refuse, nor is a hard link out of it.
    pub force: bool,
    /// What was there before goes at once.
    pub discard_old: bool,
}

/// What belongs to a system and its packages: it changes with an upgrade, and
/// an environment without its own is none.
const SYSTEM: [&str; 19] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/pacman",
    "/var/lib/rpm",
    DIRECTORY,
];

/// The plan.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, found: Option<&Share>, request: &Request) -> Planned {
    let path = &request.seen.path;
    let attempted = format!("share {path}");
    let running = running(survey, &attempted)?;
    finished(survey, &attempted, &running)?;
    let (share_found, record) = usable(&attempted, found)?;
    let dataset = &share_found.dataset;
    let pools = [survey.beroot.pool(), dataset.name.pool()];
    changeable(survey, &attempted, &pools)?;
    may_be_shared(&attempted, path)?;
    not_shared_yet(&attempted, record, &request.seen)?;
    let home = movable(survey, &attempted, request)?;
    fits_there(survey, &attempted, share_found, request, &home)?;
    let mut plan = Plan::new(survey, "share-add");
    let form = form(&request.seen, &mut plan);
    if form == Form::Bind
        && let Some(mounter) = &request.seen.mounter
    {
        return Err(Refusal::new(
            &attempted,
            format!("a bind mount is needed, and {mounter} is for that place"),
        )
        .remedy("take that away first"));
    }
    let place = Place {
        path: path.clone(),
        home,
        below: request.seen.below.clone(),
        share: dataset.name.clone(),
        name: name(&attempted, path, &request.taken)?,
        form,
    };
    steps(survey, &attempted, &place, record, request, &mut plan)?;
    let kept = kept(&place.path, survey.id);
    plan.outcome = format!("{path} is {} of all environments", place.shared_path());
    if !request.discard_old {
        plan.notes.push(format!(
            "what was there is kept as {kept}; 'beadm-rs share confirm' removes it"
        ));
    }
    Ok(plan)
}

/// Where what was there before is kept.
#[must_use]
pub fn kept(path: &Utf8Path, id: crate::intent::OpId) -> Utf8PathBuf {
    path.with_file_name(aside(path.file_name().unwrap_or_default(), id))
}

/// The dataset is adopted: enough where only its own files are worked on.
pub(super) fn adopted<'a>(
    attempted: &str,
    found: Option<&'a Share>,
) -> Result<(&'a Share, &'a Record), Refusal> {
    let Some(found) = found else {
        return Err(
            Refusal::new(attempted, "there is no shared dataset yet").remedy("beadm-rs share init")
        );
    };
    let name = &found.dataset.name;
    let Some(record) = &found.record else {
        return Err(
            Refusal::new(attempted, format!("{name} is not adopted")).remedy("beadm-rs share init")
        );
    };
    if found.dataset.readonly {
        return Err(Refusal::new(attempted, format!("{name} is read-only"))
            .remedy(format!("zfs set readonly=off {name}")));
    }
    Ok((found, record))
}

/// The dataset is adopted, and mounted where the environments look for it.
pub(super) fn usable<'a>(
    attempted: &str,
    found: Option<&'a Share>,
) -> Result<(&'a Share, &'a Record), Refusal> {
    let (found, record) = adopted(attempted, found)?;
    if !found.mounted {
        let name = &found.dataset.name;
        return Err(
            Refusal::new(attempted, format!("{name} is not mounted on {DIRECTORY}"))
                .remedy("beadm-rs share init mounts it"),
        );
    }
    Ok((found, record))
}

fn may_be_shared(attempted: &str, path: &Utf8Path) -> Result<(), Refusal> {
    let own = SYSTEM
        .iter()
        .find(|system| path.starts_with(system) || Utf8Path::new(system).starts_with(path));
    match own {
        None => Ok(()),
        Some(own) if path.starts_with(own) => Err(Refusal::new(
            attempted,
            format!("{own} belongs to the system: each environment needs its own"),
        )),
        Some(own) => Err(Refusal::new(
            attempted,
            format!("{own} in it belongs to the system: each environment needs its own"),
        )
        .remedy("name directories in it: beadm-rs share init lists those that are known")),
    }
}

fn not_shared_yet(attempted: &str, record: &Record, seen: &Seen) -> Result<(), Refusal> {
    let path = &seen.path;
    let refused = |reason: String| Refusal::new(attempted, reason);
    if record.find(path).is_some() {
        if matches!(seen.what, What::Link(_)) || seen.mounted.contains(path) {
            return Err(refused("it is shared already".to_owned()));
        }
        return Err(refused(format!(
            "other environments share it, and {path} of the running one has files of its own"
        ))
        .remedy(format!(
            "see what of them is needed in {DIRECTORY}; 'beadm-rs share apply' keeps them beside"
        )));
    }
    let around = record
        .shared
        .iter()
        .find(|entry| entry.path.starts_with(path) || path.starts_with(&entry.path));
    match around {
        None => Ok(()),
        Some(entry) => Err(refused(format!("{} is shared already", entry.path))),
    }
}

/// The dataset it is moved out of.
fn movable(survey: &Survey, attempted: &str, request: &Request) -> Result<DatasetName, Refusal> {
    let seen = &request.seen;
    let refused = |reason: String| Refusal::new(attempted, reason);
    if let Some(mounted) = seen.mounted.first() {
        return Err(
            refused(format!("something is mounted on {mounted}")).remedy(
                "a dataset of its own is shared by lying outside of all environments \
             (zfs rename), and stays as it is",
            ),
        );
    }
    let own = |home: &&DatasetName| {
        survey
            .running()
            .is_some_and(|running| home.is_within(&running.root.name))
    };
    let Some(home) = seen.home.as_ref().filter(own) else {
        let lies = match &seen.home {
            Some(home) => format!("it lies in {home}, which all environments share already"),
            None => "it does not lie in a dataset".to_owned(),
        };
        return Err(refused(lies));
    };
    if let Some(loose) = &seen.loose {
        return Err(refused(loose.clone())
            .remedy("name the directory itself; and what leads to it has to be root's alone"));
    }
    match &seen.what {
        What::Directory => {}
        What::Missing => return Err(refused("there is no such directory".to_owned())),
        What::Link(target) => {
            return Err(refused(format!("it is a symbolic link to {target}"))
                .remedy("name what it leads to"));
        }
        What::Other => return Err(refused("it is not a directory".to_owned())),
    }
    if seen.content.too_deep {
        return Err(refused("it is deeper than 200 directories".to_owned()));
    }
    if request.force {
        return Ok(home.clone());
    }
    if let Some(outside) = &seen.content.outside {
        return Err(refused(format!(
            "{outside} in it has another name outside of it, and would be two files then"
        ))
        .remedy("--force moves it all the same"));
    }
    if !seen.holders.is_empty() {
        let shown: Vec<String> = seen
            .holders
            .iter()
            .take(5)
            .map(ToString::to_string)
            .collect();
        let services: BTreeSet<&str> = seen
            .holders
            .iter()
            .filter_map(|holder| holder.service.as_deref())
            .collect();
        let services: Vec<&str> = services.into_iter().collect();
        let more = match seen.holders.len().saturating_sub(shown.len()) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let stop = if services.is_empty() {
            "end them".to_owned()
        } else {
            format!("systemctl stop {}", services.join(" "))
        };
        return Err(
            refused(format!("it is in use: {}{more}", shown.join("; "))).remedy(format!(
                "{stop}; with --force what they write through what they have open stays behind"
            )),
        );
    }
    Ok(home.clone())
}

fn fits_there(
    survey: &Survey,
    attempted: &str,
    found: &Share,
    request: &Request,
    home: &DatasetName,
) -> Result<(), Refusal> {
    let dataset = &found.dataset;
    let encrypted = survey
        .datasets
        .get(home)
        .is_some_and(|home| home.encryption_root.is_some());
    if encrypted && dataset.encryption_root.is_none() && !request.force {
        return Err(Refusal::new(
            attempted,
            format!(
                "{home} is encrypted and {} is not: it would be readable to whoever has the disk",
                dataset.name
            ),
        )
        .remedy("--force moves it all the same"));
    }
    let free = survey
        .pools
        .get(&dataset.name.pool())
        .map_or(u64::MAX, |pool| pool.free);
    let bytes = request.seen.content.bytes;
    if bytes > free {
        return Err(Refusal::new(
            attempted,
            format!(
                "it has {bytes} bytes, and pool {} has {free} left",
                dataset.name.pool()
            ),
        )
        .remedy("make room first"));
    }
    Ok(())
}

/// A link, or where that would not do a bind mount; and why.
fn form(seen: &Seen, plan: &mut Plan) -> Form {
    if let Some(first) = seen.uses.first() {
        plan.notes.push(format!(
            "a bind mount, since a symbolic link would not do for {}: {}",
            first.who, first.what
        ));
        return Form::Bind;
    }
    if let Some((link, target)) = &seen.content.leaving {
        plan.notes.push(format!(
            "a bind mount, since {link} in it leads out of it ({target}) and would lead elsewhere"
        ));
        return Form::Bind;
    }
    Form::Link
}

/// `mail`; where that is taken, `spool-mail`.
fn name(attempted: &str, path: &Utf8Path, taken: &BTreeSet<String>) -> Result<String, Refusal> {
    let leaf = path.file_name().unwrap_or_default();
    let below = path.strip_prefix("/var").or(path.strip_prefix("/"));
    let long = below.unwrap_or(path).as_str().replace('/', "-");
    [leaf.to_owned(), long]
        .into_iter()
        .find(|name| !name.is_empty() && !name.starts_with('.') && !taken.contains(name))
        .ok_or_else(|| {
            Refusal::new(
                attempted,
                format!("{DIRECTORY}/{leaf} is there already, and is not known to be this"),
            )
            .remedy("see what it is, and move it away")
        })
}

fn steps(
    survey: &Survey,
    attempted: &str,
    place: &Place,
    record: &Record,
    request: &Request,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let root = running(survey, attempted)?.root.name.clone();
    let here = survey.beroot.pool();
    let pool = place.share.pool();
    let undertaking = Undertaking::Share {
        place: place.clone(),
        root: root.clone(),
    };
    let (intent, bytes) = intent_mark(survey, undertaking);
    fits(attempted, bytes)?;
    let after = record.with(entry(survey, place));
    fits(attempted, after.encode().len() + 21)?;
    plan.steps.push(
        Step::new(
            "record",
            Action::Transact {
                pool: here.clone(),
                operations: vec![intent],
            },
        )
        .undone_by(vec![Action::Transact {
            pool: here,
            operations: vec![intent_clear(survey)],
        }]),
    );
    let staged = Utf8PathBuf::from(aside(&place.name, survey.id));
    let remove = ShareChange::Remove {
        dataset: place.share.clone(),
        path: staged.clone(),
    };
    plan.steps.push(
        share(
            "copy",
            ShareChange::Copy {
                from: place.home.clone(),
                snapshot: None,
                path: place.below.clone(),
                to: place.share.clone(),
                staged,
                bytes: request.seen.content.bytes,
            },
        )
        .undone_by(vec![Action::Share(remove)]),
    );
    // A transaction group that is waited for: the copy is on disk before what
    // leads to it, whatever the intent log of either dataset replays.
    let before = SyncOp::Mark {
        object: place.share.to_string(),
        key: "op".to_owned(),
        text: survey.id.to_string(),
    };
    let undo = SyncOp::Unmark {
        object: place.share.to_string(),
        key: "op".to_owned(),
    };
    plan.steps.push(
        Step::new(
            "durable",
            Action::Transact {
                pool: pool.clone(),
                operations: vec![before],
            },
        )
        .undone_by(vec![Action::Transact {
            pool,
            operations: vec![undo],
        }]),
    );
    let (place, id) = (place.clone(), survey.id);
    let leave = ShareChange::Leave {
        place: place.clone(),
        id,
    };
    plan.steps.push(
        share(
            "switch",
            ShareChange::Enter {
                place: place.clone(),
                id,
            },
        )
        .undone_by(vec![Action::Share(leave)])
        .commits(),
    );
    append_end(survey, plan, &place, &root, after);
    if request.discard_old {
        discard(plan, &place.home, &place.below, id);
    }
    Ok(())
}

pub(super) fn entry(survey: &Survey, place: &Place) -> Entry {
    Entry {
        path: place.path.clone(),
        name: place.name.clone(),
        form: place.form,
        at: survey.now,
        id: survey.id,
    }
}

/// What follows the switch, and can be repeated: the mount, the record, the end
/// of the intent.
pub(in crate::plan) fn append_end(
    survey: &Survey,
    plan: &mut Plan,
    place: &Place,
    root: &DatasetName,
    record: Record,
) {
    if place.form == Form::Bind {
        let bind = ShareChange::Bind {
            place: place.clone(),
            root: root.clone(),
            off: false,
        };
        plan.steps.push(share("bind", bind));
    }
    let mut noted = vec![
        noted(&place.share, &record),
        SyncOp::Unmark {
            object: place.share.to_string(),
            key: "op".to_owned(),
        },
    ];
    let (here, pool) = (survey.beroot.pool(), place.share.pool());
    if here == pool {
        noted.push(intent_clear(survey));
        plan.transact("finish", &pool, noted);
    } else {
        plan.transact("note", &pool, noted);
        plan.transact("finish", &here, vec![intent_clear(survey)]);
    }
}

/// The end of what was there before.
fn discard(plan: &mut Plan, home: &DatasetName, below: &Utf8Path, id: crate::intent::OpId) {
    let remove = ShareChange::Remove {
        dataset: home.clone(),
        path: kept(below, id),
    };
    plan.steps.push(share("discard", remove));
}

/// What was there before an entry was moved: where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The entry.
    pub entry: Entry,
    /// The dataset it is kept in.
    pub home: DatasetName,
    /// Where in that the directory is.
    pub below: Utf8PathBuf,
}

/// The plan of `share confirm [PATH…]`: what was there before goes.
///
/// # Errors
/// Why it is refused.
pub fn confirm(survey: &Survey, found: Option<&Share>, kept_there: &[Kept]) -> Planned {
    let attempted = "remove what was there before it was shared";
    let (found, record) = usable(attempted, found)?;
    changeable(
        survey,
        attempted,
        [&survey.beroot.pool(), &found.dataset.name.pool()],
    )?;
    let mut plan = Plan::new(survey, "share-confirm");
    for one in kept_there {
        discard(&mut plan, &one.home, &one.below, one.entry.id);
    }
    let mut after = record.clone();
    after
        .removed
        .retain(|entry| !kept_there.iter().any(|one| one.entry == *entry));
    if after != *record {
        let share = &found.dataset.name;
        plan.transact("note", &share.pool(), vec![noted(share, &after)]);
    }
    if let Some(first) = plan.steps.first_mut() {
        first.commit = true;
    }
    let paths: BTreeSet<&str> = kept_there
        .iter()
        .map(|one| one.entry.path.as_str())
        .collect();
    let paths: Vec<&str> = paths.into_iter().collect();
    plan.outcome = if paths.is_empty() {
        "nothing is kept of before".to_owned()
    } else {
        format!("what was in {} before is gone", paths.join(", "))
    };
    Ok(plan)
}
