//! The loader on a simulated machine that GRUB starts.

use std::fs;

use super::block::{Block, FILE};
use super::menu::{self, Menu};
use super::takeover::{Takeover, takeover};
use super::{names_what_runs, stub};
use crate::boot::machine::{Act, Machine, dataset, stopped_anywhere};
use crate::check::{WANTED, stand_in};
use crate::config;
use crate::os::Platform as _;
use crate::plan::{Action, Plan, Step, provisional};
use crate::zfs::{DatasetName, Guid};

const CONFIGURATION: &str = "set default=\"0\"\nif [ -f $prefix/custom.cfg ]; then\n  source \
                             $prefix/custom.cfg\nfi\n";

/// GRUB started debian by the distribution's menu.
fn before() -> Machine {
    let machine = Machine::new();
    machine.write(
        "cmdline",
        "BOOT_IMAGE=/ROOT/debian@/boot/vmlinuz root=ZFS=rpool/ROOT/debian ro by=it\\'s \"a=b c\"\n",
    );
    machine.write("esp/EFI/debian/grubx64.efi", "");
    machine
}

/// GRUB started debian by this program's menu.
fn machine() -> Machine {
    let machine = before();
    machine.takes_over();
    machine
}

fn plan(machine: &Machine, operation: &'static str, steps: Vec<Step>) -> Plan {
    Plan {
        id: machine.survey().id,
        operation,
        steps,
        notes: Vec::new(),
        outcome: String::new(),
    }
}

impl Machine {
    fn taken_over(&self) -> Takeover {
        let survey = self.survey();
        let running = survey.running().unwrap();
        takeover(&self.sim, &config::Boot::default(), &survey, &running).unwrap()
    }

    fn takes_over(&self) {
        let Takeover { steps, .. } = self.taken_over();
        self.carry_out(&plan(self, "init", steps)).unwrap();
        self.write("esp/grub/grub.cfg", CONFIGURATION);
        self.write(
            "cmdline",
            "BOOT_IMAGE=(hd0,gpt1)/beadm-rs/x/linux root=ZFS=rpool/ROOT/debian ro\n",
        );
    }

    fn block(&self) -> Block {
        Block::parse(&fs::read(self.directory.join("esp").join(FILE)).unwrap()).unwrap()
    }

    fn set(&self, block: &Block) {
        self.write(&format!("esp/{FILE}"), &block.text().unwrap());
    }

    fn menu(&self) -> Menu {
        Menu::parse(&self.files()[&menu::file(self.block().menu)]).unwrap()
    }

    /// What GRUB does by the menu: which environment it starts, and what it
    /// writes before that.
    fn starts(&self) -> String {
        let (block, menu) = (self.block(), self.menu());
        let provisional = |guid: Option<Guid>| {
            let entry = menu.of(guid?)?;
            entry.provisional.as_ref().map(|_| entry.clone())
        };
        let (entry, block) = if let Some(entry) = provisional(block.once) {
            (
                entry,
                Block {
                    once: None,
                    ..block
                },
            )
        } else if let Some(entry) = provisional(block.trial).filter(|_| block.tries > 0) {
            let (tries, done) = (block.tries - 1, block.done + 1);
            (
                entry,
                Block {
                    tries,
                    done,
                    ..block
                },
            )
        } else {
            (menu.of(block.good.unwrap()).unwrap().clone(), block)
        };
        self.set(&block);
        assert!(
            self.files()
                .contains_key(&format!("beadm-rs/{}/linux", entry.image))
        );
        entry.root.leaf().to_owned()
    }

    /// The menus and directories of copies there are.
    fn kept(&self) -> (usize, usize) {
        let files = self.files();
        let count = |end: &str| {
            files
                .keys()
                .filter(|file| file.starts_with("beadm-rs/") && file.ends_with(end))
                .count()
        };
        (count(".cfg"), count("/initrd"))
    }
}

/// Nothing is left but one menu, and what it needs.
fn is_tidy(machine: &Machine, told: &str) {
    let menu = machine.menu();
    for (file, _) in machine.files() {
        let is_needed = match file.strip_prefix("beadm-rs/") {
            None => true,
            Some("grubenv") => true,
            Some(name) if name.ends_with(".cfg") => file == menu::file(machine.block().menu),
            Some(name) => menu.entries.iter().any(|entry| {
                let more = entry.provisional.iter();
                let mut switches = more.flat_map(|more| &more.initrds);
                (name.starts_with(&entry.image) && !name.ends_with(".new"))
                    || switches.any(|switch| *switch == file)
            }),
        };
        assert!(is_needed, "{told}: {file}");
    }
}

fn loader_of(machine: &Machine) -> &'static str {
    machine.host().loader.name()
}

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

#[test]
fn what_is_activated_boots_and_the_rest_stays_in_the_menu() {
    let machine = machine();
    machine.act(&Act::Good("new"));
    let survey = machine.survey();
    assert_eq!(machine.next().as_deref(), Some("new"));
    assert_eq!(machine.starts(), "new");
    assert_eq!(survey.last_good(), Some(machine.guid("new")));
    let pool = &survey.pools[&"rpool".parse().unwrap()];
    assert_eq!(pool.bootfs, Some(dataset("new")));
    let menu = machine.menu();
    let titles: Vec<&str> = menu.entries.iter().map(|e| e.title.as_str()).collect();
    assert_eq!(titles, ["new", "debian"]);
    assert_eq!(
        menu.entries[0].options,
        "root=ZFS=rpool/ROOT/new ro by=it's \"a=b c\""
    );
    for name in ["other", "debian", "new", "other"] {
        machine.act(&Act::Good(name));
        assert_eq!(machine.next().as_deref(), Some(name));
        assert_eq!(machine.starts(), name);
        is_tidy(&machine, name);
    }
    // One copy for all: the kernels are the same.
    assert_eq!(machine.kept(), (1, 1));
    assert_eq!(machine.menu().entries.len(), 3);
}

#[test]
fn a_kernel_that_is_installed_boots_and_nothing_else_is_activated_by_it() {
    let machine = machine();
    let updated = || {
        let plan = machine.kernel_updated();
        machine.carry_out(&plan).unwrap();
        plan.outcome
    };
    let copied = |text: &str| {
        let entry = machine.menu().of(machine.guid("debian")).unwrap().clone();
        let files = machine.files();
        files[&format!("beadm-rs/{}/initrd", entry.image)].ends_with(text)
    };
    machine.act(&Act::Good("debian"));
    assert_eq!(updated(), "debian boots with its newest kernel already");
    machine.installs("one more");
    assert_eq!(updated(), "debian boots with its newest kernel from now on");
    assert!(copied("one more"));
    assert_eq!(machine.starts(), "debian");
    assert_eq!(machine.kept(), (1, 1));
    // To activate it again does the same.
    machine.installs("and more");
    machine.act(&Act::Good("debian"));
    assert!(copied("and more"));
    // Another one is being tried: that stays first.
    machine.act(&Act::Trial("new"));
    machine.installs("late");
    assert!(updated().starts_with("debian is not what boots for good"));
    assert_eq!(machine.next().as_deref(), Some("new"));
}

fn seen(machine: &Machine) -> (Option<String>, Option<String>, Option<(u32, u32)>) {
    let state = machine.state();
    let leaf = |name: Option<DatasetName>| name.map(|name| name.leaf().to_owned());
    let trial = state
        .trial
        .map(|trial| (trial.tries_left, trial.tries_done));
    (leaf(state.next), leaf(state.back), trial)
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn a_trial_boots_until_its_tries_are_used_up() {
    let machine = machine();
    machine.act(&Act::Good("debian"));
    machine.act(&Act::Trial("new"));
    let survey = machine.survey();
    let record = survey.trial().unwrap().unwrap();
    assert_eq!(
        (record.target, record.back, record.tries),
        (machine.guid("new"), machine.guid("debian"), 3)
    );
    let pool = &survey.pools[&"rpool".parse().unwrap()];
    assert_eq!(pool.bootfs, Some(dataset("debian")));
    assert_eq!(seen(&machine), (some("new"), some("debian"), Some((3, 0))));
    let files = machine.files();
    let text = &files[&menu::file(machine.block().menu)];
    let lines = text.matches("beadm_rs_try \"").count();
    let added = " 'panic=10' 'rdinit=/beadm-rs-watch' 'beadm-rs.watch=300'\n";
    assert_eq!(text.matches(added).count(), lines, "{text}");
    // The dead man's switch is loaded before the initramfs.
    let loaded = text
        .lines()
        .filter(|line| line.contains("beadm_rs_try_initrd \""));
    for line in loaded {
        let files: Vec<&str> = line.split_whitespace().skip(1).collect();
        assert!(files[0].contains("/beadm-rs/watch-"), "{line}");
        assert_eq!(files.len(), 2, "{line}");
    }
    for left in [2, 1, 0] {
        assert_eq!(machine.starts(), "new");
        let next = if left > 0 { "new" } else { "debian" };
        assert_eq!(
            seen(&machine),
            (some(next), some("debian"), Some((left, 3 - left)))
        );
    }
    assert_eq!(machine.starts(), "debian");
    // Another one is tried: what is left of the first goes.
    machine.act(&Act::Trial("other"));
    assert_eq!(
        seen(&machine),
        (some("other"), some("debian"), Some((3, 0)))
    );
    let menu = machine.menu();
    assert_eq!(menu.of(machine.guid("new")).unwrap().provisional, None);
    // The way back from it.
    machine.act(&Act::Failback);
    assert_eq!(seen(&machine), (some("debian"), some("debian"), None));
    assert_eq!(machine.survey().trial().unwrap(), None);
    assert!(
        machine
            .menu()
            .entries
            .iter()
            .all(|e| e.provisional.is_none())
    );
}

#[test]
fn a_confirmed_trial_stays() {
    let machine = machine();
    machine.act(&Act::Good("debian"));
    machine.act(&Act::Trial("new"));
    machine.starts();
    let confirm = || {
        let survey = machine.survey();
        let host = machine.host();
        let steps = host
            .loader
            .confirm(&survey, &survey.datasets[&dataset("new")])
            .unwrap();
        machine
            .carry_out(&plan(&machine, "confirm", steps))
            .unwrap();
    };
    // It can be done again.
    for _ in 0..2 {
        confirm();
        assert_eq!(seen(&machine), (some("new"), some("new"), None));
        assert_eq!(machine.starts(), "new");
    }
    let pool = &machine.survey().pools[&"rpool".parse().unwrap()];
    assert_eq!(pool.bootfs, Some(dataset("new")));
    // One that has no entry is not made what boots.
    let survey = machine.survey();
    let host = machine.host();
    let refusal = host
        .loader
        .confirm(&survey, &survey.datasets[&dataset("other")])
        .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "refused to confirm other: GRUB's menu has no entry for it"
    );
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
    assert_eq!(machine.starts(), "debian");
    machine.act(&Act::Once("new"));
    assert_eq!(machine.starts(), "new");
    assert_eq!(machine.starts(), "debian");
    // What is being tried waits, and is not counted.
    machine.act(&Act::Trial("other"));
    machine.act(&Act::Once("new"));
    assert_eq!(seen(&machine).2, Some((3, 0)));
    assert_eq!(machine.starts(), "new");
    assert_eq!(machine.starts(), "other");
    assert_eq!(seen(&machine).2, Some((2, 1)));
    // What is activated boots next.
    machine.act(&Act::Once("new"));
    machine.act(&Act::Good("other"));
    let state = machine.state();
    assert_eq!((state.next, state.once), (Some(dataset("other")), None));
    assert_eq!(machine.starts(), "other");
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
    assert!(refused.contains("GRUB boots it by its name"), "{refused}");
    machine.act(&Act::Good("debian"));
    machine.act(&Act::Rename("new", "newer"));
    let guid = machine.guid("newer");
    let menu = machine.menu();
    let entry = menu.of(guid).unwrap();
    assert_eq!(
        (entry.title.as_str(), entry.root.as_str()),
        ("newer", "rpool/ROOT/newer")
    );
    assert!(entry.options.starts_with("root=ZFS=rpool/ROOT/newer ro"));
    is_tidy(&machine, "renamed");
    // What is being tried stays so while another one goes.
    machine.act(&Act::Trial("other"));
    machine.act(&Act::Destroy("newer"));
    let files = machine.files();
    assert!(files.values().all(|text| !text.contains(&guid.to_string())));
    assert!(files.values().all(|text| !text.contains("another kernel")));
    assert_eq!(machine.starts(), "other");
    is_tidy(&machine, "destroyed");
    // One that went by other means is not kept either.
    crate::zfs::Zfs::transact(
        &machine.sim,
        &"rpool".parse().unwrap(),
        &[crate::zfs::SyncOp::Destroy {
            object: "rpool/ROOT/other".to_owned(),
            guard: crate::zfs::Guard::Guid(machine.guid("other")),
            missing_ok: false,
        }],
    )
    .unwrap();
    machine.act(&Act::Good("debian"));
    assert_eq!(machine.menu().entries.len(), 1);
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
    files(|dir| dir.remove_dir_all(format!("etc/systemd/system/{WANTED}")));
    let said = machine.refused(&Act::Trial("new"));
    assert!(said.contains("is not enabled in new"), "{said}");
    machine.write("esp.free", "1000");
    let said = machine.refused(&Act::Good("new"));
    assert!(
        said.contains("are free there; destroy an environment"),
        "{said}"
    );
    fs::remove_file(machine.directory.join("esp.free")).unwrap();
    machine.plan(&Act::Good("new")).unwrap();
    // Where GRUB cannot write, nothing is counted.
    machine.write("esp.layered", "");
    for act in [Act::Trial("other"), Act::Once("other")] {
        let said = machine.refused(&act);
        assert!(said.contains("is on a RAID or a mapped device"), "{said}");
        assert!(said.ends_with("; --no-trial"), "{said}");
    }
    machine.plan(&Act::Good("other")).unwrap();
    fs::remove_file(machine.directory.join("esp.layered")).unwrap();
    files(|dir| dir.remove_dir_all("boot"));
    let said = machine.refused(&Act::Good("new"));
    assert!(
        said.contains("GRUB boots copies, and new has no kernel with an initramfs of its own"),
        "{said}"
    );
    assert_eq!(machine.menu().entries.len(), 1);
}

#[test]
fn files_that_are_not_as_they_were_written_are_told_and_nothing_is_done() {
    let machine = machine();
    let esp = machine.directory.join("esp");
    let refused = |file: &str, text: Option<&str>| {
        let path = esp.join(file);
        let was = fs::read(&path).unwrap();
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        // The loader that is configured: what is certain is another question.
        let survey = machine.survey();
        let loader = super::Grub::new(Box::new(machine.sim.clone()), None, None, 3, 300);
        let state = crate::boot::Loader::state(&loader, &survey.beroot, &[]);
        assert_eq!(state, crate::boot::BootState::default(), "{file}");
        let target = &survey.datasets[&dataset("new")];
        let refusal =
            crate::boot::Loader::switch(&loader, &survey, target, crate::boot::Switch::Good)
                .unwrap_err();
        fs::write(&path, was).unwrap();
        let remedy = refusal.remedy.clone().unwrap_or_default();
        format!("{refusal}; {remedy}").replace(esp.as_str(), "/efi")
    };
    let block = machine.files()[FILE].clone();
    let menu = machine.files()["beadm-rs/menu-1.cfg"].clone();
    let lead = machine.files()["grub/custom.cfg"].clone();
    let anew = "beadm-rs init makes it anew for what runs";
    for (file, text, said) in [
        (
            FILE,
            None,
            format!("there is no /efi/beadm-rs/grubenv; {anew}"),
        ),
        (
            FILE,
            Some(&block[..1023]),
            format!(
                "/efi/beadm-rs/grubenv is not as beadm-rs or its menu wrote it: it has 1023 \
                 bytes, and an environment block has 1024; {anew}"
            ),
        ),
        (
            FILE,
            Some(&block.replace("beadm_rs_once=\n", "mine=456789012\n")[..]),
            "/efi/beadm-rs/grubenv is not as beadm-rs or its menu wrote it: mine in it is not \
             beadm-rs's; grub-editenv /efi/beadm-rs/grubenv unset mine; or beadm-rs init, which \
             makes it anew"
                .to_owned(),
        ),
        (
            "beadm-rs/menu-1.cfg",
            None,
            format!(
                "the block names the menu /efi/beadm-rs/menu-1.cfg, which is not there; {anew}"
            ),
        ),
        (
            "beadm-rs/menu-1.cfg",
            Some(&menu.replace("\"version\":1", "\"version\":9")[..]),
            format!(
                "/efi/beadm-rs/menu-1.cfg is not as beadm-rs wrote it: version 9 of beadm-rs's \
                 menus is not known to this program; {anew}"
            ),
        ),
        (
            "grub/custom.cfg",
            Some(&lead.replace("### END", "### Ende")[..]),
            format!(
                "the lines that lead GRUB to the menu of beadm-rs are not whole in \
                 /efi/grub/custom.cfg; {anew}"
            ),
        ),
        (
            "grub/custom.cfg",
            Some(&format!("{lead}set default=0\n")[..]),
            "'set default=0' in /efi/grub/custom.cfg comes after the lines of beadm-rs and \
             overrules them; take that line out of /efi/grub/custom.cfg"
                .to_owned(),
        ),
        (
            "grub/grub.cfg",
            Some("set default=0\n"),
            "/efi/grub/grub.cfg does not read custom.cfg, so GRUB does not come to the menu of \
             beadm-rs; grub-mkconfig -o /efi/grub/grub.cfg, with /etc/grub.d/41_custom executable"
                .to_owned(),
        ),
    ] {
        assert_eq!(
            refused(file, text),
            format!("refused to activate new: {said}")
        );
    }
    fs::remove_dir_all(&esp).unwrap();
    let survey = machine.survey();
    let loader = super::Grub::new(Box::new(machine.sim.clone()), None, None, 3, 300);
    let target = &survey.datasets[&dataset("new")];
    let refusal = crate::boot::Loader::confirm(&loader, &survey, target).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "refused to confirm new: no FAT partition with GRUB's directory is mounted on /efi, \
         /boot/efi or /boot"
    );
}

#[test]
fn a_block_that_somebody_changes_meanwhile_is_left_alone() {
    let machine = machine();
    let files = |machine: &Machine| {
        let mut files = machine.files();
        files.remove(FILE);
        files
    };
    let before = files(&machine);
    let plan = machine.plan(&Act::Good("new")).unwrap();
    let changed = Block {
        tries: 1,
        ..machine.block()
    };
    machine.set(&changed);
    let said = machine.carry_out(&plan).unwrap_err();
    assert!(
        said.contains("it was changed since it was looked at"),
        "{said}"
    );
    assert_eq!(machine.block(), changed);
    assert_eq!(machine.next().as_deref(), Some("debian"));
    assert_eq!(files(&machine), before);
}

#[test]
fn wherever_it_is_stopped_the_loader_and_the_pool_agree() {
    stopped_anywhere(machine, is_tidy);
}

#[test]
fn an_interrupted_end_or_renaming_is_completed() {
    for new in [Act::Destroy("new"), Act::Rename("new", "newer")] {
        for stopped in 0.. {
            let machine = machine();
            machine.act(&Act::Good("new"));
            machine.act(&Act::Good("debian"));
            let plan = machine.plan(&new).unwrap();
            machine.sim.fail_after(stopped);
            let done = machine.carry_out(&plan);
            machine.sim.resume();
            machine.recover();
            assert_eq!(machine.starts(), "debian", "{stopped}");
            // Whatever the menu names is there.
            let survey = machine.survey();
            for entry in machine.menu().entries {
                assert!(
                    survey.datasets.contains_key(&entry.root),
                    "{stopped}: {entry:?}"
                );
            }
            // What is left over goes with the next change.
            machine.act(&Act::Good("other"));
            is_tidy(&machine, &format!("stopped after {stopped}"));
            if done.is_ok() {
                assert!(stopped > 2, "{stopped}");
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
        let told = format!("stopped after {stopped}");
        assert_eq!(machine.starts(), "debian", "{told}");
        machine.recover();
        assert_eq!(machine.starts(), "debian", "{told}");
        is_tidy(&machine, &told);
        machine.carry_out(&machine.kernel_updated()).unwrap();
        let entry = machine.menu().of(machine.guid("debian")).unwrap().clone();
        let initrd = &machine.files()[&format!("beadm-rs/{}/initrd", entry.image)];
        assert!(initrd.ends_with("newer"), "{told}");
        if done.is_ok() {
            assert!(stopped > 4, "{stopped}");
            break;
        }
    }
}

#[test]
fn a_confirmation_that_is_stopped_is_done_by_the_next_one() {
    for stopped in 0.. {
        let machine = machine();
        machine.act(&Act::Trial("new"));
        assert_eq!(machine.starts(), "new");
        machine.sim.reboot_into(&dataset("new")).unwrap();
        let confirm = || {
            let host = machine.host();
            crate::plan::confirm::plan(&machine.survey(), host.loader.as_ref()).unwrap()
        };
        let plan = confirm();
        machine.sim.fail_after(stopped);
        let done = machine.carry_out(&plan);
        machine.sim.resume();
        let next = machine.state().next;
        assert_eq!(next, Some(dataset("new")), "{stopped}");
        machine.carry_out(&confirm()).unwrap();
        assert_eq!(seen(&machine), (some("new"), some("new"), None));
        let survey = machine.survey();
        assert_eq!(survey.trial().unwrap(), None);
        assert_eq!(survey.last_good(), Some(machine.guid("new")));
        if done.is_ok() {
            assert!(stopped > 2, "{stopped}");
            break;
        }
    }
}
