//! Which of the environments go that hooks made: the oldest, beyond the last
//! few. What nobody here made never does, and of everything that stays it is
//! said why.

use serde::Serialize;

use crate::be::BootEnvironment;
use crate::be::made::Maker;
use crate::survey::Survey;

/// What becomes of one environment that this program made unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// What made it.
    pub by: String,
    /// When it was made, seconds since the epoch.
    pub made: i64,
    /// Why it stays; `None` where it goes.
    pub kept: Option<String>,
}

/// What becomes of each, the newest first. `keep` are kept for being the newest.
///
/// Those that stay for another reason count among them: who pins three of five
/// gets no more environments for it.
#[must_use]
pub fn judge(survey: &Survey, keep: usize) -> Vec<Verdict> {
    let mut made: Vec<(BootEnvironment<'_>, String)> = survey
        .environments()
        .filter_map(|environment| match environment.made()?.by {
            Maker::Hook(manager) => Some((environment, format!("the hook of {manager}"))),
            Maker::Upgrade => None,
        })
        .collect();
    // By when ZFS made it: a text can be wrong, and a clock, too.
    made.sort_by_key(|(environment, _)| std::cmp::Reverse(environment.root.createtxg));
    made.into_iter()
        .enumerate()
        .map(|(index, (environment, by))| Verdict {
            name: environment.name().to_owned(),
            by,
            made: environment.root.creation,
            kept: needed(survey, &environment).or_else(|| {
                (index < keep).then(|| match keep {
                    1 => "it is the newest".to_owned(),
                    keep => format!("it is one of the newest {keep}"),
                })
            }),
        })
        .collect()
}

/// Why an environment has to stay however old it is.
fn needed(survey: &Survey, environment: &BootEnvironment<'_>) -> Option<String> {
    let guid = environment.guid();
    let on_trial = survey.trial().ok().flatten();
    let way_back = [survey.next(), survey.running()]
        .into_iter()
        .flatten()
        .any(|other| other.failback() == Some(guid));
    let mounted = survey.mounts.iter().find(|mount| {
        environment
            .everything()
            .any(|dataset| dataset.name == mount.dataset)
    });
    let reasons = [
        (environment.is_running(), "it is running"),
        (environment.is_next(), "it boots next"),
        (environment.is_once(), "it is set to boot once"),
        (
            environment.is_last_good(),
            "it is the last one known to work",
        ),
        (environment.is_pinned(), "it is pinned"),
        (
            on_trial
                .as_ref()
                .is_some_and(|trial| trial.target == guid || trial.back == guid),
            "it is part of a trial",
        ),
        // A record that cannot be read may name any of them.
        (
            survey.trial().is_err(),
            "a trial is recorded that cannot be read",
        ),
        (way_back, "failback leads to it"),
        // Whoever has worked in it may have left there what is nowhere else.
        (environment.failback().is_some(), "it was activated once"),
        (
            survey.is_unfinished(&environment.root.name),
            "it is part of an unfinished operation",
        ),
    ];
    reasons
        .into_iter()
        .find_map(|(holds, reason)| holds.then(|| reason.to_owned()))
        .or_else(|| mounted.map(|mount| format!("it is mounted on {}", mount.directory)))
}
