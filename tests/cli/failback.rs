//! Three ways back: from the machine that runs, from a rescue system, and by the
//! entry of the loader's menu, which the next boot follows.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::AtomicBool;

use beadm_rs::boot;
use beadm_rs::boot::grub::block::Block;
use beadm_rs::boot::grub::menu::{self, Menu};
use beadm_rs::config::{self, Config};
use beadm_rs::execute::{Quiet, execute};
use beadm_rs::host::Host;
use beadm_rs::plan::activate;
use beadm_rs::survey::{Scope, Survey};
use beadm_rs::zfs::{DatasetName, SyncOp, Zfs as _};
use camino::Utf8Path;

use super::grub::{grub_starts, taken_over};
use super::machine::{Machine, dataset};
use super::transcript::Transcript;
use super::trials::{systemd_boot_starts, with_systemd_boot};

fn write(machine: &Machine, path: &str, text: &str) {
    fs::write(machine.directory().join(path), text).unwrap();
}

fn host(machine: &Machine) -> Host {
    Host::of_simulation(machine.sim.clone(), Some(dataset("rpool/ROOT")))
}

fn survey(machine: &Machine) -> Survey {
    Survey::take(&host(machine), Scope::Change).unwrap()
}

/// Somebody chooses the entry of systemd-boot's menu; which root it starts.
fn chosen_in_systemd_boot(machine: &Machine) {
    let file = "beadm-rs-failback.conf";
    let entry = machine.directory().join("esp/loader/entries").join(file);
    let text = fs::read_to_string(entry).unwrap();
    let options = text
        .lines()
        .find_map(|line| line.strip_prefix("options "))
        .unwrap();
    write(machine, "efi/LoaderEntrySelected", file);
    started(machine, options);
}

/// The same with GRUB's.
fn chosen_in_grub(machine: &Machine) {
    let partition = machine.directory().join("esp");
    let block = Block::parse(&fs::read(partition.join("beadm-rs/grubenv")).unwrap()).unwrap();
    let text = fs::read_to_string(partition.join(menu::file(block.menu))).unwrap();
    let back = Menu::parse(&text).unwrap().failback.unwrap();
    let (_, lines) = text.split_once("--id beadm-rs-failback").unwrap();
    let line = lines.lines().find(|line| line.contains("linux ")).unwrap();
    let options = line.replace('\'', "");
    let root = survey(machine)
        .environment_with(back)
        .unwrap()
        .root
        .name
        .clone();
    assert!(options.contains(&format!("root=ZFS={root}")), "{options}");
    started(machine, &format!("BOOT_IMAGE=x {options}"));
}

/// The kernel is started with these options.
fn started(machine: &Machine, options: &str) {
    assert!(
        options.split(' ').any(|word| word == "beadm-rs.failback"),
        "{options}"
    );
    let root = options
        .split(' ')
        .find_map(|word| word.strip_prefix("root=ZFS="))
        .unwrap();
    write(machine, "cmdline", options);
    // There is no dead man's switch in it.
    let _ = fs::remove_file(machine.directory().join("watched"));
    machine.sim.reboot_into(&dataset(root)).unwrap();
}

/// A loader of a machine, and how it is started: by itself, and by the entry that
/// fails back.
#[derive(Clone, Copy)]
struct Loader {
    machine: fn() -> Machine,
    starts: fn(&Machine),
    fails_back: fn(&Machine),
}

const SYSTEMD_BOOT: Loader = Loader {
    machine: with_systemd_boot,
    starts: systemd_boot_starts,
    fails_back: chosen_in_systemd_boot,
};

const GRUB: Loader = Loader {
    machine: taken_over,
    starts: grub_starts,
    fails_back: chosen_in_grub,
};

/// debian has its copies, and new is to boot instead.
fn switched(loader: Loader, how: &str) -> Transcript {
    let mut transcript = Transcript::on((loader.machine)());
    for line in ["activate --no-trial debian", "create new", how] {
        let output = transcript.output(line);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
    }
    transcript
}

/// A system that is no boot environment of that pool, on another one.
fn rescue(machine: &Machine) {
    machine.make(
        "rpool/rescue",
        &[("canmount", "noauto"), ("mountpoint", "/")],
    );
    machine.sim.reboot_into(&dataset("rpool/rescue")).unwrap();
    write(machine, "cmdline", "");
    let _ = fs::remove_file(machine.directory().join("efi/LoaderInfo"));
    let config = config::Boot::default();
    let sim = Box::new(machine.sim.clone());
    let host = Host {
        loader: boot::find(&config, sim, Some(Utf8Path::new("/mnt"))),
        config: Config::default(),
        ..host(machine)
    };
    let survey = Survey::take(&host, Scope::Change).unwrap();
    assert!(survey.running().is_none());
    let plan = activate::plan_failback(&survey, host.loader.as_ref()).unwrap();
    execute(&host, &plan, &Quiet, &AtomicBool::new(false)).unwrap();
    if machine.directory().join("efi").is_dir() {
        write(machine, "efi/LoaderInfo", "systemd-boot 257");
    }
    by_itself(machine);
}

/// The machine starts new, for good.
fn by_itself(machine: &Machine) {
    boots(machine, "new");
    write(machine, "cmdline", "BOOT_IMAGE=x root=ZFS=rpool/ROOT/new");
    let selected = machine.directory().join("efi/LoaderEntrySelected");
    if selected.exists() {
        fs::write(selected, "beadm-rs-7-1.conf").unwrap();
    }
}

fn boots(machine: &Machine, name: &str) {
    let root = dataset(&format!("rpool/ROOT/{name}"));
    machine.sim.reboot_into(&root).unwrap();
}

/// Everything that says what boots and what can be gone back to: the marks, the
/// origins, bootfs, the loader's state and its files. Guids are called by whose
/// they are.
fn records(machine: &Machine) -> String {
    let survey = survey(machine);
    let bootfs = survey.pools.values().map(|pool| pool.bootfs.clone());
    let mut said = vec![
        format!("bootfs {:?}", bootfs.collect::<Vec<Option<DatasetName>>>()),
        format!("{:?}", survey.boot),
    ];
    for found in survey.within(&dataset("rpool/ROOT")) {
        let origin = found.origin.as_ref().map(|origin| origin.dataset());
        let mut marks = found.marks.clone();
        // Which one ran last is not the same in all of them.
        marks.remove("files");
        said.push(format!("{} {origin:?} {marks:?}", found.name));
    }
    for (file, bytes) in files(machine) {
        said.push(format!("{file}:\n{}", String::from_utf8_lossy(&bytes)));
    }
    for text in &mut said {
        for found in survey.datasets.values() {
            *text = text.replace(&found.guid.to_string(), found.name.as_str());
        }
    }
    said.sort();
    // The block is filled up behind the guids in it.
    said.join("\n").replace('#', "")
}

fn files(machine: &Machine) -> BTreeMap<String, Vec<u8>> {
    let root = machine.directory().join("esp");
    let mut found = BTreeMap::new();
    let mut places = vec![root.clone()];
    while let Some(place) = places.pop() {
        for entry in place.read_dir_utf8().unwrap() {
            let path = entry.unwrap().into_path();
            if path.is_dir() {
                places.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_string();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn all_ways_back_end_in_the_same_records() {
    for loader in [SYSTEMD_BOOT, GRUB] {
        for how in ["activate --no-trial new", "activate new"] {
            let done = |transcript: &mut Transcript, line: &str| {
                let output = transcript.output(line);
                assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
            };
            let mut by_hand = switched(loader, how);
            if how.contains("--no-trial") {
                by_itself(&by_hand.machine);
            } else {
                (loader.starts)(&by_hand.machine);
            }
            done(&mut by_hand, "boot");
            done(&mut by_hand, "failback");
            let expected = records(&by_hand.machine);
            assert!(expected.contains("confirmed"), "{expected}");
            assert!(!expected.contains("\"trial\""), "{expected}");

            let by_rescue = switched(loader, how);
            rescue(&by_rescue.machine);
            assert_eq!(records(&by_rescue.machine), expected, "{how}");

            let mut by_menu = switched(loader, how);
            (loader.fails_back)(&by_menu.machine);
            assert_ne!(records(&by_menu.machine), expected, "{how}");
            done(&mut by_menu, "boot");
            assert_eq!(records(&by_menu.machine), expected, "{how}");
            // Once only.
            done(&mut by_menu, "boot");
            assert_eq!(records(&by_menu.machine), expected, "{how}");
        }
    }
}

#[test]
fn with_systemd_boot_the_menus_way_back_is_followed_at_the_boot() {
    Transcript::on(with_systemd_boot())
        .run("create new")
        .run("activate --no-trial debian")
        .run("activate -n new")
        .run("activate new")
        .then("The first try, which comes up.", systemd_boot_starts)
        .run("boot")
        .then(
            "It hangs later, and somebody chooses the entry that fails back.",
            chosen_in_systemd_boot,
        )
        .run("-n boot")
        .run("boot")
        .run("status")
        .note("Once only.")
        .run("boot")
        .run("activate --no-trial new")
        .then("The same after a switch for good.", chosen_in_systemd_boot)
        .run("boot")
        .run("status")
        .is("failback-systemd-boot");
}

#[test]
fn with_grub_the_menus_way_back_is_followed_at_the_boot() {
    Transcript::on(taken_over())
        .run("activate debian")
        .run("create new")
        .run("activate new")
        .then("The first try.", grub_starts)
        .run("boot")
        .then(
            "Somebody chooses the entry that fails back.",
            chosen_in_grub,
        )
        .run("boot")
        .run("status")
        .run("boot")
        .run("activate -t new")
        .run("status")
        .is("failback-grub");
}

#[test]
fn where_failback_does_not_lead_to_what_was_chosen_it_is_told() {
    Transcript::on(with_systemd_boot())
        .run("create new")
        .run("create third")
        .run("activate --no-trial debian")
        .run("activate --no-trial new")
        .then(
            "The menu's entry was chosen; then somebody has new run, and third boot next.",
            |machine| {
                chosen_in_systemd_boot(machine);
                boots(machine, "new");
            },
        )
        .run("activate --no-trial third")
        .then("debian comes up.", |machine| boots(machine, "debian"))
        .run("boot")
        .run("status")
        .then("The record of what was active before is lost.", |machine| {
            let unmark = SyncOp::Unmark {
                object: "rpool/ROOT/third".to_owned(),
                key: "failback".to_owned(),
            };
            machine
                .sim
                .transact(&"rpool".parse().unwrap(), &[unmark])
                .unwrap();
        })
        .run("boot")
        .then("The partition is not mounted.", |machine| {
            fs::rename(
                machine.directory().join("esp"),
                machine.directory().join("unmounted"),
            )
            .unwrap();
        })
        .run("boot")
        .then(
            "It is; but debian has no kernel of its own any more.",
            |machine| {
                fs::rename(
                    machine.directory().join("unmounted"),
                    machine.directory().join("esp"),
                )
                .unwrap();
                let back = SyncOp::Mark {
                    object: "rpool/ROOT/third".to_owned(),
                    key: "failback".to_owned(),
                    text: survey(machine)
                        .environment(&"debian".parse().unwrap())
                        .unwrap()
                        .guid()
                        .to_string(),
                };
                machine
                    .sim
                    .transact(&"rpool".parse().unwrap(), &[back])
                    .unwrap();
                machine.with_files("rpool/ROOT/debian", |root| root.remove_dir_all("boot"));
            },
        )
        .run("boot")
        .is("failback-told");
}
