use std::collections::BTreeMap;

use camino::Utf8Path;
use proptest::prelude::*;

use super::files::on_disk;
use super::*;
use crate::os::Platform as _;

fn trees_of(sim: &Sim) -> Vec<u64> {
    let data = sim.inner.store.directory.clone().unwrap().join("data");
    let mut trees: Vec<u64> = data
        .read_dir_utf8()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().parse().unwrap())
        .collect();
    trees.sort_unstable();
    trees
}

fn referred(sim: &Sim) -> Vec<u64> {
    sim.state().unwrap().trees().into_keys().collect()
}

#[test]
fn a_machine_is_found_again_as_it_was_left() {
    let (_directory, sim) = on_disk();
    sim.take("p/ROOT/a@1");
    let directory = sim.inner.store.directory.clone().unwrap();
    let again = Sim::open(&directory).unwrap();
    let everything = |sim: &Sim| (sim.pools().unwrap(), sim.tree(&[ds("p")], true).unwrap());
    assert_eq!(everything(&again), everything(&sim));
    // Each sees what the other does.
    again.take("p/ROOT/a@2");
    sim.take("p/ROOT/a@3");
    assert_eq!(again.snapshot_names("p/ROOT/a"), ["1", "2", "3"]);
}

#[test]
fn a_directory_is_taken_only_where_it_is_empty_and_only_its_owner_sees_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (outer, sim) = on_disk();
    let directory = sim.inner.store.directory.clone().unwrap();
    let mode = directory.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let error = Sim::create(&directory, &new_pools()).unwrap_err();
    assert_eq!(error.detail, format!("{directory} is not empty"));
    let outer = Utf8Path::from_path(outer.path()).unwrap();
    let error = Sim::open(outer).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot open the simulated machine {outer}: {outer} is not a simulated machine \
             (it has no state.json); `beadm-rs demo` makes one"
        )
    );
}

#[test]
fn a_state_of_another_format_is_left_alone() {
    let (_directory, sim) = on_disk();
    let directory = sim.inner.store.directory.clone().unwrap();
    let path = directory.join("state.json");
    std::fs::write(&path, r#"{"schema": "beadm-rs/sim/v9", "new": 1}"#).unwrap();
    let error = Sim::open(&directory).unwrap_err();
    assert_eq!(
        error.detail,
        format!(
            "{path} is written as \"beadm-rs/sim/v9\", and this program reads \"beadm-rs/sim/v1\""
        )
    );
    std::fs::write(&path, "{").unwrap();
    let error = Sim::open(&directory).unwrap_err();
    assert!(
        error
            .detail
            .contains("is not the state of a simulated machine")
    );
}

#[test]
fn what_a_killed_process_left_behind_goes_with_the_next_change() {
    let (_directory, sim) = on_disk();
    assert_eq!(trees_of(&sim), referred(&sim));
    // Killed after it copied files and before it saved.
    let next = sim.state().unwrap().last_tree + 1;
    let data = sim.inner.store.directory.clone().unwrap().join("data");
    std::fs::create_dir_all(data.join(next.to_string()).join("half/done")).unwrap();
    std::fs::create_dir(data.join((next + 1).to_string())).unwrap();
    // Killed after it saved and before it removed.
    let gone = sim.state().unwrap().head(&ds("p/ROOT/a/var")).unwrap().tree;
    sim.destroy("p/ROOT/a/var").unwrap();
    std::fs::create_dir(data.join(gone.to_string())).unwrap();
    sim.take("p/ROOT/a@1");
    assert_eq!(trees_of(&sim), referred(&sim));
}

#[test]
fn unmeasured_files_of_a_killed_process_are_measured_when_asked_for() {
    let (_directory, sim) = on_disk();
    let directory = sim.inner.store.directory.clone().unwrap();
    let tree = sim.change(|change| change.expose(&ds("p/ROOT/a"))).unwrap();
    std::fs::write(directory.join(format!("data/{tree}/more")), "x").unwrap();
    assert_eq!(sim.dataset("p/ROOT/a").referenced, 1024);
    sim.take("p/ROOT/a@1");
    std::fs::write(directory.join(format!("data/{tree}/more")), "longer").unwrap();
    assert_eq!(sim.text("p/ROOT/a@1", "more").as_deref(), Some("x"));
}

#[test]
fn after_the_power_failed_nothing_answers_until_the_machine_starts_again() {
    let sim = machine();
    sim.set_bootfs(&pool("p"), Some(&ds("p/ROOT/a"))).unwrap();
    sim.fail_after(1);
    sim.run(&[take("p/ROOT/a@1"), take("p/ROOT/a/var@1")])
        .unwrap();
    refused(sim.run(&[take("p/ROOT/a@2")]), ErrorKind::Other);
    refused(sim.tree(&[ds("p")], true), ErrorKind::Other);
    assert!(sim.mounts(true).is_err());
    assert!(sim.write_file(&ds("p/ROOT/a"), "x", "x").is_err());
    assert_eq!(sim.reboot().unwrap(), ds("p/ROOT/a"));
    assert_eq!(sim.snapshot_names("p/ROOT/a"), ["1"]);
}

#[test]
fn a_fork_goes_its_own_way() {
    let sim = machine();
    let fork = sim.fork().unwrap();
    fork.take("p/ROOT/a@1");
    fork.write_file(&ds("p/ROOT/a"), "etc/motd", "two").unwrap();
    assert_eq!(sim.text("p/ROOT/a", "etc/motd").as_deref(), Some("one"));
    assert_eq!(sim.snapshot_names("p/ROOT/a"), Vec::<String>::new());
    assert!(on_disk().1.fork().is_err());
}

#[test]
fn an_edit_of_something_missing_changes_nothing() {
    let sim = machine();
    let edited = sim.edit(|edit| {
        edit.busy(&ds("p/ROOT/a"), true);
        edit.busy(&ds("p/ROOT/x"), true);
    });
    refused(edited, ErrorKind::NotFound);
    sim.destroy("p/ROOT/a/var").unwrap();
    sim.destroy("p/ROOT/a").unwrap();
}

#[derive(Debug, Clone)]
enum Act {
    Take(usize),
    Clone(usize, usize),
    Promote(usize),
    Destroy(usize),
    DestroySnapshot(usize),
    Rollback(usize),
    Rename(usize, usize),
    Write(usize, u8),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let name = 0..4_usize;
    let act = prop_oneof![
        name.clone().prop_map(Act::Take),
        (name.clone(), name.clone()).prop_map(|(a, b)| Act::Clone(a, b)),
        name.clone().prop_map(Act::Promote),
        name.clone().prop_map(Act::Destroy),
        name.clone().prop_map(Act::DestroySnapshot),
        name.clone().prop_map(Act::Rollback),
        (name.clone(), name.clone()).prop_map(|(a, b)| Act::Rename(a, b)),
        (name, any::<u8>()).prop_map(|(a, b)| Act::Write(a, b)),
    ];
    prop::collection::vec(act, 1..40)
}

fn act(sim: &Sim, number: usize, act: &Act) {
    let name = |index: usize| format!("p/{index}");
    let newest = |index: usize| {
        let listed = sim.tree(&[ds(&name(index))], true).unwrap();
        listed
            .first()
            .and_then(|dataset| dataset.snapshots.last().cloned())
    };
    let known = |index: usize| sim.exists(&name(index));
    let _ = match *act {
        Act::Take(a) => sim.run(&[take(&format!("{}@{number}", name(a)))]),
        Act::Clone(a, b) => match newest(a) {
            Some(snapshot) => sim.clone_all(&[clone_of(snapshot.name.as_str(), &name(b))]),
            None => sim.create(&ds(&name(b)), &[]),
        },
        Act::Promote(a) => sim.run(&[promote(&name(a), true)]),
        Act::Destroy(a) if known(a) => sim.destroy(&name(a)),
        Act::DestroySnapshot(a) => match newest(a) {
            Some(snapshot) => sim.destroy(snapshot.name.as_str()),
            None => Ok(()),
        },
        Act::Rollback(a) if known(a) => sim.rollback(&name(a)),
        Act::Rename(a, b) => sim.rename(&ds(&name(a)), &ds(&name(b))),
        Act::Write(a, byte) if known(a) => {
            let file = format!("f{}", byte % 3);
            sim.write_file(&ds(&name(a)), file, vec![byte; usize::from(byte) * 8])
                .unwrap();
            Ok(())
        }
        _ => Ok(()),
    };
}

/// What every snapshot holds, by its guid.
fn contents(sim: &Sim) -> BTreeMap<Guid, Vec<Option<Vec<u8>>>> {
    let all = sim.tree(&[ds("p")], true).unwrap();
    let read = |object: &str| {
        let files = ["f0", "f1", "f2"];
        files
            .map(|file| sim.read_file(object, file).unwrap())
            .to_vec()
    };
    all.iter()
        .flat_map(|dataset| &dataset.snapshots)
        .map(|snapshot| (snapshot.guid, read(snapshot.name.as_str())))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_is_done_the_machine_stays_whole(acts in acts()) {
        let sim = Sim::in_memory(&new_pools()).unwrap();
        let mut kept = BTreeMap::new();
        for (number, one) in acts.iter().enumerate() {
            act(&sim, number, one);
            // A snapshot never changes while it is there.
            let now = contents(&sim);
            for (guid, files) in &now {
                prop_assert_eq!(kept.get(guid).unwrap_or(files), files);
            }
            kept = now;
            let all = sim.tree(&[ds("p")], true).unwrap();
            let state = sim.state().unwrap();
            for dataset in &all {
                let txgs: Vec<u64> = dataset.snapshots.iter().map(|s| s.createtxg).collect();
                prop_assert!(txgs.is_sorted());
                for clone in dataset.snapshots.iter().flat_map(|s| &s.clones) {
                    prop_assert!(all.iter().any(|d| d.name == *clone));
                }
                let head = state.head(&dataset.name).unwrap();
                prop_assert_eq!(head.origin.is_some(), dataset.origin.is_some());
                prop_assert!(dataset.written <= dataset.referenced);
                for snapshot in &dataset.snapshots {
                    prop_assert!(snapshot.used <= snapshot.referenced);
                    prop_assert!(snapshot.written <= snapshot.referenced);
                }
            }
            let trees: Vec<u64> = sim.inner.store.files.memory().unwrap().keys().copied().collect();
            prop_assert_eq!(trees, referred(&sim));
        }
    }
}
