//! An environment from an archive, or from a stream of `zfs send`.
//!
//! Everything is received into a dataset of another name beside the environments,
//! without a mountpoint; it is complete and looked at before it is renamed, which is
//! the commit. What an interruption leaves until then is known by a mark that the
//! receive sets, and goes.

mod pieces;

use std::collections::BTreeSet;

use serde::Serialize;

use self::pieces::{Lost, Pieces, pieces};
use super::{
    Action, Plan, Planned, Refusal, Step, Why, bad_name, changeable, fits, intent_clear,
    intent_mark,
};
use crate::archive::offer::{Form, Offer};
use crate::archive::record::{Digest, hexadecimal};
use crate::be::rewrite::Names;
use crate::be::{BeName, NewBeName};
use crate::intent::Undertaking;
use crate::survey::Survey;
use crate::zfs::{DatasetName, Guard, Guid, Setting, SnapshotName, SyncOp};

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
    /// The features it needs and the pool does not have.
    pub lacking: Vec<String>,
    /// Properties that this release of ZFS does not know.
    pub unknown: BTreeSet<String>,
    /// This machine's processor.
    pub architecture: String,
    /// The pool cannot keep what arrived in part (`dmu_recv_begin_check` wants
    /// `extensible_dataset` for that).
    pub whole_only: bool,
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
    /// It is there in part, from a try before: bytes of its stream that had come, about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun: Option<u64>,
}

/// Streams to be received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receiving {
    /// The root of what is made.
    pub staging: DatasetName,
    /// The datasets, in the order of an archive.
    pub pieces: Vec<Piece>,
    /// They come in the order and the parts of `zfs send -R`.
    pub package: bool,
    /// What has arrived stays where it fails, in part too.
    pub keep: bool,
    /// Bytes of them, about; 0 where that is not known.
    pub bytes: u64,
}

/// Where it is received: the same for every try of the same archive where that is to
/// be gone on with.
///
/// # Errors
/// Where the name is too long.
pub fn staging(survey: &Survey, request: &Request) -> Result<(DatasetName, String), Refusal> {
    let mark = match &request.offer.form {
        Form::Archive { identity } if request.resume => resume_mark(identity),
        _ => survey.id.to_string(),
    };
    let short = mark.get(..8).unwrap_or(&mark);
    let name = survey
        .beroot
        .child(&format!("{STAGING}{short}"))
        .map_err(bad_name("import"))?;
    Ok((name, mark))
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
    let pool = survey.beroot.pool();
    changeable(survey, attempted, [&pool])?;
    let root = name
        .name()
        .below(&survey.beroot)
        .map_err(bad_name(attempted))?;
    if survey.datasets.contains_key(&root) {
        return Err(Refusal::new(attempted, format!("{root} exists already"))
            .why(Why::Exists)
            .remedy("beadm-rs import OTHERNAME"));
    }
    if !facts.lacking.is_empty() {
        return Err(Refusal::new(
            attempted,
            format!(
                "pool {pool} does not have what its streams need: {}",
                facts.lacking.join(", ")
            ),
        )
        .remedy(format!(
            "zpool set feature@{}=enabled {pool}, for each; it cannot be undone, and a loader \
             may not read the pool then",
            facts.lacking.first().map_or("NAME", String::as_str)
        )));
    }
    if request.resume && !matches!(offer.form, Form::Archive { .. }) {
        return Err(Refusal::new(
            attempted,
            "only an archive can be gone on with; this is a stream of zfs send",
        )
        .remedy("import it without --resume"));
    }
    let (staging, mark) = staging(survey, request)?;
    let Pieces { pieces, lost } =
        pieces(survey, request, facts, attempted, [&root, &staging], &mark)?;
    let missing = offer.bytes.saturating_sub(there(survey, &pieces));
    let free = survey.pools.get(&pool).map_or(0, |pool| pool.free);
    if missing > free {
        return Err(Refusal::new(
            attempted,
            format!("it takes about {missing} bytes, and pool {pool} has {free} free"),
        )
        .remedy("beadm-rs list shows what destroying an environment would free"));
    }
    let mut plan = Plan::new(survey, "import");
    notes(&mut plan, offer, facts, &root);
    plan.notes.extend(lost.iter().map(ToString::to_string));
    if request.resume && facts.whole_only {
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
            root: root.clone(),
            staging: staging.clone(),
            mark: mark.clone(),
            snapshot: snapshot.map(|(component, _)| component),
            keep: request.resume,
        },
    );
    fits(attempted, bytes)?;
    steps(
        survey,
        &mut plan,
        offer,
        request.resume,
        &mark,
        Places {
            root: &root,
            staging: &staging,
            pieces,
            lost,
            partly: request.resume && !facts.whole_only,
        },
        intent,
    )?;
    plan.outcome = format!("{} is imported; it is not active", name.name());
    Ok(plan)
}

struct Places<'a> {
    root: &'a DatasetName,
    staging: &'a DatasetName,
    pieces: Vec<Piece>,
    lost: Vec<Lost>,
    /// What arrives in part stays.
    partly: bool,
}

fn steps(
    survey: &Survey,
    plan: &mut Plan,
    offer: &Offer,
    keep: bool,
    mark: &str,
    places: Places<'_>,
    intent: SyncOp,
) -> Result<(), Refusal> {
    let Places {
        root,
        staging,
        pieces,
        lost,
        partly,
    } = places;
    let pool = survey.beroot.pool();
    let transact = |operations| Action::Transact {
        pool: pool.clone(),
        operations,
    };
    let record = Step::new("record", transact(vec![intent]));
    plan.steps
        .push(record.undone_by(vec![transact(vec![intent_clear(survey)])]));
    if !lost.is_empty() {
        let away = lost.iter().map(|lost| SyncOp::Destroy {
            object: lost.dataset.to_string(),
            guard: Guard::Guid(lost.guid),
            missing_ok: true,
        });
        let away = transact(away.collect());
        plan.steps.push(Step::new("discard", away));
    }
    let targets: Vec<DatasetName> = pieces.iter().map(|piece| piece.target.clone()).collect();
    let gone = if keep {
        Vec::new()
    } else {
        vec![transact(taken_away(&pieces, mark))]
    };
    let mut tidy = Vec::new();
    for (piece, offered) in pieces.iter().zip(&offer.datasets) {
        let there = offered.below(root).map_err(bad_name("import"))?;
        if offer.temporary {
            for (component, _) in &piece.snapshots {
                tidy.push(SyncOp::Destroy {
                    object: there
                        .snapshot(component)
                        .map_err(bad_name("import"))?
                        .to_string(),
                    guard: guard(mark),
                    missing_ok: true,
                });
            }
        }
    }
    for offered in &offer.datasets {
        tidy.push(SyncOp::Unmark {
            object: offered.below(root).map_err(bad_name("import"))?.to_string(),
            key: "op".to_owned(),
        });
    }
    let receiving = Receiving {
        staging: staging.clone(),
        pieces,
        package: offer.form == Form::Package,
        keep: partly,
        bytes: offer.bytes,
    };
    plan.steps
        .push(Step::new("receive", Action::Receive(Box::new(receiving))).undone_by(gone));
    let first = offer.datasets.first();
    if let Some(first) = first.filter(|_| offer.datasets.iter().all(|it| it.encryption.is_none())) {
        let final_names = offer.datasets.iter().filter_map(|it| it.below(root).ok());
        plan.steps.push(Step::new(
            "rewrite",
            Action::Rewrite {
                dataset: staging.clone(),
                names: Names {
                    moves: vec![(first.source.clone(), root.clone())],
                    own: if offer.temporary {
                        BTreeSet::new()
                    } else {
                        final_names.collect()
                    },
                },
            },
        ));
    }
    let mountpoint = first
        .and_then(|first| first.mountpoint.clone())
        .unwrap_or_else(|| "/".to_owned());
    let set = Action::Set {
        dataset: staging.clone(),
        settings: vec![("mountpoint".to_owned(), mountpoint)],
    };
    let unset = Action::Set {
        dataset: staging.clone(),
        settings: vec![("mountpoint".to_owned(), "none".to_owned())],
    };
    // Taken back where the rest stays, so that it can be told from an environment.
    let undo = if keep { vec![unset] } else { Vec::new() };
    plan.steps.push(Step::new("settle", set).undone_by(undo));
    let rename = Action::Rename {
        from: staging.clone(),
        to: root.clone(),
    };
    plan.steps.push(Step::new("commit", rename).commits());
    debug_assert!(targets.iter().all(|target| target.is_within(staging)));
    tidy.push(intent_clear(survey));
    plan.transact("finish", &pool, tidy);
    Ok(())
}

/// How a received dataset is known, and its snapshots, which inherit it.
pub(super) fn guard(mark: &str) -> Guard {
    Guard::Setting {
        key: "op".to_owned(),
        value: mark.to_owned(),
    }
}

fn taken_away(pieces: &[Piece], mark: &str) -> Vec<SyncOp> {
    let objects = pieces.iter().rev().flat_map(|piece| {
        let snapshots = piece
            .snapshots
            .iter()
            .rev()
            .filter_map(|(component, _)| piece.target.snapshot(component).ok())
            .map(|snapshot| snapshot.to_string());
        snapshots.chain([piece.target.to_string()])
    });
    objects
        .map(|object| SyncOp::Destroy {
            object,
            guard: guard(mark),
            missing_ok: true,
        })
        .collect()
}

/// Bytes of what a try before brought.
fn there(survey: &Survey, pieces: &[Piece]) -> u64 {
    pieces
        .iter()
        .filter(|piece| piece.there || piece.begun.is_some())
        .filter_map(|piece| survey.datasets.get(&piece.target))
        .fold(0, |sum, dataset| sum.saturating_add(dataset.referenced))
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
