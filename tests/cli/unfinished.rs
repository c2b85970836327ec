//! Work that did not end, and records of other programs.

use std::sync::atomic::AtomicBool;

use beadm_rs::boot::Bootfs;
use beadm_rs::execute::{Quiet, execute};
use beadm_rs::host::Host;
use beadm_rs::plan::{activate, create, recover};
use beadm_rs::survey::{Around, Scope, Survey};
use beadm_rs::zfs::{DatasetName, SyncOp, Zfs as _};

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

/// `create NAME`, and the machine stops after so many changes.
fn create_stops(machine: &Machine, name: &str, changes: u64) {
    let host = Host::of_simulation(machine.sim.clone(), None);
    let around = Around {
        properties: true,
        ..Around::one_or_running(None)
    };
    let survey = Survey::around(&host, &around).unwrap();
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
    let plan = create::plan(&survey, &request).unwrap();
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

/// The intent to create that environment and others, as somebody else writes it.
fn forged(roots: &str) -> String {
    format!(
        r#"{{"v":1,"id":"00000000000000ab","at":"2026-01-01T00:00:00Z","op":"create","roots":[{roots}],"from":["rpool/ROOT/debian","rpool/ROOT/debian"],"snapshot":"a","own":true,"mountpoint":"/elsewhere"}}"#
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
