//! The environment of an upgrade.

use beadm_rs::be::made::Maker;
use beadm_rs::plan::upgrade::{Request, default_name, plan, plan_finish, unfinished, unique};
use beadm_rs::plan::{Action, Plan};
use beadm_rs::zfs::SyncOp;

use super::made::{Made, operations, refusal};

fn machine() -> Made {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/debian");
    made.dataset("rpool/ROOT/debian/var");
    made.running("rpool/ROOT/debian");
    made.next("rpool/ROOT/debian");
    made
}

fn request(name: &str) -> Request {
    Request {
        name: name.parse().unwrap(),
        from: None,
        by: Maker::Upgrade,
        description: "upgrade of debian".to_owned(),
    }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.name).collect()
}

#[test]
fn its_mark_is_there_before_it_is_an_environment() {
    let made = machine();
    let plan = plan(&made.survey, &request("new")).unwrap();
    assert_eq!(names(&plan), ["snapshot", "clone", "commit"]);
    let clone = &plan.steps[1];
    assert!(!clone.commit && plan.steps[2].commit);
    let expected = SyncOp::Mark {
        object: "rpool/ROOT/new".to_owned(),
        key: "made".to_owned(),
        text: "abcdef0123456789 upgrade 2027-01-15T08:00:00Z".to_owned(),
    };
    let Action::Clone { operations, .. } = &clone.action else {
        panic!("{clone:?}");
    };
    assert_eq!(operations.last(), Some(&expected));
}

#[test]
fn its_mark_goes_last_and_it_is_found_until_then() {
    let mut made = machine();
    made.dataset("rpool/ROOT/new");
    assert_eq!(unfinished(&made.survey).count(), 0);
    let text = "abcdef0123456789 upgrade 2027-01-15T08:00:00Z";
    made.mark("rpool/ROOT/new", "made", text);
    let found: Vec<_> = unfinished(&made.survey)
        .map(|environment| (environment.name(), environment.unbootable()))
        .collect();
    let why = "its upgrade did not end".to_owned();
    assert_eq!(found, [("new", Some(why))]);
    let plan = plan_finish(&made.survey, &"new".parse().unwrap(), "done").unwrap();
    assert_eq!(
        operations(&plan),
        [
            "set org.beadm-rs:description=done on rpool/ROOT/new",
            "unmark rpool/ROOT/new made"
        ]
    );
    let gone = plan_finish(&made.survey, &"gone".parse().unwrap(), "done");
    assert_eq!(
        refusal(gone),
        "refused to finish gone: there is no boot environment 'gone' under rpool/ROOT\n\
         there are: debian, new"
    );
}

#[test]
fn a_name_is_that_of_its_source_and_the_day_and_nobody_elses() {
    let mut made = machine();
    let name = |made: &Made, source: &str| {
        default_name(&made.survey, source)
            .unwrap()
            .name()
            .to_string()
    };
    assert_eq!(name(&made, "debian"), "debian-2027-01-15");
    assert_eq!(name(&made, "debian-2026-11-22-3"), "debian-2027-01-15");
    assert_eq!(name(&made, "my system"), "my-system-2027-01-15");
    made.dataset("rpool/ROOT/debian-2027-01-15");
    made.dataset("rpool/ROOT/debian-2027-01-15-2");
    assert_eq!(name(&made, "debian"), "debian-2027-01-15-3");
    let long = "x".repeat(300);
    assert!(unique(&made.survey, &long).is_err());
}

#[test]
fn what_create_refuses_is_refused() {
    let mut made = machine();
    assert_eq!(
        refusal(plan(&made.survey, &request("debian"))),
        "refused to create debian: rpool/ROOT/debian exists already"
    );
    made.survey.running = None;
    assert_eq!(
        refusal(plan(&made.survey, &request("new"))),
        "refused to create new: no boot environment is running here to make it from\n\
         name one with -e; there are: debian"
    );
}
