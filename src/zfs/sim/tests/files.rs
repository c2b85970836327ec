use super::*;
use crate::os::Platform as _;

#[test]
fn a_fresh_clone_takes_no_room_and_a_changed_one_what_was_changed() {
    let sim = machine();
    sim.write_file(&ds("p/ROOT/a"), "large", vec![0; 8192])
        .unwrap();
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    let fresh = sim.dataset("p/ROOT/b");
    assert_eq!((fresh.referenced, fresh.written, fresh.used), (8704, 0, 0));
    sim.write_file(&ds("p/ROOT/b"), "large", vec![1; 4096])
        .unwrap();
    let changed = sim.dataset("p/ROOT/b");
    assert_eq!(
        (changed.referenced, changed.written, changed.used),
        (4608, 4096, 4096)
    );
    let pool = &sim.pools().unwrap()[1];
    assert_eq!(pool.size - pool.free, 8704 + 4096);
}

#[test]
fn a_snapshot_takes_the_room_of_what_only_it_has() {
    let sim = machine();
    sim.write_file(&ds("p/ROOT/a"), "large", vec![0; 8192])
        .unwrap();
    sim.take("p/ROOT/a@1");
    assert_eq!(sim.snapshot("p/ROOT/a@1").used, 0);
    sim.write_file(&ds("p/ROOT/a"), "large", vec![1; 4096])
        .unwrap();
    sim.take("p/ROOT/a@2");
    let (one, two) = (sim.snapshot("p/ROOT/a@1"), sim.snapshot("p/ROOT/a@2"));
    assert_eq!((one.used, one.referenced, one.written), (8192, 8704, 8704));
    assert_eq!((two.used, two.referenced, two.written), (0, 4608, 4096));
    assert_eq!(sim.dataset("p/ROOT/a").used, 8704 + 4096);
    sim.destroy("p/ROOT/a@1").unwrap();
    assert_eq!(sim.dataset("p/ROOT/a").used, 4608);
    assert_eq!(sim.snapshot("p/ROOT/a@2").written, 4608);
}

#[test]
fn what_a_dataset_uses_includes_its_children_and_moves_with_a_promote() {
    let sim = machine();
    sim.write_file(&ds("p/ROOT/a/var"), "log", vec![0; 1024])
        .unwrap();
    assert_eq!(sim.dataset("p/ROOT/a").used, 512 + 1024);
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    sim.run(&[promote("p/ROOT/b", true)]).unwrap();
    assert_eq!(sim.dataset("p/ROOT/a").used, 1024);
    assert_eq!(sim.dataset("p/ROOT/b").used, 512);
    assert_eq!(sim.dataset("p").used, 512 + 1024);
}

#[test]
fn work_with_files_of_two_datasets_can_be_nested() {
    for sim in [machine(), on_disk().1] {
        sim.take("p/ROOT/a@1");
        sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
        sim.with_files(&ds("p/ROOT/a"), false, &mut |from| {
            let text = from.read("etc/motd")?;
            sim.with_files(&ds("p/ROOT/b"), true, &mut |to| to.write("copied", &text))
                .map_err(std::io::Error::other)
        })
        .unwrap();
        assert_eq!(sim.text("p/ROOT/b", "copied").as_deref(), Some("one"));
        assert_eq!(sim.text("p/ROOT/a", "copied"), None);
        assert_eq!(sim.text("p/ROOT/a@1", "copied"), None);
    }
}

#[test]
fn files_are_kept_with_mode_time_and_links() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let (_directory, sim) = on_disk();
    let data = sim.inner.store.directory.clone().unwrap().join("data");
    let tree_of = |name: &str| {
        let state = sim.state().unwrap();
        let tree = match name.contains('@') {
            true => state.snap(&snap(name)).unwrap().tree,
            false => state.head(&ds(name)).unwrap().tree,
        };
        data.join(tree.to_string())
    };
    sim.with_files(&ds("p/ROOT/a"), true, &mut |root| {
        root.write("secret", "x")?;
        root.symlink_contents("/etc/motd", "link")?;
        root.create_dir("empty")
    })
    .unwrap();
    let secret = tree_of("p/ROOT/a").join("secret");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o4640)).unwrap();
    nix::sys::stat::utimes(
        secret.as_std_path(),
        &nix::sys::time::TimeVal::new(1, 0),
        &nix::sys::time::TimeVal::new(1_000_000, 5),
    )
    .unwrap();
    // A mounted dataset is copied for its snapshot.
    sim.edit(|edit| edit.running(&ds("p/ROOT/a"))).unwrap();
    sim.take("p/ROOT/a@1");
    let copy = tree_of("p/ROOT/a@1");
    assert_ne!(copy, tree_of("p/ROOT/a"));
    let metadata = copy.join("secret").metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o4640);
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000, 5000));
    assert_eq!(copy.join("link").read_link_utf8().unwrap(), "/etc/motd");
    assert!(copy.join("empty").is_dir());
    assert_eq!(sim.dataset("p/ROOT/a").written, 0);
}

#[test]
fn a_directory_of_the_host_is_brought_in_and_what_is_left_out_counted() {
    let host = tempfile::tempdir().unwrap();
    let at = |name: &str| host.path().join(name);
    std::fs::create_dir(at("ssh")).unwrap();
    std::fs::write(at("ssh/config"), "Host *").unwrap();
    std::fs::write(at("large"), vec![0; 5000]).unwrap();
    std::os::unix::fs::symlink("/proc/mounts", at("mtab")).unwrap();
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for sim in [machine(), on_disk().1] {
        let import = crate::zfs::sim::Import {
            into: "usr/etc".into(),
            file_bytes: 4096,
            total_bytes: 1 << 20,
        };
        let report = sim
            .import_tree(&ds("p/ROOT/a"), host.path(), &import)
            .unwrap();
        assert_eq!((report.files, report.bytes), (2, 6));
        assert_eq!(
            (report.special, report.too_large, report.unreadable),
            (1, 1, 0)
        );
        assert_eq!(report.skipped(), 2);
        assert_eq!(
            sim.text("p/ROOT/a", "usr/etc/ssh/config").as_deref(),
            Some("Host *")
        );
    }
}

/// The same machine in a directory, which lives as long as the first part.
pub(super) fn on_disk() -> (tempfile::TempDir, Sim) {
    let directory = tempfile::tempdir().unwrap();
    let path = camino::Utf8Path::from_path(directory.path()).unwrap();
    let sim = Sim::create(&path.join("sim"), &new_pools()).unwrap();
    populate(&sim);
    (directory, sim)
}

#[test]
fn what_a_clone_still_has_is_not_the_snapshots_alone() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    sim.write_file(&ds("p/ROOT/a"), "etc/motd", "two").unwrap();
    assert_eq!(sim.snapshot("p/ROOT/a@1").used, 0);
    sim.write_file(&ds("p/ROOT/b"), "etc/motd", "new").unwrap();
    assert_eq!(sim.snapshot("p/ROOT/a@1").used, 512);
}
