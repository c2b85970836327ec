//! Environments that travel with a `/boot` in a pool of its own.

use std::fs;
use std::sync::Mutex;

use beadm_rs::check::stand_in;
use beadm_rs::execute::{Failure, Progress};
use beadm_rs::plan::{Action, Step};
use beadm_rs::zfs::{Guard, SyncOp, Zfs as _};

use super::archive::{imports, picture};
use super::machine::{Machine, dataset};
use super::transcript::{Transcript, program};

/// The kernel of such an environment, wherever it is.
fn kernel(machine: &Machine, boot: &str, path: &str) -> Option<Vec<u8>> {
    machine.sim.read_file(boot, path).unwrap()
}

const KERNEL: &str = "vmlinuz-6.12.0-stand-in";

/// A machine with two pools, with something in `/boot` that is below it.
fn furnished() -> Machine {
    let machine = Machine::with_boot_pool();
    machine.make(
        "bpool/BOOT/debian/grub",
        &[("canmount", "noauto"), ("mountpoint", "/boot/grub")],
    );
    let boot = dataset("bpool/BOOT/debian");
    let setting = ("exec".to_owned(), "off".to_owned());
    machine.sim.set(&boot, &[setting]).unwrap();
    machine
}

/// An archive of that machine's environment, on another machine.
fn carried(from: &Machine, to: &Machine) {
    let archive = program()
        .arg("--sim")
        .arg(from.directory())
        .arg("export")
        .output()
        .unwrap();
    assert!(archive.status.success(), "{archive:?}");
    fs::write(to.scratch.join("a"), archive.stdout).unwrap();
}

#[test]
fn boot_travels_from_pool_to_pool() {
    let mut transcript = Transcript::on(furnished());
    let before = picture(&transcript.machine);
    transcript
        .run("export -n -o SCRATCH/a")
        .run("export -o SCRATCH/a");
    assert_eq!(picture(&transcript.machine), before);
    transcript
        .run("export --info SCRATCH/a")
        .run("import -n copy -i SCRATCH/a")
        .run("import copy -i SCRATCH/a")
        .run("list -a")
        .run("check copy");
    let machine = &transcript.machine;
    let fstab = machine.sim.read_file("rpool/ROOT/copy", "etc/fstab");
    assert_eq!(
        String::from_utf8(fstab.unwrap().unwrap()).unwrap(),
        "bpool/BOOT/copy /boot zfs defaults 0 0\n"
    );
    assert!(kernel(machine, "bpool/BOOT/copy", KERNEL).is_some());
    assert_eq!(
        kernel(machine, "bpool/BOOT/copy", KERNEL),
        kernel(machine, "bpool/BOOT/debian", KERNEL)
    );
    let set = machine.sim.properties(&dataset("bpool/BOOT/copy")).unwrap();
    let of = |name: &str| -> Vec<String> {
        let own = set[&dataset(name)].iter();
        own.map(|it| format!("{}={}", it.name, it.value)).collect()
    };
    assert_eq!(
        of("bpool/BOOT/copy"),
        ["canmount=noauto", "exec=off", "mountpoint=/boot"]
    );
    assert_eq!(
        of("bpool/BOOT/copy/grub"),
        ["canmount=noauto", "mountpoint=/boot/grub"]
    );
    transcript
        .run("export copy -o SCRATCH/b")
        .run("--json import --info -i SCRATCH/b")
        .run("create -e copy clone")
        .run("rename copy other")
        .run("-y destroy other")
        .run("activate clone")
        .reboot()
        .run("list")
        .is("archive-boot");
}

#[test]
fn without_a_boot_pool_it_becomes_a_child_of_the_root() {
    let here = Machine::with_one_pool();
    carried(&furnished(), &here);
    let mut transcript = Transcript::on(here);
    transcript
        .run("import -n new -i SCRATCH/a")
        .run("import new -i SCRATCH/a")
        .run("list -a")
        .run("check new");
    let machine = &transcript.machine;
    let fstab = machine.sim.read_file("rpool/ROOT/new", "etc/fstab");
    assert_eq!(
        String::from_utf8(fstab.unwrap().unwrap()).unwrap(),
        "rpool/ROOT/new/boot /boot zfs defaults 0 0\n"
    );
    assert!(kernel(machine, "rpool/ROOT/new/boot", KERNEL).is_some());
    let tree = machine.sim.tree(&[dataset("rpool/ROOT/new")], true);
    let mounts: Vec<String> = tree
        .unwrap()
        .iter()
        .map(|it| format!("{} {} {}", it.name, it.mountpoint, it.snapshots.len()))
        .collect();
    assert_eq!(
        mounts,
        [
            "rpool/ROOT/new / 0",
            "rpool/ROOT/new/boot /boot 0",
            "rpool/ROOT/new/boot/grub /boot/grub 0",
            "rpool/ROOT/new/var /var 0",
            "rpool/ROOT/new/var/log /var/log 0",
        ]
    );
    transcript
        .run("create -e new newer")
        .run("activate newer")
        .reboot()
        .run("list")
        .run("export newer -o SCRATCH/b")
        .run("export --info SCRATCH/b")
        .is("archive-boot-below");
}

#[test]
fn with_boot_in_its_root_it_arrives_as_it_is_beside_a_boot_pool() {
    let here = furnished();
    carried(&Machine::with_one_pool(), &here);
    let mut transcript = Transcript::on(here);
    transcript
        .run("import inside -i SCRATCH/a")
        .then(
            "Streams of the simulation have no times of files.",
            |machine| {
                machine.with_files("rpool/ROOT/inside", |root| {
                    stand_in::write_boot(&root.open_dir("boot")?, None)
                });
            },
        )
        .run("check inside")
        .run("create -e inside clone")
        .run("list -a")
        .run("activate inside")
        .run("status")
        .note("What could be its /boot by name is not taken for that.");
    let other = [("canmount", "noauto"), ("mountpoint", "/boot")];
    transcript.machine.make("bpool/BOOT/stray", &other);
    transcript
        .run("import stray -i SCRATCH/a")
        .run("create -e inside stray")
        .run("create --empty stray")
        .run("rename inside stray")
        .is("archive-boot-inside");
}

#[test]
fn a_difference_of_boot_travels_too() {
    let mut transcript = Transcript::on(furnished());
    transcript
        .run("snapshot debian@one")
        .run("export debian@one -o SCRATCH/one")
        .run("import base -i SCRATCH/one")
        .run("export debian --since one -o SCRATCH/two")
        .run("export --info SCRATCH/two")
        .run("import two -i SCRATCH/two")
        .run("list -a");
    let tree = transcript.machine.sim.tree(&[dataset("bpool/BOOT")], true);
    let origins: Vec<String> = tree
        .unwrap()
        .iter()
        .filter_map(|it| Some(format!("{} {}", it.name, it.origin.as_ref()?)))
        .collect();
    // The first there is with that guid.
    assert_eq!(
        origins,
        [
            "bpool/BOOT/two bpool/BOOT/base@one",
            "bpool/BOOT/two/grub bpool/BOOT/base/grub@one"
        ]
    );
    transcript
        .note("A snapshot of the root alone is not one of the environment.")
        .then("zfs snapshot rpool/ROOT/debian@half", |machine| {
            let snapshots = ["", "/var", "/var/log"].map(|below| SyncOp::Snapshot {
                snapshot: format!("rpool/ROOT/debian{below}@half").parse().unwrap(),
            });
            let pool = "rpool".parse().unwrap();
            machine.sim.transact(&pool, &snapshots).unwrap();
        })
        .run("export debian@half -o SCRATCH/half")
        .run("create -e debian three")
        .run("export three --since debian -o SCRATCH/three")
        .run("export --info SCRATCH/three")
        .is("archive-boot-since");
}

#[test]
fn what_is_damaged_leaves_nothing_in_either_pool() {
    let mut transcript = Transcript::on(furnished());
    transcript.silently("snapshot debian@one");
    let before = picture(&transcript.machine);
    transcript.run("export debian@one -o SCRATCH/a");
    let scratch = transcript.machine.scratch.clone();
    let whole = fs::read(scratch.join("a")).unwrap();
    fs::write(scratch.join("cut"), &whole[..whole.len() - 1]).unwrap();
    transcript.run("import new -i SCRATCH/cut");
    assert_eq!(picture(&transcript.machine), before);
    transcript
        .note("To be gone on with, what arrived whole stays.")
        .run("import --resume new -i SCRATCH/cut")
        .run("list -a")
        .run("import --resume new -i SCRATCH/cut")
        .run("import -n --resume new -i SCRATCH/a")
        .run("import --resume new -i SCRATCH/a")
        .run("list -a")
        .run("-y destroy new");
    assert_eq!(picture(&transcript.machine), before);
    transcript
        .note("Or is destroyed.")
        .run("import --resume new -i SCRATCH/cut");
    let left: Vec<String> = picture(&transcript.machine)
        .into_iter()
        .filter_map(|line| {
            Some(
                line.split_once("/beadm-rs.")?
                    .1
                    .split(' ')
                    .next()?
                    .to_owned(),
            )
        })
        .collect();
    let name = left[0].clone();
    assert!(transcript.silently(&format!("-y destroy beadm-rs.{name}")));
    assert_eq!(picture(&transcript.machine), before);
    transcript.is("archive-boot-damaged");
}

/// Somebody takes the names that an import is about to give, and to give back.
struct Takes<'a> {
    machine: &'a Machine,
    taken: Mutex<Vec<String>>,
}

impl Progress for Takes<'_> {
    fn begin(&self, step: &Step) {
        let mut taken = self.taken.lock().unwrap();
        match (step.name, &step.action) {
            ("rename-boot", Action::Rename { from, .. }) => taken.push(from.to_string()),
            ("commit", Action::Rename { to, .. }) => {
                taken.push(to.to_string());
                for name in taken.iter() {
                    self.machine.make(name, &[("canmount", "off")]);
                }
            }
            _ => {}
        }
    }

    fn total(&self, _bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
}

#[test]
fn boot_that_cannot_be_given_its_former_name_is_taken_back_by_recover() {
    let mut transcript = Transcript::on(furnished());
    let machine = &transcript.machine;
    let before = picture(machine);
    carried(machine, machine);
    let archive = fs::read(machine.scratch.join("a")).unwrap();
    let takes = Takes {
        machine,
        taken: Mutex::default(),
    };
    let failure = imports(machine, &archive, false, &takes, None).unwrap_err();
    let Failure::NotUndone { step: "commit", .. } = failure else {
        panic!("{failure:?}");
    };
    let kept = "bpool/BOOT/new ";
    assert!(picture(machine).iter().any(|line| line.starts_with(kept)));
    for name in takes.taken.into_inner().unwrap() {
        let gone = SyncOp::Destroy {
            guard: Guard::Guid(machine.sim.tree(&[dataset(&name)], false).unwrap()[0].guid),
            object: name.clone(),
            missing_ok: false,
        };
        machine
            .sim
            .transact(&dataset(&name).pool(), &[gone])
            .unwrap();
    }
    assert!(transcript.silently("recover"));
    assert_eq!(picture(&transcript.machine), before);
}
