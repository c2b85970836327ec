//! Environments mounted and unmounted.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::machine::Machine;
use crate::ran::{sh, try_sh};

fn zfs_mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter(|line| line.contains(" - zfs "))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_environment_is_mounted_whole_where_it_is_asked_and_unmounted_whole() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    let before = zfs_mounts();
    let at = machine.run(&["mount", "new"]).succeeds().stdout;
    assert_eq!(at, "/run/beadm-rs/mnt/new\n");
    let at = Path::new(at.trim_end());
    std::fs::write(at.join("var/lib/file"), "x").unwrap();
    assert_eq!(zfs_mounts().lines().count(), before.lines().count() + 4);
    machine
        .run(&["mount", "new"])
        .says(3, "new is mounted on /run/beadm-rs/mnt/new already");
    let listed = machine.run(&["list", "-H", "new"]).succeeds().stdout;
    assert!(
        listed.starts_with("new\t-\t/run/beadm-rs/mnt/new\t"),
        "{listed}"
    );
    machine.run(&["unmount", "new"]).succeeds();
    assert_eq!(zfs_mounts(), before);
    assert!(!at.exists());
    // On a directory that was named: there, or to be made.
    let directory = tempfile::tempdir().unwrap();
    for place in [directory.path().to_owned(), directory.path().join("made")] {
        let path = place.to_str().unwrap();
        let at = machine
            .run(&["mount", "--read-only", "new", path])
            .succeeds();
        assert_eq!(at.stdout.trim_end(), path);
        assert!(place.join("var/lib/file").exists());
        for file in ["x", "var/lib/x", "usr/local/x"] {
            let refused = File::create(place.join(file)).unwrap_err();
            assert_eq!(
                refused.kind(),
                std::io::ErrorKind::ReadOnlyFilesystem,
                "{file}"
            );
        }
        machine.run(&["unmount", "new"]).succeeds();
        assert!(place.exists(), "a directory somebody named stays");
    }
    assert_eq!(zfs_mounts(), before);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_directory_that_would_hide_something_is_refused() {
    let machine = Machine::new();
    let before = zfs_mounts();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap().to_owned();
    std::fs::write(directory.path().join("file"), "x").unwrap();
    machine.run(&["mount", "old", &path]).says(
        3,
        &format!("{path} is not empty, and what is in it would be hidden"),
    );
    machine
        .run(&["mount", "old", &format!("{path}/no/such")])
        .fails(1, "No such file or directory");
    machine
        .run(&["mount", "old", &format!("{path}/file")])
        .fails(1, "Not a directory");
    assert_eq!(zfs_mounts(), before);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_link_planted_in_an_environment_leads_nowhere_and_nothing_stays_mounted() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    let victim = tempfile::tempdir().unwrap();
    // The last place in order: what was mounted before it is taken away again.
    for target in [victim.path().to_str().unwrap(), "../../../../../..", "etc"] {
        machine.with_mounted("new", |root| {
            let var = root.join("var");
            let _ = std::fs::remove_dir_all(&var);
            let _ = std::fs::remove_file(&var);
            symlink(target, var).unwrap();
        });
        let before = zfs_mounts();
        let var = machine.name("ROOT/new/var");
        for readonly in [false, true] {
            let mut arguments = vec!["mount", "new"];
            if readonly {
                arguments.push("--read-only");
            }
            machine.run(&arguments).says(
                1,
                &format!(
                    "cannot mount {var} on /run/beadm-rs/mnt/new/var: /var in it is a symbolic link"
                ),
            );
            assert_eq!(zfs_mounts(), before);
            assert!(!Path::new("/run/beadm-rs/mnt/new").exists());
        }
    }
    assert_eq!(std::fs::read_dir(victim.path()).unwrap().count(), 0);
    // Nor do links lead the names in its files astray.
    let outside = victim.path().join("fstab");
    let content = format!("{} /x zfs defaults 0 0\n", machine.name("ROOT/new/x"));
    std::fs::write(&outside, &content).unwrap();
    machine.with_mounted("new", |root| {
        symlink(&outside, root.join("etc/fstab")).unwrap();
        std::fs::create_dir_all(root.join("etc/zfs")).unwrap();
        symlink(victim.path(), root.join("etc/zfs/zfs-list.cache")).unwrap();
    });
    machine.clone_of("new", "newer");
    machine.run(&["rename", "new", "x"]).succeeds();
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), content);
    assert_eq!(std::fs::read_dir(victim.path()).unwrap().count(), 1);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_is_in_use_is_named_and_let_go_only_with_force() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    let at = machine.run(&["mount", "new"]).succeeds().stdout;
    let at = at.trim_end().to_owned();
    let open = File::create(format!("{at}/var/lib/open")).unwrap();
    let command = std::fs::read_to_string("/proc/self/comm").unwrap();
    machine
        .run(&["unmount", "new"])
        .says(
            5,
            &format!(
                "cannot unmount {at}/var/lib: in use by process {} ({})",
                std::process::id(),
                command.trim()
            ),
        )
        .offers("end what uses it, or unmount -f");
    machine.run(&["unmount", "-f", "new"]).succeeds();
    assert!(!zfs_mounts().contains(&machine.name("ROOT/new")));
    drop(open);
    machine.run(&["destroy", "-y", "new"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_running_environment_is_not_unmounted() {
    let machine = Machine::new();
    machine
        .run_inside("old", &["unmount", "old"])
        .says(3, "old is the running environment");
    machine
        .run_inside("old", &["mount", "old"])
        .fails(3, "old is mounted on / already");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_pool_under_an_altroot_gives_its_clones_mountpoints_without_it() {
    let machine = Machine::new();
    machine.dataset("ROOT/old/srv", &["mountpoint=/srv/data", "canmount=noauto"]);
    sh("zpool", &["export", &machine.pool]);
    let rescue = tempfile::tempdir().unwrap();
    let path = rescue.path().to_str().unwrap();
    machine.import(&machine.pool, &["-R", path]);
    // As from a rescue system: the altroot alone says which pool is meant.
    let run = |arguments: &[&str]| {
        let mut all = vec!["-R", path];
        all.extend(arguments);
        try_sh(crate::ran::program().to_str().unwrap(), &all)
    };
    run(&["create", "-e", "old", "new"]).succeeds();
    assert_eq!(machine.get("ROOT/new", "mountpoint"), path);
    let listed = run(&["list", "-H"]).succeeds().stdout;
    assert!(listed.starts_with("new\t-\t-\t"), "{listed}");
    run(&["mount", "new"]).succeeds();
    assert!(Path::new("/run/beadm-rs/mnt/new/srv/data").exists());
    run(&["unmount", "new"]).succeeds();
    run(&["activate", "new"]).succeeds();
    sh("zpool", &["export", &machine.pool]);
    machine.import(&machine.pool, &[]);
    assert_eq!(machine.get("ROOT/new", "mountpoint"), "/");
    assert_eq!(machine.get("ROOT/new/srv", "mountpoint"), "/srv/data");
    assert_eq!(machine.next(), machine.name("ROOT/new"));
}
