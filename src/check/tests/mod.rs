//! Every finding: provoked on a sound environment by breaking one thing, so
//! that it alone is found.

mod cases;
mod no_matter;

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

fn names(found: &[super::Finding]) -> BTreeSet<&'static str> {
    found.iter().map(|finding| finding.name).collect()
}

type Breaking = fn(&mut Stage);
