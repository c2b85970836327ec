//! `share apply [NAME]`: an environment gets the links and mounts of what is
//! shared. What it has of its own is kept beside.

use super::add::{adopted, kept};
use super::share;
use crate::be::BeName;
use crate::os::Holder;
use crate::plan::{Plan, Planned, Refusal, changeable, environment, finished, pools_of, unlocked};
use crate::share::change::ShareChange;
use crate::share::find::Share;
use crate::share::layout::{Found, Has};
use crate::survey::Survey;

/// `share apply NAME`.
#[derive(Debug, Clone)]
pub struct Request {
    /// The environment.
    pub name: BeName,
    /// What it has.
    pub found: Vec<Found>,
    /// Who uses what the running environment has of its own.
    pub holders: Vec<Holder>,
    /// Whoever uses it is no reason to refuse.
    pub force: bool,
    /// Nobody asked for it: what was written there since it is shared stays.
    pub unasked: bool,
}

/// The plan. There is no intent: each step is whole, and a second time what is
/// missing is done.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, found: Option<&Share>, request: &Request) -> Planned {
    let name = &request.name;
    let attempted = format!("give {name} the layout of what is shared");
    // What runs is not changed under its services unasked.
    let rests = survey
        .environment(name)
        .is_some_and(|one| !one.is_running());
    let is_adopted = found.is_some_and(|found| found.record.is_some());
    if request.unasked && !(rests && is_adopted) {
        return Ok(Plan::new(survey, "share-apply"));
    }
    let target = environment(survey, &attempted, name)?;
    finished(survey, &attempted, &target)?;
    let (found, _) = adopted(&attempted, found)?;
    let mut pools = pools_of(&target);
    pools.push(found.dataset.name.pool());
    changeable(survey, &attempted, &pools)?;
    unlocked(&attempted, &target)?;
    if let Some(holder) = request.holders.first()
        && !request.force
    {
        return Err(
            Refusal::new(&attempted, format!("what it has is in use: {holder}"))
                .remedy("end that; with --force what it writes stays in what is kept"),
        );
    }
    let mut plan = Plan::new(survey, "share-apply");
    let mut done = Vec::new();
    for one in &request.found {
        let path = &one.place.path;
        match &one.has {
            Has::Share => continue,
            Has::Nothing => {}
            Has::Own { changed } if request.unasked && *changed > one.at => {
                plan.notes.push(format!(
                    "{path} of {name} has files of its own, written since it is shared; \
                     'beadm-rs share apply {name}' keeps them beside"
                ));
                continue;
            }
            Has::Own { .. } => plan.notes.push(format!(
                "what {name} had of its own in {path} is kept in it as {}",
                kept(path, one.id)
            )),
            Has::Other(why) => {
                plan.notes
                    .push(format!("{path} of {name} stays as it is: {why}"));
                continue;
            }
        }
        done.push(path.as_str());
        plan.steps.push(share(
            "apply",
            ShareChange::Apply {
                place: one.place.clone(),
                root: target.root.name.clone(),
                id: one.id,
                spare: survey.id,
            },
        ));
    }
    if let Some(first) = plan.steps.first_mut() {
        first.commit = true;
    }
    plan.outcome = match (done.as_slice(), plan.notes.is_empty()) {
        ([], true) => format!("{name} has the layout of what is shared already"),
        ([], false) => format!("nothing was changed in {name}"),
        (done, _) => format!("{name} shares {}", done.join(", ")),
    };
    Ok(plan)
}
