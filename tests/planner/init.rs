//! What `init` records where something is recorded already.

use beadm_rs::os::grub::{Firmware, GrubChange, GrubMachine};
use beadm_rs::plan::init::{Grub, Request, plan};
use beadm_rs::plan::{Action, Step};
use beadm_rs::zfs::SyncOp;

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
    let planned = plan(&made.survey, &Request::default(), Ok(None)).unwrap();
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
    let planned = plan(&made.survey, &Request::default(), Ok(None)).unwrap();
    assert_eq!(operations(&planned), ["mark rpool/ROOT schema=1"]);
    assert_eq!(planned.outcome, "rpool/ROOT is adopted; last good is old");
}

#[test]
fn records_of_another_beroot_mean_nothing_here() {
    let mut made = made();
    made.running("rpool/ROOT/new");
    let on = made.on("rpool/ROOT");
    on.marks.insert("schema".to_owned(), "99 1".to_owned());
    let planned = plan(&made.survey, &Request::default(), Ok(None)).unwrap();
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
        refusal(plan(&made.survey, &request, Ok(None))),
        "refused to adopt rpool/ROOT: old cannot be booted: its mountpoint is none and not /\n\
         name another one, or set that right first"
    );
    let planned = plan(&made.survey, &Request::default(), Ok(None)).unwrap();
    assert_eq!(planned.outcome, "rpool/ROOT is adopted; last good is new");
}

#[test]
fn of_several_that_could_be_it_none_is_guessed() {
    let made = made();
    assert_eq!(
        refusal(plan(&made.survey, &Request::default(), Ok(None))),
        "refused to adopt rpool/ROOT: none is running, pool rpool has no bootfs, and there are \
         several: new, old\nname the one that is known to work: beadm-rs init NAME"
    );
}

fn grub() -> Grub {
    let step = |name| {
        let partition = "/efi".into();
        Step::new(
            name,
            Action::Grub(GrubChange::Bind {
                partition,
                off: false,
            }),
        )
    };
    Grub {
        ours: false,
        partition: "/efi".into(),
        files: ["block", "stage-lead", "lead"].map(step).into(),
        machine: GrubMachine {
            firmware: Firmware::Bios {
                disks: vec!["/dev/sda".into()],
            },
            missing: Vec::new(),
            bound: false,
            elsewhere: false,
        },
    }
}

#[test]
fn grub_is_installed_last_but_for_what_leads_to_the_menu() {
    let mut made = made();
    made.running("rpool/ROOT/new");
    made.mark("rpool/ROOT", "confirmed", 4711);
    let planned = plan(&made.survey, &Request::default(), Ok(Some(grub()))).unwrap();
    let names: Vec<&str> = planned.steps.iter().map(|step| step.name).collect();
    assert_eq!(
        names,
        [
            "block",
            "grub-config",
            "grub-bind",
            "record",
            "grub-install",
            "stage-lead",
            "lead"
        ]
    );
    let commits: Vec<bool> = planned.steps.iter().map(|step| step.commit).collect();
    assert_eq!(commits, [false, false, false, false, false, false, true]);
    // What was recorded is recorded again, where it is undone.
    let [Action::Transact { operations, .. }] = planned.steps[3].undo.as_slice() else {
        panic!("{:?}", planned.steps[3].undo);
    };
    assert!(matches!(&operations[0], SyncOp::Unmark { key, .. } if key == "schema"));
    assert!(matches!(&operations[1], SyncOp::Mark { key, text, .. }
        if key == "confirmed" && text == "4711"));
}

#[test]
fn grub_without_its_programs_is_told_and_the_rest_adopted() {
    let mut made = made();
    made.running("rpool/ROOT/new");
    let without = || {
        let mut grub = grub();
        grub.machine.missing = vec!["grub-install", "/usr/lib/grub/i386-pc"];
        Ok(Some(grub))
    };
    let planned = plan(&made.survey, &Request::default(), without()).unwrap();
    assert_eq!(operations(&planned).len(), 2);
    assert_eq!(
        planned.notes,
        [
            "GRUB goes on booting what it boots now: GRUB started this machine and cannot be \
             installed anew: grub-install, /usr/lib/grub/i386-pc is missing; install the packages \
             of GRUB that have it; then beadm-rs init again"
        ]
    );
    made.mark("rpool/ROOT", "schema", 1);
    let new = made.guid("rpool/ROOT/new");
    made.mark("rpool/ROOT", "confirmed", new);
    assert!(plan(&made.survey, &Request::default(), without()).is_err());
    let ours = || {
        Ok(Some(Grub {
            ours: true,
            files: Vec::new(),
            ..grub()
        }))
    };
    let planned = plan(&made.survey, &Request::default(), ours()).unwrap();
    let names: Vec<&str> = planned.steps.iter().map(|step| step.name).collect();
    assert_eq!(names, ["grub-bind"]);
}
