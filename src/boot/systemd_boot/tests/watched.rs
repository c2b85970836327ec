//! The dead man's switch of what is tried or boots once.

use super::machine;
use crate::boot::machine::{Act, Machine, dataset};
use crate::boot::watch::program_of;
use crate::os::Platform as _;
use crate::plan::{Action, confirm};
use crate::zfs::{Guard, Guid, SyncOp};

fn switch_of(machine: &Machine, file: &str) -> (Vec<String>, Vec<String>) {
    let files = machine.files();
    let entry = &files[&format!("loader/entries/{file}")];
    let values = |key: &str| -> Vec<String> {
        let lines = entry.lines().filter_map(|line| line.strip_prefix(key));
        lines
            .flat_map(|line| line.split_whitespace().map(str::to_owned))
            .collect()
    };
    let words = values("options ");
    let own = |word: &String| word.contains("beadm-rs") || word.starts_with("panic=");
    let initrds = values("initrd ");
    for initrd in &initrds {
        assert!(
            files.contains_key(initrd.trim_start_matches('/')),
            "{initrd}"
        );
    }
    (words.into_iter().filter(own).collect(), initrds)
}

fn switches(machine: &Machine) -> Vec<String> {
    let files = machine.files().into_keys();
    files
        .filter(|file| file.starts_with("beadm-rs/watch-"))
        .collect()
}

#[test]
fn a_dead_mans_switch_goes_with_a_trial_and_with_its_end() {
    let machine = machine();
    let plan = machine.plan(&Act::Trial("new")).unwrap();
    assert_eq!(
        plan.notes,
        [
            "this machine has no hardware watchdog that can be used: where its kernel hangs, it \
             does not restart by itself"
        ]
    );
    machine.carry_out(&plan).unwrap();
    let (tried, there) = (
        format!("beadm-rs-{}-1+3.conf", machine.guid("new")),
        switches(&machine),
    );
    let (words, initrds) = switch_of(&machine, &tried);
    assert_eq!(
        words,
        ["panic=10", "rdinit=/beadm-rs-watch", "beadm-rs.watch=300"]
    );
    assert_eq!(there.len(), 1);
    assert_eq!(initrds.len(), 2);
    assert_eq!(initrds[0], format!("/{}", there[0]));
    // It is the program that is installed.
    let archive = machine.files().remove(&there[0]).unwrap();
    assert!(archive.starts_with("070701") && archive.contains("beadm-rs-watch\0"));

    // The machine comes up in it, and it is confirmed.
    machine.counted_down(2, 1);
    machine.write("efi/LoaderEntrySelected", &tried);
    machine.sim.reboot_into(&dataset("new")).unwrap();
    let confirmed = confirm::plan(&machine.survey(), machine.host().loader.as_ref()).unwrap();
    machine.carry_out(&confirmed).unwrap();
    assert_eq!(machine.next().as_deref(), Some("new"));
    let lasting = format!("beadm-rs-{}-2.conf", machine.guid("new"));
    assert_eq!(
        machine.entries(),
        [lasting.clone(), "debian.conf".to_owned()]
    );
    let (words, initrds) = switch_of(&machine, &lasting);
    assert_eq!((words.len(), initrds.len()), (0, 1));
    // Its file goes when the next one is activated.
    machine.act(&Act::Good("other"));
    assert_eq!(switches(&machine), [""; 0]);
}

#[test]
fn a_confirmation_that_fails_leaves_the_trial_as_it_was() {
    let machine = machine();
    machine.act(&Act::Trial("new"));
    machine.counted_down(2, 1);
    let before = machine.files();
    let tried = format!("beadm-rs-{}-1+2-1.conf", machine.guid("new"));
    machine.write("efi/LoaderEntrySelected", &tried);
    machine.sim.reboot_into(&dataset("new")).unwrap();
    let mut plan = confirm::plan(&machine.survey(), machine.host().loader.as_ref()).unwrap();
    let Some(Action::Transact { operations, .. }) =
        plan.steps.last_mut().map(|step| &mut step.action)
    else {
        panic!("{plan:?}");
    };
    operations.push(SyncOp::Destroy {
        object: "rpool/ROOT/none".to_owned(),
        guard: Guard::Guid(Guid(1)),
        missing_ok: false,
    });
    machine.carry_out(&plan).unwrap_err();
    assert_eq!(machine.files(), before);
    assert_eq!(machine.next().as_deref(), Some("new"));
}

#[test]
fn what_boots_once_has_a_switch_that_a_complete_boot_ends() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    let once = format!("beadm-rs-{}-0.conf", machine.guid("new"));
    let (words, initrds) = switch_of(&machine, &once);
    assert_eq!(
        words,
        [
            "panic=10",
            "rdinit=/beadm-rs-watch",
            "beadm-rs.watch=300",
            "beadm-rs.once"
        ]
    );
    assert_eq!(initrds.len(), 2);
    // What boots after it has none.
    let next = format!("beadm-rs-{}-1.conf", machine.guid("debian"));
    let (words, initrds) = switch_of(&machine, &next);
    assert_eq!((words.len(), initrds.len()), (0, 1));
    // Two trials share one archive.
    machine.act(&Act::Trial("other"));
    assert_eq!(switches(&machine).len(), 1);
}

#[test]
fn without_its_program_a_trial_has_no_switch_and_says_so() {
    let machine = machine();
    let remove = |name: &str| {
        let work =
            &mut |dir: &cap_std_ext::cap_std::fs::Dir| dir.remove_file("usr/lib/beadm-rs/watch");
        machine.sim.with_files(&dataset(name), true, work).unwrap();
    };
    let notes = |name: &'static str| machine.plan(&Act::Trial(name)).unwrap().notes;
    let end = "; where it hangs, somebody has to restart the machine";
    // An environment whose beadm-rs would not end it: it would be restarted when it works.
    remove("new");
    let why = "there is no beadm-rs in it that would end it when it works";
    assert_eq!(
        notes("new"),
        [format!("without a dead man's switch: {why}{end}")]
    );
    let work = &mut |dir: &cap_std_ext::cap_std::fs::Dir| {
        dir.write(
            "usr/lib/beadm-rs/watch",
            program_of(&[object::elf::PT_INTERP, object::elf::PT_LOAD]),
        )
    };
    machine
        .sim
        .with_files(&dataset("debian"), true, work)
        .unwrap();
    let why = "the lib/beadm-rs/watch that is installed here is no program that runs without \
               libraries ('make install' has the one that does)";
    assert_eq!(
        notes("other"),
        [format!("without a dead man's switch: {why}{end}")]
    );
    remove("debian");
    let why = "lib/beadm-rs/watch is not installed here";
    assert_eq!(
        notes("other"),
        [format!("without a dead man's switch: {why}{end}")]
    );
    machine.act(&Act::Trial("other"));
    let tried = format!("beadm-rs-{}-1+3.conf", machine.guid("other"));
    let (words, initrds) = switch_of(&machine, &tried);
    assert_eq!((words, initrds.len()), (vec!["panic=10".to_owned()], 1));
}
