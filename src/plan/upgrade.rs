//! An upgrade in a clone, which is three operations: the clone, marked as
//! unfinished before it is an environment; the end of that mark when its
//! packages are complete; the activation ([`super::activate`]).
//!
//! Wherever the machine stops before the mark is gone, a complete environment
//! is left that boots nowhere by itself, is not activated, and is recognised:
//! [`unfinished`]. From then on it is one like any other.

use super::create::{self, From};
use super::{Action, Plan, Planned, Refusal, Step, bad_name, environment};
use crate::be::made::{KEY, Made, Maker};
use crate::be::{BeName, BootEnvironment, NewBeName};
use crate::survey::Survey;
use crate::zfs::{DatasetName, PREFIX, SyncOp};

/// `upgrade`, as far as its environment goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The new name.
    pub name: NewBeName,
    /// What is upgraded; the running environment where none is named.
    pub from: Option<BeName>,
    /// Who makes it.
    pub by: Maker,
    /// What to note about it.
    pub description: String,
}

/// The plan of a clone that says what made it.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, request: &Request) -> Planned {
    let attempted = format!("create {}", request.name.name());
    let root = request
        .name
        .name()
        .below(&survey.beroot)
        .map_err(bad_name(&attempted))?;
    let plan = create::plan(
        survey,
        &create::Request {
            name: request.name.clone(),
            from: From {
                environment: request.from.clone(),
                snapshot: None,
            },
            description: Some(request.description.clone()),
            settings: Vec::new(),
            pool: None,
            shallow: false,
        },
    )?;
    let made = Made {
        id: survey.id,
        by: request.by.clone(),
        at: survey.now,
    };
    Ok(marked(plan, &root, &made))
}

/// The mark comes before the commit point: there is no instant at which the
/// environment is there without it. Taking the clone back takes it, too.
fn marked(mut plan: Plan, root: &DatasetName, made: &Made) -> Plan {
    for step in &mut plan.steps {
        if let Action::Clone { operations, .. } = &mut step.action {
            operations.push(SyncOp::Mark {
                object: root.to_string(),
                key: KEY.to_owned(),
                text: made.to_string(),
            });
        }
    }
    plan
}

/// The plan that makes it an environment like any other: upgraded, or kept
/// although that failed, with a description that says so.
///
/// # Errors
/// It is not there any more.
pub fn plan_finish(survey: &Survey, name: &BeName, description: &str) -> Planned {
    let environment = environment(survey, &format!("finish {name}"), name)?;
    let root = environment.root.name.clone();
    let mut plan = Plan::new(survey, "upgrade");
    plan.steps.push(Step::new(
        "describe",
        Action::Set {
            dataset: root.clone(),
            settings: vec![(format!("{PREFIX}description"), description.to_owned())],
        },
    ));
    plan.transact(
        "finish",
        &root.pool(),
        vec![SyncOp::Unmark {
            object: root.to_string(),
            key: KEY.to_owned(),
        }],
    );
    if let Some(step) = plan.steps.last_mut() {
        step.commit = true;
    }
    plan.outcome = format!("{name} is complete");
    Ok(plan)
}

/// The environments of upgrades that did not end; what is still being made is none.
pub fn unfinished(survey: &Survey) -> impl Iterator<Item = BootEnvironment<'_>> {
    survey.environments().filter(|environment| {
        environment.unfinished_upgrade().is_some() && !survey.is_unfinished(&environment.root.name)
    })
}

/// A name that no environment has: what it is made from, without the date that
/// an upgrade before gave it, and the day.
///
/// Who reads a list of environments wants to know from when each is;
/// freebsd-update(8) puts release and time behind each other for the same
/// reason. A release is not known before the upgrade.
///
/// # Errors
/// A name that ZFS does not take.
pub fn default_name(survey: &Survey, source: &str) -> Result<NewBeName, Refusal> {
    let day = survey.now.format("%Y-%m-%d").to_string();
    let base = without_date(source).replace(' ', "-");
    unique(survey, &format!("{base}-{day}"))
}

/// A name that no environment has, with a number behind it where it has to be.
///
/// # Errors
/// A name that ZFS does not take.
pub fn unique(survey: &Survey, wanted: &str) -> Result<NewBeName, Refusal> {
    let mut name = wanted.to_owned();
    let mut number = 1;
    while survey
        .environments()
        .any(|environment| environment.name() == name)
    {
        number += 1;
        name = format!("{wanted}-{number}");
    }
    name.parse().map_err(bad_name("find a name"))
}

/// A name without what [`default_name`] put behind it.
fn without_date(name: &str) -> &str {
    let digits =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = name.split('-').collect();
    let dated = |back: usize| {
        let at = parts.len().checked_sub(back)?;
        let [year, month, day, ..] = parts.get(at..)? else {
            return None;
        };
        (at > 0 && digits(year, 4) && digits(month, 2) && digits(day, 2)).then_some(at)
    };
    let numbered = parts
        .last()
        .is_some_and(|last| !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()));
    let at = dated(3).or_else(|| numbered.then(|| dated(4)).flatten());
    let Some(at) = at else {
        return name;
    };
    let length: usize = parts.iter().take(at).map(|part| part.len() + 1).sum();
    match name.get(..length.saturating_sub(1)) {
        Some(base) if !base.is_empty() => base,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::without_date;

    #[test]
    fn a_date_that_an_upgrade_put_behind_a_name_goes() {
        for (name, base) in [
            ("debian", "debian"),
            ("debian-2026-11-22", "debian"),
            ("debian-2026-11-22-2", "debian"),
            ("my-system-2026-11-22-13", "my-system"),
            ("2026-11-22", "2026-11-22"),
            ("-2026-11-22", "-2026-11-22"),
            ("debian-13", "debian-13"),
            ("debian-2026-11-2x", "debian-2026-11-2x"),
            ("debian-2026-11-22-", "debian-2026-11-22-"),
        ] {
            assert_eq!(without_date(name), base);
        }
    }
}
