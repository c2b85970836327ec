//! Trials: confirmed, rejected, and what a boot notices. The simulated loader
//! counts nothing, so the tests set the records and choose what boots, as a
//! loader that counts would.

use std::fs;
use std::sync::atomic::AtomicBool;

use beadm_rs::execute::{Quiet, execute};
use beadm_rs::host::Host;
use beadm_rs::plan::confirm;
use beadm_rs::survey::{Scope, Survey, Trial};
use beadm_rs::zfs::{SyncOp, Zfs as _};

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

fn mark(machine: &Machine, key: &str, text: &str) {
    let mark = SyncOp::Mark {
        object: "rpool/ROOT".to_owned(),
        key: key.to_owned(),
        text: text.to_owned(),
    };
    let rpool = dataset("rpool/ROOT").pool();
    machine.sim.transact(&rpool, &[mark]).unwrap();
}

fn survey(machine: &Machine) -> Survey {
    let host = Host::of_simulation(machine.sim.clone(), None);
    Survey::take(&host, Scope::Names).unwrap()
}

/// What activation with a loader that counts leaves.
fn on_trial(machine: &Machine, name: &str, tries: u32) {
    let survey = survey(machine);
    let guid = |name: &str| survey.environment(&name.parse().unwrap()).unwrap().guid();
    let trial = Trial {
        target: guid(name),
        back: survey.running().unwrap().guid(),
        tries,
        since: survey.now,
    };
    mark(machine, "trial", &trial.encode());
}

fn boots(machine: &Machine, name: &str) {
    let root = dataset(&format!("rpool/ROOT/{name}"));
    machine.sim.reboot_into(&root).unwrap();
}

#[test]
fn a_trial_that_works_is_confirmed() {
    Transcript::on(Machine::with_one_pool())
        .note("Nothing is tried, and this machine has no records: nothing happens.")
        .run("boot")
        .run("confirm")
        .run("confirm --reject")
        .run("create new")
        .run("activate debian")
        .run("boot")
        .then("new is to be tried.", |machine| on_trial(machine, "new", 3))
        .run("status")
        .note("Here is not the place to confirm it.")
        .run("confirm")
        .then("The machine starts new.", |machine| boots(machine, "new"))
        .run("boot")
        .run("status")
        .run("list --tree")
        .run("confirm -n")
        .run("confirm")
        .run("status")
        .run("list --tree")
        .run("confirm")
        .run("boot")
        .note("It is the last good one, with a way back.")
        .run("failback")
        .is("trial-confirmed");
}

/// A trial that runs, after five synchronizations.
fn synchronized_five_times() -> Transcript {
    let mut story = Transcript::on(super::sync::machine());
    for line in ["create new", "activate debian"] {
        assert!(story.silently(line), "{line}");
    }
    on_trial(&story.machine, "new", 3);
    for time in 1..=5 {
        let hosts = format!("127.0.1.{time} localhost\n");
        super::sync::write(&story.machine, super::sync::OLD, "etc/hosts", &hosts);
        assert!(story.silently("sync --to new"), "{time}");
    }
    boots(&story.machine, "new");
    story
}

/// How many synchronizations are left of which something can be compared with.
fn bases(story: &mut Transcript) -> usize {
    let status = story.output("--json status").stdout;
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    status["bases"].as_array().unwrap().len()
}

#[test]
fn what_older_synchronizations_began_with_is_kept_until_the_trial_is_confirmed() {
    let mut story = synchronized_five_times();
    assert_eq!(bases(&mut story), 5);
    assert!(story.silently("confirm"));
    assert_eq!(bases(&mut story), 3);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_confirmation_killed_while_it_releases_them_is_one_and_the_next_one_releases_them() {
    for (at, left) in [("before", 5), ("after", 3)] {
        let mut story = synchronized_five_times();
        story.is_killed("confirm", &format!("sync-release/release:{at}"));
        assert_eq!(bases(&mut story), left, "{at}");
        let status = String::from_utf8(story.output("-H status").stdout).unwrap();
        for line in ["last good\tnew\n", "unfinished\tnothing\n"] {
            assert!(status.contains(line), "{at}: {status}");
        }
        assert!(story.silently("confirm"), "{at}");
        assert_eq!(bases(&mut story), 3, "{at}");
    }
}

#[test]
fn a_trial_that_is_rejected_goes_back() {
    Transcript::on(Machine::with_one_pool())
        .run("create new")
        .run("activate debian")
        .then("new is tried, and runs.", |machine| {
            on_trial(machine, "new", 1);
            boots(machine, "new");
        })
        .run("confirm --reject -n")
        .run("confirm --reject")
        .run("confirm")
        .run("status")
        .run("--json status")
        .reboot()
        .run("boot")
        .then(
            "It is tried once more, and rejected before it ran.",
            |machine| {
                on_trial(machine, "new", 2);
            },
        )
        .run("confirm --reject --reboot")
        .run("status")
        .is("trial-rejected");
}

#[test]
fn a_boot_notices_that_the_machine_went_back() {
    Transcript::on(Machine::with_one_pool())
        .run("create new")
        .run("activate debian")
        .then("new is tried, and debian comes up again.", |machine| {
            on_trial(machine, "new", 3);
            boots(machine, "debian");
        })
        .run("boot -n")
        .run("boot")
        .run("boot")
        .run("status")
        .run("--json list")
        .note("Confirming it now is too late.")
        .run("confirm")
        .then(
            "new is tried again, and is destroyed meanwhile.",
            |machine| {
                on_trial(machine, "new", 3);
                let new = dataset("rpool/ROOT/new");
                let survey = survey(machine);
                for found in survey.within(&new).collect::<Vec<_>>().into_iter().rev() {
                    let gone = SyncOp::Destroy {
                        object: found.name.to_string(),
                        guard: beadm_rs::zfs::Guard::Guid(found.guid),
                        missing_ok: false,
                    };
                    machine.sim.transact(&new.pool(), &[gone]).unwrap();
                }
            },
        )
        .run("boot")
        .run("status")
        .is("trial-fell-back");
}

#[test]
fn records_that_cannot_be_read_are_told_and_stop_no_boot() {
    Transcript::on(Machine::with_one_pool())
        .run("activate debian")
        .then("A newer program's.", |machine| {
            mark(machine, "trial", r#"{"version":2,"tries":"many"}"#);
            mark(machine, "fell-back", r#"{"version":3}"#);
        })
        .run("status")
        .run("confirm")
        .run("confirm --reject")
        .run("boot")
        .then("Damaged.", |machine| mark(machine, "trial", "yes"))
        .run("status")
        .run("confirm")
        .run("boot")
        .run("check --all")
        .is("trial-unread");
}

#[test]
fn programs_of_a_simulated_machine_are_not_run() {
    Transcript::on(Machine::with_one_pool())
        .run("health")
        .run("--json health")
        .is("health");
}

/// The machine is one that systemd-boot starts; debian has an entry of somebody
/// else's, and the unit that confirms.
pub fn with_systemd_boot() -> Machine {
    let machine = Machine::with_one_pool();
    let write = |path: &str, text: &str| {
        let path = machine.directory().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("esp/EFI/systemd/systemd-bootx64.efi", "MZ");
    write(
        "esp/loader/entries/debian.conf",
        "title Debian\nlinux /vmlinuz\ninitrd /initrd.img\noptions root=ZFS=rpool/ROOT/debian\n",
    );
    write("esp/vmlinuz", "a kernel");
    write("esp/initrd.img", "its initramfs");
    write("efi/LoaderInfo", "systemd-boot 257");
    write("efi/LoaderEntrySelected", "debian.conf");
    machine.with_files("rpool/ROOT/debian", |root| {
        let wants = "usr/lib/systemd/system/multi-user.target.wants";
        root.create_dir_all(wants)?;
        root.write(format!("{wants}/beadm-rs-confirm.service"), "")?;
        root.create_dir_all("usr/lib/beadm-rs")?;
        root.write("usr/lib/beadm-rs/watch", program())
    });
    machine
}

/// The least that is a program for a processor of 64 bits: its header, and one
/// segment that is loaded.
fn program() -> Vec<u8> {
    let mut bytes = vec![0; 64 + 56];
    for (at, part) in [
        (0, [0x7f, b'E', b'L', b'F', 2, 1, 1, 0]),
        // Where the segments are told of; how long that is for each, and how many.
        (32, [64, 0, 0, 0, 0, 0, 0, 0]),
        (52, [64, 0, 56, 0, 1, 0, 0, 0]),
        (64, [1, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        bytes[at..at + part.len()].copy_from_slice(&part);
    }
    bytes
}

/// systemd-boot starts the entry that is on trial, and counts; or, where no try
/// is left, debian's.
pub fn systemd_boot_starts(machine: &Machine) {
    let entries = machine.directory().join("esp/loader/entries");
    let counted = entries.read_dir_utf8().unwrap().find_map(|entry| {
        let file = entry.unwrap().file_name().to_owned();
        let (name, counter) = file.strip_suffix(".conf")?.split_once('+')?;
        let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
        let (left, done) = (left.parse::<u32>().ok()?, done.parse::<u32>().ok()?);
        let now = format!("{name}+{}-{}.conf", left.checked_sub(1)?, done + 1);
        fs::rename(entries.join(&file), entries.join(&now)).unwrap();
        Some(now)
    });
    let (selected, root) = match &counted {
        Some(file) => (file.as_str(), "new"),
        None => ("debian.conf", "debian"),
    };
    fs::write(
        machine.directory().join("efi/LoaderEntrySelected"),
        selected,
    )
    .unwrap();
    // The switch of what is tried; of another boot nothing is left.
    let switch = machine.directory().join("watched");
    if counted.is_some() {
        fs::write(switch, "").unwrap();
    } else {
        let _ = fs::remove_file(switch);
    }
    boots(machine, root);
}

#[test]
fn with_systemd_boot_a_trial_is_counted_and_confirmed() {
    Transcript::on(with_systemd_boot())
        .run("status")
        .run("create new")
        .run("activate new")
        .run("status")
        .then("The first try.", systemd_boot_starts)
        .run("boot")
        .run("status")
        .run("confirm -n")
        .run("confirm")
        .note("There is no dead man's switch to be ended any more.")
        .run("confirm")
        .run("status")
        .run("list --tree")
        .run("failback")
        .run("status")
        .run("activate -t new")
        .run("status")
        .is("trial-systemd-boot-confirmed");
}

#[test]
fn with_systemd_boot_used_up_tries_are_noticed() {
    Transcript::on(with_systemd_boot())
        .run("create new")
        .run("activate new")
        .then("The first try.", systemd_boot_starts)
        .run("boot")
        .then("The second.", systemd_boot_starts)
        .then("Somebody chooses debian in the menu.", |machine| {
            fs::write(
                machine.directory().join("efi/LoaderEntrySelected"),
                "debian.conf",
            )
            .unwrap();
            boots(machine, "debian");
        })
        .run("boot")
        .then("The third.", systemd_boot_starts)
        .run("boot")
        .run("status")
        .then("There is none any more.", systemd_boot_starts)
        .run("boot")
        .run("status")
        .note("The next activation ends the notice.")
        .run("activate new")
        .run("status")
        .then("The first try.", systemd_boot_starts)
        .run("confirm --reject")
        .run("status")
        .then("The machine starts again.", systemd_boot_starts)
        .run("boot")
        .run("status")
        .is("trial-systemd-boot-fell-back");
}

/// The files below a directory of a machine's partitions, as paths and sizes.
fn files_of(machine: &Machine, partition: &str) -> Vec<String> {
    let root = machine.directory().join(partition);
    let mut found = Vec::new();
    let mut places = vec![root.join("beadm-rs"), root.join("loader/entries")];
    while let Some(place) = places.pop() {
        for entry in place.read_dir_utf8().into_iter().flatten() {
            let path = entry.unwrap().into_path();
            let name = path.strip_prefix(&root).unwrap();
            if path.is_dir() {
                places.push(path);
            } else if name.as_str() != "loader/entries/debian.conf" {
                found.push(format!("{name} {}", path.metadata().unwrap().len()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_done_on_one_partition_is_done_on_its_mirrors() {
    let machine = with_systemd_boot();
    let second = machine.directory().join("esp2");
    fs::create_dir_all(second.join("loader/entries")).unwrap();
    fs::write(second.join("loader/entries/other.conf"), "title Other\n").unwrap();
    let mirrors = format!("[boot]\nmirrors = [\"{second}\"]\n");
    fs::write(machine.directory().join("config.toml"), mirrors).unwrap();
    let started_from = machine.directory().join("efi/LoaderDevicePartUUID");
    fs::write(&started_from, "esp").unwrap();
    let mut transcript = Transcript::on(machine);
    let same = |machine: &Machine, after: &str| {
        let first = files_of(machine, "esp");
        let mut second = files_of(machine, "esp2");
        second.retain(|file| !file.starts_with("loader/entries/other.conf"));
        assert!(!first.is_empty(), "{after}");
        assert_eq!(first, second, "{after}");
    };
    for line in ["create new", "activate new"] {
        assert_eq!(transcript.output(line).status.code(), Some(0), "{line}");
    }
    same(&transcript.machine, "an activation");
    // The loader counts on the one it was started from.
    systemd_boot_starts(&transcript.machine);
    let back = second.join("loader/entries/beadm-rs-failback.conf");
    for (line, fails_back) in [
        ("boot", false),
        ("confirm", false),
        ("failback", false),
        ("activate --no-trial new", true),
        ("failback", false),
        ("rename new newer", false),
    ] {
        let output = transcript.output(line);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        same(&transcript.machine, line);
        assert_eq!(back.exists(), fails_back, "{line}");
    }
    boots(&transcript.machine, "debian");
    let output = transcript.output("destroy -y newer");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    same(&transcript.machine, "a destruction");
    // Without it the machine can be changed, and check tells.
    fs::remove_dir_all(&second).unwrap();
    assert_eq!(transcript.output("create another").status.code(), Some(0));
    assert_eq!(transcript.output("activate another").status.code(), Some(0));
    let told = transcript.output("check").stdout;
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("mirror-lost"), "{told}");
    // A new disk in its place.
    fs::create_dir_all(&second).unwrap();
    assert_eq!(transcript.output("boot").status.code(), Some(0));
    same(&transcript.machine, "a new disk");
    // Where it is not known which one the loader counts on, no tries are given back.
    fs::remove_file(started_from).unwrap();
    let counted = second.join("beadm-rs/counted");
    fs::write(&counted, "").unwrap();
    assert_eq!(transcript.output("boot").status.code(), Some(0));
    assert!(counted.exists());
}

/// Stops the machine after so many changes of a confirmation; whether there were
/// as many.
fn confirm_stops(machine: &Machine, changes: u64) -> bool {
    let host = Host::of_simulation(machine.sim.clone(), None);
    let survey = Survey::around(&host, &confirm::around()).unwrap();
    let plan = confirm::plan(&survey, host.loader.as_ref()).unwrap();
    assert!(plan.steps.len() > 2, "{plan:?}");
    machine.sim.fail_after(changes);
    let stopped = execute(&host, &plan, &Quiet, &AtomicBool::new(false)).is_err();
    machine.sim.resume();
    stopped
}

#[test]
fn a_confirmation_that_stops_anywhere_is_made_by_the_next_boot() {
    let mut changes = 0;
    loop {
        let mut transcript = Transcript::on(with_systemd_boot());
        transcript.run("create new").run("activate new");
        systemd_boot_starts(&transcript.machine);
        let stopped = confirm_stops(&transcript.machine, changes);
        let mut status = || -> serde_json::Value {
            let output = transcript.output("--json status");
            serde_json::from_slice(&output.stdout).unwrap()
        };
        let (next, pending) = (status()["next"].clone(), status()["trial"].is_object());
        assert_eq!(next, "new", "after {changes} changes");
        assert_eq!(pending, stopped, "after {changes} changes");
        // What boots next boots: its entry, counted or not, is the first.
        boots(&transcript.machine, "new");
        for line in ["boot", "confirm", "boot"] {
            assert_eq!(transcript.output(line).status.code(), Some(0), "{line}");
        }
        let output = transcript.output("--json status");
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let told = ["running", "next", "last_good", "failback"].map(|key| status[key].clone());
        assert_eq!(
            told,
            ["new", "new", "new", "debian"],
            "after {changes} changes"
        );
        assert!(status["trial"].is_null() && status["fell_back"].is_null());
        let entries = transcript.machine.directory().join("esp/loader/entries");
        assert!(
            entries
                .read_dir_utf8()
                .unwrap()
                .all(|entry| !entry.unwrap().file_name().contains('+')),
            "after {changes} changes"
        );
        if !stopped {
            break;
        }
        changes += 1;
    }
    assert!(changes >= 3, "only {changes} changes");
}

/// A package changes what debian's initramfs is.
fn with_initramfs(machine: &Machine, work: fn(&mut Vec<u8>)) {
    machine.with_files("rpool/ROOT/debian", |root| {
        let boot = root.open_dir("boot")?;
        let name = boot
            .entries()?
            .filter_map(Result::ok)
            .map(|entry| entry.file_name())
            .find(|name| name.to_string_lossy().starts_with("initrd"))
            .unwrap();
        let mut bytes = boot.read(&name)?;
        work(&mut bytes);
        boot.write(&name, bytes)
    });
}

#[test]
fn a_kernel_that_is_installed_is_copied_where_it_boots() {
    Transcript::on(Machine::with_one_pool())
        .run("kernel-updated")
        .is("kernel-updated-bootfs");
    Transcript::on(with_systemd_boot())
        .run("kernel-updated")
        .run("activate --no-trial debian")
        .run("kernel-updated")
        .then("An initramfs is made anew.", |machine| {
            with_initramfs(machine, |bytes| bytes.extend([0; 4]));
        })
        .run("kernel-updated -n")
        .run("kernel-updated")
        .run("--json kernel-updated")
        .then("Another one is damaged.", |machine| {
            with_initramfs(machine, |bytes| bytes.truncate(bytes.len() / 2));
        })
        .run("kernel-updated")
        .run("status")
        .is("kernel-updated");
}
