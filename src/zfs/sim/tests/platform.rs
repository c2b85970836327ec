use std::time::Duration;

use camino::Utf8Path;

use super::files::on_disk;
use super::*;
use crate::os::{Error as OsError, LockKind, MountRequest, Namespace, Platform as _};

fn request(dataset: &str, directory: &Utf8Path) -> MountRequest {
    MountRequest {
        dataset: ds(dataset),
        directory: directory.to_owned(),
        readonly: false,
        legacy: false,
    }
}

fn mounts(sim: &Sim) -> Vec<String> {
    let shown = |mount: crate::os::Mount| format!("{} {}", mount.dataset, mount.directory);
    sim.mounts(false).unwrap().into_iter().map(shown).collect()
}

#[test]
fn a_reboot_starts_what_bootfs_names_with_its_own_children() {
    let sim = machine();
    sim.create(&ds("p/share"), &[setting("mountpoint", "/var/share")])
        .unwrap();
    sim.create(&ds("bpool/BOOT"), &[setting("canmount", "off")])
        .unwrap();
    let boot = [
        setting("canmount", "noauto"),
        setting("mountpoint", "/boot"),
    ];
    sim.create(&ds("bpool/BOOT/a"), &boot).unwrap();
    sim.create(&ds("bpool/BOOT/b"), &boot).unwrap();
    sim.take("p/ROOT/a@1");
    sim.take("p/ROOT/a/var@1");
    for name in ["p/ROOT/b", "p/ROOT/b/var"] {
        let mut clone = clone_of(&format!("{}@1", name.replace("/b", "/a")), name);
        clone.settings = vec![setting("canmount", "noauto"), setting("mountpoint", "/")];
        sim.clone_all(&[clone]).unwrap();
    }
    sim.set(&ds("p/ROOT/b/var"), &[setting("mountpoint", "/var")])
        .unwrap();
    for be in ["a", "b"] {
        let root = ds(&format!("p/ROOT/{be}"));
        sim.set_bootfs(&pool("p"), Some(&root)).unwrap();
        assert_eq!(sim.reboot().unwrap(), root);
        assert_eq!(sim.root_dataset().unwrap(), Some(root));
        assert_eq!(
            mounts(&sim),
            [
                &format!("p/ROOT/{be} /"),
                &format!("bpool/BOOT/{be} /boot"),
                "bpool /bpool",
                "p /p",
                &format!("p/ROOT/{be}/var /var"),
                "p/share /var/share",
            ]
        );
    }
}

#[test]
fn a_child_of_another_environment_with_canmount_on_is_mounted_as_zfs_would() {
    let sim = machine();
    sim.create(
        &ds("p/ROOT/b"),
        &[setting("canmount", "noauto"), setting("mountpoint", "/")],
    )
    .unwrap();
    sim.create(&ds("p/ROOT/b/opt"), &[]).unwrap();
    sim.reboot_into(&ds("p/ROOT/a")).unwrap();
    assert!(mounts(&sim).contains(&"p/ROOT/b/opt /opt".to_owned()));
}

#[test]
fn what_cannot_be_a_root_is_not_booted() {
    let sim = machine();
    let failed = |sim: &Sim| sim.reboot().unwrap_err().to_string();
    assert_eq!(failed(&sim), "cannot reboot: no pool has a bootfs");
    sim.set_bootfs(&pool("p"), Some(&ds("p/ROOT/a"))).unwrap();
    sim.set(&ds("p/ROOT/a"), &[setting("mountpoint", "none")])
        .unwrap();
    assert_eq!(
        failed(&sim),
        "cannot boot p/ROOT/a: mountpoint=none: it is no root file system"
    );
    sim.set(
        &ds("p/ROOT/a"),
        &[setting("mountpoint", "/"), setting("canmount", "off")],
    )
    .unwrap();
    assert_eq!(
        failed(&sim),
        "cannot boot p/ROOT/a: canmount=off: it cannot be mounted"
    );
    assert_eq!(sim.root_dataset().unwrap(), None);
}

#[test]
fn a_mounted_environment_is_one_tree_until_it_is_unmounted() {
    let (_directory, sim) = on_disk();
    let at = sim.new_mount_directory("a").unwrap();
    assert!(sim.is_own_mount_directory(&at));
    assert!(!sim.is_own_mount_directory("/mnt".into()));
    sim.mount(&request("p/ROOT/a", &at)).unwrap();
    std::fs::create_dir(at.join("var")).unwrap();
    sim.mount(&request("p/ROOT/a/var", &at.join("var")))
        .unwrap();
    assert_eq!(std::fs::read_to_string(at.join("etc/motd")).unwrap(), "one");
    std::fs::write(at.join("var/log"), "hello").unwrap();
    std::fs::write(at.join("etc/motd"), "two").unwrap();
    assert_eq!(sim.text("p/ROOT/a/var", "log").as_deref(), Some("hello"));
    let shown = sim.dataset("p/ROOT/a/var");
    assert!(shown.mounted);
    assert_eq!(shown.written, 512);

    // Neither a snapshot nor the sizes of the parent hold the child's files.
    sim.take("p/ROOT/a@1");
    assert_eq!(sim.text("p/ROOT/a@1", "etc/motd").as_deref(), Some("two"));
    assert_eq!(sim.text("p/ROOT/a@1", "var/log"), None);
    assert_eq!(sim.dataset("p/ROOT/a").referenced, 512);
    refused(sim.rollback("p/ROOT/a"), ErrorKind::Busy);

    let busy = sim.unmount(&at, false).unwrap_err();
    assert!(matches!(busy, OsError::Busy { .. }), "{busy}");
    sim.unmount(&at.join("var"), false).unwrap();
    assert!(std::fs::read_dir(at.join("var")).unwrap().next().is_none());
    sim.unmount(&at, false).unwrap();
    assert!(std::fs::read_dir(&at).unwrap().next().is_none());
    assert!(!sim.dataset("p/ROOT/a").mounted);
    assert_eq!(mounts(&sim), Vec::<String>::new());
    sim.rollback("p/ROOT/a").unwrap();
}

#[test]
fn what_is_written_to_a_mounted_clone_stays_out_of_its_origin() {
    let (_directory, sim) = on_disk();
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    let at = sim.new_mount_directory("b").unwrap();
    sim.mount(&request("p/ROOT/b", &at)).unwrap();
    std::fs::write(at.join("etc/motd"), "mine").unwrap();
    assert_eq!(sim.dataset("p/ROOT/b").written, 512);
    assert_eq!(sim.text("p/ROOT/a@1", "etc/motd").as_deref(), Some("one"));
    assert_eq!(sim.text("p/ROOT/a", "etc/motd").as_deref(), Some("one"));
}

#[test]
fn a_forced_unmount_takes_what_is_below_along() {
    let (_directory, sim) = on_disk();
    let at = sim.new_mount_directory("a").unwrap();
    sim.mount(&request("p/ROOT/a", &at)).unwrap();
    std::fs::create_dir(at.join("var")).unwrap();
    sim.mount(&request("p/ROOT/a/var", &at.join("var")))
        .unwrap();
    sim.unmount(&at, true).unwrap();
    assert_eq!(mounts(&sim), Vec::<String>::new());
    assert_eq!(sim.text("p/ROOT/a", "etc/motd").as_deref(), Some("one"));
    let state = sim.state().unwrap();
    let root = state.head(&ds("p/ROOT/a")).unwrap().tree;
    let var = sim.inner.store.files.path(root).unwrap().join("var");
    assert!(var.symlink_metadata().unwrap().is_dir());
}

#[test]
fn a_reboot_puts_the_directories_back_and_shows_the_running_files() {
    let (_directory, sim) = on_disk();
    let at = sim.new_mount_directory("a").unwrap();
    sim.mount(&request("p/ROOT/a", &at)).unwrap();
    sim.reboot_into(&ds("p/ROOT/a")).unwrap();
    assert!(at.symlink_metadata().unwrap().is_dir());
    let root = sim.inner.store.directory.clone().unwrap().join("root");
    std::fs::write(root.join("etc/motd"), "edited").unwrap();
    assert_eq!(sim.text("p/ROOT/a", "etc/motd").as_deref(), Some("edited"));
    sim.reboot_into(&ds("p/ROOT/a")).unwrap();
}

#[test]
fn a_mount_needs_an_empty_directory_and_a_dataset_with_files() {
    let (_directory, sim) = on_disk();
    let at = sim.new_mount_directory("a").unwrap();
    sim.edit(|edit| edit.volume(&ds("p/swap"))).unwrap();
    let failed = |dataset| sim.mount(&request(dataset, &at)).unwrap_err().to_string();
    assert_eq!(
        failed("p/swap"),
        format!("cannot mount p/swap on {at}: it is not a file system")
    );
    assert_eq!(
        failed("p/x"),
        format!("cannot mount p/x on {at}: 'p/x': dataset does not exist")
    );
    std::fs::write(at.join("file"), "").unwrap();
    assert_eq!(
        failed("p/ROOT/a"),
        "cannot mount p/ROOT/a: the directory is not empty; the simulation mounts on empty ones only"
    );
    assert_eq!(
        sim.unmount(&at, false).unwrap_err().to_string(),
        format!("cannot unmount {at}: nothing is mounted there")
    );
}

#[test]
fn other_namespaces_are_shown_where_asked_for() {
    let sim = machine();
    sim.edit(|edit| {
        edit.mounted_elsewhere(&ds("p/ROOT/a"), "/srv".into(), 7, "container");
    })
    .unwrap();
    assert_eq!(sim.mounts(false).unwrap(), []);
    let all = sim.mounts(true).unwrap();
    assert_eq!(
        all[0].namespace,
        Namespace::Of {
            pid: 7,
            command: "container".to_owned()
        }
    );
    assert!(!sim.dataset("p/ROOT/a").mounted);
}

#[test]
fn the_lock_is_one_for_all_handles_of_a_machine() {
    for sim in [machine(), on_disk().1] {
        let held = sim
            .lock(LockKind::Change, "create b", Duration::ZERO)
            .unwrap();
        let holder = format!("pid {}: create b", std::process::id());
        assert_eq!(sim.clone().lock_holder(LockKind::Change), Some(holder));
        let error = sim
            .clone()
            .lock(LockKind::Change, "destroy a", Duration::ZERO)
            .unwrap_err();
        assert!(matches!(error, OsError::Locked { .. }), "{error}");
        drop(held);
        assert_eq!(sim.lock_holder(LockKind::Change), None);
    }
}

#[test]
fn a_mount_whose_directory_cannot_be_replaced_is_none() {
    let (outer, sim) = on_disk();
    let outer = Utf8Path::from_path(outer.path()).unwrap();
    // rmdir(2) refuses a path that ends in a dot.
    let gone = outer.join("gone");
    std::fs::create_dir(&gone).unwrap();
    let inside = gone.join("..").join("gone").join(".");
    let error = sim.mount(&request("p/ROOT/a", &inside)).unwrap_err();
    assert!(
        error.to_string().contains("replace the directory"),
        "{error}"
    );
    assert_eq!(mounts(&sim), Vec::<String>::new());
    assert!(gone.is_dir());
}

#[test]
fn what_is_mounted_may_change_at_any_time() {
    let (_directory, sim) = on_disk();
    let at = sim.new_mount_directory("a").unwrap();
    sim.mount(&request("p/ROOT/a", &at)).unwrap();
    sim.write_file(&ds("p/ROOT/a"), "etc/hosts", "one").unwrap();
    sim.take("p/ROOT/a@1");
    std::fs::write(at.join("etc/hosts"), "and two").unwrap();
    assert_eq!(sim.text("p/ROOT/a@1", "etc/hosts").as_deref(), Some("one"));
    assert_eq!(sim.dataset("p/ROOT/a").written, 512);
}

#[test]
fn a_reboot_ends_what_kept_things_busy_and_asks_for_the_key() {
    let sim = machine();
    let (a, var) = (ds("p/ROOT/a"), ds("p/ROOT/a/var"));
    sim.take("p/ROOT/a/var@1");
    sim.edit(|edit| {
        edit.encryption(&a, Some(&a), false);
        edit.busy(&var, true);
        edit.snapshot_busy(&snap("p/ROOT/a/var@1"), true);
        edit.mounted_elsewhere(&var, "/srv".into(), 7, "container");
    })
    .unwrap();
    sim.set(&var, &[setting("canmount", "off")]).unwrap();
    let locked = sim.mount(&request("p/ROOT/a", "/mnt".into())).unwrap_err();
    assert_eq!(
        locked.to_string(),
        "cannot mount p/ROOT/a on /mnt: its key is not loaded"
    );
    sim.reboot_into(&a).unwrap();
    assert!(sim.dataset("p/ROOT/a").key_loaded);
    assert!(!sim.state().unwrap().head(&var).unwrap().dirty);
    sim.destroy("p/ROOT/a/var@1").unwrap();
    sim.destroy("p/ROOT/a/var").unwrap();
}
