//! What `init` records where something is recorded already.

use beadm_rs::plan::init::{Request, plan};

use super::made::{Made, operations, refusal};

fn made() -> Made {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/old");
    made.dataset("rpool/ROOT/new");
    made
}

#[test]
fn a_last_good_one_that_is_gone_is_replaced_by_what_runs() {
    let mut made = made();
    made.running("rpool/ROOT/new");
    made.mark("rpool/ROOT", "confirmed", 4711);
    let good = made.guid("rpool/ROOT/new");
    let planned = plan(&made.survey, &Request::default()).unwrap();
    assert_eq!(
        operations(&planned),
        [
            "mark rpool/ROOT schema=1".to_owned(),
            format!("mark rpool/ROOT confirmed={good}")
        ]
    );
    assert!(planned.steps[0].commit);
}

#[test]
fn a_last_good_one_that_is_there_stays_whatever_runs() {
    let mut made = made();
    made.running("rpool/ROOT/new");
    let old = made.guid("rpool/ROOT/old");
    made.mark("rpool/ROOT", "confirmed", old);
    let planned = plan(&made.survey, &Request::default()).unwrap();
    assert_eq!(operations(&planned), ["mark rpool/ROOT schema=1"]);
    assert_eq!(planned.outcome, "rpool/ROOT is adopted; last good is old");
}

#[test]
fn records_of_another_beroot_mean_nothing_here() {
    let mut made = made();
    made.running("rpool/ROOT/new");
    let on = made.on("rpool/ROOT");
    on.marks.insert("schema".to_owned(), "99 1".to_owned());
    let planned = plan(&made.survey, &Request::default()).unwrap();
    assert_eq!(operations(&planned).len(), 2);
}

#[test]
fn what_cannot_be_booted_does_not_become_the_last_good_one() {
    let mut made = made();
    made.on("rpool/ROOT/old").mountpoint = beadm_rs::zfs::Mountpoint::None;
    let request = Request {
        name: Some("old".parse().unwrap()),
        ..Request::default()
    };
    assert_eq!(
        refusal(plan(&made.survey, &request)),
        "refused to adopt rpool/ROOT: old cannot be booted: its mountpoint is none and not /\n\
         name another one, or set that right first"
    );
    let planned = plan(&made.survey, &Request::default()).unwrap();
    assert_eq!(planned.outcome, "rpool/ROOT is adopted; last good is new");
}

#[test]
fn of_several_that_could_be_it_none_is_guessed() {
    let made = made();
    assert_eq!(
        refusal(plan(&made.survey, &Request::default())),
        "refused to adopt rpool/ROOT: none is running, pool rpool has no bootfs, and there are \
         several: new, old\nname the one that is known to work: beadm-rs init NAME"
    );
}
