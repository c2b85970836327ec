//! What is noted about an environment: a description, a pin.

use super::{Action, Plan, Planned, Refusal, Step, changeable, environment};
use crate::be::BeName;
use crate::survey::Survey;
use crate::zfs::{PREFIX, SyncOp};

/// The longest description, bytes: it shows in listings and menus.
const MAX_DESCRIPTION: usize = 1024;

/// A text that can stand in a listing.
///
/// # Errors
/// Control characters, or more than 1,024 bytes.
pub fn check_description(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        return Err(
            "a description is one line without tabs or other control characters".to_owned(),
        );
    }
    if text.len() > MAX_DESCRIPTION {
        return Err(format!(
            "a description is {MAX_DESCRIPTION} bytes at the most, and this one {}",
            text.len()
        ));
    }
    Ok(())
}

/// The plan of `describe NAME TEXT`; an empty text takes the description away.
///
/// # Errors
/// Why it is refused.
pub fn describe(survey: &Survey, name: &BeName, text: &str) -> Planned {
    let attempted = format!("describe {name}");
    let environment = environment(survey, &attempted, name)?;
    let pool = environment.root.name.pool();
    changeable(survey, &attempted, [&pool])?;
    check_description(text).map_err(|why| Refusal::new(&attempted, why))?;
    let mut plan = Plan::new(survey, "describe");
    let dataset = environment.root.name.clone();
    let action = if text.is_empty() {
        Action::Transact {
            pool,
            operations: vec![SyncOp::Unmark {
                object: dataset.to_string(),
                key: "description".to_owned(),
            }],
        }
    } else {
        Action::Set {
            dataset,
            settings: vec![(format!("{PREFIX}description"), text.to_owned())],
        }
    };
    plan.steps.push(Step::new("commit", action).commits());
    plan.outcome = format!("{name} is described");
    Ok(plan)
}

/// The plan of `pin NAME` and `unpin NAME`.
///
/// # Errors
/// Why it is refused.
pub fn pin(survey: &Survey, name: &BeName, pinned: bool) -> Planned {
    let operation = if pinned { "pin" } else { "unpin" };
    let attempted = format!("{operation} {name}");
    let environment = environment(survey, &attempted, name)?;
    let pool = environment.root.name.pool();
    changeable(survey, &attempted, [&pool])?;
    let mut plan = Plan::new(survey, operation);
    plan.outcome = match (pinned, environment.is_pinned()) {
        (true, true) => format!("{name} is pinned already"),
        (false, false) => format!("{name} is not pinned"),
        (true, false) => format!("{name} is pinned: it is not destroyed until it is unpinned"),
        (false, true) => format!("{name} is not pinned any more"),
    };
    if pinned != environment.is_pinned() {
        let object = environment.root.name.to_string();
        let key = "pinned".to_owned();
        let mark = if pinned {
            SyncOp::Mark {
                object,
                key,
                text: survey.now.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }
        } else {
            SyncOp::Unmark { object, key }
        };
        plan.transact("commit", &pool, vec![mark]);
        if let Some(step) = plan.steps.last_mut() {
            step.commit = true;
        }
    }
    Ok(plan)
}
