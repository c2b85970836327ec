//! What is activated for good or once, renamed and destroyed.

use std::fs;

use super::{DEBIAN, machine};
use crate::boot::machine::{Act, dataset};
use crate::check::{WANTED, stand_in};
use crate::os::Platform as _;
use crate::plan::provisional;

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
    // One entry each and the way back, and one copy for all: the kernels are the same.
    assert_eq!(machine.entries().len(), 5);
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
fn an_entry_whose_copies_were_taken_away_is_made_anew_with_what_was_added_to_it() {
    let machine = machine();
    machine.act(&Act::Good("new"));
    let file = |number| {
        format!(
            "loader/entries/beadm-rs-{}-{number}.conf",
            machine.guid("new")
        )
    };
    let text = machine.files()[&file(1)].replace(" quiet", " quiet splash") + "devicetree /x\n";
    machine.write(&format!("esp/{}", file(1)), &text);
    fs::remove_dir_all(machine.directory.join("esp/beadm-rs")).unwrap();
    assert_eq!(machine.next().as_deref(), Some("debian"));
    machine.act(&Act::Good("new"));
    let files = machine.files();
    assert!(!files.contains_key(&file(1)), "{:?}", files.keys());
    for line in [
        "options root=ZFS=rpool/ROOT/new ro quiet splash\n",
        "devicetree /x\n",
    ] {
        assert!(files[&file(2)].contains(line), "{}", files[&file(2)]);
    }
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
