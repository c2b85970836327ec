//! Each finding, and what is broken for it.

use super::*;
use crate::check::mirrors;

/// Has a shared dataset, mail in it now or before, and a link or a directory there.
fn shares(stage: &Stage, list: &str, linked: bool) {
    let share = dataset("rpool/VARSHARE");
    let settings = [("mountpoint".to_owned(), "/var/share".to_owned())];
    stage.sim.create(&share, &settings).unwrap();
    let entry = r#"{"path":"/var/mail","name":"mail","form":"link","at":"2023-11-14T22:13:20Z","id":"0000000000000abc"}"#;
    let record = match list {
        "shared" => format!(r#"{{"v":1,"shared":[{entry}]}}"#),
        _ => format!(r#"{{"v":1,"shared":[],"removed":[{entry}]}}"#),
    };
    stage.mark(share.as_str(), "share", &record);
    stage.with(ROOT, |root| {
        root.create_dir_all("var/share").unwrap();
        if linked {
            root.symlink_contents("share/mail", "var/mail").unwrap();
        } else {
            root.create_dir_all("var/mail").unwrap();
            root.write("var/mail/alice", "own").unwrap();
        }
    });
    stage.sim.reboot().unwrap();
}

/// What is found, and how it comes about. The first name is what the case is
/// about; the others follow from it.
const CASES: &[(&[&str], Breaking)] = &[
    (&["bootfs-names-no-environment"], |stage| {
        stage
            .sim
            .set_bootfs(&"rpool".parse().unwrap(), None)
            .unwrap();
    }),
    (&["bootfs-names-no-environment"], |stage| {
        let home = dataset("rpool/home");
        stage
            .sim
            .set_bootfs(&"rpool".parse().unwrap(), Some(&home))
            .unwrap();
    }),
    // /boot is in another dataset.
    (&["zfsbootmenu-no-kernel"], |stage| {
        stage.on_esp("EFI/ZBM/VMLINUZ.EFI", b"");
    }),
    (&["zfsbootmenu-hidden", "zfsbootmenu-no-kernel"], |stage| {
        stage.on_esp("EFI/zbm/vmlinuz.EFI", b"");
        stage.set("rpool/ROOT", "org.zfsbootmenu:active", "off");
    }),
    (&["pool-unavailable"], |stage| health(stage, "SUSPENDED")),
    (&["pool-degraded"], |stage| health(stage, "DEGRADED")),
    (&["pool-nearly-full"], |stage| {
        stage.write("rpool/home", "filler", vec![1; 1 << 20]);
        let pool = "rpool".parse().unwrap();
        stage
            .sim
            .edit(|edit| edit.pool_size(&pool, 1_150_000))
            .unwrap();
    }),
    (&["last-good-gone"], |stage| {
        stage.mark("rpool/ROOT", "confirmed", "12345")
    }),
    (&["failback-gone"], |stage| {
        stage.mark(ROOT, "failback", "12345")
    }),
    (&["shared-path-own"], |stage| shares(stage, "shared", false)),
    (&["shared-path-stale"], |stage| {
        shares(stage, "removed", true)
    }),
    (&["unfinished-operation"], |stage| {
        stage.mark("rpool/ROOT", "op", "{}")
    }),
    (&["grub-not-taken-over"], |stage| {
        let line = format!("BOOT_IMAGE=/ROOT/debian@/boot/vmlinuz root=ZFS={ROOT} ro");
        stage.command_line(&line);
    }),
    (&["loader-files-damaged"], |stage| {
        let line = format!("BOOT_IMAGE=(hd0,gpt1)/x root=ZFS={ROOT} ro");
        stage.command_line(&line);
        let esp = stage.scratch.path().join("machine/esp");
        std::fs::create_dir_all(esp.join("grub")).unwrap();
        std::fs::create_dir_all(esp.join("beadm-rs")).unwrap();
        std::fs::write(esp.join("grub/custom.cfg"), crate::boot::grub::stub::text()).unwrap();
        std::fs::write(esp.join("grub/grub.cfg"), "source $prefix/custom.cfg\n").unwrap();
        std::fs::write(esp.join("beadm-rs/grubenv"), "nonsense").unwrap();
    }),
    (&["property-not-understood"], |stage| {
        stage.mark(ROOT, "pinned", "a\tb")
    }),
    (&["property-not-understood"], |stage| {
        stage.mark(ROOT, "failback", "rubbish")
    }),
    (
        &["unfinished-environment", "unfinished-operation"],
        |stage| {
            stage.mark(
            "rpool/ROOT",
            "op",
            r#"{"v":1,"id":"0123456789abcdef","at":"2026-01-01T00:00:00Z","op":"rollback","root":"rpool/ROOT/debian","snapshot":"x"}"#,
        );
        },
    ),
    (&["root-mountpoint"], |stage| {
        stage.set(ROOT, "mountpoint", "none")
    }),
    (&["root-canmount-off"], |stage| {
        stage.set(ROOT, "canmount", "off")
    }),
    (&["incomplete-receive"], |stage| {
        let usr = dataset(USR);
        stage.sim.edit(|edit| edit.receiving(&usr, true)).unwrap();
    }),
    (&["mounted-by-others"], |stage| {
        stage.set(USR, "canmount", "on")
    }),
    (&["key-not-loaded"], |stage| {
        let usr = dataset(USR);
        stage
            .sim
            .edit(|edit| edit.encryption(&usr, Some(&usr), false))
            .unwrap();
        // Nothing of what is in it is guessed at.
        stage.remove(ROOT, "etc/machine-id");
    }),
    (&["clone-of-another"], |stage| {
        let snapshot = "rpool/ROOT/other@s";
        let other = SyncOp::Snapshot {
            snapshot: snapshot.parse().unwrap(),
        };
        stage
            .sim
            .transact(&"rpool".parse().unwrap(), &[other])
            .unwrap();
        let clone = crate::zfs::CloneOf {
            snapshot: snapshot.parse().unwrap(),
            target: dataset("rpool/ROOT/debian/srv"),
            settings: vec![("canmount".to_owned(), "noauto".to_owned())],
        };
        stage.sim.clone_all(&[clone]).unwrap();
    }),
    (&["files-unreadable", "kernel-missing"], |stage| {
        stage.with(BOOT, |boot| {
            let name = format!("vmlinuz-{KERNEL}");
            boot.remove_file(&name).unwrap();
            boot.symlink(format!("{}/x", "long".repeat(80)), name)
                .unwrap();
        });
    }),
    (&["kernel-missing"], |stage| stage.without_kernels()),
    (&["kernel-missing"], |stage| {
        // On an ESP that has others' kernels alone.
        stage.without_kernels();
        stage.on_esp("EFI/BOOT/BOOTX64.EFI", b"MZ");
    }),
    (&["layout-unknown"], |stage| {
        stage.write(ROOT, "etc/NIXOS", "");
        stage.without_kernels();
        stage.remove(USR, "sbin/init");
    }),
    (&["boot-not-visible"], |stage| {
        stage.without_kernels();
        stage.write(ROOT, "etc/fstab", "LABEL=efi /efi vfat noauto 0 0\n");
    }),
    (
        &[
            "kernel-without-modules",
            "initramfs-without-zfs",
            "zfs-module-missing",
        ],
        |stage| {
            for name in ["modules.dep", "extra/zfs.ko"] {
                stage.remove(USR, &format!("lib/modules/{KERNEL}/{name}"));
            }
            stage.initramfs(cpio(&[("etc/hostid", &HOSTID.to_ne_bytes())]));
        },
    ),
    (&["initramfs-missing"], |stage| {
        stage.remove(BOOT, &format!("initrd.img-{KERNEL}"));
    }),
    (&["initramfs-missing"], |stage| {
        // Of the newest, which an upgrade left half installed.
        stage.write(BOOT, "vmlinuz-6.13.0", "");
        stage.write(USR, "lib/modules/6.13.0/modules.dep", "");
    }),
    (&["initramfs-damaged"], |stage| {
        let whole = archive(&[("etc/hostid", &HOSTID.to_ne_bytes())]);
        stage.initramfs(&whole[..whole.len() - 20]);
    }),
    (&["initramfs-damaged"], |stage| stage.initramfs("")),
    (&["initramfs-opaque"], |stage| stage.initramfs("BZh91AY&SY")),
    (&["initramfs-without-zfs"], |stage| {
        let module: (&str, &[u8]) = ("lib/modules/5.0/extra/zfs.ko", b"");
        stage.initramfs(cpio(&[module, ("etc/hostid", &HOSTID.to_ne_bytes())]));
    }),
    (&["initramfs-other-hostid"], |stage| {
        stage.initramfs(archive(&[]))
    }),
    (&["initramfs-other-hostid"], |stage| {
        stage.initramfs(archive(&[("etc/hostid", b"abcd")]));
    }),
    (&["initramfs-stale-cache"], |stage| {
        stage.initramfs(archive(&[
            ("etc/hostid", &HOSTID.to_ne_bytes()),
            ("etc/zfs/zpool.cache", b"of another pool"),
        ]));
    }),
    (&["initramfs-outdated"], |stage| {
        stage.with(USR, |usr| {
            let file = usr
                .open(format!("lib/modules/{KERNEL}/extra/zfs.ko"))
                .unwrap();
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
            file.into_std().set_modified(later).unwrap();
        });
    }),
    (&["zfs-module-missing"], |stage| {
        stage.write(USR, &format!("lib/modules/{KERNEL}/modules.dep"), "");
    }),
    (&["older-kernel-incomplete"], |stage| {
        stage.write(BOOT, "vmlinuz-5.0", "")
    }),
    (&["kernel-copy-differs"], |stage| {
        stage.on_esp(&format!("token/{KERNEL}/linux"), b"another");
        stage.on_esp(&format!("token/{KERNEL}/initrd"), b"");
    }),
    (&["unified-image-other-root"], |stage| {
        stage.without_kernels();
        let image = image::example(&[(".cmdline", b"root=ZFS=rpool/ROOT/other ro")], false);
        stage.on_esp("EFI/Linux/system.efi", &image);
    }),
    (&["initramfs-without-zfs"], |stage| {
        // Of the newest unified image of this environment.
        let good = archive(&[("etc/hostid", &HOSTID.to_ne_bytes())]);
        let bad = cpio(&[("etc/hostid", &HOSTID.to_ne_bytes())]);
        unified(stage, &[("5.9", &good), (KERNEL, &bad)]);
    }),
    (&["initramfs-without-zfs"], |stage| {
        let bad = cpio(&[("etc/hostid", &HOSTID.to_ne_bytes())]);
        unified(stage, &[("", &bad)]);
    }),
    (&["initramfs-damaged"], |stage| {
        let whole = archive(&[("etc/hostid", &HOSTID.to_ne_bytes())]);
        unified(stage, &[(KERNEL, &whole[..whole.len() - 20])]);
    }),
    (&["initramfs-other-hostid"], |stage| {
        unified(stage, &[(KERNEL, &archive(&[]))]);
    }),
    (&["children-not-mounted"], dracut),
    (&["kernels-outside"], |stage| {
        stage.write(ROOT, "etc/kernel/proxmox-boot-uuids", "1234-ABCD\n");
    }),
    (&["key-not-in-initramfs"], |stage| {
        key_in(stage, "file:///etc/zfs/key");
    }),
    (&["kernel-unsigned"], |stage| {
        stage.facts.secure_boot = true;
        stage.write(
            BOOT,
            &format!("vmlinuz-{KERNEL}"),
            image::example(&[], false),
        );
    }),
    (&["kernel-unsigned"], |stage| {
        stage.facts.secure_boot = true;
        stage.without_kernels();
        stage.on_esp(
            "EFI/Linux/system.efi",
            &image::example(&[(".cmdline", b"root=zfs:AUTO")], false),
        );
    }),
    (&["init-missing"], |stage| stage.remove(USR, "sbin/init")),
    (&["init-missing"], |stage| {
        stage.with(USR, |usr| {
            usr.set_permissions("sbin/init", Permissions::from_mode(0o644))
                .unwrap();
        });
    }),
    (&["init-missing"], |stage| {
        // It leads out: there is one on this machine.
        stage.with(USR, |usr| {
            usr.remove_file("sbin/init").unwrap();
            usr.symlink_contents("/bin/sh", "sbin/init").unwrap();
        });
    }),
    (&["other-hostid"], |stage| {
        stage.write(ROOT, "etc/hostid", b"abcd")
    }),
    (&["machine-id-absent"], |stage| {
        stage.remove(ROOT, "etc/machine-id")
    }),
    (&["machine-id-uninitialized"], |stage| {
        stage.write(ROOT, "etc/machine-id", "uninitialized\n");
    }),
    (&["machine-id-empty"], |stage| {
        stage.write(ROOT, "etc/machine-id", "")
    }),
    (&["program-absent"], |stage| {
        stage.remove(USR, "sbin/beadm-rs")
    }),
    (&["fstab-other-root"], |stage| {
        stage.write(ROOT, "etc/fstab", "rpool/ROOT/other / zfs defaults 0 0\n");
    }),
    (&["fstab-other-root"], |stage| {
        stage.write(ROOT, "etc/fstab", "UUID=1234 / ext4 defaults 0 1\n");
    }),
    (&["fstab-other-environment"], |stage| {
        stage.write(
            ROOT,
            "etc/fstab",
            "rpool/ROOT/other/var /var zfs nofail 0 0\n",
        );
    }),
    (&["fstab-other-environment"], |stage| {
        stage.write(
            ROOT,
            "etc/fstab",
            "bpool/BOOT/gone /boot zfs defaults 0 0\n",
        );
    }),
    (&["fstab-missing-dataset"], |stage| {
        stage.write(
            ROOT,
            "etc/fstab",
            "rpool/ROOT/debian/srv /srv zfs defaults 0 0\n",
        );
    }),
    (&["crypttab-other-environment"], |stage| {
        stage.write(
            ROOT,
            "etc/crypttab",
            "# x\nswap /dev/zvol/rpool/ROOT/other/swap /dev/urandom\n",
        );
    }),
    (&["resume-other-environment"], |stage| {
        stage.write(
            ROOT,
            "etc/initramfs-tools/conf.d/resume",
            "RESUME=/dev/zvol/rpool/ROOT/other/swap\n",
        );
    }),
    (&["resume-other-environment"], |stage| {
        let text = "root=zfs:AUTO resume=/dev/zvol/rpool/ROOT/other/swap\n";
        stage.write(ROOT, "etc/kernel/cmdline", text);
    }),
    (&["command-line-other-root"], |stage| {
        let text = "GRUB_CMDLINE_LINUX=\"root=ZFS=rpool/ROOT/other\"\n";
        stage.write(ROOT, "etc/default/grub", text);
    }),
    (&["hidden-files"], |stage| {
        stage.write(ROOT, "home/somebody/file", "")
    }),
    (&["hidden-files"], |stage| {
        stage.write(ROOT, "usr/bin/old", "")
    }),
];

fn health(stage: &mut Stage, health: &str) {
    let pool = "bpool".parse().unwrap();
    stage
        .sim
        .edit(|edit| edit.pool_health(&pool, health))
        .unwrap();
}

#[test]
fn nothing_is_found_in_a_sound_environment() {
    assert_eq!(Stage::new().found(), []);
}

#[test]
fn each_broken_thing_is_found_and_nothing_else() {
    for (index, (expected, breaking)) in CASES.iter().enumerate() {
        let mut stage = Stage::new();
        breaking(&mut stage);
        let found = stage.found();
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        assert_eq!(names(&found), expected, "case {index}: {found:#?}");
    }
}

#[test]
fn every_finding_there_is_has_a_case() {
    let mut provoked: BTreeSet<&str> = CASES
        .iter()
        .filter_map(|(names, _)| names.first().copied())
        .collect();
    // A simulated pool has no features.
    let mut found = Findings::about(None);
    grub::findings(
        &"rpool".parse().unwrap(),
        &["head_errlog".to_owned()],
        &mut found,
    );
    // Nor does it lose data.
    let pool = "rpool".parse().unwrap();
    datasets::data_errors(&pool, None, &mut found);
    datasets::data_errors(&pool, Some("1 data errors"), &mut found);
    // Nor has its loader a second partition.
    mirrors(&["/boot/efi2".into()], &mut found);
    assert_eq!(found.list.len(), 3);
    provoked.extend(names(&found.list));
    let all: BTreeSet<&str> = REGISTRY.iter().map(|definition| definition.name).collect();
    assert_eq!(provoked, all);
}

#[test]
fn names_are_unique_and_made_of_small_letters() {
    let names: BTreeSet<&str> = REGISTRY.iter().map(|definition| definition.name).collect();
    assert_eq!(names.len(), REGISTRY.len());
    for name in names {
        let fits = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        assert!(fits, "{name}");
    }
}
