//! The snapshots of the shared dataset: what they are, what changed since, and
//! back to one of them.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use super::super::context::Context;
use super::super::error::Trouble;
use super::super::{diff as compare, output};
use super::list::bytes;
use super::{plain, survey, unread, unseen};
use crate::diff::side::{Part, Side};
use crate::diff::tree::stat;
use crate::host::Host;
use crate::marker;
use crate::os::{self, Object};
use crate::plan::share::restore;
use crate::share::DIRECTORY;
use crate::share::copy::parent_of;
use crate::share::find::{self, Share};
use crate::share::history::Activation;
use crate::share::look;
use crate::zfs::{Dataset, Snapshot, SnapshotName};

/// List the snapshots of the shared dataset
///
/// Those that activations took say of which; so do those of the other datasets that
/// all environments share. The last three activations' are kept.
#[derive(Debug, clap::Args)]
pub(super) struct SnapshotsArgs {}

/// Say which shared files changed since a snapshot
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// The snapshot, the part after the @; the newest where none is named
    #[arg(value_name = "SNAP")]
    snapshot: Option<String>,
}

/// Put back one file or directory as it was in a snapshot
///
/// Copied beside it with everything, compared, and switched in one rename. What
/// was there before is kept in a snapshot that is taken first. Nothing else of
/// the shared dataset changes.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// Although it is in use
    #[arg(long)]
    force: bool,

    /// The snapshot, the part after the @
    #[arg(long, value_name = "SNAP")]
    from: String,

    /// The file or directory, as in an environment or below /var/share
    #[arg(value_name = "PATH")]
    pub(super) path: Utf8PathBuf,
}

/// The shared dataset, which has to be there.
pub(super) fn present(share: Option<Share>) -> Result<Share, Trouble> {
    share.ok_or_else(|| {
        Trouble::refused("there is no shared dataset yet").remedy("beadm-rs share init")
    })
}

fn named(share: &Share, snapshot: &str) -> Result<SnapshotName, Trouble> {
    let component = snapshot.rsplit('@').next().unwrap_or(snapshot);
    let name = share.dataset.name.snapshot(component);
    name.map_err(|error| Trouble::new(super::USAGE, error))
}

pub(super) fn snapshots(context: &Context, _: &SnapshotsArgs) -> anyhow::Result<()> {
    let survey = survey(&context.host)?;
    let share = present(find::find(&context.host, &survey, None)?)?;
    let others = match find::shared(&context.host, &survey)? {
        Some(shared) => shared.datasets.into_iter().skip(1).collect(),
        None => Vec::new(),
    };
    let mut out = io::stdout().lock();
    if context.json {
        let listed: Vec<Value> = share.dataset.snapshots.iter().map(in_json).collect();
        let others: Vec<Value> = others
            .iter()
            .flat_map(of_activations)
            .map(|snapshot| {
                let mut one = in_json(snapshot);
                one["dataset"] = json!(snapshot.name.dataset());
                one
            })
            .collect();
        let content = json!({
            "dataset": share.dataset.name,
            "snapshots": listed,
            "others": others,
        });
        return Ok(output::json(&mut out, "share-snapshots", content)?);
    }
    let row = |name: &str, snapshot: &Snapshot| {
        let time = if context.script {
            snapshot.creation.to_string()
        } else {
            output::time(snapshot.creation)
        };
        let of = of(snapshot).unwrap_or_else(|| "-".to_owned());
        vec![name.to_owned(), bytes(context, snapshot.used), time, of]
    };
    let mut rows: Vec<Vec<String>> = share
        .dataset
        .snapshots
        .iter()
        .map(|snapshot| row(snapshot.name.component(), snapshot))
        .collect();
    rows.extend(
        others
            .iter()
            .flat_map(of_activations)
            .map(|snapshot| row(snapshot.name.as_str(), snapshot)),
    );
    if context.script {
        output::tabs(&mut out, &rows)?;
    } else {
        output::table(&mut out, &["SNAPSHOT", "USED", "CREATED", "OF"], &rows)?;
    }
    Ok(())
}

/// What this program took a snapshot for.
fn of(snapshot: &Snapshot) -> Option<String> {
    let restored = || {
        let text = marker::read(&snapshot.marks, "op", snapshot.guid)?;
        text.ends_with(" share").then(|| "share restore".to_owned())
    };
    Activation::of(snapshot)
        .map(|one| one.to_string())
        .or_else(restored)
}

/// Of the other datasets only what activations took.
fn of_activations(dataset: &Dataset) -> impl Iterator<Item = &Snapshot> {
    let taken = |snapshot: &&Snapshot| Activation::of(snapshot).is_some();
    dataset.snapshots.iter().filter(taken)
}

fn in_json(snapshot: &Snapshot) -> Value {
    json!({
        "name": snapshot.name.component(),
        "creation": snapshot.creation,
        "used": snapshot.used,
        "referenced": snapshot.referenced,
        "holds": snapshot.holds,
        "activation": Activation::of(snapshot).map(|one| json!({
            "id": one.id,
            "deed": one.deed,
            "target": one.target,
            "name": one.name,
        })),
    })
}

pub(super) fn diff(context: &Context, args: &DiffArgs) -> anyhow::Result<()> {
    let mut survey = survey(&context.host)?;
    let share = present(find::find(&context.host, &survey, None)?)?;
    let name = share.dataset.name.clone();
    let snapshot = match &args.snapshot {
        Some(snapshot) => named(&share, snapshot)?,
        None => match share.dataset.snapshots.last() {
            Some(newest) => newest.name.clone(),
            None => return Err(Trouble::refused(format!("{name} has no snapshots")).into()),
        },
    };
    if !share
        .dataset
        .snapshots
        .iter()
        .any(|other| other.name == snapshot)
    {
        return Err(Trouble::refused(format!("there is no snapshot {snapshot}"))
            .remedy("beadm-rs share snapshots lists those there are")
            .into());
    }
    survey.datasets.insert(name.clone(), share.dataset);
    let side = |object: Object| Side {
        name: object.to_string(),
        running: false,
        parts: vec![Part {
            place: Utf8PathBuf::new(),
            object,
        }],
        notes: Vec::new(),
    };
    let from = side(Object::Snapshot(snapshot));
    let to = side(Object::Dataset(name));
    compare::of_sides(context, &survey, from, to)
}

/// Where a path is in the shared dataset.
pub(super) fn inside(share: &Share, path: &Utf8Path) -> Result<Utf8PathBuf, Trouble> {
    let entries = share.record.iter().flat_map(|record| &record.shared);
    let found = entries
        .filter_map(|entry| {
            let rest = path.strip_prefix(&entry.path).ok()?;
            let name = Utf8Path::new(&entry.name);
            Some(if rest.as_str().is_empty() {
                name.to_owned()
            } else {
                name.join(rest)
            })
        })
        .chain(path.strip_prefix(DIRECTORY).map(Utf8Path::to_owned))
        .find(|inside| !inside.as_str().is_empty());
    found.ok_or_else(|| {
        Trouble::refused(format!("{path} is not shared"))
            .remedy("beadm-rs share list shows what is")
    })
}

/// How much something is in a snapshot.
fn size(host: &Host, snapshot: &SnapshotName, path: &Utf8Path) -> Result<Option<u64>, Trouble> {
    let files = match host
        .platform
        .open_files(&Object::Snapshot(snapshot.clone()))
    {
        Ok(files) => files,
        // Told by the planner.
        Err(os::Error::Io { .. } | os::Error::Unexpected { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let read = || -> io::Result<Option<u64>> {
        let (parent, leaf) = parent_of(files.root.as_fd(), path)?;
        let Some(found) = stat(parent.as_fd(), &leaf)? else {
            return Ok(None);
        };
        match super::list::listable_at(&parent, &leaf) {
            Ok(directory) => Ok(Some(look::content(directory)?.bytes)),
            Err(_) => Ok(Some(found.stx_size)),
        }
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        size => size.map_err(unread(format!("{path} of {snapshot}"))),
    }
}

/// What is asked for: what it is in the shared dataset, and the path by which it
/// was named.
pub(super) fn request(
    host: &Host,
    share: &Share,
    (inside, path): (&Utf8Path, &Utf8Path),
    snapshot: &SnapshotName,
    force: bool,
) -> Result<restore::Request, Trouble> {
    let name = &share.dataset.name;
    // By each path that processes may have it open.
    let mut holders = Vec::new();
    for directory in [Utf8Path::new(DIRECTORY).join(inside), path.to_owned()] {
        let found = host.platform.holders(name, inside, &directory, None)?;
        holders.extend(found);
    }
    Ok(restore::Request {
        bytes: size(host, snapshot, inside)?,
        path: inside.to_owned(),
        snapshot: snapshot.clone(),
        before: None,
        holders,
        force,
    })
}

pub(super) fn restore(context: &Context, args: &RestoreArgs) -> anyhow::Result<()> {
    let path = plain(&args.path)?;
    let picture = RefCell::new(None);
    let report = context.change(
        |host| {
            let survey = survey(host)?;
            let share = present(find::find(host, &survey, None)?)?;
            let snapshot = named(&share, &args.from)?;
            let inside = inside(&share, &path)?;
            let request = request(host, &share, (&inside, &path), &snapshot, args.force)?;
            picture.replace(Some((share, request)));
            Ok(survey)
        },
        |survey| match &*picture.borrow() {
            Some((share, request)) => restore::plan(survey, Some(share), request),
            None => unseen(),
        },
        |_| None,
    )?;
    context.report("share-restore", &report)
}
