//! Every finding: provoked on a sound environment by breaking one thing, so
//! that it alone is found.

use std::collections::BTreeSet;

use camino::Utf8Path;
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::{Dir, Permissions, PermissionsExt as _};

use super::finding::REGISTRY;
use super::stand_in::{self, KERNEL, cpio};
use super::{datasets, environment, grub, image, machine};
use crate::check::finding::Findings;
use crate::host::Host;
use crate::os::{Facts, Platform as _};
use crate::survey::{Scope, Survey};
use crate::zfs::sim::{NewPool, Sim};
use crate::zfs::{DatasetName, SyncOp, Zfs as _};

const HOSTID: u32 = 0x00c0_ffee;

/// A machine that runs `debian`, with `/usr` and `/boot` in datasets of their
/// own, beside another environment and a shared `/home`.
struct Stage {
    sim: Sim,
    scratch: tempfile::TempDir,
    facts: Facts,
    /// What is on the ESP, made when it is first written to.
    esp: Option<tempfile::TempDir>,
}

fn dataset(name: &str) -> DatasetName {
    name.parse().unwrap()
}

const ROOT: &str = "rpool/ROOT/debian";
const USR: &str = "rpool/ROOT/debian/usr";
const BOOT: &str = "bpool/BOOT/debian";

impl Stage {
    fn new() -> Self {
        let pools = ["bpool", "rpool"].map(|name| NewPool {
            name: name.parse().unwrap(),
            size: 1 << 30,
        });
        let scratch = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(scratch.path()).unwrap();
        let stage = Self {
            sim: Sim::create(&directory.join("machine"), &pools).unwrap(),
            scratch,
            facts: Facts {
                hostid: Some(HOSTID),
                ..Facts::default()
            },
            esp: None,
        };
        for (name, mountpoint, canmount) in [
            ("rpool/ROOT", "none", "off"),
            ("bpool/BOOT", "none", "off"),
            (ROOT, "/", "noauto"),
            (USR, "/usr", "noauto"),
            (BOOT, "/boot", "noauto"),
            ("rpool/ROOT/other", "/", "noauto"),
            ("rpool/home", "/home", "on"),
        ] {
            let settings = [("mountpoint", mountpoint), ("canmount", canmount)];
            let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
            stage.sim.create(&dataset(name), &settings).unwrap();
        }
        stage.with(ROOT, |root| {
            stand_in::write_root(root, Some(HOSTID)).unwrap();
            root.remove_dir_all("usr").unwrap();
            root.create_dir("usr").unwrap();
            root.create_dir("home").unwrap();
        });
        stage.with(USR, |usr| {
            let scratch = tempfile::tempdir().unwrap();
            let whole = Dir::open_ambient_dir(scratch.path(), ambient_authority()).unwrap();
            stand_in::write_root(&whole, Some(HOSTID)).unwrap();
            copy(&whole.open_dir("usr").unwrap(), usr);
            usr.create_dir_all("lib/systemd").unwrap();
            usr.write("lib/systemd/systemd", "").unwrap();
        });
        stage.with(BOOT, |boot| {
            stand_in::write_boot(boot, Some(HOSTID)).unwrap()
        });
        let pool = "rpool".parse().unwrap();
        stage.sim.set_bootfs(&pool, Some(&dataset(ROOT))).unwrap();
        stage.sim.reboot().unwrap();
        stage
    }

    fn with(&self, name: &str, work: impl FnOnce(&Dir) + Send) {
        let mut work = Some(work);
        self.sim
            .with_files(&dataset(name), true, &mut |dir| {
                if let Some(work) = work.take() {
                    work(dir);
                }
                Ok(())
            })
            .unwrap();
    }

    fn write(&self, name: &str, path: &str, contents: impl AsRef<[u8]>) {
        self.sim.write_file(&dataset(name), path, contents).unwrap();
    }

    fn remove(&self, name: &str, path: &str) {
        self.with(name, |dir| dir.remove_file(path).unwrap());
    }

    fn initramfs(&self, contents: impl AsRef<[u8]>) {
        self.write(BOOT, &format!("initrd.img-{KERNEL}"), contents);
    }

    fn set(&self, name: &str, property: &str, value: &str) {
        let name = dataset(name);
        self.sim
            .edit(|edit| edit.property(&name, property, value, false))
            .unwrap();
    }

    fn mark(&self, object: &str, key: &str, text: &str) {
        let mark = SyncOp::Mark {
            object: object.to_owned(),
            key: key.to_owned(),
            text: text.to_owned(),
        };
        self.sim
            .transact(&"rpool".parse().unwrap(), &[mark])
            .unwrap();
    }

    /// Puts a file on an ESP that is mounted on /efi.
    fn on_esp(&mut self, path: &str, contents: &[u8]) {
        let esp = self.esp.get_or_insert_with(|| tempfile::tempdir().unwrap());
        let path = esp.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
        let dir = Dir::open_ambient_dir(esp.path(), ambient_authority()).unwrap();
        self.facts.boot = vec![("efi".into(), dir)];
    }

    /// What the kernel was started with.
    fn command_line(&self, text: &str) {
        std::fs::write(self.scratch.path().join("machine/cmdline"), text).unwrap();
    }

    fn without_kernels(&self) {
        self.remove(BOOT, &format!("vmlinuz-{KERNEL}"));
        self.remove(BOOT, &format!("initrd.img-{KERNEL}"));
    }

    fn found(&self) -> Vec<super::Finding> {
        let host = Host::of_simulation(self.sim.clone(), None);
        let survey = Survey::take(&host, Scope::Names).unwrap();
        let mut found = machine(&host, &survey);
        let debian = survey.environment(&"debian".parse().unwrap()).unwrap();
        found.extend(environment(&host, &survey, &debian, &self.facts));
        found
    }
}

fn copy(from: &Dir, to: &Dir) {
    for entry in from.entries().unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if entry.file_type().unwrap().is_dir() {
            to.create_dir_all(&name).unwrap();
            copy(&entry.open_dir().unwrap(), &to.open_dir(&name).unwrap());
        } else {
            from.copy(&name, to, &name).unwrap();
        }
    }
}

fn archive(extra: &[(&str, &[u8])]) -> Vec<u8> {
    let module = format!("usr/lib/modules/{KERNEL}/extra/zfs.ko");
    let mut files: Vec<(&str, &[u8])> = vec![(&module, b"")];
    files.extend(extra);
    cpio(&files)
}

/// Has no kernels but unified images of this environment, each a version and
/// an initramfs.
fn unified(stage: &mut Stage, images: &[(&str, &[u8])]) {
    stage.without_kernels();
    for (version, initramfs) in images {
        let mut sections: Vec<(&str, &[u8])> = vec![(".cmdline", b"root=zfs:AUTO")];
        if !version.is_empty() {
            sections.push((".uname", version.as_bytes()));
        }
        sections.push((".initrd", initramfs));
        let image = image::example(&sections, false);
        stage.on_esp(&format!("EFI/Linux/a{version}.efi"), &image);
    }
}

/// Has an initramfs that dracut made.
fn dracut(stage: &mut Stage) {
    let hostid = HOSTID.to_ne_bytes();
    stage.initramfs(archive(&[
        ("etc/hostid", &hostid),
        ("usr/lib/dracut/build-parameter.txt", b""),
    ]));
}

/// Has the root's key in such a place.
fn key_in(stage: &Stage, location: &str) {
    let root = dataset(ROOT);
    stage
        .sim
        .edit(|edit| edit.encryption(&root, Some(&root), true))
        .unwrap();
    let location = [("keylocation".to_owned(), location.to_owned())];
    stage.sim.set(&root, &location).unwrap();
}

type Breaking = fn(&mut Stage);

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

fn names(found: &[super::Finding]) -> BTreeSet<&'static str> {
    found.iter().map(|finding| finding.name).collect()
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
    super::mirrors(&["/boot/efi2".into()], &mut found);
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

#[test]
fn kernels_are_found_where_distributions_put_them() {
    let initramfs = archive(&[("etc/hostid", &HOSTID.to_ne_bytes())]);
    let layouts: [(&str, &[&str], &str); 6] = [
        ("Debian", &[], "initrd.img-6.12.0-stand-in"),
        (
            "Void",
            &["vmlinuz-6.12.0-stand-in"],
            "initramfs-6.12.0-stand-in.img",
        ),
        (
            "openSUSE",
            &["vmlinuz-6.12.0-stand-in"],
            "initrd-6.12.0-stand-in",
        ),
        ("Arch", &["vmlinuz-linux"], "initramfs-linux.img"),
        ("Alpine", &["vmlinuz-in"], "initramfs-in"),
        (
            "kernel-install",
            &["0123/6.12.0-stand-in/linux"],
            "0123/6.12.0-stand-in/initrd",
        ),
    ];
    for (system, kernels, image) in layouts {
        let stage = Stage::new();
        if !kernels.is_empty() {
            stage.without_kernels();
        }
        for kernel in kernels {
            stage.write(BOOT, kernel, "");
        }
        stage.write(USR, &format!("lib/modules/{KERNEL}/pkgbase"), "linux\n");
        stage.write(BOOT, image, &initramfs);
        assert_eq!(stage.found(), [], "{system}");
    }
}

#[test]
fn a_kernel_on_the_esp_is_one() {
    let mut stage = Stage::new();
    stage.without_kernels();
    stage.on_esp(&format!("token/{KERNEL}/linux"), b"");
    assert_eq!(names(&stage.found()), BTreeSet::from(["initramfs-missing"]));
    let initramfs = archive(&[("etc/hostid", &HOSTID.to_ne_bytes())]);
    stage.on_esp(&format!("token/{KERNEL}/initrd"), &initramfs);
    assert_eq!(stage.found(), []);
    // And one of this environment in a unified image beside others'.
    let mut stage = Stage::new();
    stage.without_kernels();
    for (name, root) in [("a", "other"), ("b", "debian")] {
        let line = format!("root=zfs:rpool/ROOT/{root}");
        let image = image::example(&[(".cmdline", line.as_bytes())], false);
        stage.on_esp(&format!("EFI/Linux/{name}.efi"), &image);
    }
    assert_eq!(stage.found(), []);
}

#[test]
fn a_unified_image_is_whole_with_its_initramfs() {
    let mut stage = Stage::new();
    let good = archive(&[("etc/hostid", &HOSTID.to_ne_bytes())]);
    unified(&mut stage, &[(KERNEL, &good), ("5.9", &[])]);
    assert_eq!(stage.found(), []);
    let mut stage = Stage::new();
    unified(&mut stage, &[("", &good)]);
    assert_eq!(stage.found(), []);
}

#[test]
fn with_boot_in_its_root_it_is_no_matter_that_zfsbootmenu_starts_it() {
    let mut stage = Stage::new();
    stage.on_esp("EFI/zbm/vmlinuz.EFI", b"");
    stage.facts.command_line = "BOOT_IMAGE=/vmlinuz root=ZFS=rpool/ROOT/debian".to_owned();
    // It is there, and GRUB started this kernel.
    assert_eq!(stage.found(), []);
    stage.facts.command_line = "root=zfs:rpool/ROOT/debian".to_owned();
    assert!(names(&stage.found()).contains("zfsbootmenu-no-kernel"));
    stage.set(BOOT, "canmount", "off");
    stage.with(ROOT, |root| {
        root.create_dir_all("boot").unwrap();
        let boot = root.open_dir("boot").unwrap();
        stand_in::write_boot(&boot, Some(HOSTID)).unwrap();
    });
    assert_eq!(stage.found(), []);
}

#[test]
fn what_fstab_mounts_need_not_be_mounted_by_the_initramfs() {
    let mut stage = Stage::new();
    dracut(&mut stage);
    stage.write(ROOT, "etc/fstab", format!("{USR} /usr zfs zfsutil 0 0\n"));
    assert_eq!(stage.found(), []);
    for (line, mounted) in [("zfsutil,noauto", false), ("defaults", true)] {
        let line = format!("{USR} /usr zfs {line} 0 0\n");
        stage.write(ROOT, "etc/fstab", line);
        assert_eq!(stage.found().is_empty(), mounted);
    }
    let mut stage = Stage::new();
    dracut(&mut stage);
    stage.write(ROOT, "etc/systemd/system/usr.mount", "");
    assert_eq!(stage.found(), []);
    let mut stage = Stage::new();
    dracut(&mut stage);
    stage.set(USR, "canmount", "off");
    assert!(!names(&stage.found()).contains("children-not-mounted"));
}

#[test]
fn what_the_generator_or_the_module_mounts_is_no_matter() {
    let make = |stage: &Stage, name: &str, place: &str| {
        let settings = [("mountpoint", place), ("canmount", "noauto")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        stage.sim.create(&dataset(name), &settings).unwrap();
    };
    // The generator itself lies in what would have to be mounted.
    let mut stage = Stage::new();
    dracut(&mut stage);
    stage.with(USR, |usr| {
        usr.create_dir_all("lib/systemd/system-generators").unwrap();
        let at = "lib/systemd/system-generators/beadm-rs-generator";
        usr.write(at, "").unwrap();
        usr.set_permissions(at, Permissions::from_mode(0o755))
            .unwrap();
    });
    assert!(names(&stage.found()).contains("children-not-mounted"));
    // What init does not need is mounted by it.
    stage.set(USR, "canmount", "on");
    make(&stage, "rpool/ROOT/debian/usr/local", "/usr/local");
    make(&stage, "rpool/ROOT/debian/var", "/var");
    let found = names(&stage.found());
    assert!(!found.contains("children-not-mounted"), "{found:?}");
    make(&stage, "rpool/ROOT/debian/etc", "/etc/ssl");
    let found = stage.found();
    let found: Vec<&str> = found
        .iter()
        .filter(|finding| finding.name == "children-not-mounted")
        .map(|finding| finding.what.as_str())
        .collect();
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("does not mount rpool/ROOT/debian/etc (canmount=noauto)"));
    // The module mounts all.
    let stage = Stage::new();
    stage.initramfs(archive(&[
        ("etc/hostid", &HOSTID.to_ne_bytes()),
        ("usr/lib/dracut/build-parameter.txt", b""),
        ("var/lib/dracut/hooks/mount/99-beadm-rs-children.sh", b""),
    ]));
    assert_eq!(stage.found(), []);
}

#[test]
fn a_key_that_is_typed_or_taken_along_is_no_matter() {
    let stage = Stage::new();
    key_in(&stage, "prompt");
    assert_eq!(stage.found(), []);
    let stage = Stage::new();
    key_in(&stage, "file:///etc/zfs/key");
    let hostid = HOSTID.to_ne_bytes();
    stage.initramfs(archive(&[("etc/hostid", &hostid), ("etc/zfs/key", b"k")]));
    assert_eq!(stage.found(), []);
}

#[test]
fn a_hostid_that_the_command_line_overrides_is_no_matter() {
    let mut stage = Stage::new();
    stage.initramfs(archive(&[]));
    stage.facts.command_line = "root=zfs:AUTO spl.spl_hostid=0x00c0ffee".to_owned();
    assert_eq!(stage.found(), []);
}

#[test]
fn what_does_not_start_what_runs_by_its_name_is_no_matter() {
    for text in [
        "BOOT_IMAGE=/vmlinuz root=zfs:AUTO",
        "BOOT_IMAGE=/vmlinuz root=ZFS=rpool/ROOT/other",
        "root=ZFS=rpool/ROOT/debian",
    ] {
        let stage = Stage::new();
        stage.command_line(text);
        assert_eq!(stage.found(), [], "{text}");
    }
}

#[test]
fn what_a_preflight_stops_depends_on_the_direction() {
    use crate::plan::activate::{Preflight, preflight};
    let broken = |breaking: Breaking| {
        let mut stage = Stage::new();
        breaking(&mut stage);
        stage.found()
    };
    let sound = preflight("debian", &[], Preflight::Forward);
    assert_eq!(sound, Ok(Vec::new()));
    let warned = broken(|stage| stage.remove(ROOT, "etc/machine-id"));
    for direction in [Preflight::Forward, Preflight::Back] {
        let notes = preflight("debian", &warned, direction).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].starts_with("warning machine-id-absent in debian: "),
            "{notes:?}"
        );
    }
    let initless = broken(|stage| stage.remove(USR, "sbin/init"));
    let refusal = preflight("debian", &initless, Preflight::Forward).unwrap_err();
    assert!(
        refusal
            .reason
            .starts_with("debian would not boot: init-missing: "),
        "{refusal:?}"
    );
    assert!(
        refusal
            .remedy
            .unwrap()
            .contains("activate debian --no-check")
    );
    assert_eq!(
        preflight("debian", &initless, Preflight::Back)
            .unwrap()
            .len(),
        1
    );
    let kernelless = broken(|stage| stage.without_kernels());
    for direction in [Preflight::Forward, Preflight::Back] {
        preflight("debian", &kernelless, direction).unwrap_err();
    }
    // What is worth knowing is no matter for an activation.
    let empty = broken(|stage| stage.write(ROOT, "etc/machine-id", ""));
    assert_eq!(
        preflight("debian", &empty, Preflight::Forward),
        Ok(Vec::new())
    );
}
