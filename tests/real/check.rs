//! What `check` sees on real pools, and what the preflight of an activation
//! makes of it.

use beadm_rs::check::stand_in::{self, KERNEL};

use crate::machine::{Machine, open};
use crate::ran::{Ran, sh};

/// The names of what was found, in order, by severity.
fn found(ran: &Ran) -> Vec<String> {
    ran.json("check")["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or("machine").to_owned();
            format!(
                "{} {} {}",
                text("severity"),
                text("name"),
                text("environment")
            )
        })
        .collect()
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_sound_environment_is_found_so_wherever_it_is_mounted() {
    let machine = Machine::with_boot_pool();
    machine.dataset("ROOT/old/usr/lib", &["canmount=noauto"]);
    machine.with_mounted("old", |root| {
        std::fs::remove_dir_all(root.join("usr/lib/modules")).unwrap();
    });
    machine.with_dataset(&machine.name("ROOT/old/usr/lib"), |lib| {
        let scratch = tempfile::tempdir().unwrap();
        stand_in::write_root(&open(scratch.path()), None).unwrap();
        let modules = scratch.path().join("usr/lib/modules");
        sh(
            "cp",
            &["-a", modules.to_str().unwrap(), lib.to_str().unwrap()],
        );
    });
    let boot = format!("{}/BOOT/old", machine.boot_pool.as_ref().unwrap());
    machine.with_dataset(&boot, |boot| {
        // The modules above are newer than the kernel's own.
        sh(
            "touch",
            &[boot.join(format!("initrd.img-{KERNEL}")).to_str().unwrap()],
        );
    });
    let before = mounts();
    let sound = |ran: Ran| {
        let ran = ran.succeeds();
        assert_eq!(found(&ran), Vec::<String>::new(), "{}", ran.stdout);
    };
    let check: &[&str] = &["--json", "check", "old"];
    sound(machine.run(check));
    assert_eq!(mounts(), before, "nothing stays mounted");
    for how in [&["mount", "old"][..], &["mount", "--read-only", "old"]] {
        machine.run(how).succeeds();
        sound(machine.run(check));
        machine.run(&["unmount", "old"]).succeeds();
    }
    drop(machine);
    // And of the running one, which is mounted for writing.
    let machine = Machine::new();
    sound(machine.run_inside("old", check));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_would_not_boot_is_not_activated_and_going_back_is_possible() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    machine.with_mounted("new", |root| {
        std::fs::remove_file(root.join("usr/sbin/init")).unwrap();
    });
    machine.unchanged(|| {
        machine.run(&["activate", "new"]).says(
            3,
            "refused to activate new: new would not boot: init-missing: there is no executable \
             /sbin/init (links followed inside it)",
        );
        machine
            .run(&["activate", "-n", "new"])
            .fails(3, "init-missing");
    });
    machine.run(&["activate", "--no-check", "new"]).succeeds();
    let ran = machine.run(&["--json", "check"]);
    assert_eq!(
        (ran.exit, found(&ran)),
        (1, vec!["error init-missing new".to_owned()])
    );
    // The way back is open, whatever is found there but a kernel.
    machine.with_mounted("old", |root| {
        std::fs::remove_file(root.join("usr/sbin/init")).unwrap();
        std::fs::rename(root.join("boot"), root.join("kept")).unwrap();
    });
    machine.unchanged(|| {
        machine.run(&["failback"]).fails(3, "kernel-missing");
    });
    machine.with_mounted("old", |root| {
        std::fs::rename(root.join("kept"), root.join("boot")).unwrap();
    });
    machine
        .run(&["failback"])
        .fails(0, "error init-missing in old: ");
    assert_eq!(machine.next(), machine.name("ROOT/old"));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_the_datasets_show_is_found() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    sh(
        "zfs",
        &["set", "canmount=on", &machine.name("ROOT/old/var")],
    );
    machine.write("old", "var/lost", "");
    sh(
        "zpool",
        &[
            "set",
            &format!("bootfs={}", machine.name("home")),
            &machine.pool,
        ],
    );
    let ran = machine.run(&["--json", "check", "old", "new"]);
    assert_eq!(ran.exit, 1);
    assert_eq!(
        found(&ran),
        [
            "error bootfs-names-no-environment machine",
            "warning mounted-by-others old",
            "warning hidden-files old",
        ]
    );
    let line = machine.run(&["check", "--nagios", "old"]);
    assert_eq!(
        (line.exit, line.stdout.as_str()),
        (
            2,
            "BE CRITICAL: bootfs-names-no-environment (machine), hidden-files (old), \
             mounted-by-others (old) | errors=1;;0 warnings=2;0 checked=1\n"
        )
    );
    let line = machine.run_on("nopool/ROOT", &["check", "--nagios"]);
    assert_eq!(line.exit, 3);
    assert!(line.stdout.starts_with("BE UNKNOWN: "), "{line:?}");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_environment_whose_key_is_not_there_is_not_looked_into() {
    let machine = Machine::new();
    let key = machine.directory().join("key");
    std::fs::write(&key, "12345678").unwrap();
    let location = format!("keylocation=file://{}", key.display());
    let settings = ["encryption=on", "keyformat=passphrase", &location];
    let settings: Vec<&str> = settings
        .into_iter()
        .chain(["mountpoint=/", "canmount=noauto"])
        .collect();
    machine.dataset("ROOT/enc", &settings);
    let enc = machine.name("ROOT/enc");
    machine.install("enc");
    let run = || found(&machine.run(&["--json", "check", "enc"]).succeeds());
    assert_eq!(run(), ["warning key-not-in-initramfs enc"]);
    sh("zfs", &["unload-key", &enc]);
    assert_eq!(run(), ["warning key-not-loaded enc"]);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_initramfs_has_to_have_the_hostid_of_the_machine() {
    let machine = Machine::new();
    let check = || found(&machine.run_inside("old", &["--json", "check", "old"]));
    let write = |in_initramfs: Option<u32>, in_etc: u32| {
        machine.with_mounted("old", |root| {
            std::fs::write(root.join("etc/hostid"), in_etc.to_ne_bytes()).unwrap();
            stand_in::write_boot(&open(&root.join("boot")), in_initramfs).unwrap();
        });
    };
    write(Some(0xabad_cafe), 0xabad_cafe);
    assert_eq!(check(), Vec::<String>::new());
    write(Some(0x0bad_cafe), 0xabad_cafe);
    assert_eq!(check(), ["error initramfs-other-hostid old"]);
    write(None, 0xabad_cafe);
    assert_eq!(check(), ["error initramfs-other-hostid old"]);
    // Outside, the hostid is that of a rescue system, and says nothing.
    let outside = machine.run(&["--json", "check", "old"]).succeeds();
    assert_eq!(found(&outside), Vec::<String>::new());
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn grub_reads_a_pool_made_for_it_and_no_other() {
    for (options, expected) in [
        (&["-o", "compatibility=grub2"][..], None),
        (&[], Some("warning grub-cannot-read-pool old")),
    ] {
        let machine = Machine::with_pool_options(options);
        machine.write("old", "boot/grub/grub.cfg", "");
        let ran = machine.run(&["--json", "check", "old"]).succeeds();
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(found(&ran), expected, "{options:?}");
        let said = ran.stdout.contains("head_errlog, vdev_zaps_v2");
        assert_eq!(said, !expected.is_empty(), "{ran:?}");
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_lab_s_own_kernel_and_initramfs_are_read() {
    let machine = Machine::new();
    let version = sh("uname", &["-r"]);
    let initramfs = format!("/boot/initrd.img-{version}");
    machine.with_mounted("old", |root| {
        std::fs::remove_dir_all(root.join("boot")).unwrap();
        std::fs::create_dir(root.join("boot")).unwrap();
        let modules = root.join("usr/lib/modules").join(&version);
        let module = "updates/dkms/zfs.ko.xz";
        std::fs::create_dir_all(modules.join("updates/dkms")).unwrap();
        for file in [module, "modules.dep", "modules.builtin"] {
            let from = format!("/usr/lib/modules/{version}/{file}");
            sh("cp", &["-p", &from, modules.join(file).to_str().unwrap()]);
        }
        for file in [&initramfs, &format!("/boot/vmlinuz-{version}")] {
            sh("cp", &["-p", file, root.join("boot").to_str().unwrap()]);
        }
    });
    let ran = machine.run(&["--json", "check", "old"]).succeeds();
    assert_eq!(found(&ran), Vec::<String>::new());
    // Cut off, as by a pool that was full.
    machine.with_mounted("old", |root| {
        let file = std::fs::File::options()
            .write(true)
            .open(root.join(&initramfs[1..]))
            .unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length / 4 * 3).unwrap();
    });
    machine.clone_of("old", "new");
    machine
        .run(&["activate", "new"])
        .fails(3, "initramfs-damaged");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn data_that_cannot_be_read_any_more_is_told() {
    let machine = Machine::with_disk(128 << 20, &["-O", "compression=off"]);
    let check = || found(&machine.run(&["--json", "check", "old"]));
    assert_eq!(check(), Vec::<String>::new());
    let pattern: Vec<u8> = (0..1_u32 << 16).flat_map(u32::to_le_bytes).collect();
    machine.with_mounted("old", |root| {
        std::fs::write(root.join("blob"), &pattern).unwrap();
    });
    sh("zpool", &["sync", &machine.pool]);
    let disk = machine.disk(&machine.pool);
    let mut bytes = std::fs::read(&disk).unwrap();
    let needle = &pattern[..4096];
    let mut damaged = 0;
    for at in (0..bytes.len() - needle.len()).step_by(512) {
        if bytes[at..].starts_with(needle) {
            bytes[at..at + needle.len()].fill(0xff);
            damaged += 1;
        }
    }
    assert!(damaged > 0, "the file is not on the disk");
    // In place: the pool is imported from this file.
    let file = std::fs::OpenOptions::new().write(true).open(&disk).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    drop(file);
    sh("zpool", &["scrub", "-w", &machine.pool]);
    assert_eq!(check(), ["warning pool-data-errors machine"]);
    let ran = machine.run(&["check", "old"]).succeeds();
    assert!(ran.stdout.contains("data errors"), "{}", ran.stdout);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_key_file_has_to_be_in_the_initramfs() {
    let machine = Machine::new();
    let key = machine.directory().join("key");
    std::fs::write(&key, [0x5a; 32]).unwrap();
    let location = format!("keylocation=file://{}", key.display());
    let settings = [
        "encryption=on",
        "keyformat=raw",
        &location,
        "canmount=noauto",
        "mountpoint=/",
    ];
    machine.dataset("ROOT/secret", &settings);
    machine.install("secret");
    let check = || found(&machine.run(&["--json", "check", "secret"]));
    assert_eq!(check(), ["warning key-not-in-initramfs secret"]);
    // The file's contents are no matter, only that it comes along.
    let module = format!("usr/lib/modules/{KERNEL}/extra/zfs.ko");
    let hostid = std::fs::read("/etc/hostid").unwrap_or_default();
    let inside = key.to_str().unwrap().trim_start_matches('/');
    let mut files: Vec<(&str, &[u8])> = vec![(&module, b""), (inside, b"")];
    if !hostid.is_empty() {
        files.push(("etc/hostid", &hostid));
    }
    machine.with_mounted("secret", |root| {
        let initramfs = root.join(format!("boot/initrd.img-{KERNEL}"));
        std::fs::write(initramfs, stand_in::cpio(&files)).unwrap();
    });
    assert_eq!(check(), Vec::<String>::new());
}
