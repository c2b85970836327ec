//! Whether it is GRUB, and how it is taken over.

use super::*;

#[test]
fn it_is_grub_only_where_it_started_the_machine_and_leads_to_the_menu() {
    let machine = before();
    let bootfs = "the pool's bootfs";
    assert_eq!(loader_of(&machine), bootfs);
    assert!(names_what_runs(&machine.sim));
    machine.takes_over();
    assert_eq!(loader_of(&machine), "GRUB");
    // ZFSBootMenu, or systemd-boot.
    let grubs = fs::read_to_string(machine.directory.join("cmdline")).unwrap();
    machine.write("cmdline", "root=ZFS=rpool/ROOT/debian ro");
    assert_eq!(loader_of(&machine), bootfs);
    assert!(!names_what_runs(&machine.sim));
    machine.write("cmdline", &grubs);
    machine.write("efi/LoaderInfo", "systemd-boot 257");
    assert_eq!(loader_of(&machine), bootfs);
    assert!(!names_what_runs(&machine.sim));
    machine.write("efi/LoaderInfo", "GRUB 2.12");
    assert_eq!(loader_of(&machine), "GRUB");
    // From a rescue system nothing is known of what started the machine.
    machine.write("cmdline", "");
    let found = |config: &config::Boot, altroot: Option<&str>| {
        let platform = Box::new(machine.sim.clone());
        crate::boot::find(config, platform, altroot.map(Into::into)).name()
    };
    let told = |loader| config::Boot {
        loader,
        ..config::Boot::default()
    };
    assert_eq!(found(&told(config::LoaderName::Auto), Some("/mnt")), "GRUB");
    assert_eq!(found(&told(config::LoaderName::Auto), None), bootfs);
    assert_eq!(found(&told(config::LoaderName::Grub), None), "GRUB");
    machine.write("cmdline", &grubs);
    assert_eq!(found(&told(config::LoaderName::Bootfs), None), bootfs);
    // This program's menu started it: it is GRUB, whatever became of its files.
    machine.write("esp/grub/custom.cfg", "set default=mine\n");
    assert_eq!(loader_of(&machine), "GRUB");
    fs::rename(
        machine.directory.join("esp"),
        machine.directory.join("unmounted"),
    )
    .unwrap();
    assert_eq!(
        machine.refused(&Act::Good("new")),
        "refused to activate new: no FAT partition with GRUB's directory is mounted on /efi, \
         /boot/efi or /boot; mount it, and try again"
    );
    machine.write(
        "cmdline",
        "BOOT_IMAGE=/ROOT/debian@/boot/vmlinuz root=ZFS=rpool/ROOT/debian ro\n",
    );
    assert_eq!(loader_of(&machine), bootfs);
}

#[test]
fn taking_over_makes_the_files_and_a_second_time_nothing() {
    let machine = before();
    machine.write("esp/grub/custom.cfg", "# my own\n");
    machine.takes_over();
    assert_eq!(machine.taken_over().steps, []);
    let block = machine.block();
    assert_eq!(
        block,
        Block {
            menu: 1,
            good: Some(machine.guid("debian")),
            ..Block::default()
        }
    );
    let files = machine.files();
    assert_eq!(
        files["grub/custom.cfg"],
        format!("# my own\n{}", stub::text())
    );
    let menu = machine.menu();
    let [entry] = menu.entries.as_slice() else {
        panic!("{menu:?}");
    };
    assert_eq!(
        (entry.title.as_str(), entry.options.as_str()),
        ("debian", "root=ZFS=rpool/ROOT/debian ro by=it's \"a=b c\"")
    );
    assert!(files["beadm-rs/menu-1.cfg"].contains("'by=it'\\''s' 'a=b c'\n"));
    assert_eq!(machine.next().as_deref(), Some("debian"));
    // Damaged it is made again, and what is in order stays.
    machine.act(&Act::Good("new"));
    machine.write("esp/grub/custom.cfg", "# somebody else's\n");
    let names = |machine: &Machine| -> Vec<&str> {
        let steps = machine.taken_over().steps;
        steps.iter().map(|step| step.name).collect()
    };
    assert_eq!(names(&machine), ["stage-lead", "replace-lead", "lead"]);
    machine.write(&format!("esp/{FILE}"), "nonsense");
    machine.takes_over();
    assert_eq!(machine.block().menu, 3);
    assert_eq!(machine.next().as_deref(), Some("debian"));
    machine.act(&Act::Good("new"));
    is_tidy(&machine, "again");
}

#[test]
fn what_was_taken_over_can_be_undone() {
    let machine = before();
    machine.write("esp/grub/custom.cfg", "# my own\n");
    let files = machine.files();
    for stopped in 0..8 {
        let mut steps = machine.taken_over().steps;
        let all = steps.len();
        steps.truncate(stopped);
        // What cannot be done, where there is something to be renamed already.
        let fails = Action::Loader(crate::os::loader::LoaderChange::Rename {
            partition: machine.directory.join("esp"),
            from: "nowhere".into(),
            to: "EFI".into(),
        });
        steps.push(Step::new("fails", fails));
        machine
            .carry_out(&plan(&machine, "init", steps))
            .unwrap_err();
        assert_eq!(machine.files(), files, "{stopped}");
        if stopped == all {
            return;
        }
    }
    panic!("there are more steps");
}
