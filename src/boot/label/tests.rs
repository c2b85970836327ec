//! The loader on a simulated machine whose pool has labels.

use std::fs;

use crate::boot::Switch;
use crate::boot::machine::{Act, Machine, dataset, once_stopped_anywhere};
use crate::plan::Plan;

/// `debian` runs, and is what boots.
fn machine() -> Machine {
    let machine = Machine::new();
    machine.write("label.vendor", "freebsd\n");
    machine.act(&Act::Good("debian"));
    machine
}

impl Machine {
    fn labels_say(&self, once: &str) {
        let text = format!("nvlist version: 0\n\tversion = 0x1\n\tfreebsd:bootonce = {once}\n");
        self.write("labels/rpool", &text);
    }

    fn labels(&self) -> String {
        fs::read_to_string(self.directory.join("labels/rpool")).unwrap_or_default()
    }
}

#[test]
fn it_is_the_loader_of_the_operating_system() {
    let machine = Machine::new();
    assert_eq!(machine.host().loader.name(), "the pool's bootfs");
    for (vendor, name) in [
        ("freebsd", "FreeBSD's loader"),
        ("illumos", "illumos' loader"),
    ] {
        machine.write("label.vendor", vendor);
        let loader = machine.host().loader;
        assert_eq!(loader.name(), name);
        assert!(loader.capabilities().once && !loader.capabilities().counting);
    }
}

#[test]
fn one_boot_is_one_boot() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    assert_eq!(machine.once().as_deref(), Some("new"));
    assert_eq!(machine.next().as_deref(), Some("debian"));
    assert_eq!(machine.sim.reboot().unwrap(), dataset("new"));
    assert_eq!(machine.once(), None);
    assert_eq!(machine.sim.reboot().unwrap(), dataset("debian"));
}

#[test]
fn what_is_activated_for_good_boots_next() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    machine.act(&Act::Good("other"));
    assert_eq!(machine.once(), None);
    assert_eq!(machine.sim.reboot().unwrap(), dataset("other"));
    // The same where it was the next one already.
    machine.act(&Act::Once("new"));
    machine.act(&Act::Good("other"));
    assert_eq!(machine.sim.reboot().unwrap(), dataset("other"));
}

#[test]
fn stopped_anywhere_it_is_whole() {
    once_stopped_anywhere(machine, |_, _| {});
}

#[test]
fn it_is_taken_back() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    let plan = machine.not_once();
    machine.carry_out(&plan).unwrap();
    assert_eq!(machine.once(), None);
    // What somebody else set meanwhile stays.
    machine.labels_say("zfs:rpool/ROOT/other:");
    let why = machine.carry_out(&plan).unwrap_err();
    assert!(why.contains("changed since it was looked at"), "{why}");
    assert_eq!(machine.once().as_deref(), Some("other"));
}

#[test]
fn what_bectl_set_is_seen() {
    let machine = machine();
    machine.labels_say("zfs:rpool/ROOT/new:");
    assert_eq!(machine.once().as_deref(), Some("new"));
    let why = machine.refused(&Act::Destroy("new"));
    assert!(why.contains("set to boot once"), "{why}");
    machine.carry_out(&machine.not_once()).unwrap();
    machine.act(&Act::Destroy("new"));
}

#[test]
fn what_is_no_environment_stays() {
    for (text, why) in [
        (
            "zfs:rpool/elsewhere:",
            "zfsbootcfg -z rpool '' takes that back",
        ),
        ("zfs:tank/ROOT/new:", "is no environment under rpool/ROOT"),
        (
            "disk0p2:/boot/loader -D",
            "is no environment under rpool/ROOT",
        ),
    ] {
        let machine = machine();
        machine.labels_say(text);
        let before = machine.labels();
        assert_eq!(machine.once(), None);
        let refused = machine.refused(&Act::Once("new"));
        assert!(refused.contains(why), "{refused}");
        machine.act(&Act::Good("new"));
        assert_eq!(machine.labels(), before);
    }
}

#[test]
fn a_block_of_grub_in_the_labels_is_not_lost() {
    let machine = machine();
    let block = "nvlist version: 0\n\tversion = 0x0\n\tgrub:envmap = saved_entry=0\n";
    machine.write("labels/rpool", block);
    let refused = machine.refused(&Act::Once("new"));
    assert!(refused.contains("GRUB's environment block"), "{refused}");
    machine.act(&Act::Good("new"));
    assert_eq!(machine.labels(), block);
}

#[test]
fn labels_that_cannot_be_read_stop_one_boot_alone() {
    let machine = machine();
    machine.write("labels/rpool", "internal error: out of memory\n");
    let refused = machine.refused(&Act::Once("new"));
    assert!(
        refused.contains("it is no list of names and values"),
        "{refused}"
    );
    machine.act(&Act::Good("new"));
    assert_eq!(machine.next().as_deref(), Some("new"));
}

#[test]
fn what_boots_once_by_its_name_keeps_it() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    let refused = machine.refused(&Act::Rename("new", "newer"));
    assert!(refused.contains("boots it once, by its name"), "{refused}");
    assert!(refused.contains("activate -T"), "{refused}");
    // What boots next is found by its number.
    machine.act(&Act::Rename("debian", "bookworm"));
    assert_eq!(machine.next().as_deref(), Some("bookworm"));
}

/// Nothing that is set to boot once is destroyed by a plan; but another program may
/// have set it since.
#[test]
fn an_environment_that_goes_is_forgotten() {
    let machine = machine();
    let survey = machine.survey();
    machine.labels_say("zfs:rpool/ROOT/new:");
    let loader = machine.host().loader;
    let forgotten = |name: &str| loader.forget(&survey, &survey.datasets[&dataset(name)]);
    assert!(forgotten("other").before.is_empty());
    let steps = forgotten("new").before;
    let plan = Plan {
        id: survey.id,
        operation: "destroy",
        steps,
        notes: Vec::new(),
        outcome: String::new(),
    };
    machine.carry_out(&plan).unwrap();
    assert_eq!(machine.once(), None);
}

#[test]
fn it_counts_no_tries() {
    let machine = machine();
    let survey = machine.survey();
    let new = &survey.datasets[&dataset("new")];
    let trial = Switch::Trial { tries: 3 };
    let refusal = machine
        .host()
        .loader
        .switch(&survey, new, trial, None)
        .unwrap_err();
    assert!(refusal.to_string().contains("counts no tries"), "{refusal}");
}
