//! A machine that GRUB starts: by a menu of this program's own, and before that.

use std::fs;
use std::sync::atomic::AtomicBool;

use beadm_rs::boot::grub::block::Block;
use beadm_rs::boot::grub::takeover::takeover;
use beadm_rs::config;
use beadm_rs::execute::{Quiet, execute};
use beadm_rs::host::Host;
use beadm_rs::plan::Plan;
use beadm_rs::survey::{Scope, Survey};

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

fn write(machine: &Machine, path: &str, text: &str) {
    let path = machine.directory().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// GRUB, with its own directory in debian, started debian.
fn by_grub() -> Machine {
    let machine = Machine::with_one_pool();
    write(
        &machine,
        "esp/EFI/debian/grub.cfg",
        "search.fs_uuid 0123 root\nset prefix=($root)'/ROOT/debian@/boot/grub'\n",
    );
    command_line(&machine, "debian");
    machine
}

pub fn command_line(machine: &Machine, name: &str) {
    let line = format!("BOOT_IMAGE=/ROOT/{name}@/boot/vmlinuz root=ZFS=rpool/ROOT/{name} ro quiet");
    write(machine, "cmdline", &line);
}

/// The same, after it was taken over; in debian is the unit that confirms.
pub fn taken_over() -> Machine {
    let machine = by_grub();
    machine.with_files("rpool/ROOT/debian", |root| {
        let wants = "usr/lib/systemd/system/multi-user.target.wants";
        root.create_dir_all(wants)?;
        root.write(format!("{wants}/beadm-rs-confirm.service"), "")
    });
    let host = Host::of_simulation(machine.sim.clone(), None);
    let survey = Survey::take(&host, Scope::Change).unwrap();
    let running = survey.running().unwrap();
    let taken = takeover(&machine.sim, &config::Boot::default(), &survey, &running).unwrap();
    let plan = Plan {
        id: survey.id,
        operation: "init",
        steps: taken.steps,
        notes: Vec::new(),
        outcome: String::new(),
    };
    execute(&host, &plan, &Quiet, &AtomicBool::new(false)).unwrap();
    write(&machine, "esp/grub/grub.cfg", "source $prefix/custom.cfg\n");
    machine
}

/// GRUB starts what the block says, and writes it before that.
pub fn grub_starts(machine: &Machine) {
    let path = machine.directory().join("esp/beadm-rs/grubenv");
    let block = Block::parse(&fs::read(&path).unwrap()).unwrap();
    let (guid, block) = match (block.once, block.trial) {
        (Some(once), _) => (
            once,
            Block {
                once: None,
                ..block
            },
        ),
        (None, Some(trial)) if block.tries > 0 => {
            let (tries, done) = (block.tries - 1, block.done + 1);
            (
                trial,
                Block {
                    tries,
                    done,
                    ..block
                },
            )
        }
        _ => (block.good.unwrap(), block),
    };
    fs::write(&path, block.text().unwrap()).unwrap();
    let host = Host::of_simulation(machine.sim.clone(), None);
    let survey = Survey::take(&host, Scope::Names).unwrap();
    let started = survey.environment_with(guid).unwrap();
    command_line(machine, started.name());
    machine.sim.reboot_into(&started.root.name).unwrap();
}

#[test]
fn before_it_is_taken_over_nothing_reaches_grub_and_its_files_stay() {
    Transcript::on(by_grub())
        .run("status")
        .run("check")
        .run("create new")
        .run("activate new")
        .run("activate --no-check new")
        .then("Somebody chooses new in GRUB's menu.", |machine| {
            command_line(machine, "new");
            machine.sim.reboot_into(&dataset("rpool/ROOT/new")).unwrap();
        })
        .run("destroy -n debian")
        .run("destroy debian")
        .run("rename -F debian older")
        .run("create third")
        .run("-y destroy third")
        .then("GRUB is installed to a partition of its own.", |machine| {
            write(
                machine,
                "esp/EFI/debian/grub.cfg",
                "set prefix=($root)'/grub'\n",
            );
        })
        .run("-y destroy debian")
        .then("It started by BIOS.", |machine| {
            fs::remove_dir_all(machine.directory().join("esp")).unwrap();
        })
        .run("create fourth")
        .run("activate --no-check fourth")
        .then("Fourth runs, with new's kernel.", |machine| {
            let line = "BOOT_IMAGE=/ROOT/new@/boot/vmlinuz root=ZFS=rpool/ROOT/fourth";
            write(machine, "cmdline", line);
            let fourth = dataset("rpool/ROOT/fourth");
            machine.sim.reboot_into(&fourth).unwrap();
        })
        .run("-y destroy new")
        .is("grub-before");
}

#[test]
fn a_trial_is_counted_by_grub_and_confirmed() {
    Transcript::on(taken_over())
        .run("status")
        .run("check")
        .run("create new")
        .run("activate -n new")
        .run("activate new")
        .then("The first try.", grub_starts)
        .run("boot")
        .run("status")
        .run("confirm -n")
        .run("confirm")
        .run("status")
        .run("kernel-updated")
        .run("failback")
        .run("status")
        .run("activate -t new")
        .run("status")
        .run("activate -T")
        .run("rename new newer")
        .then("The machine starts again.", grub_starts)
        .run("rename new newer")
        .run("-y destroy newer")
        .is("grub-confirmed");
}

#[test]
fn used_up_tries_are_noticed() {
    Transcript::on(taken_over())
        .run("activate debian")
        .run("create new")
        .run("activate new")
        .then("The first try.", grub_starts)
        .then("The second.", grub_starts)
        .then("The third.", grub_starts)
        .run("boot")
        .then("There is none any more.", grub_starts)
        .run("boot")
        .run("status")
        .run("activate new")
        .run("confirm --reject")
        .run("status")
        .is("grub-fell-back");
}
