//! Trials: confirmed, rejected, and what a boot notices. The simulated loader
//! counts nothing, so the tests set the records and choose what boots, as a
//! loader that counts would.

use beadm_rs::host::Host;
use beadm_rs::survey::{Scope, Survey, Trial};
use beadm_rs::zfs::{SyncOp, Zfs as _};

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

fn mark(machine: &Machine, key: &str, text: &str) {
    let mark = SyncOp::Mark {
        object: "rpool/ROOT".to_owned(),
        key: key.to_owned(),
        text: text.to_owned(),
    };
    let rpool = dataset("rpool/ROOT").pool();
    machine.sim.transact(&rpool, &[mark]).unwrap();
}

fn survey(machine: &Machine) -> Survey {
    let host = Host::of_simulation(machine.sim.clone(), None);
    Survey::take(&host, Scope::Names).unwrap()
}

/// What activation with a loader that counts leaves.
fn on_trial(machine: &Machine, name: &str, tries: u32) {
    let survey = survey(machine);
    let guid = |name: &str| survey.environment(&name.parse().unwrap()).unwrap().guid();
    let trial = Trial {
        target: guid(name),
        back: survey.running().unwrap().guid(),
        tries,
        since: survey.now,
    };
    mark(machine, "trial", &trial.encode());
}

fn boots(machine: &Machine, name: &str) {
    let root = dataset(&format!("rpool/ROOT/{name}"));
    machine.sim.reboot_into(&root).unwrap();
}

#[test]
fn a_trial_that_works_is_confirmed() {
    Transcript::on(Machine::with_one_pool())
        .note("Nothing is tried, and this machine has no records: nothing happens.")
        .run("boot")
        .run("confirm")
        .run("confirm --reject")
        .run("create new")
        .run("activate debian")
        .run("boot")
        .then("new is to be tried.", |machine| on_trial(machine, "new", 3))
        .run("status")
        .note("Here is not the place to confirm it.")
        .run("confirm")
        .then("The machine starts new.", |machine| boots(machine, "new"))
        .run("boot")
        .run("status")
        .run("list --tree")
        .run("confirm -n")
        .run("confirm")
        .run("status")
        .run("list --tree")
        .run("confirm")
        .run("boot")
        .note("It is the last good one, with a way back.")
        .run("failback")
        .is("trial-confirmed");
}

#[test]
fn a_trial_that_is_rejected_goes_back() {
    Transcript::on(Machine::with_one_pool())
        .run("create new")
        .run("activate debian")
        .then("new is tried, and runs.", |machine| {
            on_trial(machine, "new", 1);
            boots(machine, "new");
        })
        .run("confirm --reject -n")
        .run("confirm --reject")
        .run("confirm")
        .run("status")
        .run("--json status")
        .reboot()
        .run("boot")
        .then(
            "It is tried once more, and rejected before it ran.",
            |machine| {
                on_trial(machine, "new", 2);
            },
        )
        .run("confirm --reject --reboot")
        .run("status")
        .is("trial-rejected");
}

#[test]
fn a_boot_notices_that_the_machine_went_back() {
    Transcript::on(Machine::with_one_pool())
        .run("create new")
        .run("activate debian")
        .then("new is tried, and debian comes up again.", |machine| {
            on_trial(machine, "new", 3);
            boots(machine, "debian");
        })
        .run("boot -n")
        .run("boot")
        .run("boot")
        .run("status")
        .run("--json list")
        .note("Confirming it now is too late.")
        .run("confirm")
        .then(
            "new is tried again, and is destroyed meanwhile.",
            |machine| {
                on_trial(machine, "new", 3);
                let new = dataset("rpool/ROOT/new");
                let survey = survey(machine);
                for found in survey.within(&new).collect::<Vec<_>>().into_iter().rev() {
                    let gone = SyncOp::Destroy {
                        object: found.name.to_string(),
                        guard: beadm_rs::zfs::Guard::Guid(found.guid),
                        missing_ok: false,
                    };
                    machine.sim.transact(&new.pool(), &[gone]).unwrap();
                }
            },
        )
        .run("boot")
        .run("status")
        .is("trial-fell-back");
}

#[test]
fn records_that_cannot_be_read_are_told_and_stop_no_boot() {
    Transcript::on(Machine::with_one_pool())
        .run("activate debian")
        .then("A newer program's.", |machine| {
            mark(machine, "trial", r#"{"version":2,"tries":"many"}"#);
            mark(machine, "fell-back", r#"{"version":3}"#);
        })
        .run("status")
        .run("confirm")
        .run("confirm --reject")
        .run("boot")
        .then("Damaged.", |machine| mark(machine, "trial", "yes"))
        .run("status")
        .run("confirm")
        .run("boot")
        .run("check --all")
        .is("trial-unread");
}

#[test]
fn programs_of_a_simulated_machine_are_not_run() {
    Transcript::on(Machine::with_one_pool())
        .run("health")
        .run("--json health")
        .is("health");
}
