//! `share remove PATH`: a shared directory is one of the running environment
//! again.

use camino::Utf8PathBuf;

use super::add::{entry, kept, usable};
use super::{noted, running, share};
use crate::intent::Undertaking;
use crate::os::Holder;
use crate::plan::{
    Action, Plan, Planned, Refusal, Step, changeable, finished, fits, intent_clear, intent_mark,
};
use crate::share::change::ShareChange;
use crate::share::find::Share;
use crate::share::look::{Content, Seen, What};
use crate::share::record::{Entry, Form, Record};
use crate::share::{Place, aside};
use crate::survey::Survey;
use crate::zfs::DatasetName;

/// `share remove PATH`.
#[derive(Debug, Clone)]
pub struct Request {
    /// The directory, as the running environment has it.
    pub seen: Seen,
    /// What is in the shared dataset; `None` where it is not there.
    pub content: Option<Content>,
    /// Who uses that.
    pub holders: Vec<Holder>,
    /// The other environments that lead there.
    pub others: Vec<String>,
    /// Those that could not be looked at.
    pub unseen: Vec<String>,
    /// The others go on sharing it.
    pub only_here: bool,
    /// Whoever uses it is no reason to refuse.
    pub force: bool,
    /// What was shared goes at once.
    pub discard_old: bool,
}

/// The plan.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, found: Option<&Share>, request: &Request) -> Planned {
    let seen = &request.seen;
    let path = &seen.path;
    let attempted = format!("end the sharing of {path}");
    let refused = |reason: String| Refusal::new(&attempted, reason);
    let running = running(survey, &attempted)?;
    finished(survey, &attempted, &running)?;
    let (found, record) = usable(&attempted, found)?;
    let dataset = &found.dataset;
    changeable(
        survey,
        &attempted,
        &[survey.beroot.pool(), dataset.name.pool()],
    )?;
    let Some(shared) = record.find(path) else {
        return Err(
            refused("it is not shared".to_owned()).remedy("beadm-rs share list shows what is")
        );
    };
    let mut place = Place {
        path: path.clone(),
        home: running.root.name.clone(),
        below: seen.below.clone(),
        share: dataset.name.clone(),
        name: shared.name.clone(),
        form: shared.form,
    };
    let here = leads_there(seen, &place);
    others_agree(&attempted, request, here, running.name())?;
    let root = running.root.name.clone();
    let mut plan = Plan::new(survey, "share-remove");
    if here {
        let content = request.content.as_ref().ok_or_else(|| {
            refused(format!("{} is not there", place.shared_path()))
                .remedy("beadm-rs share restore puts it back from a snapshot")
        })?;
        place.home = home(survey, &attempted, request, content, found)?;
        copied(
            survey, &attempted, &place, &root, request, content, &mut plan,
        )?;
    } else {
        // Nobody leads there: nothing to copy.
        let intent = intent(&place, &root, request.only_here, true);
        let (mark, bytes) = intent_mark(survey, intent);
        fits(&attempted, bytes)?;
        let pool = survey.beroot.pool();
        plan.transact("record", &pool, vec![mark]);
        let clear = Action::Transact {
            pool,
            operations: vec![intent_clear(survey)],
        };
        if let Some(step) = plan.steps.last_mut() {
            step.undo = vec![clear];
        }
    }
    let after = without(record, &place, entry(survey, &place));
    fits(&attempted, after.encode().len() + 21)?;
    append_end(survey, &mut plan, &place, after, request.only_here);
    if !plan.steps.iter().any(|step| step.commit)
        && let Some(step) = plan.steps.get_mut(1)
    {
        step.commit = true;
    }
    let old = kept(&place.shared_path(), survey.id);
    let is = if here {
        format!("{path} is a directory of {} again", running.name())
    } else {
        format!("{path} is not shared any more")
    };
    plan.outcome = match (request.only_here, request.others.as_slice()) {
        (true, [_, ..]) => format!("{is}; still shared by {}", request.others.join(", ")),
        (true, []) => format!("{is}; {} stays for others", place.shared_path()),
        (false, _) => is,
    };
    if !request.only_here && request.discard_old {
        let remove = ShareChange::Remove {
            dataset: place.share.clone(),
            path: aside(&place.name, survey.id).into(),
        };
        plan.steps.push(share("discard", remove));
    } else if !request.only_here {
        plan.notes.push(format!(
            "what was shared is kept as {old}; 'beadm-rs share confirm' removes it"
        ));
    }
    Ok(plan)
}

/// Whether the running environment's directory is that of the shared dataset.
fn leads_there(seen: &Seen, place: &Place) -> bool {
    match place.form {
        Form::Link => seen.what == What::Link(place.link().into_string()),
        Form::Bind => {
            let unit = place.unit();
            let by_unit = |mounter: &String| mounter.ends_with(&unit);
            seen.mounted.contains(&place.path) || seen.mounter.as_ref().is_some_and(by_unit)
        }
    }
}

/// Others that lead there would lead to nothing.
fn others_agree(
    attempted: &str,
    request: &Request,
    here: bool,
    running: &str,
) -> Result<(), Refusal> {
    let path = &request.seen.path;
    if request.only_here {
        return if here {
            Ok(())
        } else {
            Err(Refusal::new(
                attempted,
                format!("{running} has a directory of its own there already"),
            ))
        };
    }
    let told = |reason: String| {
        let refusal = Refusal::new(attempted, reason);
        if here {
            refusal.remedy(format!(
                "beadm-rs share remove --only-here {path} leaves it shared for them"
            ))
        } else {
            refusal.remedy("destroy those that are not needed, or boot one and remove it there")
        }
    };
    if !request.others.is_empty() {
        return Err(told(format!(
            "other environments share it too: {}",
            request.others.join(", ")
        )));
    }
    if !request.unseen.is_empty() {
        return Err(told(format!(
            "whether other environments share it cannot be seen, their keys are not loaded: {}",
            request.unseen.join(", ")
        )));
    }
    Ok(())
}

/// The dataset it is moved back into.
fn home(
    survey: &Survey,
    attempted: &str,
    request: &Request,
    content: &Content,
    found: &Share,
) -> Result<DatasetName, Refusal> {
    let seen = &request.seen;
    let refused = |reason: String| Refusal::new(attempted, reason);
    let own = |home: &&DatasetName| {
        survey
            .running()
            .is_some_and(|running| home.is_within(&running.root.name))
    };
    let home = seen.home.as_ref().filter(own).ok_or_else(|| {
        refused("it does not lie in a dataset of the running environment".to_owned())
    })?;
    if let Some(loose) = &seen.loose {
        return Err(refused(loose.clone()).remedy("set that right first"));
    }
    if content.too_deep {
        return Err(refused("it is deeper than 200 directories".to_owned()));
    }
    let free = survey
        .pools
        .get(&home.pool())
        .map_or(u64::MAX, |pool| pool.free);
    if content.bytes > free {
        return Err(refused(format!(
            "it has {} bytes, and pool {} has {free} left",
            content.bytes,
            home.pool()
        ))
        .remedy("make room first"));
    }
    if request.force {
        return Ok(home.clone());
    }
    let clear = survey
        .datasets
        .get(home)
        .is_some_and(|home| home.encryption_root.is_none());
    if clear && found.dataset.encryption_root.is_some() {
        return Err(refused(format!(
            "{} is encrypted and {home} is not: it would be readable to whoever has the disk",
            found.dataset.name
        ))
        .remedy("--force moves it all the same"));
    }
    if let Some(holder) = request.holders.first() {
        return Err(refused(format!("it is in use: {holder}"))
            .remedy("end that; with --force what is written through what is open stays behind"));
    }
    Ok(home.clone())
}

fn intent(place: &Place, root: &DatasetName, only_here: bool, copied: bool) -> Undertaking {
    Undertaking::Unshare {
        place: place.clone(),
        root: root.clone(),
        only_here,
        copied,
    }
}

/// The steps up to the switch.
fn copied(
    survey: &Survey,
    attempted: &str,
    place: &Place,
    root: &DatasetName,
    request: &Request,
    content: &Content,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let pool = survey.beroot.pool();
    let transact = |operations| Action::Transact {
        pool: pool.clone(),
        operations,
    };
    let phase = |copied| {
        let undertaking = intent(place, root, request.only_here, copied);
        intent_mark(survey, undertaking)
    };
    let ((begun, bytes), (copied, _)) = (phase(false), phase(true));
    fits(attempted, bytes)?;
    plan.steps.push(
        Step::new("record", transact(vec![begun.clone()]))
            .undone_by(vec![transact(vec![intent_clear(survey)])]),
    );
    let staged = staged(place, survey.id);
    let remove = ShareChange::Remove {
        dataset: place.home.clone(),
        path: staged.clone(),
    };
    let copy = ShareChange::Copy {
        from: place.share.clone(),
        snapshot: None,
        path: place.name.clone().into(),
        to: place.home.clone(),
        staged,
        bytes: content.bytes,
    };
    plan.steps
        .push(share("copy", copy).undone_by(vec![Action::Share(remove)]));
    // A transaction group that is waited for: the copy is on disk before it is
    // switched to. And from here on a copy that is gone is in its place.
    plan.steps
        .push(Step::new("durable", transact(vec![copied])).undone_by(vec![transact(vec![begun])]));
    if place.form == Form::Bind {
        let bind = |off| ShareChange::Bind {
            place: place.clone(),
            root: root.clone(),
            off,
        };
        plan.steps
            .push(share("unbind", bind(true)).undone_by(vec![Action::Share(bind(false))]));
    }
    let take = |off| ShareChange::Return {
        place: place.clone(),
        id: survey.id,
        off,
    };
    plan.steps.push(
        share("switch", take(false))
            .undone_by(vec![Action::Share(take(true))])
            .commits(),
    );
    Ok(())
}

/// Where the copy is made, in the environment's dataset.
pub(in crate::plan) fn staged(place: &Place, id: crate::intent::OpId) -> Utf8PathBuf {
    kept(&place.below, id)
}

/// The record without a place, and with what is kept of it.
pub(in crate::plan) fn without(record: &Record, place: &Place, removed: Entry) -> Record {
    let mut after = record.without(&place.path);
    // What was there before it was shared may be kept still.
    after.removed.extend(record.find(&place.path).cloned());
    after.removed.push(removed);
    after
}

/// What follows the switch, and can be repeated.
pub(in crate::plan) fn append_end(
    survey: &Survey,
    plan: &mut Plan,
    place: &Place,
    record: Record,
    only_here: bool,
) {
    let (here, pool) = (survey.beroot.pool(), place.share.pool());
    if only_here {
        plan.transact("finish", &here, vec![intent_clear(survey)]);
        return;
    }
    let id = record.removed.last().map_or(survey.id, |entry| entry.id);
    let retire = ShareChange::Retire {
        share: place.share.clone(),
        leaf: place.name.clone(),
        id,
    };
    plan.steps.push(share("retire", retire));
    let mut operations = vec![noted(&place.share, &record)];
    if here == pool {
        operations.push(intent_clear(survey));
        plan.transact("finish", &pool, operations);
    } else {
        plan.transact("note", &pool, operations);
        plan.transact("finish", &here, vec![intent_clear(survey)]);
    }
}
