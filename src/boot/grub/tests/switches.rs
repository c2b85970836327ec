//! What boots: for good, on trial, once; and what goes or is called differently.

use super::*;

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
            .confirm(&survey, &survey.datasets[&dataset("new")], None)
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
        .confirm(&survey, &survey.datasets[&dataset("other")], None)
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
fn options_that_somebody_changed_in_the_menu_are_kept() {
    let machine = machine();
    machine.act(&Act::Good("debian"));
    let file = menu::file(machine.block().menu);
    let text = machine.files()[&file].replacen(" ro by=", " ro mine=1 by=", 1);
    machine.write(&format!("esp/{file}"), &text);
    machine.act(&Act::Good("new"));
    // Of the one that was there, and of the one that is made from it.
    for name in ["debian", "new"] {
        let options = format!("root=ZFS=rpool/ROOT/{name} ro mine=1 by=it's \"a=b c\"");
        let menu = machine.menu();
        assert_eq!(menu.of(machine.guid(name)).unwrap().options, options);
    }
    let text = &machine.files()[&menu::file(machine.block().menu)];
    let mut started = text.lines().filter(|line| line.contains("/linux\" "));
    assert!(started.all(|line| line.contains(" 'mine=1' ")), "{text}");
}
