//! Work that did not end, and records of other programs.

use std::sync::atomic::{AtomicBool, Ordering};

use beadm_rs::boot::Bootfs;
use beadm_rs::execute::{Failure, Progress, Quiet, execute};
use beadm_rs::host::Host;
use beadm_rs::plan::{Plan, Step, activate, create, recover};
use beadm_rs::survey::{Around, Scope, Survey};
use beadm_rs::zfs::{DatasetName, Guard, SnapshotName, SyncOp, Zfs as _};

use super::archive::picture;
use super::machine::{Machine, dataset};
use super::transcript::Transcript;

/// What `create NAME` would do.
fn plan_of(host: &Host, name: &str) -> Plan {
    let around = Around {
        properties: true,
        ..Around::one_or_running(None)
    };
    let survey = Survey::around(host, &around).unwrap();
    let request = create::Request {
        name: name.parse().unwrap(),
        from: create::From {
            environment: None,
            snapshot: None,
        },
        description: None,
        settings: Vec::new(),
        pool: None,
        shallow: false,
    };
    create::plan(&survey, &request).unwrap()
}

/// `create NAME`, and the machine stops after so many changes.
fn create_stops(machine: &Machine, name: &str, changes: u64) {
    let host = Host::of_simulation(machine.sim.clone(), None);
    let plan = plan_of(&host, name);
    machine.sim.fail_after(changes);
    execute(&host, &plan, &Quiet, &AtomicBool::new(false)).unwrap_err();
    machine.sim.resume();
}

fn activate_stops(machine: &Machine, name: &str, changes: u64) {
    let host = Host::of_simulation(machine.sim.clone(), None);
    let request = activate::Request {
        name: name.parse().unwrap(),
        once: false,
        no_trial: false,
    };
    let survey = Survey::around(&host, &activate::around(&request.name)).unwrap();
    let plan = activate::plan(&survey, &Bootfs, &request).unwrap();
    machine.sim.fail_after(changes);
    execute(&host, &plan, &Quiet, &AtomicBool::new(false)).unwrap_err();
    machine.sim.resume();
}

#[test]
fn readers_see_unfinished_work_and_changers_end_it() {
    Transcript::on(Machine::with_one_pool())
        .run("recover")
        .run("recover -n")
        .then(
            "create one stops after its snapshots and a clone.",
            |machine| {
                create_stops(machine, "one", 2);
            },
        )
        .run("list")
        .run("-H list")
        .run("status")
        .run("activate -n one")
        .run("recover -n")
        .run("recover")
        .run("list")
        .then("And again; the next change takes it back.", |machine| {
            create_stops(machine, "one", 3);
        })
        .run("create two")
        .run("list -s")
        .then("activate two stops after its promotions.", |machine| {
            activate_stops(machine, "two", 1);
        })
        .run("status")
        .run("--json recover")
        .run("list --tree")
        .then("activate two stops after its commit.", |machine| {
            activate_stops(machine, "two", 2);
        })
        .run("snapshot two@a")
        .run("status")
        .is("unfinished");
}

fn mark(machine: &Machine, dataset: &DatasetName, key: &str, text: &str) {
    let mark = SyncOp::Mark {
        object: dataset.to_string(),
        key: key.to_owned(),
        text: text.to_owned(),
    };
    machine.sim.transact(&dataset.pool(), &[mark]).unwrap();
}

/// Somebody takes a snapshot of a `/boot` that is not complete, and ends the command.
struct Snapshots<'a> {
    machine: &'a Machine,
    of: SnapshotName,
    interrupted: AtomicBool,
}

impl Progress for Snapshots<'_> {
    fn begin(&self, step: &Step) {
        if step.name == "commit" {
            let snapshot = SyncOp::Snapshot {
                snapshot: self.of.clone(),
            };
            let pool = self.of.dataset().pool();
            self.machine.sim.transact(&pool, &[snapshot]).unwrap();
            self.interrupted.store(true, Ordering::Relaxed);
        }
    }

    fn total(&self, _bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
}

#[test]
fn a_create_that_cannot_be_undone_is_recorded_until_it_is_taken_back() {
    let mut transcript = Transcript::on(Machine::with_boot_pool());
    let machine = &transcript.machine;
    let before = picture(machine);
    let host = Host::of_simulation(machine.sim.clone(), None);
    let somebody = Snapshots {
        machine,
        of: "bpool/BOOT/one@mine".parse().unwrap(),
        interrupted: AtomicBool::new(false),
    };
    let plan = plan_of(&host, "one");
    let failure = execute(&host, &plan, &somebody, &somebody.interrupted).unwrap_err();
    let Failure::NotUndone { step: "commit", .. } = failure else {
        panic!("{failure:?}");
    };
    // Still in the way.
    let snapshot = somebody.of;
    assert!(!transcript.silently("recover"));
    assert!(!transcript.silently("create two"));
    let machine = &transcript.machine;
    let boot = machine.sim.tree(&[snapshot.dataset()], true).unwrap();
    let gone = SyncOp::Destroy {
        object: snapshot.to_string(),
        guard: Guard::Guid(boot[0].snapshots[0].guid),
        missing_ok: false,
    };
    machine
        .sim
        .transact(&snapshot.dataset().pool(), &[gone])
        .unwrap();
    assert!(transcript.silently("recover"));
    assert_eq!(picture(&transcript.machine), before);
}

/// The intent to create that environment and others, as somebody else writes it.
fn forged(roots: &str) -> String {
    format!(
        r#"{{"v":1,"id":"00000000000000ab","at":"2026-01-01T00:00:00Z","op":"create","roots":[{roots}],"from":["rpool/ROOT/debian","rpool/ROOT/debian"],"snapshot":"a","own":true}}"#
    )
}

#[test]
fn an_intent_counts_on_a_new_root_until_that_is_an_environment() {
    let [one, two] = ["rpool/ROOT/one", "rpool/ROOT/two"].map(dataset);
    Transcript::on(Machine::with_one_pool())
        .then("create one stops before its commit.", |machine| {
            create_stops(machine, "one", 7);
        })
        .run("list")
        .run("recover -n")
        .then("And its recovery before the new root is gone.", |machine| {
            let host = Host::of_simulation(machine.sim.clone(), None);
            let survey = Survey::take(&host, Scope::Change).unwrap();
            let plan = recover::plan(&survey, &Bootfs).unwrap().unwrap();
            machine.sim.fail_after(1);
            execute(&host, &plan, &Quiet, &AtomicBool::new(false)).unwrap_err();
            machine.sim.resume();
        })
        .run("recover -n")
        .run("recover")
        .run("list -s")
        .run("snapshot debian@a")
        .run("create -e debian@a two")
        .then(
            "What somebody wrote who may set properties of two.",
            |machine| {
                mark(machine, &two, "op", &forged(r#""rpool/ROOT/two""#));
            },
        )
        .run("recover")
        .then(
            "And of what is no environment, about another one.",
            |machine| {
                machine
                    .sim
                    .create(&one, &[("mountpoint".to_owned(), "none".to_owned())])
                    .unwrap();
                mark(
                    machine,
                    &one,
                    "op",
                    &forged(r#""rpool/ROOT/one","rpool/ROOT/two""#),
                );
            },
        )
        .run("recover")
        .run("list")
        .then("What cannot be read there.", |machine| {
            mark(machine, &one, "op", r#"{"v":99}"#);
        })
        .run("create three")
        .is("handed-over");
}

#[test]
fn records_of_a_newer_program_are_read_only() {
    let beroot = dataset("rpool/ROOT");
    let changes = [
        "create two",
        "activate one",
        "destroy -y one",
        "rename one two",
        "snapshot one@a",
        "describe one text",
        "pin one",
        "recover",
    ];
    let mut transcript = Transcript::on(Machine::with_one_pool());
    transcript
        .run("create one")
        .then("An intent that cannot be read.", |machine| {
            mark(machine, &beroot, "op", r#"{"v":99}"#);
        })
        .run("list")
        .run("status");
    for change in changes {
        transcript.run(change);
    }
    transcript.then("A newer schema.", |machine| {
        machine
            .sim
            .edit(|edit| edit.inherit(&beroot, "org.beadm-rs:op"))
            .unwrap();
        mark(machine, &beroot, "schema", "99");
    });
    transcript.run("list");
    for change in changes {
        transcript.run(change);
    }
    transcript.is("newer");
}
