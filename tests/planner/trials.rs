//! How a trial ends, with a loader that counts.

use beadm_rs::boot::{BootState, Capabilities, Loader, Switch, TrialEntry};
use beadm_rs::plan::{Action, Plan, Planned, Refusal, Step, Why, confirm};
use beadm_rs::survey::Survey;
use beadm_rs::survey::trial::{FellBack, Trial};
use beadm_rs::zfs::{Dataset, DatasetName, Guid, Pool, SyncOp};

use super::made::{Made, dataset, operations, refusal};

/// A loader whose steps say what they are; `Err` where it cannot.
struct Counting(Result<(), &'static str>);

const LOADER: Counting = Counting(Ok(()));

impl Counting {
    fn step(&self, name: &'static str, target: &Dataset) -> Result<Step, Refusal> {
        self.0.map_err(|why| Refusal {
            attempted: name.to_owned(),
            reason: why.to_owned(),
            why: Why::Other,
            remedy: None,
        })?;
        let action = Action::Set {
            dataset: target.name.clone(),
            settings: vec![("loader".to_owned(), name.to_owned())],
        };
        Ok(Step::new(name, action.clone()).undone_by(vec![action]))
    }
}

impl Loader for Counting {
    fn name(&self) -> &'static str {
        "a loader that counts"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            counting: true,
            once: true,
        }
    }

    fn state(&self, _beroot: &DatasetName, _pools: &[Pool]) -> BootState {
        BootState::default()
    }

    fn stage(
        &self,
        _: &Survey,
        target: &Dataset,
        switch: Switch,
        _: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        assert_eq!(switch, Switch::Good);
        Ok(vec![self.step("stage", target)?])
    }

    fn commit(&self, _: &Survey, target: &Dataset, switch: Switch) -> Result<Step, Refusal> {
        assert_eq!(switch, Switch::Good);
        Ok(self.step("commit", target)?.commits())
    }

    fn confirm(&self, _: &Survey, target: &Dataset, _: Option<Guid>) -> Result<Vec<Step>, Refusal> {
        Ok(vec![self.step("bless", target)?.commits()])
    }

    fn after(&self, _: &Survey, target: &Dataset, _: Switch, _: Option<Guid>) -> Vec<Step> {
        self.step("after", target).into_iter().collect()
    }
}

/// `old` was confirmed; its clone `new` is tried; the loader has left it so
/// many tries, or has no entry of it.
fn tried(running: &str, left: Option<u32>) -> Made {
    let mut made = Made::new();
    made.survey.capabilities = LOADER.capabilities();
    made.dataset("rpool/ROOT/old");
    made.clone("rpool/ROOT/old@s", "rpool/ROOT/new");
    let (old, new) = (made.guid("rpool/ROOT/old"), made.guid("rpool/ROOT/new"));
    made.mark("rpool/ROOT", "confirmed", old);
    let trial = Trial {
        target: new,
        back: old,
        tries: 3,
        since: made.survey.now,
    };
    made.mark("rpool/ROOT", "trial", trial.encode());
    made.next("rpool/ROOT/old");
    made.running(&format!("rpool/ROOT/{running}"));
    made.survey.boot.trial = left.map(|tries_left| TrialEntry {
        dataset: dataset("rpool/ROOT/new"),
        tries_left,
        tries_done: 3 - tries_left,
    });
    made
}

/// The steps' names, the commit point marked.
fn steps(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| format!("{}{}", step.name, if step.commit { " *" } else { "" }))
        .collect()
}

fn recorded(plan: &Plan) -> FellBack {
    let operations = plan.steps.iter().flat_map(|step| match &step.action {
        Action::Transact { operations, .. } => operations.clone(),
        _ => Vec::new(),
    });
    let texts: Vec<String> = operations
        .filter_map(|operation| match operation {
            SyncOp::Mark { key, text, .. } if key == "fell-back" => Some(text),
            _ => None,
        })
        .collect();
    FellBack::decode(&texts[0]).unwrap()
}

#[test]
fn a_confirmation_blesses_the_entry_first_and_clears_the_record_last() {
    let mut made = tried("new", Some(2));
    let (old, new) = (made.guid("rpool/ROOT/old"), made.guid("rpool/ROOT/new"));
    let plan = confirm::plan(&made.survey, &LOADER).unwrap();
    assert_eq!(steps(&plan), ["bless", "bootfs", "finish *"]);
    assert!(plan.steps[..2].iter().all(|step| !step.undo.is_empty()));
    assert_eq!(
        operations(&plan)[1..],
        [
            "set bootfs=rpool/ROOT/new on pool rpool".to_owned(),
            format!("mark rpool/ROOT/new failback={old}"),
            format!("mark rpool/ROOT confirmed={new}"),
            "unmark rpool/ROOT trial".to_owned(),
        ]
    );
    assert_eq!(
        plan.outcome,
        "new is confirmed; the way back: beadm-rs failback (to old)"
    );
    let plan = confirm::plan_promotion(&made.survey).unwrap();
    assert_eq!(operations(&plan), ["promote rpool/ROOT/new"]);
}

#[test]
fn what_the_loader_cannot_bless_is_not_confirmed() {
    let made = tried("new", Some(2));
    assert_eq!(
        refusal(confirm::plan(
            &made.survey,
            &Counting(Err("its ESP is gone"))
        )),
        "refused to bless: its ESP is gone"
    );
}

#[test]
fn a_confirmation_needs_a_pool_it_can_write_to() {
    let mut made = tried("new", Some(2));
    made.pool("rpool").readonly = true;
    for planned in [
        confirm::plan(&made.survey, &LOADER),
        confirm::plan_promotion(&made.survey),
        confirm::plan_reject(&made.survey, &LOADER, "so"),
    ] {
        assert!(refusal(planned).contains("pool rpool is imported read-only"));
    }
}

#[test]
fn without_a_running_environment_nothing_is_confirmed() {
    let mut made = tried("new", Some(2));
    made.survey.running = None;
    let why = refusal(confirm::plan(&made.survey, &LOADER));
    assert!(why.contains("no boot environment runs here"), "{why}");
    assert_eq!(confirm::plan_notice(&made.survey).unwrap().steps, []);
    assert_eq!(
        confirm::plan_failed(&made.survey, &LOADER, "so")
            .unwrap()
            .steps,
        []
    );
}

#[test]
fn a_promotion_put_off_is_made_later_but_only_of_what_this_program_confirmed() {
    let mut made = tried("new", None);
    let (old, new) = (made.guid("rpool/ROOT/old"), made.guid("rpool/ROOT/new"));
    made.on("rpool/ROOT").marks.remove("trial");
    // Running, but not the last good one; then that, but merely adopted.
    assert_eq!(confirm::plan_promotion(&made.survey).unwrap().steps, []);
    made.mark("rpool/ROOT", "confirmed", new);
    assert_eq!(confirm::plan_promotion(&made.survey).unwrap().steps, []);
    made.mark("rpool/ROOT/new", "failback", old);
    let plan = confirm::plan_promotion(&made.survey).unwrap();
    assert_eq!(operations(&plan), ["promote rpool/ROOT/new"]);
}

#[test]
fn a_rejection_makes_the_last_good_one_boot_and_says_why_the_other_does_not() {
    let made = tried("new", Some(2));
    let plan = confirm::plan_reject(&made.survey, &LOADER, "it smells").unwrap();
    assert_eq!(steps(&plan), ["stage", "commit", "after", "finish *"]);
    let record = recorded(&plan);
    assert_eq!((record.name.as_str(), record.tries), ("new", 3));
    assert_eq!(record.why, "it smells");
    // One that never ran did not fail.
    let made = tried("old", Some(3));
    let plan = confirm::plan_reject(&made.survey, &LOADER, "it smells").unwrap();
    assert_eq!(operations(&plan).last().unwrap(), "unmark rpool/ROOT trial");
    assert_eq!(plan.outcome, "new is rejected, old boots next");
}

#[test]
fn nothing_is_rejected_where_there_is_nothing_to_go_back_to() {
    let mut made = tried("new", Some(2));
    made.on("rpool/ROOT/old").canmount = beadm_rs::zfs::Canmount::Off;
    let why = refusal(confirm::plan_reject(&made.survey, &LOADER, "so"));
    assert!(
        why.contains("old cannot be booted: its canmount is off"),
        "{why}"
    );
    made.survey.datasets.remove(&dataset("rpool/ROOT/old"));
    let why = refusal(confirm::plan_reject(&made.survey, &LOADER, "so"));
    assert!(why.contains("confirmed before new is gone"), "{why}");
}

#[test]
fn a_failed_try_is_left_to_the_loader_that_counts_it() {
    for (left, outcome) in [
        (2, "this try of new failed, 2 are left"),
        (1, "this try of new failed, one is left"),
        (0, "this try of new failed, and none is left"),
    ] {
        let made = tried("new", Some(left));
        let plan = confirm::plan_failed(&made.survey, &LOADER, "so").unwrap();
        assert_eq!(steps(&plan), ["note"]);
        assert_eq!(plan.outcome, outcome);
    }
}

#[test]
fn a_failed_try_that_nothing_counts_is_rejected_so_that_a_reboot_leads_elsewhere() {
    let made = tried("new", None);
    let plan = confirm::plan_failed(&made.survey, &LOADER, "so").unwrap();
    assert_eq!(steps(&plan), ["stage", "commit", "after", "finish *"]);
    // Where that cannot be done, the machine is not rebooted for ever.
    let stuck = confirm::plan_failed(&made.survey, &Counting(Err("full")), "so");
    assert_eq!(refusal(stuck), "refused to stage: full");
}

#[test]
fn a_machine_that_tries_something_else_is_not_rebooted() {
    let made = tried("old", Some(2));
    let plan = confirm::plan_failed(&made.survey, &LOADER, "so").unwrap();
    assert_eq!(plan.steps, []);
}

fn noticed(made: &Made) -> Planned {
    confirm::plan_notice(&made.survey)
}

#[test]
fn a_boot_notices_what_the_loader_says_and_nothing_else() {
    // Tries are left: somebody chose another one in the menu.
    let made = tried("old", Some(1));
    let plan = noticed(&made).unwrap();
    assert_eq!(
        (steps(&plan), plan.outcome.as_str()),
        (vec![], "new is still to be tried")
    );
    // Its entry has no counter any more: a confirmation was interrupted.
    let mut made = tried("old", None);
    made.survey.boot.next = Some(dataset("rpool/ROOT/new"));
    assert_eq!(noticed(&made).unwrap().steps, []);
    for (left, why) in [
        (Some(0), "its 3 tries were used up and it was not confirmed"),
        (None, "the loader has no entry of it"),
    ] {
        let made = tried("old", left);
        let plan = noticed(&made).unwrap();
        assert_eq!(steps(&plan), ["finish *"]);
        assert_eq!(recorded(&plan).why, why);
        assert_eq!(plan.outcome, format!("new did not work: {why}; old runs"));
    }
}

#[test]
fn what_a_health_check_noted_about_this_trial_is_told() {
    let mut made = tried("old", Some(0));
    let mut note = FellBack {
        target: made.guid("rpool/ROOT/new"),
        name: "new".to_owned(),
        tries: 3,
        when: made.survey.now,
        why: "the health check web failed".to_owned(),
    };
    made.mark("rpool/ROOT", "fell-back", note.encode());
    let plain = "its 3 tries were used up and it was not confirmed";
    assert_eq!(
        recorded(&noticed(&made).unwrap()).why,
        format!("{plain}; at the last one the health check web failed")
    );
    // Not what is known of an earlier trial, or another environment's.
    note.when -= chrono::TimeDelta::seconds(1);
    made.mark("rpool/ROOT", "fell-back", note.encode());
    assert_eq!(recorded(&noticed(&made).unwrap()).why, plain);
    note.when = made.survey.now;
    note.target = made.guid("rpool/ROOT/old");
    made.mark("rpool/ROOT", "fell-back", note.encode());
    assert_eq!(recorded(&noticed(&made).unwrap()).why, plain);
}

#[test]
fn a_boot_notes_which_try_it_is() {
    let mut made = tried("new", Some(1));
    let plan = noticed(&made).unwrap();
    assert_eq!(steps(&plan), ["note"]);
    let note = recorded(&plan);
    assert_eq!(
        (note.tries, note.why.as_str()),
        (2, "it came as far as its services")
    );
    // Once is enough; and what a health check said of this try stays.
    made.mark("rpool/ROOT", "fell-back", note.encode());
    assert_eq!(noticed(&made).unwrap().steps, []);
    let failed = confirm::plan_failed(&made.survey, &LOADER, "it smells").unwrap();
    assert_eq!(recorded(&failed).tries, 2);
    made.mark("rpool/ROOT", "fell-back", recorded(&failed).encode());
    assert_eq!(noticed(&made).unwrap().steps, []);
    // The next one is another.
    made.survey.boot.trial.as_mut().unwrap().tries_done = 3;
    assert_eq!(recorded(&noticed(&made).unwrap()).tries, 3);
    // What cannot be noted keeps no machine from booting.
    made.pool("rpool").readonly = true;
    assert_eq!(noticed(&made).unwrap().steps, []);
    assert_eq!(noticed(&tried("new", None)).unwrap().steps, []);
}

#[test]
fn how_far_the_tries_came_is_told() {
    let mut made = tried("new", Some(2));
    let first = recorded(&noticed(&made).unwrap());
    made.survey.boot.trial.as_mut().unwrap().tries_done = 3;
    let last = recorded(&noticed(&made).unwrap());
    for (note, told) in [
        (
            first,
            "at try 1 it came as far as its services, and none after it came as far",
        ),
        (last, "at the last one it came as far as its services"),
    ] {
        let mut made = tried("old", Some(0));
        made.mark("rpool/ROOT", "fell-back", note.encode());
        let record = recorded(&noticed(&made).unwrap());
        let plain = "its 3 tries were used up and it was not confirmed";
        assert_eq!((record.tries, record.why), (3, format!("{plain}; {told}")));
    }
}
