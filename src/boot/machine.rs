//! The machine that the adapters are tried on: a simulated one, with a partition
//! and variables.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::AtomicBool;

use camino::{Utf8Path, Utf8PathBuf};

use super::BootState;
use super::watch::program_of;
use crate::check::{CONFIRMS, WANTED, stand_in};
use crate::execute::{Quiet, execute};
use crate::host::Host;
use crate::os::Platform as _;
use crate::plan::{Plan, Planned, activate, destroy, provisional, recover, rename};
use crate::survey::{Scope, Survey};
use crate::zfs::sim::{NewPool, Sim};
use crate::zfs::{DatasetName, Guid, Zfs as _};

pub(super) fn dataset(name: &str) -> DatasetName {
    format!("rpool/ROOT/{name}").parse().unwrap()
}

/// `debian` runs; `new` and `other` are there.
pub(super) struct Machine {
    pub(super) sim: Sim,
    pub(super) directory: Utf8PathBuf,
    _scratch: tempfile::TempDir,
}

impl Machine {
    pub(super) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(scratch.path()).unwrap().join("machine");
        let pool = NewPool {
            name: "rpool".parse().unwrap(),
            size: 1 << 30,
        };
        let sim = Sim::create(&directory, &[pool]).unwrap();
        let set = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect()
        };
        sim.create(
            &"rpool/ROOT".parse().unwrap(),
            &set(&[("canmount", "off"), ("mountpoint", "none")]),
        )
        .unwrap();
        for name in ["debian", "new", "other"] {
            let root = dataset(name);
            sim.create(&root, &set(&[("canmount", "noauto"), ("mountpoint", "/")]))
                .unwrap();
            sim.with_files(&root, true, &mut |dir| {
                stand_in::write_system(dir, None)?;
                let wants = format!("etc/systemd/system/{WANTED}");
                dir.create_dir_all(&wants)?;
                dir.create_dir_all("usr/lib/beadm-rs")?;
                let watch = program_of(&[object::elf::PT_LOAD]);
                dir.write("usr/lib/beadm-rs/watch", watch)?;
                dir.write(format!("etc/systemd/system/{CONFIRMS}"), "")?;
                dir.symlink_contents(
                    format!("/etc/systemd/system/{CONFIRMS}"),
                    format!("{wants}/{CONFIRMS}"),
                )
            })
            .unwrap();
        }
        sim.set_bootfs(&"rpool".parse().unwrap(), Some(&dataset("debian")))
            .unwrap();
        sim.reboot().unwrap();
        Self {
            sim,
            directory,
            _scratch: scratch,
        }
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn host(&self) -> Host {
        Host::of_simulation(self.sim.clone(), None)
    }

    pub(super) fn survey(&self) -> Survey {
        Survey::take(&self.host(), Scope::Change).unwrap()
    }

    pub(super) fn state(&self) -> BootState {
        self.survey().boot
    }

    pub(super) fn next(&self) -> Option<String> {
        Some(self.state().next?.leaf().to_owned())
    }

    pub(super) fn once(&self) -> Option<String> {
        Some(self.state().once?.leaf().to_owned())
    }

    pub(super) fn not_once(&self) -> Plan {
        provisional::plan_not_once(&self.survey(), self.host().loader.as_ref()).unwrap()
    }

    pub(super) fn plan(&self, act: &Act) -> Planned {
        let survey = self.survey();
        let host = self.host();
        let loader = host.loader.as_ref();
        let activated = |name: &str, once, no_trial| activate::Request {
            name: name.parse().unwrap(),
            once,
            no_trial,
        };
        match act {
            Act::Good(name) => activate::plan(&survey, loader, &activated(name, false, true)),
            Act::Trial(name) => activate::plan(&survey, loader, &activated(name, false, false)),
            Act::Once(name) => activate::plan(&survey, loader, &activated(name, true, false)),
            Act::Failback => activate::plan_failback(&survey, loader),
            Act::Destroy(name) => {
                let request = destroy::Request {
                    name: name.parse().unwrap(),
                    force: false,
                    origins: destroy::Origins::Own,
                };
                destroy::plan(&survey, loader, &request)
            }
            Act::Rename(old, new) => rename::plan(
                &survey,
                loader,
                &old.parse().unwrap(),
                &new.parse().unwrap(),
            ),
        }
    }

    pub(super) fn carry_out(&self, plan: &Plan) -> Result<(), String> {
        execute(&self.host(), plan, &Quiet, &AtomicBool::new(false))
            .map_err(|failure| failure.to_string())
    }

    /// Carries out a plan and stops it after so many changes; whether it came to its end.
    pub(super) fn stopped_after(&self, changes: u64, plan: &Plan) -> Result<(), String> {
        self.sim.fail_after(changes);
        let done = self.carry_out(plan);
        self.sim.resume();
        done
    }

    pub(super) fn act(&self, act: &Act) {
        let plan = self.plan(act).unwrap();
        self.carry_out(&plan).unwrap();
    }

    pub(super) fn refused(&self, act: &Act) -> String {
        let refusal = self.plan(act).unwrap_err();
        let remedy = refusal.remedy.clone().unwrap_or_default();
        format!("{refusal}; {remedy}")
    }

    pub(super) fn recover(&self) {
        let survey = self.survey();
        if let Some(plan) = recover::plan(&survey, self.host().loader.as_ref()).unwrap() {
            self.carry_out(&plan).unwrap();
        }
        assert_eq!(self.survey().intent(), None);
    }

    /// The files on the partition and what is in them.
    pub(super) fn files(&self) -> BTreeMap<String, String> {
        fn walk(from: &Utf8Path, root: &Utf8Path, files: &mut BTreeMap<String, String>) {
            for entry in from.read_dir_utf8().unwrap() {
                let path = entry.unwrap().into_path();
                if path.is_dir() {
                    walk(&path, root, files);
                } else {
                    let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                    files.insert(path.strip_prefix(root).unwrap().to_string(), text);
                }
            }
        }
        let root = self.directory.join("esp");
        let mut files = BTreeMap::new();
        walk(&root, &root, &mut files);
        files
    }

    pub(super) fn guid(&self, name: &str) -> Guid {
        self.survey().datasets[&dataset(name)].guid
    }

    /// A package changes what debian's initramfs is.
    pub(super) fn installs(&self, text: &str) {
        let work = &mut |dir: &cap_std_ext::cap_std::fs::Dir| {
            let boot = dir.open_dir("boot")?;
            let initramfs = boot
                .entries()?
                .filter_map(Result::ok)
                .map(|entry| entry.file_name())
                .find(|name| name.to_string_lossy().starts_with("initrd"))
                .unwrap();
            let mut bytes = boot.read(&initramfs)?;
            bytes.extend_from_slice(text.as_bytes());
            boot.write(&initramfs, bytes)
        };
        self.sim.with_files(&dataset("debian"), true, work).unwrap();
    }

    pub(super) fn kernel_updated(&self) -> Plan {
        activate::plan_kernel(&self.survey(), self.host().loader.as_ref()).unwrap()
    }
}

pub(super) enum Act {
    Good(&'static str),
    Trial(&'static str),
    Once(&'static str),
    Failback,
    Destroy(&'static str),
    Rename(&'static str, &'static str),
}

/// Whether everything that is said agrees.
pub(super) fn agrees(machine: &Machine, old: &str, new: &Act, told: &str) {
    let survey = machine.survey();
    let next = machine.next();
    let record = survey.trial().unwrap();
    let trial = survey
        .boot
        .trial
        .as_ref()
        .map(|trial| trial.dataset.leaf().to_owned());
    let pool = &survey.pools[&"rpool".parse().unwrap()];
    let bootfs = pool.bootfs.as_ref().map(|name| name.leaf().to_owned());
    let is_new = match new {
        Act::Good(name) => next.as_deref() == Some(*name),
        Act::Trial(name) => trial.as_deref() == Some(*name),
        Act::Once(name) => survey.boot.once == Some(dataset(name)),
        _ => false,
    };
    match (new, is_new) {
        (Act::Good(name), true) => {
            assert_eq!(bootfs.as_deref(), Some(*name), "{told}");
            assert_eq!(survey.last_good(), Some(machine.guid(name)), "{told}");
            assert_eq!(record, None, "{told}");
        }
        (Act::Trial(name), true) => {
            assert_eq!(next.as_deref(), Some(*name), "{told}");
            assert_eq!(record.unwrap().target, machine.guid(name), "{told}");
            assert_eq!(bootfs.as_deref(), Some(old), "{told}");
        }
        _ => {
            assert_eq!(next.as_deref(), Some(old), "{told}");
            assert_eq!(bootfs.as_deref(), Some(old), "{told}");
            assert_eq!(record, None, "{told}");
            assert_eq!(trial, None, "{told}");
        }
    }
}

/// Each activation stopped after each of its changes: one or the other boots,
/// and after a recovery everything agrees; `tidy` looks whether nothing is left.
pub(super) fn stopped_anywhere(make: fn() -> Machine, tidy: fn(&Machine, &str)) {
    for new in [Act::Good("new"), Act::Trial("new"), Act::Once("new")] {
        let mut stopped = 0;
        loop {
            let machine = make();
            if stopped % 2 == 1 {
                // Once with what was there before first, once with one of its own.
                machine.act(&Act::Good("debian"));
            }
            let plan = machine.plan(&new).unwrap();
            let done = machine.stopped_after(stopped, &plan);
            let meanwhile = machine.next().unwrap();
            assert!(
                ["debian", "new"].contains(&meanwhile.as_str()),
                "{meanwhile}"
            );
            machine.recover();
            let told = format!("stopped after {stopped}");
            agrees(&machine, "debian", &new, &told);
            tidy(&machine, &told);
            // Nothing is in the way of doing it again, or of the contrary.
            machine.act(&new);
            machine.act(&Act::Good("debian"));
            assert_eq!(machine.next().as_deref(), Some("debian"));
            if done.is_ok() {
                break;
            }
            stopped += 1;
        }
        assert!(stopped > 5, "{stopped}");
    }
}

/// What is activated for good, or once, stopped after each of its changes, with
/// something that boots once before it and without: one or the other holds after a
/// recovery. `tidy` looks at what is left.
pub(super) fn once_stopped_anywhere(make: fn() -> Machine, tidy: fn(&Machine, &str)) {
    for new in [Act::Good("new"), Act::Once("new")] {
        for before in [None, Some("other")] {
            for stopped in 0.. {
                let machine = make();
                if let Some(before) = before {
                    machine.act(&Act::Once(before));
                }
                let plan = machine.plan(&new).unwrap();
                let done = machine.stopped_after(stopped, &plan);
                machine.recover();
                let told = format!("stopped after {stopped} with {before:?}");
                let (next, once) = (machine.next(), machine.once());
                let there = (next.as_deref(), once.as_deref());
                let expected = match new {
                    Act::Good(_) => [(Some("debian"), before), (Some("new"), None)],
                    _ => [(Some("debian"), before), (Some("debian"), Some("new"))],
                };
                assert!(expected.contains(&there), "{told}: {there:?}");
                let confirmed = machine.survey().last_good();
                assert_eq!(
                    confirmed,
                    Some(machine.guid(next.as_deref().unwrap())),
                    "{told}"
                );
                tidy(&machine, &told);
                // Nothing is in the way of doing it again, or of the contrary.
                machine.act(&new);
                machine.act(&Act::Good("debian"));
                let now = (machine.next(), machine.once());
                assert_eq!(now, (Some("debian".to_owned()), None), "{told}");
                if done.is_ok() {
                    assert_eq!(there, expected[1], "{told}");
                    assert!(stopped > 2, "{told}");
                    break;
                }
            }
        }
    }
}

/// What is being tried boots next as what was activated for good does: which of
/// the two it is decides what a recovery does.
#[test]
fn what_is_tried_and_then_activated_is_tried_or_activated_wherever_it_is_stopped() {
    for make in [
        super::systemd_boot::tests::machine,
        super::grub::tests::machine,
    ] {
        for stopped in 0.. {
            let machine = make();
            machine.act(&Act::Good("debian"));
            machine.act(&Act::Trial("new"));
            let plan = machine.plan(&Act::Good("new")).unwrap();
            let done = machine.stopped_after(stopped, &plan);
            machine.recover();
            let survey = machine.survey();
            let tried = survey.boot.trial.is_some();
            let (old, new) = (machine.guid("debian"), machine.guid("new"));
            let good = if tried { old } else { new };
            assert_eq!(survey.boot.next, Some(dataset("new")), "{stopped}");
            assert_eq!(survey.last_good(), Some(good), "{stopped}");
            assert_eq!(survey.trial().unwrap().is_some(), tried, "{stopped}");
            if done.is_ok() {
                assert!(!tried && stopped > 5, "{stopped}");
                break;
            }
        }
    }
}
