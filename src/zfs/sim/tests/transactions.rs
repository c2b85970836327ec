use super::*;

#[test]
fn a_promote_moves_the_origin_and_what_came_before_it() {
    let sim = machine();
    for name in ["p/ROOT/a@1", "p/ROOT/a@2", "p/ROOT/a@3"] {
        sim.take(name);
    }
    let guids: Vec<Guid> = sim
        .dataset("p/ROOT/a")
        .snapshots
        .iter()
        .map(|s| s.guid)
        .collect();
    sim.clone_of("p/ROOT/a@1", "p/ROOT/old");
    sim.clone_of("p/ROOT/a@2", "p/ROOT/b");
    sim.take("p/ROOT/b@4");
    sim.run(&[promote("p/ROOT/b", true)]).unwrap();
    assert_eq!(sim.snapshot_names("p/ROOT/b"), ["1", "2", "4"]);
    assert_eq!(sim.snapshot_names("p/ROOT/a"), ["3"]);
    assert_eq!(sim.origin("p/ROOT/b"), None);
    assert_eq!(sim.origin("p/ROOT/a").as_deref(), Some("p/ROOT/b@2"));
    assert_eq!(sim.origin("p/ROOT/old").as_deref(), Some("p/ROOT/b@1"));
    assert_eq!(sim.snapshot("p/ROOT/b@1").clones, [ds("p/ROOT/old")]);
    assert_eq!(sim.snapshot("p/ROOT/b@1").guid, guids[0]);
}

#[test]
fn a_chain_of_clones_is_promoted_level_by_level_in_one_transaction() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    sim.take("p/ROOT/b@2");
    sim.clone_of("p/ROOT/b@2", "p/ROOT/c");
    sim.run(&[promote("p/ROOT/c", true), promote("p/ROOT/c", false)])
        .unwrap();
    assert_eq!(sim.origin("p/ROOT/c"), None);
    assert_eq!(sim.snapshot_names("p/ROOT/c"), ["1", "2"]);
    assert_eq!(sim.origin("p/ROOT/b").as_deref(), Some("p/ROOT/c@2"));
    assert_eq!(sim.origin("p/ROOT/a").as_deref(), Some("p/ROOT/c@1"));
}

#[test]
fn only_a_clone_can_be_promoted() {
    let sim = machine();
    let error = refused(sim.run(&[promote("p/ROOT/a", true)]), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "cannot promote p/ROOT/a: it is not a clone"
    );
}

#[test]
fn a_promote_names_the_snapshots_in_its_way_and_changes_nothing() {
    let sim = machine();
    for name in ["p/ROOT/a@x", "p/ROOT/a@y", "p/ROOT/a@z"] {
        sim.take(name);
    }
    sim.clone_of("p/ROOT/a@z", "p/ROOT/b");
    sim.take("p/ROOT/b@x");
    sim.take("p/ROOT/b@y");
    let before = sim.tree(&[ds("p")], true).unwrap();
    let error = refused(
        sim.run(&[mark("p/ROOT", "op", "1"), promote("p/ROOT/b", true)]),
        ErrorKind::Exists,
    );
    assert_eq!(
        error.to_string(),
        "cannot promote p/ROOT/b: both sides have snapshots (or bookmarks) of the same name: y x"
    );
    assert!(!error.partial);
    assert_eq!(sim.tree(&[ds("p")], true).unwrap(), before);
}

#[test]
fn a_promote_is_refused_while_a_snapshot_it_would_move_is_sent() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    sim.edit(|edit| edit.snapshot_busy(&snap("p/ROOT/a@1"), true))
        .unwrap();
    refused(sim.run(&[promote("p/ROOT/b", true)]), ErrorKind::Busy);
}

#[test]
fn a_promote_carries_the_key_with_it_or_is_refused() {
    let sim = machine();
    sim.edit(|edit| edit.encryption(&ds("p/ROOT/a"), Some(&ds("p/ROOT/a")), true))
        .unwrap();
    sim.take("p/ROOT/a@1");
    sim.take("p/ROOT/a/var@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    sim.clone_of("p/ROOT/a/var@1", "p/ROOT/b/var");
    // The parent of `a/var` has the key's root above it, that of `b/var` too.
    sim.run(&[promote("p/ROOT/b/var", true), promote("p/ROOT/b", true)])
        .unwrap();
    for name in ["p/ROOT/a", "p/ROOT/a/var", "p/ROOT/b", "p/ROOT/b/var"] {
        assert_eq!(
            sim.dataset(name).encryption_root,
            Some(ds("p/ROOT/b")),
            "{name}"
        );
    }
    sim.take("p/ROOT/b/var@2");
    sim.clone_of("p/ROOT/b/var@2", "p/elsewhere");
    refused(sim.run(&[promote("p/elsewhere", true)]), ErrorKind::Key);
}

#[test]
fn a_promote_past_a_quota_is_refused() {
    let sim = machine();
    sim.write_file(&ds("p/ROOT/a"), "large", vec![0; 8192])
        .unwrap();
    sim.take("p/ROOT/a@1");
    sim.create(&ds("p/small"), &[setting("quota", "4K")])
        .unwrap();
    sim.clone_of("p/ROOT/a@1", "p/small/b");
    refused(sim.run(&[promote("p/small/b", true)]), ErrorKind::NoSpace);
    sim.set(&ds("p/small"), &[setting("quota", "none")])
        .unwrap();
    sim.run(&[promote("p/small/b", true)]).unwrap();
}

#[test]
fn a_dataset_is_destroyed_only_bare_and_unused() {
    let sim = machine();
    let error = refused(sim.destroy("p/ROOT/a"), ErrorKind::Exists);
    assert_eq!(
        error.to_string(),
        "cannot destroy p/ROOT/a: something hangs on it: p/ROOT/a/var is below it"
    );
    sim.take("p/ROOT/a/var@1");
    let error = refused(sim.destroy("p/ROOT/a/var"), ErrorKind::Exists);
    assert_eq!(
        error.detail,
        "something hangs on it: p/ROOT/a/var@1 is there"
    );
    sim.run(&[
        sim.destruction("p/ROOT/a/var@1"),
        sim.destruction("p/ROOT/a/var"),
    ])
    .unwrap();
    sim.edit(|edit| edit.busy(&ds("p/ROOT/a"), true)).unwrap();
    let error = refused(sim.destroy("p/ROOT/a"), ErrorKind::Busy);
    assert_eq!(
        error.detail,
        "it is in use (mounted somewhere, sent or received)"
    );
    sim.edit(|edit| edit.busy(&ds("p/ROOT/a"), false)).unwrap();
    sim.destroy("p/ROOT/a").unwrap();
    sim.destroy("p/ROOT").unwrap();
    refused(sim.destroy("p"), ErrorKind::Exists);
}

#[test]
fn a_busy_dataset_stops_a_transaction_before_its_first_operation() {
    let sim = machine();
    sim.take("p/ROOT/a/var@1");
    sim.edit(|edit| {
        edit.mounted_elsewhere(&ds("p/ROOT/a/var"), "/srv".into(), 7, "container");
    })
    .unwrap();
    let error = refused(
        sim.run(&[
            sim.destruction("p/ROOT/a/var@1"),
            sim.destruction("p/ROOT/a/var"),
        ]),
        ErrorKind::Busy,
    );
    assert_eq!(error.attempted, "destroy p/ROOT/a/var");
    assert_eq!(sim.snapshot_names("p/ROOT/a/var"), ["1"]);
}

#[test]
fn what_was_done_before_a_failing_operation_stays_done() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    let promotion = SyncOp::Promote {
        dataset: ds("p/ROOT/b"),
        checked: true,
    };
    // It is there after the promotion, and then what it came from hangs on it.
    let destruction = SyncOp::Destroy {
        object: "p/ROOT/b@1".to_owned(),
        guard: Guard::Guid(sim.snapshot("p/ROOT/a@1").guid),
        missing_ok: true,
    };
    let error = refused(
        sim.run(&[mark("p/ROOT", "op", "7"), promotion, destruction]),
        ErrorKind::Exists,
    );
    assert_eq!(
        error.to_string(),
        "cannot destroy p/ROOT/b@1: clones hang on it"
    );
    assert!(error.partial);
    let root = sim.dataset("p/ROOT");
    assert_eq!(root.marks["op"], format!("{} 7", root.guid));
}

#[test]
fn a_held_snapshot_cannot_be_destroyed() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    let one = snap("p/ROOT/a@1");
    sim.edit(|edit| {
        edit.hold(&one, "keep", true);
        edit.hold(&one, "also", true);
    })
    .unwrap();
    assert_eq!(sim.holds(&one).unwrap(), ["also", "keep"]);
    assert_eq!(sim.snapshot("p/ROOT/a@1").holds, 2);
    refused(sim.destroy("p/ROOT/a@1"), ErrorKind::Busy);
    sim.edit(|edit| {
        edit.hold(&one, "keep", false);
        edit.hold(&one, "also", false);
    })
    .unwrap();
    sim.destroy("p/ROOT/a@1").unwrap();
    refused(sim.holds(&one), ErrorKind::NotFound);
}

#[test]
fn another_object_of_the_same_name_is_not_destroyed() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    let old = sim.destruction("p/ROOT/b");
    sim.run(std::slice::from_ref(&old)).unwrap();
    sim.create(&ds("p/ROOT/b"), &[]).unwrap();
    let error = refused(sim.run(&[old]), ErrorKind::NotFound);
    assert_eq!(
        error.detail,
        "it is another object than the one that was looked at before"
    );
    let guarded = |guard| {
        sim.run(&[SyncOp::Destroy {
            object: "p/ROOT/b".to_owned(),
            guard,
            missing_ok: false,
        }])
    };
    refused(
        guarded(Guard::Origin(snap("p/ROOT/a@1"))),
        ErrorKind::NotFound,
    );
    let marked = Guard::Mark {
        key: "op".to_owned(),
        text: "x".to_owned(),
    };
    refused(guarded(marked.clone()), ErrorKind::NotFound);
    sim.run(&[mark("p/ROOT/b", "op", "x")]).unwrap();
    guarded(marked).unwrap();
}

#[test]
fn a_guard_by_a_setting_takes_an_inherited_value_too() {
    let sim = machine();
    sim.set(&ds("p/ROOT/a"), &[setting("org.beadm-rs:op", "receive 5")])
        .unwrap();
    let guard = Guard::Setting {
        key: "op".to_owned(),
        value: "receive 5".to_owned(),
    };
    sim.run(&[SyncOp::Destroy {
        object: "p/ROOT/a/var".to_owned(),
        guard,
        missing_ok: false,
    }])
    .unwrap();
}

#[test]
fn a_missing_object_is_no_error_only_where_that_is_said() {
    let sim = machine();
    let missing = |missing_ok| {
        sim.run(&[SyncOp::Destroy {
            object: "p/ROOT/b".to_owned(),
            guard: Guard::Guid(Guid(1)),
            missing_ok,
        }])
    };
    missing(true).unwrap();
    refused(missing(false), ErrorKind::NotFound);
    sim.run(&[SyncOp::Unmark {
        object: "p/ROOT/b".to_owned(),
        key: "op".to_owned(),
    }])
    .unwrap();
    refused(sim.run(&[mark("p/ROOT/b", "op", "x")]), ErrorKind::NotFound);
}

#[test]
fn a_second_snapshot_in_the_same_transaction_group_is_refused() {
    let sim = machine();
    let error = refused(
        sim.run(&[
            take("p/ROOT/a@1"),
            take("p/ROOT/a/var@1"),
            take("p/ROOT/a@2"),
        ]),
        ErrorKind::Io,
    );
    assert!(error.partial);
    assert_eq!(sim.snapshot_names("p/ROOT/a"), ["1"]);
    assert_eq!(sim.snapshot_names("p/ROOT/a/var"), ["1"]);
    refused(sim.run(&[take("p/ROOT/a@1")]), ErrorKind::Exists);
    refused(sim.run(&[take("p/ROOT/b@1")]), ErrorKind::NotFound);
    refused(sim.run(&[take("bpool@1")]), ErrorKind::Unsupported);
}

#[test]
fn everything_of_one_transaction_has_its_txg_and_later_ones_have_later() {
    let sim = machine();
    sim.run(&[take("p/ROOT/a@1"), take("p/ROOT/a/var@1")])
        .unwrap();
    sim.take("p/ROOT/a@2");
    let txg = |name| sim.snapshot(name).createtxg;
    assert_eq!(txg("p/ROOT/a@1"), txg("p/ROOT/a/var@1"));
    assert!(txg("p/ROOT/a@1") > sim.dataset("p/ROOT/a").createtxg);
    assert!(txg("p/ROOT/a@2") > txg("p/ROOT/a@1"));
}

#[test]
fn a_rollback_brings_the_newest_snapshot_back() {
    let sim = machine();
    let error = refused(sim.rollback("p/ROOT/a"), ErrorKind::NotFound);
    assert_eq!(error.detail, "it has no snapshot");
    sim.take("p/ROOT/a@1");
    sim.write_file(&ds("p/ROOT/a"), "etc/motd", "two").unwrap();
    sim.write_file(&ds("p/ROOT/a"), "new", "x").unwrap();
    sim.rollback("p/ROOT/a").unwrap();
    assert_eq!(sim.text("p/ROOT/a", "etc/motd").as_deref(), Some("one"));
    assert_eq!(sim.text("p/ROOT/a", "new"), None);
    assert_eq!(sim.dataset("p/ROOT/a").written, 0);
}

#[test]
fn a_clone_without_snapshots_is_rolled_back_to_its_origin() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    sim.write_file(&ds("p/ROOT/b"), "etc/motd", "two").unwrap();
    assert_eq!(sim.text("p/ROOT/a@1", "etc/motd").as_deref(), Some("one"));
    sim.rollback("p/ROOT/b").unwrap();
    assert_eq!(sim.text("p/ROOT/b", "etc/motd").as_deref(), Some("one"));
}

#[test]
fn a_rollback_is_refused_while_mounted_and_in_the_snapshots_own_transaction() {
    let sim = machine();
    let rollback = SyncOp::Rollback {
        dataset: ds("p/ROOT/a"),
        guard: Guard::Guid(sim.dataset("p/ROOT/a").guid),
    };
    let error = refused(sim.run(&[take("p/ROOT/a@1"), rollback]), ErrorKind::Io);
    assert!(error.partial);
    sim.edit(|edit| edit.running(&ds("p/ROOT/a"))).unwrap();
    refused(sim.rollback("p/ROOT/a"), ErrorKind::Busy);
}

#[test]
fn after_the_newest_snapshot_is_destroyed_a_rollback_goes_to_the_one_before() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    sim.write_file(&ds("p/ROOT/a"), "etc/motd", "two").unwrap();
    sim.take("p/ROOT/a@2");
    let dataset = sim.dataset("p/ROOT/a");
    sim.run(&[
        sim.destruction("p/ROOT/a@2"),
        SyncOp::Rollback {
            dataset: dataset.name,
            guard: Guard::Guid(dataset.guid),
        },
    ])
    .unwrap();
    assert_eq!(sim.text("p/ROOT/a", "etc/motd").as_deref(), Some("one"));
}

#[test]
fn a_snapshot_taken_meanwhile_is_not_what_is_rolled_back_to() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    sim.take("p/ROOT/a@2");
    let rollback = SyncOp::Rollback {
        dataset: ds("p/ROOT/a"),
        guard: Guard::Newest {
            own: sim.dataset("p/ROOT/a").guid,
            snapshot: sim.snapshot("p/ROOT/a@1").guid,
        },
    };
    let operations = [sim.destruction("p/ROOT/a@2"), rollback];
    sim.take("p/ROOT/a@3");
    let error = refused(sim.run(&operations), ErrorKind::Exists);
    assert_eq!(
        error.to_string(),
        "cannot roll back p/ROOT/a: a snapshot was taken meanwhile: \
         p/ROOT/a@3 is its newest snapshot"
    );
    assert!(!error.partial);
    assert_eq!(sim.snapshot_names("p/ROOT/a"), ["1", "2", "3"]);
    sim.run(&[sim.destruction("p/ROOT/a@3")]).unwrap();
    sim.run(&operations).unwrap();
    assert_eq!(sim.snapshot_names("p/ROOT/a"), ["1"]);
}

#[test]
fn what_came_to_be_meanwhile_stops_a_destruction_before_it_begins() {
    let sim = machine();
    sim.take("p/ROOT/a/var@1");
    let operations = [
        sim.destruction("p/ROOT/a/var@1"),
        sim.destruction("p/ROOT/a/var"),
        sim.destruction("p/ROOT/a"),
    ];
    sim.take("p/ROOT/a@2");
    let error = refused(sim.run(&operations), ErrorKind::Exists);
    assert_eq!(error.attempted, "destroy p/ROOT/a");
    assert!(!error.partial);
    sim.run(&[sim.destruction("p/ROOT/a@2")]).unwrap();
    sim.clone_of("p/ROOT/a/var@1", "p/ROOT/b");
    let error = refused(sim.run(&operations), ErrorKind::Exists);
    assert_eq!(error.attempted, "destroy p/ROOT/a/var@1");
    assert!(!error.partial);
    sim.destroy("p/ROOT/b").unwrap();
    sim.run(&operations).unwrap();
}

#[test]
fn a_mark_begins_with_the_guid_of_its_object_and_is_inherited_as_it_is() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    let owner = sim.dataset("p/ROOT/a");
    sim.run(&[mark("p/ROOT/a", "pinned", "yes")]).unwrap();
    let value = format!("{} yes", owner.guid);
    for marks in [
        sim.dataset("p/ROOT/a").marks,
        sim.dataset("p/ROOT/a/var").marks,
        sim.snapshot("p/ROOT/a@1").marks,
    ] {
        assert_eq!(marks["pinned"], value);
    }
    sim.run(&[mark("p/ROOT/a@1", "pinned", "no")]).unwrap();
    let snapshot = sim.snapshot("p/ROOT/a@1");
    assert_eq!(snapshot.marks["pinned"], format!("{} no", snapshot.guid));
    let clear = |object: &str| SyncOp::Unmark {
        object: object.to_owned(),
        key: "pinned".to_owned(),
    };
    sim.run(&[clear("p/ROOT/a@1"), clear("p/ROOT/a")]).unwrap();
    assert!(sim.snapshot("p/ROOT/a@1").marks.is_empty());
    assert_eq!(
        refused(
            sim.run(&[mark("p/ROOT/a", "pinned", &"x".repeat(8192))]),
            ErrorKind::Invalid
        )
        .detail,
        "property value too long"
    );
}

#[test]
fn a_pool_that_cannot_be_written_to_refuses_every_change() {
    let sim = machine();
    let p = pool("p");
    sim.edit(|edit| edit.pool_readonly(&p, true)).unwrap();
    refused(sim.run(&[take("p/ROOT/a@1")]), ErrorKind::ReadOnly);
    refused(sim.create(&ds("p/x"), &[]), ErrorKind::ReadOnly);
    refused(
        sim.set(&ds("p"), &[setting("atime", "off")]),
        ErrorKind::ReadOnly,
    );
    refused(
        sim.rename(&ds("p/ROOT/a"), &ds("p/ROOT/b")),
        ErrorKind::ReadOnly,
    );
    refused(sim.set_bootfs(&p, None), ErrorKind::ReadOnly);
    sim.edit(|edit| {
        edit.pool_readonly(&p, false);
        edit.pool_health(&p, "SUSPENDED");
    })
    .unwrap();
    refused(sim.run(&[take("p/ROOT/a@1")]), ErrorKind::Io);
    assert!(sim.exists("p/ROOT/a"));
}

#[test]
fn a_full_pool_takes_no_snapshot_and_lets_go_of_one() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    sim.edit(|edit| edit.pool_size(&pool("p"), 512)).unwrap();
    refused(sim.run(&[take("p/ROOT/a@2")]), ErrorKind::NoSpace);
    refused(
        sim.clone_all(&[clone_of("p/ROOT/a@1", "p/ROOT/c")]),
        ErrorKind::NoSpace,
    );
    sim.destroy("p/ROOT/b").unwrap();
    sim.destroy("p/ROOT/a@1").unwrap();
}

#[test]
fn a_rollback_past_a_refquota_is_refused() {
    let sim = machine();
    sim.write_file(&ds("p/ROOT/a"), "large", vec![0; 8192])
        .unwrap();
    sim.take("p/ROOT/a@1");
    sim.write_file(&ds("p/ROOT/a"), "large", "").unwrap();
    sim.set(&ds("p/ROOT/a"), &[setting("refquota", "4K")])
        .unwrap();
    let error = refused(sim.rollback("p/ROOT/a"), ErrorKind::NoSpace);
    assert_eq!(error.detail, "its snapshot is larger than its refquota");
}

#[test]
fn what_is_being_received_takes_no_snapshot() {
    let sim = machine();
    sim.edit(|edit| edit.receiving(&ds("p/ROOT/a"), true))
        .unwrap();
    assert!(sim.dataset("p/ROOT/a").receiving());
    refused(sim.run(&[take("p/ROOT/a@1")]), ErrorKind::Busy);
}
