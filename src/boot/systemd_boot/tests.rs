//! The loader on a simulated machine with a partition and variables.

use std::fs;

use crate::boot::machine::{Act, Machine, dataset, stopped_anywhere};
use crate::boot::watch::program_of;
use crate::check::{WANTED, stand_in};
use crate::config;
use crate::os::Platform as _;
use crate::plan::{Action, Plan, confirm, provisional};
use crate::zfs::{DatasetName, Guard, Guid, SyncOp};

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
fn machine() -> Machine {
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

#[test]
fn the_newest_activated_comes_first_and_the_users_own_entry_stays() {
    let machine = machine();
    assert_eq!(machine.next().as_deref(), Some("debian"));
    machine.act(&Act::Good("new"));
    let survey = machine.survey();
    assert_eq!(machine.next().as_deref(), Some("new"));
    assert_eq!(survey.last_good(), Some(machine.guid("new")));
    let pool = &survey.pools[&"rpool".parse().unwrap()];
    assert_eq!(pool.bootfs, Some(dataset("new")));
    let files = machine.files();
    assert_eq!(files["loader/entries/debian.conf"], DEBIAN);
    let own = &files[&format!("loader/entries/beadm-rs-{}-1.conf", machine.guid("new"))];
    assert!(
        own.contains("options root=ZFS=rpool/ROOT/new ro quiet\n"),
        "{own}"
    );
    let linux = own
        .lines()
        .find_map(|line| line.strip_prefix("linux /"))
        .unwrap();
    assert!(files[linux].starts_with("this stands for"));
    for name in ["other", "debian", "new", "other"] {
        machine.act(&Act::Good(name));
        assert_eq!(machine.next().as_deref(), Some(name));
    }
    // One entry each, and one copy for all: the kernels are the same.
    assert_eq!(machine.entries().len(), 4);
    let copies = machine.files();
    let copies = copies.keys().filter(|file| file.starts_with("beadm-rs/"));
    assert_eq!(copies.count(), 2);
}

#[test]
fn an_entry_without_its_kernel_is_in_nobodys_way() {
    let machine = machine();
    let file = format!("beadm-rs-{}-1.conf", machine.guid("new"));
    let text = "sort-key 0beadm-rs\nversion 1\nlinux /beadm-rs/gone/linux\n\
                options root=ZFS=rpool/ROOT/new\n";
    machine.write(&format!("esp/loader/entries/{file}"), text);
    assert_eq!(machine.next().as_deref(), Some("debian"));
    machine.act(&Act::Good("new"));
    assert_eq!(machine.next().as_deref(), Some("new"));
}

#[test]
fn a_kernel_that_is_installed_boots_and_nothing_else_is_activated_by_it() {
    let machine = machine();
    let updated = || {
        let plan = machine.kernel_updated();
        machine.carry_out(&plan).unwrap();
        plan.outcome
    };
    let install = |text: &str| machine.installs(text);
    let copied = |text: &str| {
        let files = machine.files();
        let images: Vec<&String> = files.keys().filter(|f| f.ends_with("/initrd")).collect();
        assert_eq!(images.len(), 1, "{images:?}");
        files[images[0]].ends_with(text)
    };
    // Its entry is somebody else's.
    assert_eq!(
        updated(),
        "debian is not what boots for good; its kernels reach systemd-boot with \
         'beadm-rs activate debian'"
    );
    machine.act(&Act::Good("debian"));
    assert_eq!(updated(), "debian boots with its newest kernel already");
    install("one more");
    assert_eq!(updated(), "debian boots with its newest kernel from now on");
    assert!(copied("one more"));
    assert_eq!(machine.next().as_deref(), Some("debian"));
    assert_eq!(updated(), "debian boots with its newest kernel already");
    // To activate it again does the same.
    install("and more");
    machine.act(&Act::Good("debian"));
    assert!(copied("and more"));
    // Another one is being tried: that stays first.
    machine.act(&Act::Trial("new"));
    install("late");
    assert!(updated().starts_with("debian is not what boots for good"));
    assert_eq!(machine.next().as_deref(), Some("new"));
}

/// The words and files of an entry that are there for a dead man's switch.
fn switch_of(machine: &Machine, file: &str) -> (Vec<String>, Vec<String>) {
    let files = machine.files();
    let entry = &files[&format!("loader/entries/{file}")];
    let values = |key: &str| -> Vec<String> {
        let lines = entry.lines().filter_map(|line| line.strip_prefix(key));
        lines
            .flat_map(|line| line.split_whitespace().map(str::to_owned))
            .collect()
    };
    let words = values("options ");
    let own = |word: &String| word.contains("beadm-rs") || word.starts_with("panic=");
    let initrds = values("initrd ");
    for initrd in &initrds {
        assert!(
            files.contains_key(initrd.trim_start_matches('/')),
            "{initrd}"
        );
    }
    (words.into_iter().filter(own).collect(), initrds)
}

fn switches(machine: &Machine) -> Vec<String> {
    let files = machine.files().into_keys();
    files
        .filter(|file| file.starts_with("beadm-rs/watch-"))
        .collect()
}

#[test]
fn a_dead_mans_switch_goes_with_a_trial_and_with_its_end() {
    let machine = machine();
    let plan = machine.plan(&Act::Trial("new")).unwrap();
    assert_eq!(
        plan.notes,
        [
            "this machine has no hardware watchdog that can be used: where its kernel hangs, it \
             does not restart by itself"
        ]
    );
    machine.carry_out(&plan).unwrap();
    let (tried, there) = (
        format!("beadm-rs-{}-1+3.conf", machine.guid("new")),
        switches(&machine),
    );
    let (words, initrds) = switch_of(&machine, &tried);
    assert_eq!(
        words,
        ["panic=10", "rdinit=/beadm-rs-watch", "beadm-rs.watch=300"]
    );
    assert_eq!(there.len(), 1);
    assert_eq!(initrds.len(), 2);
    assert_eq!(initrds[0], format!("/{}", there[0]));
    // It is the program that is installed.
    let archive = machine.files().remove(&there[0]).unwrap();
    assert!(archive.starts_with("070701") && archive.contains("beadm-rs-watch\0"));

    // The machine comes up in it, and it is confirmed.
    machine.counted_down(2, 1);
    machine.write("efi/LoaderEntrySelected", &tried);
    machine.sim.reboot_into(&dataset("new")).unwrap();
    let confirmed = confirm::plan(&machine.survey(), machine.host().loader.as_ref()).unwrap();
    machine.carry_out(&confirmed).unwrap();
    assert_eq!(machine.next().as_deref(), Some("new"));
    let lasting = format!("beadm-rs-{}-2.conf", machine.guid("new"));
    assert_eq!(
        machine.entries(),
        [lasting.clone(), "debian.conf".to_owned()]
    );
    let (words, initrds) = switch_of(&machine, &lasting);
    assert_eq!((words.len(), initrds.len()), (0, 1));
    // Its file goes when the next one is activated.
    machine.act(&Act::Good("other"));
    assert_eq!(switches(&machine), [""; 0]);
}

#[test]
fn a_confirmation_that_fails_leaves_the_trial_as_it_was() {
    let machine = machine();
    machine.act(&Act::Trial("new"));
    machine.counted_down(2, 1);
    let before = machine.files();
    let tried = format!("beadm-rs-{}-1+2-1.conf", machine.guid("new"));
    machine.write("efi/LoaderEntrySelected", &tried);
    machine.sim.reboot_into(&dataset("new")).unwrap();
    let mut plan = confirm::plan(&machine.survey(), machine.host().loader.as_ref()).unwrap();
    let Some(Action::Transact { operations, .. }) =
        plan.steps.last_mut().map(|step| &mut step.action)
    else {
        panic!("{plan:?}");
    };
    operations.push(SyncOp::Destroy {
        object: "rpool/ROOT/none".to_owned(),
        guard: Guard::Guid(Guid(1)),
        missing_ok: false,
    });
    machine.carry_out(&plan).unwrap_err();
    assert_eq!(machine.files(), before);
    assert_eq!(machine.next().as_deref(), Some("new"));
}

#[test]
fn what_boots_once_has_a_switch_that_a_complete_boot_ends() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    let once = format!("beadm-rs-{}-0.conf", machine.guid("new"));
    let (words, initrds) = switch_of(&machine, &once);
    assert_eq!(
        words,
        [
            "panic=10",
            "rdinit=/beadm-rs-watch",
            "beadm-rs.watch=300",
            "beadm-rs.once"
        ]
    );
    assert_eq!(initrds.len(), 2);
    // What boots after it has none.
    let next = format!("beadm-rs-{}-1.conf", machine.guid("debian"));
    let (words, initrds) = switch_of(&machine, &next);
    assert_eq!((words.len(), initrds.len()), (0, 1));
    // Two trials share one archive.
    machine.act(&Act::Trial("other"));
    assert_eq!(switches(&machine).len(), 1);
}

#[test]
fn without_its_program_a_trial_has_no_switch_and_says_so() {
    let machine = machine();
    let remove = |name: &str| {
        let work =
            &mut |dir: &cap_std_ext::cap_std::fs::Dir| dir.remove_file("usr/lib/beadm-rs/watch");
        machine.sim.with_files(&dataset(name), true, work).unwrap();
    };
    let notes = |name: &'static str| machine.plan(&Act::Trial(name)).unwrap().notes;
    let end = "; where it hangs, somebody has to restart the machine";
    // An environment whose beadm-rs would not end it: it would be restarted when it works.
    remove("new");
    let why = "there is no beadm-rs in it that would end it when it works";
    assert_eq!(
        notes("new"),
        [format!("without a dead man's switch: {why}{end}")]
    );
    let work = &mut |dir: &cap_std_ext::cap_std::fs::Dir| {
        dir.write(
            "usr/lib/beadm-rs/watch",
            program_of(&[object::elf::PT_INTERP, object::elf::PT_LOAD]),
        )
    };
    machine
        .sim
        .with_files(&dataset("debian"), true, work)
        .unwrap();
    let why = "the lib/beadm-rs/watch that is installed here is no program that runs without \
               libraries ('make install' has the one that does)";
    assert_eq!(
        notes("other"),
        [format!("without a dead man's switch: {why}{end}")]
    );
    remove("debian");
    let why = "lib/beadm-rs/watch is not installed here";
    assert_eq!(
        notes("other"),
        [format!("without a dead man's switch: {why}{end}")]
    );
    machine.act(&Act::Trial("other"));
    let tried = format!("beadm-rs-{}-1+3.conf", machine.guid("other"));
    let (words, initrds) = switch_of(&machine, &tried);
    assert_eq!((words, initrds.len()), (vec!["panic=10".to_owned()], 1));
}

#[test]
fn a_trial_is_first_until_its_tries_are_used_up() {
    let machine = machine();
    machine.act(&Act::Good("debian"));
    machine.act(&Act::Trial("new"));
    let survey = machine.survey();
    let record = survey.trial().unwrap().unwrap();
    assert_eq!(
        (record.target, record.back, record.tries),
        (machine.guid("new"), machine.guid("debian"), 3)
    );
    assert_eq!(survey.last_good(), Some(machine.guid("debian")));
    let pool = &survey.pools[&"rpool".parse().unwrap()];
    assert_eq!(pool.bootfs, Some(dataset("debian")));
    let seen = |machine: &Machine| {
        let state = machine.state();
        let leaf = |name: Option<DatasetName>| name.map(|name| name.leaf().to_owned());
        let trial = state
            .trial
            .map(|trial| (trial.tries_left, trial.tries_done));
        (leaf(state.next), leaf(state.back), trial)
    };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(seen(&machine), (some("new"), some("debian"), Some((3, 0))));
    machine.counted_down(1, 2);
    assert_eq!(seen(&machine), (some("new"), some("debian"), Some((1, 2))));
    machine.counted_down(0, 3);
    assert_eq!(
        seen(&machine),
        (some("debian"), some("debian"), Some((0, 3)))
    );
    // Another one is tried: what is left of the first goes.
    machine.act(&Act::Trial("other"));
    assert_eq!(
        seen(&machine),
        (some("other"), some("debian"), Some((3, 0)))
    );
    let guid = machine.guid("new").to_string();
    assert!(machine.entries().iter().all(|file| !file.contains(&guid)));
    // The way back from it.
    machine.act(&Act::Failback);
    assert_eq!(seen(&machine), (some("debian"), some("debian"), None));
    assert_eq!(machine.survey().trial().unwrap(), None);
}

#[test]
fn a_confirmed_trial_stays_whoever_took_its_counter() {
    for blessed in [false, true] {
        let machine = machine();
        machine.act(&Act::Good("debian"));
        machine.act(&Act::Trial("new"));
        machine.counted_down(2, 1);
        if blessed {
            let directory = machine.directory.join("esp/loader/entries");
            let file = format!("beadm-rs-{}-2", machine.guid("new"));
            let from = directory.join(format!("{file}+2-1.conf"));
            fs::rename(from, directory.join(format!("{file}.conf"))).unwrap();
        }
        let survey = machine.survey();
        let host = machine.host();
        let steps = host
            .loader
            .confirm(&survey, &survey.datasets[&dataset("new")])
            .unwrap();
        let plan = Plan {
            id: survey.id,
            operation: "confirm",
            steps,
            notes: Vec::new(),
            outcome: String::new(),
        };
        machine.carry_out(&plan).unwrap();
        let state = machine.state();
        assert_eq!(state.trial, None);
        assert_eq!(
            (state.next, state.back),
            (Some(dataset("new")), Some(dataset("new")))
        );
        let pool = &machine.survey().pools[&"rpool".parse().unwrap()];
        assert_eq!(pool.bootfs, Some(dataset("new")));
    }
}

#[test]
fn a_default_that_is_set_is_named_and_nothing_is_done() {
    let machine = machine();
    let before = machine.files();
    for act in [Act::Good("new"), Act::Trial("new")] {
        machine.write("esp/loader/loader.conf", "default debian.conf\n");
        let said = machine.refused(&act);
        assert!(
            said.starts_with(
                "refused to activate new: 'default' in loader.conf says 'debian.conf', so \
                 systemd-boot boots debian.conf whatever comes first, and counts no tries; \
                 take that line out of "
            ),
            "{said}"
        );
        machine.write("esp/loader/loader.conf", "timeout 3\n");
        machine.write("efi/LoaderEntryDefault", "Debian.*");
        let said = machine.refused(&act);
        assert!(said.ends_with("bootctl set-default ''"), "{said}");
        fs::remove_file(machine.directory.join("efi/LoaderEntryDefault")).unwrap();
    }
    // With a pattern of its own only an entry of its own can be gone back to.
    machine.write("esp/loader/loader.conf", "default beadm-rs-*\n");
    let said = machine.refused(&Act::Trial("new"));
    assert!(
        said.contains("'default' in loader.conf says 'beadm-rs-*'"),
        "{said}"
    );
    machine.act(&Act::Good("debian"));
    machine.act(&Act::Trial("new"));
    assert_eq!(machine.next().as_deref(), Some("new"));
    machine.write("esp/loader/loader.conf", "timeout 3\n");
    assert_eq!(
        machine.files()["loader/entries/debian.conf"],
        before["loader/entries/debian.conf"]
    );
}

#[test]
fn what_cannot_be_booted_or_confirmed_is_refused() {
    let machine = machine();
    let files = |work: fn(&cap_std_ext::cap_std::fs::Dir) -> std::io::Result<()>| {
        machine
            .sim
            .with_files(&dataset("new"), true, &mut |dir| work(dir))
            .unwrap();
    };
    // There, and not enabled.
    files(|dir| dir.remove_dir_all(format!("etc/systemd/system/{WANTED}")));
    assert_eq!(
        machine.refused(&Act::Trial("new")),
        "refused to activate new: beadm-rs-confirm.service is not enabled in new, so it could \
         not confirm its trial; install beadm-rs in it and enable it: beadm-rs run new systemctl \
         enable beadm-rs-boot beadm-rs-health beadm-rs-confirm; or activate it without a trial: \
         --no-trial new"
    );
    machine.write("esp.free", "1000");
    let said = machine.refused(&Act::Good("new"));
    assert!(
        said.contains("are free there; destroy an environment"),
        "{said}"
    );
    fs::remove_file(machine.directory.join("esp.free")).unwrap();
    machine.plan(&Act::Good("new")).unwrap();
    files(|dir| dir.remove_dir_all("boot"));
    let said = machine.refused(&Act::Good("new"));
    assert!(
        said.contains("has no kernel with an initramfs of its own"),
        "{said}"
    );
    assert_eq!(machine.entries(), ["debian.conf"]);
}

#[test]
fn what_boots_once_changes_nothing_about_what_boots_then() {
    let machine = machine();
    machine.act(&Act::Once("new"));
    let state = machine.state();
    assert_eq!(
        (state.next, state.once),
        (Some(dataset("debian")), Some(dataset("new")))
    );
    assert_eq!(machine.survey().last_good(), None);
    let refused = machine.refused(&Act::Destroy("new"));
    assert!(refused.contains("it is set to boot once"), "{refused}");
    // Taken back, and again.
    let plan =
        provisional::plan_not_once(&machine.survey(), machine.host().loader.as_ref()).unwrap();
    machine.carry_out(&plan).unwrap();
    assert_eq!(machine.state().once, None);
    machine.act(&Act::Once("new"));
    machine.act(&Act::Once("new"));
    assert_eq!(machine.state().once, Some(dataset("new")));
    // What is activated boots next.
    machine.act(&Act::Good("other"));
    let state = machine.state();
    assert_eq!((state.next, state.once), (Some(dataset("other")), None));
}

#[test]
fn a_destroyed_environment_leaves_nothing_and_a_renamed_one_is_known() {
    let machine = machine();
    machine
        .sim
        .with_files(&dataset("new"), true, &mut |dir| {
            dir.write(
                format!("boot/vmlinuz-{}", stand_in::KERNEL),
                "another kernel",
            )
        })
        .unwrap();
    machine.act(&Act::Good("new"));
    let refused = machine.refused(&Act::Rename("new", "newer"));
    assert!(
        refused.contains("systemd-boot boots it by its name"),
        "{refused}"
    );
    machine.act(&Act::Good("debian"));
    machine.act(&Act::Rename("new", "newer"));
    let guid = machine.guid("newer");
    let files = machine.files();
    let entry = &files[&format!("loader/entries/beadm-rs-{guid}-1.conf")];
    assert!(entry.contains("title newer\n"), "{entry}");
    assert!(entry.contains("root=ZFS=rpool/ROOT/newer ro"), "{entry}");
    machine.act(&Act::Destroy("newer"));
    let files = machine.files();
    assert!(files.keys().all(|file| !file.contains(&guid.to_string())));
    assert!(files.values().all(|text| !text.contains("another kernel")));
    assert_eq!(machine.next().as_deref(), Some("debian"));
    // Another system's entry on the same partition is not this one's to judge.
    let foreign = "sort-key 0beadm-rs\nversion 0\nlinux /own/linux\n";
    machine.write("esp/loader/entries/beadm-rs-77-0.conf", foreign);
    machine.act(&Act::Good("other"));
    assert_eq!(
        machine.files()["loader/entries/beadm-rs-77-0.conf"],
        foreign
    );
}

#[test]
fn wherever_it_is_stopped_the_loader_and_the_pool_agree() {
    stopped_anywhere(machine, |machine, told| {
        assert!(
            machine.entries().iter().all(|file| file.ends_with(".conf")),
            "{told}"
        );
    });
}

#[test]
fn an_interrupted_end_or_renaming_is_completed() {
    for new in [Act::Destroy("new"), Act::Rename("new", "newer")] {
        for stopped in 0.. {
            let machine = machine();
            machine.act(&Act::Good("new"));
            machine.act(&Act::Good("debian"));
            let guid = machine.guid("new");
            let plan = machine.plan(&new).unwrap();
            machine.sim.fail_after(stopped);
            let done = machine.carry_out(&plan);
            machine.sim.resume();
            machine.recover();
            assert_eq!(machine.next().as_deref(), Some("debian"), "{stopped}");
            // An entry names what is there, and nothing is named that is gone.
            let survey = machine.survey();
            for (file, text) in machine.files() {
                if file.contains(&guid.to_string()) && file.ends_with(".conf") {
                    let root = crate::check::root_of(&text).unwrap();
                    assert!(
                        survey.datasets.contains_key(&root),
                        "{stopped}: {file} {text}"
                    );
                }
            }
            if done.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn wherever_the_copy_of_a_kernel_is_stopped_one_boots_and_the_next_copies_it() {
    for stopped in 0.. {
        let machine = machine();
        machine.act(&Act::Good("debian"));
        machine.installs("newer");
        let plan = machine.kernel_updated();
        machine.sim.fail_after(stopped);
        let done = machine.carry_out(&plan);
        machine.sim.resume();
        let boots = |told: &str| {
            assert_eq!(machine.next().as_deref(), Some("debian"), "{told}");
            let files = machine.files();
            let entry = files
                .iter()
                .rev()
                .find(|(file, _)| file.contains("/beadm-rs-") && file.ends_with(".conf"))
                .map(|(_, text)| text.clone())
                .unwrap();
            let initrd = entry
                .lines()
                .find_map(|line| line.strip_prefix("initrd /"))
                .unwrap();
            files[initrd].ends_with("newer")
        };
        boots(&format!("stopped after {stopped}"));
        machine.recover();
        boots(&format!("recovered after {stopped}"));
        machine.carry_out(&machine.kernel_updated()).unwrap();
        assert!(boots("again"), "{stopped}");
        let files = machine.files();
        assert!(
            files.keys().all(|file| !file.ends_with(".new")),
            "{stopped}"
        );
        if done.is_ok() {
            assert!(stopped > 4, "{stopped}");
            break;
        }
    }
}
