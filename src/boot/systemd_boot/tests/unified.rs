//! Unified kernel images: used where their command line names the environment.

use super::machine;
use crate::boot::machine::{Act, Machine, dataset};
use crate::check::{image, stand_in};
use crate::os::Platform as _;

/// An environment has a unified image instead of a kernel.
fn has_image(machine: &Machine, name: &str, line: &str) {
    let archive = stand_in::cpio(&[]);
    let sections: [(&str, &[u8]); 3] = [
        (".cmdline", line.as_bytes()),
        (".uname", stand_in::KERNEL.as_bytes()),
        (".initrd", &archive),
    ];
    let image = image::example(&sections, true);
    let root = dataset(name);
    let put = &mut |dir: &cap_std_ext::cap_std::fs::Dir| {
        for file in ["vmlinuz", "initrd.img"] {
            let file = format!("boot/{file}-{}", stand_in::KERNEL);
            let _ = dir.remove_file(file);
        }
        dir.create_dir_all("boot/EFI/Linux")?;
        dir.write(format!("boot/EFI/Linux/{name}.efi"), &image)
    };
    machine.sim.with_files(&root, true, put).unwrap();
}

fn unified(line: &str) -> Machine {
    let machine = machine();
    has_image(&machine, "new", line);
    machine
}

const LINE: &str = "root=ZFS=rpool/ROOT/new rw console=ttyS1";

fn entry_of(machine: &Machine, end: &str) -> String {
    let files = machine.files();
    let file = files
        .keys()
        .find(|file| file.starts_with("loader/entries/beadm-rs-") && file.ends_with(end));
    files[file.unwrap()].clone()
}

#[test]
fn one_that_names_the_environment_boots_it_as_it_says() {
    let machine = unified(LINE);
    machine.act(&Act::Good("new"));
    assert_eq!(machine.next().as_deref(), Some("new"));
    let entry = entry_of(&machine, "-1.conf");
    assert!(entry.contains(&format!("options {LINE}\n")), "{entry}");
    assert!(!entry.contains("initrd "), "{entry}");
    assert!(!entry.contains("linux "), "{entry}");
    let image = entry.lines().find_map(|line| line.strip_prefix("efi /"));
    let image = image.unwrap();
    assert!(machine.files()[image].starts_with("MZ"));
    let copies = |machine: &Machine| {
        let files = machine.files();
        let copies = files.keys().filter(|file| file.starts_with("beadm-rs/"));
        copies.cloned().collect::<Vec<_>>()
    };
    assert_eq!(copies(&machine), [image]);
    // The others have kernels and initramfs as before.
    machine.act(&Act::Good("other"));
    let file = format!("{}-2.conf", machine.guid("other"));
    assert!(entry_of(&machine, &file).contains("linux /beadm-rs/"));
    assert_eq!(copies(&machine).len(), 3);
    machine.act(&Act::Destroy("new"));
    assert!(!copies(&machine).iter().any(|copy| copy == image));
}

#[test]
fn one_that_names_another_root_or_none_is_refused() {
    for line in ["root=ZFS=rpool/ROOT/other", "root=zfs:AUTO", "quiet"] {
        let machine = unified(line);
        let refused = machine.refused(&Act::Good("new"));
        assert!(
            refused.contains("has no kernel with an initramfs"),
            "{refused}"
        );
        assert!(refused.contains("nor a unified image"), "{refused}");
    }
}

#[test]
fn a_trial_of_one_is_counted_and_has_no_switch() {
    let machine = unified(LINE);
    let plan = machine.plan(&Act::Trial("new")).unwrap();
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("a unified kernel image takes no other initramfs")),
        "{:?}",
        plan.notes
    );
    machine.carry_out(&plan).unwrap();
    let entry = entry_of(&machine, "+3.conf");
    assert!(
        entry.contains(&format!("options {LINE} panic=10\n")),
        "{entry}"
    );
    assert!(!entry.contains("rdinit"), "{entry}");
    assert_eq!(machine.next().as_deref(), Some("new"));
}

#[test]
fn where_its_own_command_line_counts_nothing_fails_back_to_it_from_the_menu() {
    for (secure, there) in [("0", true), ("1", false)] {
        let machine = unified(LINE);
        machine.write("efi/SecureBoot", secure);
        machine.act(&Act::Good("new"));
        machine.sim.reboot().unwrap();
        let selected = format!("beadm-rs-{}-1.conf", machine.guid("new"));
        machine.write("efi/LoaderEntrySelected", &selected);
        machine.act(&Act::Good("other"));
        let files = machine.files();
        let found = files.contains_key("loader/entries/beadm-rs-failback.conf");
        assert_eq!(found, there, "SecureBoot {secure}");
    }
}

#[test]
fn renamed_it_has_no_entry_any_more() {
    let machine = unified(LINE);
    machine.act(&Act::Good("new"));
    machine.act(&Act::Good("other"));
    machine.act(&Act::Good("debian"));
    machine.act(&Act::Rename("new", "newer"));
    let files = machine.files();
    let mut entries = files.iter().filter(|(file, _)| file.ends_with(".conf"));
    assert!(entries.all(|(_, text)| !text.contains("rpool/ROOT/new")));
    assert_eq!(machine.next().as_deref(), Some("debian"));
    let refused = machine.refused(&Act::Good("newer"));
    assert!(refused.contains("nor a unified image"), "{refused}");
}
