//! The loader on a simulated machine with a partition and variables.

mod stopped;
mod switches;
mod trials;
mod unified;
mod watched;

use std::fs;

use crate::boot::machine::{Act, Machine};
use crate::config;

const DEBIAN: &str = "title Debian\nlinux /own/linux\ninitrd /own/initrd\n\
                      options root=ZFS=rpool/ROOT/debian ro quiet\n";

impl Machine {
    fn entries(&self) -> Vec<String> {
        self.files()
            .into_keys()
            .filter_map(|file| file.strip_prefix("loader/entries/").map(str::to_owned))
            .collect()
    }

    /// What systemd-boot does with an entry that has a counter.
    fn counted_down(&self, left: u32, done: u32) {
        let directory = self.directory.join("esp/loader/entries");
        let entries = self.entries();
        let file = entries.iter().find(|file| file.contains('+')).unwrap();
        let (name, _) = file.split_once('+').unwrap();
        let now = format!("{name}+{left}-{done}.conf");
        fs::rename(directory.join(file), directory.join(now)).unwrap();
    }
}

/// systemd-boot started debian by an entry made by hand.
pub(in crate::boot) fn machine() -> Machine {
    let machine = Machine::new();
    machine.write("esp/EFI/systemd/systemd-bootx64.efi", "");
    machine.write("esp/own/linux", "");
    machine.write("esp/loader/loader.conf", "timeout 3\n");
    machine.write("esp/loader/entries/debian.conf", DEBIAN);
    machine.write("efi/LoaderInfo", "systemd-boot 257");
    machine.write("efi/LoaderEntrySelected", "debian.conf");
    machine
}

fn loader_of(machine: &Machine) -> &'static str {
    machine.host().loader.name()
}

#[test]
fn it_is_systemd_boot_only_where_its_entry_named_the_root_that_runs() {
    let machine = machine();
    assert_eq!(loader_of(&machine), "systemd-boot");
    let bootfs = "the pool's bootfs";
    // ZFSBootMenu, started by systemd-boot, or a root that bootfs names.
    for options in [
        "zbm.prefer=rpool",
        "root=zfs:AUTO",
        "root=ZFS=rpool/ROOT/new",
    ] {
        let entry = format!("linux /own/linux\noptions {options}\n");
        machine.write("esp/loader/entries/debian.conf", &entry);
        assert_eq!(loader_of(&machine), bootfs, "{options}");
    }
    machine.write("esp/loader/entries/debian.conf", DEBIAN);
    machine.write("efi/LoaderEntrySelected", "auto-efi-shell");
    assert_eq!(loader_of(&machine), bootfs);
    machine.write("efi/LoaderEntrySelected", "Debian+2-1.conf");
    assert_eq!(loader_of(&machine), "systemd-boot");
    machine.write("efi/LoaderInfo", "GRUB 2.12");
    assert_eq!(loader_of(&machine), bootfs);
    machine.write("efi/LoaderInfo", "systemd-boot 257");
    fs::remove_dir_all(machine.directory.join("esp/EFI")).unwrap();
    assert_eq!(loader_of(&machine), bootfs);
    // This program's own entry was booted: it is systemd-boot, seen or not.
    machine.write("efi/LoaderEntrySelected", "beadm-rs-7-1.conf");
    assert_eq!(loader_of(&machine), "systemd-boot");
    assert_eq!(
        machine.refused(&Act::Good("new")),
        "refused to activate new: no EFI system partition with systemd-boot is mounted on /efi, \
         /boot/efi or /boot; mount it, and try again"
    );
    let told = config::Boot {
        loader: config::LoaderName::Bootfs,
        ..config::Boot::default()
    };
    let found = crate::boot::find(&told, Box::new(machine.sim.clone()), None);
    assert_eq!(found.name(), bootfs);
}
