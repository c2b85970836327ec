//! Trials: their tries, and how they end.

use std::fs;

use super::machine;
use crate::boot::machine::{Act, Machine, dataset};
use crate::plan::{Plan, confirm};
use crate::zfs::DatasetName;

#[test]
fn a_trial_is_first_until_its_tries_are_used_up() {
    let machine = machine();
    machine.act(&Act::Good("debian"));
    machine.act(&Act::Trial("new"));
    let survey = machine.survey();
    let record = survey.trial().unwrap().unwrap();
    assert_eq!(
        (record.target, record.back, record.tries),
        (machine.guid("new"), machine.guid("debian"), 3)
    );
    assert_eq!(survey.last_good(), Some(machine.guid("debian")));
    let pool = &survey.pools[&"rpool".parse().unwrap()];
    assert_eq!(pool.bootfs, Some(dataset("debian")));
    let seen = |machine: &Machine| {
        let state = machine.state();
        let leaf = |name: Option<DatasetName>| name.map(|name| name.leaf().to_owned());
        let trial = state
            .trial
            .map(|trial| (trial.tries_left, trial.tries_done));
        (leaf(state.next), leaf(state.back), trial)
    };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(seen(&machine), (some("new"), some("debian"), Some((3, 0))));
    machine.counted_down(1, 2);
    assert_eq!(seen(&machine), (some("new"), some("debian"), Some((1, 2))));
    machine.counted_down(0, 3);
    assert_eq!(
        seen(&machine),
        (some("debian"), some("debian"), Some((0, 3)))
    );
    // Another one is tried: what is left of the first goes.
    machine.act(&Act::Trial("other"));
    assert_eq!(
        seen(&machine),
        (some("other"), some("debian"), Some((3, 0)))
    );
    let guid = machine.guid("new").to_string();
    assert!(machine.entries().iter().all(|file| !file.contains(&guid)));
    // The way back from it.
    machine.act(&Act::Failback);
    assert_eq!(seen(&machine), (some("debian"), some("debian"), None));
    assert_eq!(machine.survey().trial().unwrap(), None);
}

#[test]
fn a_confirmed_trial_stays_whoever_took_its_counter() {
    for blessed in [false, true] {
        let machine = machine();
        machine.act(&Act::Good("debian"));
        machine.act(&Act::Trial("new"));
        machine.counted_down(2, 1);
        if blessed {
            let directory = machine.directory.join("esp/loader/entries");
            let file = format!("beadm-rs-{}-2", machine.guid("new"));
            let from = directory.join(format!("{file}+2-1.conf"));
            fs::rename(from, directory.join(format!("{file}.conf"))).unwrap();
        }
        let survey = machine.survey();
        let host = machine.host();
        let steps = host
            .loader
            .confirm(&survey, &survey.datasets[&dataset("new")], None)
            .unwrap();
        let plan = Plan {
            id: survey.id,
            operation: "confirm",
            steps,
            notes: Vec::new(),
            outcome: String::new(),
        };
        machine.carry_out(&plan).unwrap();
        let state = machine.state();
        assert_eq!(state.trial, None);
        assert_eq!(
            (state.next, state.back),
            (Some(dataset("new")), Some(dataset("new")))
        );
        let pool = &machine.survey().pools[&"rpool".parse().unwrap()];
        assert_eq!(pool.bootfs, Some(dataset("new")));
    }
}

/// It came up without its modules: neither the partition nor the firmware's
/// variables can be read, and it looks like a machine whose loader counts nothing.
#[test]
fn a_trial_whose_loader_cannot_be_seen_is_not_confirmed() {
    let machine = machine();
    machine.act(&Act::Good("debian"));
    machine.act(&Act::Trial("new"));
    machine.sim.reboot_into(&dataset("new")).unwrap();
    for directory in ["esp", "efi"] {
        fs::rename(
            machine.directory.join(directory),
            machine.directory.join(format!("{directory}.away")),
        )
        .unwrap();
    }
    let survey = machine.survey();
    assert_eq!(survey.loader, "the pool's bootfs");
    let host = machine.host();
    let refusal = confirm::plan(&survey, host.loader.as_ref()).unwrap_err();
    assert!(refusal.to_string().contains("systemd-boot"), "{refusal}");
    assert!(survey.trial().unwrap().is_some());
}
