//! `init`: systems that are there already.

use beadm_rs::zfs::Zfs as _;

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

const CONTAINER: [(&str, &str); 2] = [("canmount", "off"), ("mountpoint", "none")];

/// As OpenZFS's guide for Debian has it.
fn debian() -> Machine {
    let machine = Machine::with_pools(&["bpool", "rpool"]);
    machine.make("bpool/BOOT", &CONTAINER);
    machine.make("bpool/BOOT/debian", &[("mountpoint", "/boot")]);
    machine.make("rpool/ROOT", &CONTAINER);
    machine.make(
        "rpool/ROOT/debian",
        &[("canmount", "noauto"), ("mountpoint", "/")],
    );
    machine.make("rpool/home", &[("mountpoint", "/home")]);
    machine.make("rpool/var", &[("canmount", "off"), ("mountpoint", "/var")]);
    machine.make("rpool/var/log", &[]);
    machine
        .sim
        .reboot_into(&dataset("rpool/ROOT/debian"))
        .unwrap();
    machine
}

/// As Ubuntu's installer has it.
fn zsys() -> Machine {
    let machine = Machine::with_pools(&["bpool", "rpool"]);
    let root = "rpool/ROOT/ubuntu_4r8k2m";
    machine.make("bpool/BOOT", &CONTAINER);
    machine.make("bpool/BOOT/ubuntu_4r8k2m", &[("mountpoint", "/boot")]);
    machine.make("rpool/ROOT", &CONTAINER);
    machine.make(
        root,
        &[
            ("mountpoint", "/"),
            ("com.ubuntu.zsys:bootfs", "yes"),
            ("com.ubuntu.zsys:last-used", "1700000000"),
        ],
    );
    machine.make(
        &format!("{root}/var"),
        &[("canmount", "off"), ("com.ubuntu.zsys:bootfs", "no")],
    );
    machine.make(&format!("{root}/var/lib"), &[]);
    machine.make(
        "rpool/USERDATA",
        &[("canmount", "off"), ("mountpoint", "/")],
    );
    machine.make(
        "rpool/USERDATA/root_7p1wzd",
        &[
            ("mountpoint", "/root"),
            ("com.ubuntu.zsys:bootfs-datasets", root),
        ],
    );
    machine.sim.reboot_into(&dataset(root)).unwrap();
    machine
}

#[test]
fn a_system_is_adopted_once() {
    Transcript::on(debian())
        .run("init -n")
        .note("Nothing was written; nothing is known to work.")
        .run("status")
        .run("init")
        .run("status")
        .note("A second time there is nothing to do.")
        .run("init")
        .run("init -n")
        .run("init -H")
        .note("And everything else works on it.")
        .run("create new")
        .run("activate --no-check new")
        .run("failback --no-check")
        .run("destroy -y new")
        .is("init");
}

/// With the units of this project installed.
#[test]
fn units_that_are_installed_are_enabled() {
    let machine = debian();
    let unit = include_str!("../../dist/systemd/beadm-rs-mount.service");
    let root = dataset("rpool/ROOT/debian");
    let at = "usr/lib/systemd/system/beadm-rs-mount.service";
    machine.sim.write_file(&root, at, unit).unwrap();
    let mut transcript = Transcript::on(machine);
    transcript.run("init -n").run("init");
    let linked = "etc/systemd/system/local-fs.target.wants/beadm-rs-mount.service";
    transcript.machine.with_files("rpool/ROOT/debian", |files| {
        let target = files.read_link_contents(linked)?;
        assert_eq!(
            target.to_str(),
            Some("/usr/lib/systemd/system/beadm-rs-mount.service")
        );
        Ok(())
    });
    transcript.run("init").run("init -n").is("init-units");
}

#[test]
fn what_lies_outside_the_environments_is_told_and_nixos_is_refused() {
    let machine = debian();
    let root = dataset("rpool/ROOT/debian");
    let fstab = "UUID=1 /boot ext4 defaults 0 2\n";
    machine.sim.write_file(&root, "etc/fstab", fstab).unwrap();
    let mut transcript = Transcript::on(machine);
    transcript.run("init -n").run("-H check");
    let written = transcript.machine.sim.write_file(&root, "etc/NIXOS", "");
    written.unwrap();
    transcript.run("init").is("init-outside");
}

#[test]
fn what_zsys_does_is_said_and_what_it_noted_is_left_alone() {
    let mut transcript = Transcript::on(zsys());
    let root = dataset("rpool/ROOT/ubuntu_4r8k2m");
    let before = transcript.machine.sim.properties(&root).unwrap();
    transcript.run("--json init -n").run("init");
    assert_eq!(transcript.machine.sim.properties(&root).unwrap(), before);
    transcript
        .note("canmount is set only where it is asked for.")
        .run("init -n --noauto")
        .run("init --noauto")
        .run("init --noauto")
        .is("init-zsys");
    let after = transcript.machine.sim.properties(&root).unwrap();
    let differs = |name: &str| {
        let value = |properties: &[beadm_rs::zfs::Property]| {
            properties
                .iter()
                .find(|property| property.name == name)
                .map(|property| property.value.clone())
        };
        (value(&before[&root]), value(&after[&root]))
    };
    assert_eq!(differs("canmount"), (None, Some("noauto".to_owned())));
    assert_eq!(after[&root].len(), before[&root].len() + 1);
    assert!(!after[&dataset("rpool/ROOT/ubuntu_4r8k2m/var")].is_empty());
}

#[test]
fn what_cannot_be_adopted_is_refused_with_the_reason() {
    let mut transcript = Transcript::on(Machine::with_boot_pool());
    transcript
        .note("A place with nothing in it, and none.")
        .run("-r tank/ROOT init")
        .run("-r tank/NOPE init")
        .note("Another one than what runs cannot be called the last good one.")
        .run("create other")
        .run("init other")
        .run("init nothing")
        .then("The pool is imported read-only.", |machine| {
            let pool = "rpool".parse().unwrap();
            machine
                .sim
                .edit(|edit| edit.pool_readonly(&pool, true))
                .unwrap();
        })
        .run("init")
        .then("The records are of a newer program.", |machine| {
            let pool = "rpool".parse().unwrap();
            let beroot = dataset("rpool/ROOT");
            let guid = machine
                .sim
                .tree(std::slice::from_ref(&beroot), false)
                .unwrap()[0]
                .guid;
            machine
                .sim
                .edit(|edit| {
                    edit.pool_readonly(&pool, false);
                    edit.property(&beroot, "org.beadm-rs:schema", &format!("{guid} 99"), false);
                })
                .unwrap();
        })
        .run("init")
        .run("--json init")
        .is("init-refused");
}

#[test]
fn layouts_that_have_no_place_for_environments_are_refused_by_name() {
    let flat = Machine::with_pools(&["rpool"]);
    flat.make(
        "rpool/root",
        &[("canmount", "noauto"), ("mountpoint", "legacy")],
    );
    flat.make("rpool/home", &[("mountpoint", "legacy")]);
    flat.sim.reboot_into(&dataset("rpool/root")).unwrap();
    let mut transcript = Transcript::on(flat);
    transcript.run("init").is("init-flat");
    let illumos = Machine::with_pools(&["rpool"]);
    illumos.make(
        "rpool/ROOT",
        &[("canmount", "off"), ("mountpoint", "legacy")],
    );
    illumos.make(
        "rpool/ROOT/omnios",
        &[
            ("canmount", "noauto"),
            ("mountpoint", "legacy"),
            ("org.opensolaris.libbe:policy", "static"),
        ],
    );
    Transcript::on(illumos)
        .note("Nothing runs from it: it has to be named.")
        .run("init")
        .run("-r rpool/ROOT init")
        .is("init-illumos");
}

#[test]
fn where_nothing_runs_the_last_good_one_is_what_boots_next_or_is_named() {
    let machine = Machine::with_pools(&["tank"]);
    machine.make("tank/ROOT", &CONTAINER);
    for name in ["one", "two"] {
        machine.make(
            &format!("tank/ROOT/{name}"),
            &[("canmount", "noauto"), ("mountpoint", "/")],
        );
    }
    machine.make(
        "tank/ROOT/three",
        &[("canmount", "noauto"), ("mountpoint", "none")],
    );
    Transcript::on(machine)
        .run("-r tank/ROOT init")
        .run("-r tank/ROOT init three")
        .run("-r tank/ROOT init one")
        .run("-r tank/ROOT init one")
        .note("Another one, because somebody says so.")
        .run("-r tank/ROOT init two")
        .then(
            "What boots next does not change what is known to work.",
            |machine| {
                machine
                    .sim
                    .set_bootfs(&"tank".parse().unwrap(), Some(&dataset("tank/ROOT/one")))
                    .unwrap();
            },
        )
        .run("-r tank/ROOT init")
        .run("-r tank/ROOT status")
        .is("init-rescue");
}

/// GRUB has started it.
fn by_grub() -> Machine {
    let machine = Machine::with_one_pool();
    let directory = machine.directory();
    std::fs::create_dir(directory.join("esp")).unwrap();
    let started = "BOOT_IMAGE=/boot/vmlinuz root=ZFS=rpool/ROOT/debian ro quiet\n";
    std::fs::write(directory.join("cmdline"), started).unwrap();
    machine
}

#[test]
fn grub_is_moved_out_of_the_environments() {
    Transcript::on(by_grub())
        .run("init -n")
        .note("Nobody's loader is installed anew without a yes.")
        .run("init")
        .run("init -y")
        .run("status")
        .note("A second time there is nothing to do.")
        .run("init -y")
        .then("The line in fstab was lost.", |machine| {
            machine.with_files("rpool/ROOT/debian", |root| root.write("etc/fstab", ""));
        })
        .run("init -y")
        .is("init-grub");
}

#[test]
fn grub_by_other_names_is_refused_by_name() {
    let machine = by_grub();
    machine.with_files("rpool/ROOT/debian", |root| {
        root.create_dir_all("usr/sbin")?;
        root.write("usr/sbin/grub2-install", "")
    });
    Transcript::on(machine)
        .run("init -n")
        .run("init")
        .run("init")
        .is("init-grub2");
}

#[test]
fn grub_that_cannot_be_moved_is_told_and_then_refused() {
    Transcript::on(by_grub())
        .then("There is no partition for it.", |machine| {
            std::fs::remove_dir(machine.directory().join("esp")).unwrap();
        })
        .run("init")
        .run("init")
        .is("init-grub-nowhere");
}
