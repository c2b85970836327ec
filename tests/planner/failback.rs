//! What is recorded at an activation, and where failback leads.

use beadm_rs::boot::{Bootfs, Switch};
use beadm_rs::plan::activate;

use super::made::{Made, operations, refusal};

/// Three environments that do not hang on each other; `c` runs, and is next
/// and last good; the records lead from c to b to a.
fn three() -> Made {
    let mut made = Made::new();
    for name in ["a", "b", "c"] {
        made.dataset(&format!("rpool/ROOT/{name}"));
    }
    let (a, b, c) = (
        made.guid("rpool/ROOT/a"),
        made.guid("rpool/ROOT/b"),
        made.guid("rpool/ROOT/c"),
    );
    made.mark("rpool/ROOT/b", "failback", a);
    made.mark("rpool/ROOT/c", "failback", b);
    made.mark("rpool/ROOT", "confirmed", c);
    made.running("rpool/ROOT/c");
    made.next("rpool/ROOT/c");
    made
}

fn activated(made: &Made, name: &str) -> Vec<String> {
    let request = activate::Request {
        name: name.parse().unwrap(),
        once: false,
        no_trial: false,
    };
    operations(&activate::plan(&made.survey, &Bootfs, &request).unwrap())
}

fn records(operations: &[String]) -> Vec<&str> {
    operations
        .iter()
        .filter(|line| line.contains(" failback"))
        .map(String::as_str)
        .collect()
}

#[test]
fn an_activation_records_what_ran() {
    let mut made = three();
    let c = made.guid("rpool/ROOT/c");
    assert_eq!(
        records(&activated(&made, "a")),
        [format!("mark rpool/ROOT/a failback={c}")]
    );
}

#[test]
fn a_failback_leaves_the_destinations_own_record() {
    let made = three();
    let plan = activate::plan_failback(&made.survey, &Bootfs).unwrap();
    assert_eq!(plan.operation, "failback");
    let done = operations(&plan);
    assert!(done.contains(&"set bootfs=rpool/ROOT/b on pool rpool".to_owned()));
    assert_eq!(records(&done), [""; 0]);
    assert_eq!(
        plan.outcome,
        "b boots next; the way back: beadm-rs failback (to a)"
    );
}

#[test]
fn a_second_failback_goes_one_further_back() {
    let mut made = three();
    made.next("rpool/ROOT/b");
    let plan = activate::plan_failback(&made.survey, &Bootfs).unwrap();
    assert!(operations(&plan).contains(&"set bootfs=rpool/ROOT/a on pool rpool".to_owned()));
    assert_eq!(plan.outcome, "a boots next");
}

#[test]
fn a_record_whose_environment_is_gone_names_the_candidates() {
    let mut made = three();
    made.survey
        .datasets
        .remove(&"rpool/ROOT/b".parse().unwrap());
    assert_eq!(
        refusal(activate::plan_failback(&made.survey, &Bootfs)),
        "refused to fail back: the environment that was active before c is gone\n\
         beadm-rs activate one of: a"
    );
}

#[test]
fn a_record_that_was_inherited_or_copied_does_not_count() {
    let mut made = three();
    // As a clone of c would have it: with c's guid before it.
    let copied = made.on("rpool/ROOT/c").marks.clone();
    made.on("rpool/ROOT/a").marks = copied;
    made.next("rpool/ROOT/a");
    assert_eq!(
        refusal(activate::plan_failback(&made.survey, &Bootfs)),
        "refused to fail back: a has no record of what was active before it\n\
         beadm-rs activate one of: b, c"
    );
}

#[test]
fn activating_the_running_one_cancels_a_switch_and_keeps_its_record() {
    let mut made = three();
    made.next("rpool/ROOT/a");
    let done = activated(&made, "c");
    assert!(done.contains(&"set bootfs=rpool/ROOT/c on pool rpool".to_owned()));
    assert_eq!(records(&done), [""; 0]);
}

#[test]
fn what_runs_and_boots_next_and_is_good_is_left_alone() {
    assert_eq!(activated(&three(), "c"), [""; 0]);
}

#[test]
fn on_a_rescue_system_what_is_last_good_is_recorded() {
    let mut made = three();
    made.survey.running = None;
    let c = made.guid("rpool/ROOT/c");
    assert_eq!(
        records(&activated(&made, "b")),
        [format!("mark rpool/ROOT/b failback={c}")]
    );
}

/// Where `failback` leads after a switch to an environment, by its name.
fn back(made: &Made, name: &str, switch: Switch, record: Option<&str>) -> Option<String> {
    let target = made.survey.environment(&name.parse().unwrap()).unwrap();
    let record = record.map(|name| {
        let found = made.survey.environment(&name.parse().unwrap());
        found.unwrap().guid()
    });
    let guid = activate::way_back(&made.survey, &target, switch, record)?;
    let found = made.survey.environment_with(guid).unwrap();
    Some(found.name().to_owned())
}

#[test]
fn the_way_back_after_a_switch_is_what_it_records_or_what_was_recorded_before() {
    let mut made = three();
    let some = |name: &str| Some(name.to_owned());
    let trial = Switch::Trial { tries: 3 };
    for switch in [Switch::Good, trial] {
        assert_eq!(back(&made, "b", switch, Some("c")), some("c"));
        assert_eq!(back(&made, "b", switch, None), some("a"));
        assert_eq!(back(&made, "a", switch, None), None);
        assert_eq!(back(&made, "a", switch, Some("a")), None);
    }
    // What boots once changes nothing about it.
    assert_eq!(back(&made, "a", Switch::Once, None), some("b"));
    assert_eq!(back(&made, "b", Switch::Once, Some("a")), some("b"));
    // Nothing leads to what is gone.
    made.mark("rpool/ROOT/b", "failback", 1);
    assert_eq!(back(&made, "b", Switch::Good, None), None);
}
