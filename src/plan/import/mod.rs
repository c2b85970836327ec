//! An environment from an archive, or from a stream of `zfs send`.
//!
//! Everything is received into a dataset of another name beside the environments,
//! without a mountpoint; it is complete and looked at before it is renamed, which is
//! the commit. What an interruption leaves until then is known by a mark that the
//! receive sets, and goes.
//!
//! A `/boot` from a pool of its own goes the same way into the pool where the
//! environments here have theirs, and gets its name first: an environment is there
//! only when its kernel is. Where there is no such pool it becomes a child of the root.

mod pieces;
mod place;
mod steps;

use std::collections::BTreeSet;

use serde::Serialize;

use self::pieces::{Pieces, pieces};
pub use self::place::needed;
use self::place::places;
use super::{Plan, Planned, Refusal, Why, changeable, fits, intent_mark};
use crate::archive::offer::{Form, Offer};
use crate::archive::record::{Digest, hexadecimal};
use crate::be::{BeName, NewBeName};
use crate::intent::{Arriving, Undertaking};
use crate::survey::Survey;
use crate::zfs::{DatasetName, Guid, PoolName, Setting, SnapshotName};

/// How what is received is called, before the first digits of its mark.
pub const STAGING: &str = "beadm-rs.import.";

/// `import NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to call it, where not as the archive says.
    pub name: Option<NewBeName>,
    /// What comes in.
    pub offer: Offer,
    /// What has arrived stays where it fails, and a second import of the same archive goes
    /// on from there.
    pub resume: bool,
}

/// What the planner cannot see in the survey.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The features it needs of a pool ([`needed`]), and that does not have.
    pub lacking: Vec<(PoolName, Vec<String>)>,
    /// Properties that this release of ZFS does not know.
    pub unknown: BTreeSet<String>,
    /// This machine's processor.
    pub architecture: String,
    /// A pool it goes to that cannot keep what arrived in part (`dmu_recv_begin_check`
    /// wants `extensible_dataset` for that).
    pub whole_only: Option<PoolName>,
}

/// One dataset to be received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// What it was called where it comes from.
    pub source: DatasetName,
    /// What is made.
    pub target: DatasetName,
    /// Its settings.
    pub settings: Vec<Setting>,
    /// Its snapshots.
    pub snapshots: Vec<(String, Guid)>,
    /// What it is received as a clone of.
    pub origin: Option<SnapshotName>,
    /// It is there already, from a try before.
    pub there: bool,
    /// Bytes of its stream, about; 0 where that is not known.
    pub bytes: u64,
    /// It is there in part, from a try before: bytes of its stream that had come, about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun: Option<u64>,
}

/// Streams to be received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receiving {
    /// The roots of what is made, one in each pool.
    pub staging: Vec<DatasetName>,
    /// The datasets, in the order of an archive.
    pub pieces: Vec<Piece>,
    /// They come in the order and the parts of `zfs send -R`.
    pub package: bool,
    /// What has arrived stays where it fails, in part too.
    pub keep: bool,
    /// Bytes of them, about; 0 where that is not known.
    pub bytes: u64,
}

/// What it is called while it is received, and its mark: the same for every try of the
/// same archive where that is to be gone on with.
fn staging(survey: &Survey, request: &Request) -> (String, String) {
    let mark = match &request.offer.form {
        Form::Archive { identity } if request.resume => resume_mark(identity),
        _ => survey.id.to_string(),
    };
    let short = mark.get(..8).unwrap_or(&mark);
    (format!("{STAGING}{short}"), mark)
}

/// What marks the datasets of an archive that is received in several tries.
#[must_use]
pub fn resume_mark(identity: &Digest) -> String {
    hexadecimal(identity.get(..16).unwrap_or_default())
}

/// The environment that a try before left, by its name.
#[must_use]
pub fn left_by_a_try(offer: &Offer) -> Option<BeName> {
    let Form::Archive { identity } = &offer.form else {
        return None;
    };
    let mark = resume_mark(identity);
    format!("{STAGING}{}", mark.get(..8)?).parse().ok()
}

/// The plan of `import`.
///
/// # Errors
/// Why it is refused: always before anything is received.
pub fn plan(survey: &Survey, request: &Request, facts: &Facts) -> Planned {
    let offer = &request.offer;
    let name = match (&request.name, &offer.name) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name
            .parse()
            .map_err(|error| Refusal::new("import", error).remedy("beadm-rs import NAME"))?,
        (None, None) => {
            return Err(Refusal::new(
                "import",
                "a stream of zfs send does not say what the environment is to be called",
            )
            .remedy("beadm-rs import NAME"));
        }
    };
    let attempted = format!("import {}", name.name());
    let attempted = attempted.as_str();
    let (staging, mark) = staging(survey, request);
    let places = places(survey, attempted, offer, name.name(), &staging)?;
    changeable(survey, attempted, places.iter().map(|place| &place.pool))?;
    let taken = places.iter().map(|place| &place.root);
    let stray = survey.boots_of(name.name().as_str()).map(|it| &it.name);
    if let Some(taken) = taken
        .chain(stray)
        .find(|name| survey.datasets.contains_key(*name))
    {
        return Err(Refusal::new(attempted, format!("{taken} exists already"))
            .why(Why::Exists)
            .remedy("beadm-rs import OTHERNAME"));
    }
    has_features(survey, attempted, facts)?;
    if request.resume && !matches!(offer.form, Form::Archive { .. }) {
        return Err(Refusal::new(
            attempted,
            "only an archive can be gone on with; this is a stream of zfs send",
        )
        .remedy("import it without --resume"));
    }
    let Pieces { pieces, lost } = pieces(survey, request, facts, attempted, &places, &mark)?;
    fits_in(survey, attempted, &pieces)?;
    let mut plan = Plan::new(survey, "import");
    let (Some(own), boot) = (places.first(), place::in_another_pool(&places)) else {
        return Err(Refusal::new(attempted, "there is nothing in it"));
    };
    notes(&mut plan, offer, facts, &own.root);
    plan.notes.extend(place::notes(survey, offer, &places));
    plan.notes.extend(lost.iter().map(ToString::to_string));
    if let Some(pool) = facts.whole_only.as_ref().filter(|_| request.resume) {
        plan.notes.push(format!(
            "pool {pool} does not have extensible_dataset: if it fails, only the datasets that \
             arrived whole are kept"
        ));
    }
    let snapshot = offer
        .temporary
        .then(|| offer.datasets.first()?.snapshots.first().cloned())
        .flatten();
    let (intent, bytes) = intent_mark(
        survey,
        Undertaking::Import {
            root: own.root.clone(),
            staging: own.staging.clone(),
            mark: mark.clone(),
            snapshot: snapshot.map(|(component, _)| component),
            keep: request.resume,
            boot: boot.map(|boot| Arriving {
                root: boot.root.clone(),
                staging: boot.staging.clone(),
            }),
        },
    );
    fits(attempted, bytes)?;
    let arrival = steps::Arrival {
        offer,
        own,
        boot,
        places: &places,
        mark: &mark,
        keep: request.resume,
        partly: request.resume && facts.whole_only.is_none(),
    };
    arrival.append(survey, &mut plan, Pieces { pieces, lost }, intent)?;
    plan.outcome = format!("{} is imported; it is not active", name.name());
    Ok(plan)
}

/// Refuses what a pool could not read.
fn has_features(survey: &Survey, attempted: &str, facts: &Facts) -> Result<(), Refusal> {
    let mut lacking = facts.lacking.iter();
    let Some((pool, features)) = lacking.find(|(_, features)| !features.is_empty()) else {
        return Ok(());
    };
    let refusal = Refusal::new(
        attempted,
        format!(
            "pool {pool} does not have what its streams need: {}",
            features.join(", ")
        ),
    );
    let first = features.first().map_or("NAME", String::as_str);
    Err(refusal.remedy(if *pool == survey.beroot.pool() {
        format!(
            "zpool set feature@{first}=enabled {pool}, for each; it cannot be undone, and a loader \
             may not read the pool then"
        )
    } else {
        format!(
            "write the files of /boot anew without them where it comes from (zfs set \
             compression=lz4), and export it again; zpool set feature@{first}=enabled {pool} \
             cannot be undone, and the loader may not read its kernels then"
        )
    }))
}

/// Refuses what a pool has no room for; what a try before brought needs none.
fn fits_in(survey: &Survey, attempted: &str, pieces: &[Piece]) -> Result<(), Refusal> {
    let pools: BTreeSet<PoolName> = pieces.iter().map(|it| it.target.pool()).collect();
    for pool in pools {
        let there = |piece: &&Piece| survey.datasets.get(&piece.target).map(|it| it.referenced);
        let missing = pieces
            .iter()
            .filter(|piece| !piece.there && piece.target.pool() == pool)
            .map(|piece| piece.bytes.saturating_sub(there(&piece).unwrap_or(0)))
            .fold(0_u64, u64::saturating_add);
        let free = survey.pools.get(&pool).map_or(0, |pool| pool.free);
        if missing > free {
            return Err(Refusal::new(
                attempted,
                format!("it takes about {missing} bytes, and pool {pool} has {free} free"),
            )
            .remedy("beadm-rs list shows what destroying an environment would free"));
        }
    }
    Ok(())
}

fn notes(plan: &mut Plan, offer: &Offer, facts: &Facts, root: &DatasetName) {
    plan.notes.extend(offer.notes.iter().cloned());
    for name in &facts.unknown {
        plan.notes.push(format!(
            "this ZFS does not know the property {name}; it is not set"
        ));
    }
    if let Some(other) = &offer.architecture
        && *other != facts.architecture
    {
        plan.notes.push(format!(
            "it was made on {other}, and this machine is {}: it will not boot here",
            facts.architecture
        ));
    }
    if let Some(encryption) = offer.datasets.iter().find_map(|it| it.encryption.as_ref()) {
        let location = match &encryption.location {
            Some(location) => format!(" ({location})"),
            None => String::new(),
        };
        plan.notes.push(format!(
            "it arrives encrypted and locked: zfs load-key -r {root}, with the key of {}\
             {location}; dataset names in its fstab and zfs-list.cache stay as they are",
            encryption.root
        ));
    }
}
