//! One boot by the firmware of a simulated machine.

use std::fs;

use crate::boot::Switch;
use crate::boot::machine::{Act, Machine, dataset, once_stopped_anywhere};
use crate::check::stand_in::KERNEL;
use crate::os::Platform as _;
use crate::os::firmware::{Boots, NEXT, ORDER, variable};
use crate::plan::Plan;

/// `debian` runs, and is what boots; the firmware boots by options, and the kernels
/// are such as it can start.
fn machine() -> Machine {
    let machine = Machine::new();
    machine.write(&format!("efi/{ORDER}"), "");
    machine.write("esp/EFI/zbm/vmlinuz.efi", "ZFSBootMenu");
    machine.write("cmdline", "root=zfs:rpool/ROOT/debian ro quiet\n");
    for name in ["debian", "new", "other"] {
        let work = &mut |dir: &cap_std_ext::cap_std::fs::Dir| {
            dir.write(format!("boot/vmlinuz-{KERNEL}"), format!("MZ {name}"))
        };
        machine.sim.with_files(&dataset(name), true, work).unwrap();
    }
    machine.act(&Act::Good("debian"));
    machine
}

impl Machine {
    fn boots(&self) -> Boots {
        self.sim.firmware().unwrap().unwrap()
    }

    /// What its service does at every boot.
    fn put_right(&self) {
        let mut plan = Plan::new(&self.survey(), "boot");
        plan.steps = self.host().loader.put_right();
        self.carry_out(&plan).unwrap();
    }

    /// Nothing of what booted once is left, and ZFSBootMenu is.
    #[track_caller]
    fn is_tidy(&self) {
        assert_eq!(self.boots(), Boots::default());
        let files = self.files();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["EFI/zbm/vmlinuz.efi"]);
    }
}

#[test]
fn the_firmware_starts_it_once() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    assert_eq!(machine.once().as_deref(), Some("new"));
    assert_eq!(machine.next().as_deref(), Some("debian"));
    let boots = machine.boots();
    let (number, option) = boots.own_next().unwrap();
    assert_eq!(number, 0);
    assert_eq!(option.title, "beadm-rs: new");
    let files = machine.files();
    assert_eq!(files[option.file.as_str()], "MZ new");
    let words: Vec<&str> = option.options.split(' ').collect();
    let (initrds, rest) = words.split_at(2);
    // The dead man's switch first.
    for (word, file) in initrds
        .iter()
        .zip(["watch-", option.file.parent().unwrap().file_name().unwrap()])
    {
        let path = word.strip_prefix("initrd=\\").unwrap().replace('\\', "/");
        assert!(path.starts_with(&format!("beadm-rs/{file}")), "{path}");
        assert!(files.contains_key(&path), "{path}");
    }
    assert_eq!(
        rest.join(" "),
        "root=ZFS=rpool/ROOT/new ro quiet panic=10 rdinit=/beadm-rs-watch beadm-rs.watch=300 \
         beadm-rs.once"
    );
    assert_eq!(machine.sim.reboot().unwrap(), dataset("new"));
    assert_eq!(machine.once(), None);
    // What was added for that boot is not there in the next option.
    machine.write("cmdline", &option.options);
    machine.act(&Act::Once("other"));
    let boots = machine.boots();
    let (_, option) = boots.own_next().unwrap();
    assert!(
        option
            .options
            .ends_with(&rest.join(" ").replace("/new", "/other"))
    );
    assert_eq!(option.options.matches("initrd=").count(), 2);
    assert_eq!(machine.sim.reboot().unwrap(), dataset("other"));
    machine.put_right();
    machine.is_tidy();
    assert_eq!(machine.sim.reboot().unwrap(), dataset("debian"));
}

#[test]
fn another_one_takes_its_place() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    machine.act(&Act::Once("other"));
    assert_eq!(machine.once().as_deref(), Some("other"));
    machine.put_right();
    assert_eq!(machine.boots().own.len(), 1);
    assert_eq!(machine.sim.reboot().unwrap(), dataset("other"));
    machine.put_right();
    machine.is_tidy();
}

#[test]
fn what_is_activated_for_good_boots_next() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    machine.act(&Act::Good("other"));
    machine.is_tidy();
    assert_eq!(machine.sim.reboot().unwrap(), dataset("other"));
}

#[test]
fn stopped_anywhere_it_is_whole() {
    once_stopped_anywhere(machine, |machine, told| {
        // What is named can be started.
        let boots = machine.boots();
        assert_eq!(boots.next.is_some(), boots.own_next().is_some(), "{told}");
        if let Some((_, option)) = boots.own_next() {
            let files = machine.files();
            assert!(files.contains_key(option.file.as_str()), "{told}");
        }
        let once = machine.once();
        machine.put_right();
        assert_eq!(machine.once(), once, "{told}");
        if once.is_none() {
            machine.is_tidy();
        }
    });
}

#[test]
fn it_is_taken_back() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    let plan = machine.not_once();
    machine.carry_out(&plan).unwrap();
    assert_eq!(machine.once(), None);
    machine.put_right();
    machine.is_tidy();
}

#[test]
fn what_boots_once_keeps_its_name_and_goes_whole() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    let why = machine.refused(&Act::Rename("new", "newer"));
    assert!(why.contains("activate -T takes that back"), "{why}");
    let why = machine.refused(&Act::Destroy("new"));
    assert!(why.contains("set to boot once"), "{why}");
    machine.carry_out(&machine.not_once()).unwrap();
    machine.act(&Act::Rename("new", "newer"));
    machine.act(&Act::Destroy("newer"));
    machine.put_right();
    machine.is_tidy();
}

#[test]
fn what_others_set_stays() {
    let machine = machine();
    let foreign = [1, 0, 0, 0, 0, 0, b'a', 0, 0, 0];
    let file = machine.directory.join("efi").join(variable(0));
    fs::write(&file, foreign).unwrap();
    fs::write(machine.directory.join("efi").join(NEXT), [0, 0]).unwrap();
    let why = machine.refused(&Act::Once("new"));
    assert!(why.contains("its option 0000 once"), "{why}");
    assert!(why.contains("efibootmgr --delete-bootnext"), "{why}");
    fs::remove_file(machine.directory.join("efi").join(NEXT)).unwrap();
    machine.act(&Act::Once("new"));
    assert_eq!(machine.boots().next, Some(1));
    machine.act(&Act::Good("debian"));
    machine.put_right();
    assert_eq!(fs::read(&file).unwrap(), foreign);
    // Somebody has it start something else while it is being changed.
    let plan = machine.plan(&Act::Once("new")).unwrap();
    fs::write(machine.directory.join("efi").join(NEXT), [0, 0]).unwrap();
    let why = machine.carry_out(&plan).unwrap_err();
    assert!(why.contains("changed since it was looked at"), "{why}");
    assert_eq!(machine.boots().next, Some(0));
}

#[test]
fn what_the_firmware_cannot_start_is_refused() {
    let machine = machine();
    let work = &mut |dir: &cap_std_ext::cap_std::fs::Dir| {
        dir.write(format!("boot/vmlinuz-{KERNEL}"), "\x1f\u{8b} compressed")
    };
    machine.sim.with_files(&dataset("new"), true, work).unwrap();
    let why = machine.refused(&Act::Once("new"));
    assert!(why.contains("has no EFI stub"), "{why}");
    machine.write("esp.free", "10");
    let why = machine.refused(&Act::Once("other"));
    assert!(why.contains("are free there"), "{why}");
    machine.is_tidy();
}

#[test]
fn it_is_not_where_another_loader_has_its_files() {
    let machine = machine();
    let survey = machine.survey();
    assert!(survey.capabilities.once && !survey.capabilities.counting);
    let trial = machine.host().loader.stage(
        &survey,
        &survey.datasets[&dataset("new")],
        Switch::Trial { tries: 3 },
        None,
    );
    assert!(trial.unwrap_err().to_string().contains("counts no tries"));
    for file in [
        "esp/beadm-rs/grubenv",
        "esp/loader/entries/beadm-rs-7-1.conf",
    ] {
        machine.write(file, "");
        assert!(!machine.survey().capabilities.once, "{file}");
        fs::remove_file(machine.directory.join(file)).unwrap();
    }
    fs::remove_file(machine.directory.join("efi").join(ORDER)).unwrap();
    assert!(!machine.survey().capabilities.once);
}
