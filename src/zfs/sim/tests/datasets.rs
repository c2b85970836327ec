use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::zfs::{Canmount, Meter, Mountpoint, Property, Source, Transfer};

#[test]
fn a_clone_has_no_property_of_its_origin() {
    let sim = machine();
    sim.set(
        &ds("p/ROOT/a"),
        &[
            setting("compression", "zstd"),
            setting("com.example:role", "web"),
        ],
    )
    .unwrap();
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    assert_eq!(sim.properties(&ds("p/ROOT/b")).unwrap(), BTreeMap::new());
    let clone = sim.dataset("p/ROOT/b");
    assert_eq!(clone.canmount, Canmount::On);
    assert_eq!(clone.mountpoint, Mountpoint::None);
    assert_eq!(clone.origin, Some(snap("p/ROOT/a@1")));
}

#[test]
fn a_promote_leaves_properties_where_they_are() {
    let sim = machine();
    sim.set(
        &ds("p/ROOT/a"),
        &[setting("org.beadm-rs:description", "first")],
    )
    .unwrap();
    sim.take("p/ROOT/a@1");
    sim.clone_of("p/ROOT/a@1", "p/ROOT/b");
    assert_eq!(sim.snapshot("p/ROOT/a@1").marks["description"], "first");
    sim.run(&[promote("p/ROOT/b", true)]).unwrap();
    assert_eq!(sim.dataset("p/ROOT/a").marks["description"], "first");
    assert_eq!(sim.snapshot("p/ROOT/b@1").marks.get("description"), None);
}

#[test]
fn what_stands_in_the_way_of_a_clone_is_told() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    for (snapshot, target, kind) in [
        ("p/ROOT/a@2", "p/ROOT/b", ErrorKind::NotFound),
        ("p/ROOT/a@1", "p/NONE/b", ErrorKind::NotFound),
        ("p/ROOT/a@1", "p/ROOT/a", ErrorKind::Exists),
        ("p/ROOT/a@1", "bpool/b", ErrorKind::Unsupported),
    ] {
        refused(sim.clone_all(&[clone_of(snapshot, target)]), kind);
    }
    let mut wrong = clone_of("p/ROOT/a@1", "p/ROOT/b");
    wrong.settings = vec![setting("canmount", "never")];
    let error = refused(sim.clone_all(&[wrong]), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "cannot clone p/ROOT/a@1 as p/ROOT/b: 'canmount' must be one of 'on | off | noauto'"
    );
    sim.edit(|edit| edit.volume(&ds("p/swap"))).unwrap();
    let error = refused(
        sim.clone_all(&[clone_of("p/ROOT/a@1", "p/swap/b")]),
        ErrorKind::Invalid,
    );
    assert_eq!(error.detail, "parent is not a filesystem");
    assert!(!sim.exists("p/ROOT/b"));
}

#[test]
fn a_clone_whose_settings_do_not_fit_is_taken_back() {
    let sim = machine();
    sim.write_file(&ds("p/ROOT/a"), "large", vec![0; 8192])
        .unwrap();
    sim.take("p/ROOT/a@1");
    let mut tight = clone_of("p/ROOT/a@1", "p/ROOT/b");
    tight.settings = vec![setting("refquota", "4K")];
    refused(sim.clone_all(&[tight]), ErrorKind::NoSpace);
    assert!(!sim.exists("p/ROOT/b"));
}

#[test]
fn the_power_can_fail_between_a_clone_and_its_settings() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    sim.fail_after(1);
    let mut clone = clone_of("p/ROOT/a@1", "p/ROOT/b");
    clone.settings = vec![setting("mountpoint", "/")];
    let error = refused(sim.clone_all(&[clone]), ErrorKind::Other);
    assert_eq!(error.detail, "the simulated machine stopped");
    refused(sim.pools(), ErrorKind::Other);
    sim.resume();
    assert_eq!(sim.dataset("p/ROOT/b").mountpoint, Mountpoint::None);
}

#[test]
fn mountpoints_are_inherited_with_the_rest_of_the_name() {
    let sim = machine();
    let at = |name: &str| sim.dataset(name).mountpoint.to_string();
    assert_eq!(at("p"), "/p");
    assert_eq!(at("p/ROOT/a"), "/");
    assert_eq!(at("p/ROOT/a/var"), "/var");
    sim.create(&ds("p/ROOT/a/var/log"), &[]).unwrap();
    sim.set(&ds("p/ROOT/a/var"), &[setting("mountpoint", "/srv")])
        .unwrap();
    assert_eq!(at("p/ROOT/a/var/log"), "/srv/log");
    sim.set(&ds("p/ROOT/a/var"), &[setting("mountpoint", "legacy")])
        .unwrap();
    assert_eq!(at("p/ROOT/a/var/log"), "legacy");
    sim.edit(|edit| edit.altroot(&pool("p"), Some("/mnt".into())))
        .unwrap();
    assert_eq!(at("p/ROOT/a"), "/mnt");
    assert_eq!(at("p"), "/mnt/p");
    let properties = sim.properties(&ds("p/ROOT/a")).unwrap();
    assert!(properties[&ds("p/ROOT/a")].contains(&Property {
        name: "mountpoint".to_owned(),
        source: Source::Local,
        value: "/mnt".to_owned(),
    }));
}

#[test]
fn readonly_is_inherited_and_canmount_is_not() {
    let sim = machine();
    sim.set(&ds("p/ROOT/a"), &[setting("readonly", "on")])
        .unwrap();
    sim.create(&ds("p/ROOT/a/home"), &[]).unwrap();
    let home = sim.dataset("p/ROOT/a/home");
    assert!(home.readonly);
    assert_eq!(home.canmount, Canmount::On);
    sim.set(&ds("p/ROOT/a/home"), &[setting("readonly", "off")])
        .unwrap();
    assert!(!sim.dataset("p/ROOT/a/home").readonly);
}

#[test]
fn properties_are_those_set_or_received_in_exact_numbers() {
    let sim = machine();
    sim.set(
        &ds("p/ROOT/a/var"),
        &[setting("quota", "64K"), setting("com.example:x", "a\tb\nc")],
    )
    .unwrap();
    sim.edit(|edit| edit.property(&ds("p/ROOT/a/var"), "atime", "off", true))
        .unwrap();
    let all = sim.properties(&ds("p/ROOT/a/var")).unwrap();
    let shown: Vec<_> = all[&ds("p/ROOT/a/var")]
        .iter()
        .map(|p| (p.name.as_str(), p.value.as_str(), p.source == Source::Local))
        .collect();
    assert_eq!(
        shown,
        [
            ("atime", "off", false),
            ("canmount", "noauto", true),
            ("com.example:x", "a\tb\nc", true),
            ("quota", "65536", true),
        ]
    );
    refused(sim.properties(&ds("p/none")), ErrorKind::NotFound);
}

#[test]
fn one_wrong_setting_and_none_is_set() {
    let sim = machine();
    let both = [setting("atime", "off"), setting("colour", "red")];
    refused(sim.set(&ds("p/ROOT/a"), &both), ErrorKind::Invalid);
    refused(sim.create(&ds("p/ROOT/b"), &both), ErrorKind::Invalid);
    assert!(!sim.exists("p/ROOT/b"));
    let properties = sim.properties(&ds("p/ROOT/a")).unwrap();
    assert!(
        properties[&ds("p/ROOT/a")]
            .iter()
            .all(|p| p.name != "atime")
    );
    refused(sim.set(&ds("p/none"), &both), ErrorKind::NotFound);
    refused(sim.create(&ds("p/ROOT/a"), &[]), ErrorKind::Exists);
    refused(sim.create(&ds("q/x"), &[]), ErrorKind::NotFound);
}

#[test]
fn what_is_given_at_creation_only_is_no_setting_afterwards() {
    let sim = machine();
    let folding = [setting("casesensitivity", "mixed")];
    sim.create(&ds("p/dos"), &folding).unwrap();
    refused(sim.set(&ds("p/dos"), &folding), ErrorKind::Invalid);
    assert_eq!(sim.properties(&ds("p/dos")).unwrap(), BTreeMap::new());
}

#[test]
fn a_quota_below_what_is_used_is_refused() {
    let sim = machine();
    sim.write_file(&ds("p/ROOT/a/var"), "large", vec![0; 8192])
        .unwrap();
    for (name, property) in [
        ("p/ROOT/a", "quota"),
        ("p/ROOT/a/var", "refquota"),
        ("p/ROOT", "quota"),
    ] {
        refused(
            sim.set(&ds(name), &[setting(property, "4K")]),
            ErrorKind::NoSpace,
        );
        sim.set(&ds(name), &[setting(property, "64K")]).unwrap();
    }
    sim.set(&ds("p/ROOT/a"), &[setting("refquota", "4K")])
        .unwrap();
    refused(
        sim.set(&ds("p/ROOT/a/var"), &[setting("reservation", "2G")]),
        ErrorKind::NoSpace,
    );
}

#[test]
fn a_rename_takes_children_snapshots_clones_and_bootfs_along() {
    let sim = machine();
    sim.take("p/ROOT/a/var@1");
    sim.clone_of("p/ROOT/a/var@1", "p/copy");
    // Lies between `a` and `a/var` in the order of names.
    sim.create(&ds("p/ROOT/a-2"), &[]).unwrap();
    sim.set_bootfs(&pool("p"), Some(&ds("p/ROOT/a"))).unwrap();
    sim.rename(&ds("p/ROOT/a"), &ds("p/ROOT/z")).unwrap();
    assert!(!sim.exists("p/ROOT/a"));
    assert!(sim.exists("p/ROOT/a-2"));
    assert_eq!(sim.snapshot_names("p/ROOT/z/var"), ["1"]);
    assert_eq!(sim.origin("p/copy").as_deref(), Some("p/ROOT/z/var@1"));
    let bootfs = |sim: &Sim| sim.pools().unwrap()[1].bootfs.clone();
    assert_eq!(bootfs(&sim), Some(ds("p/ROOT/z")));
    for name in ["p/copy", "p/ROOT/z/var@1", "p/ROOT/z/var", "p/ROOT/z"] {
        sim.destroy(name).unwrap();
    }
    assert_eq!(bootfs(&sim), None);
}

#[test]
fn what_stands_in_the_way_of_a_rename_is_told() {
    let sim = machine();
    sim.create(&ds("p/ROOT/b"), &[]).unwrap();
    let long = format!("p/ROOT/{}", "x".repeat(245));
    for (from, to, kind) in [
        ("p/ROOT/c", "p/ROOT/d", ErrorKind::NotFound),
        ("p/ROOT/a", "p/NONE/a", ErrorKind::NotFound),
        ("p/ROOT/a", "p/ROOT/b", ErrorKind::Exists),
        ("p/ROOT/a", "bpool/a", ErrorKind::Unsupported),
        ("p/ROOT/a", "p/ROOT/a/b", ErrorKind::Invalid),
        ("p/ROOT/a", &long, ErrorKind::Invalid),
    ] {
        refused(sim.rename(&ds(from), &ds(to)), kind);
    }
    sim.rename(&ds("p/ROOT/b"), &ds(&long)).unwrap();
    sim.rename(&ds("p/ROOT/a"), &ds("p/ROOT/a")).unwrap();
    sim.edit(|edit| edit.running(&ds("p/ROOT/a"))).unwrap();
    sim.rename(&ds("p/ROOT/a"), &ds("p/ROOT/b")).unwrap();
}

#[test]
fn an_encrypted_child_stays_under_its_key() {
    let sim = machine();
    sim.edit(|edit| edit.encryption(&ds("p/ROOT"), Some(&ds("p/ROOT")), true))
        .unwrap();
    refused(sim.rename(&ds("p/ROOT/a"), &ds("p/a")), ErrorKind::Key);
    sim.rename(&ds("p/ROOT/a"), &ds("p/ROOT/b")).unwrap();
    sim.rename(&ds("p/ROOT"), &ds("p/boot")).unwrap();
    sim.edit(|edit| edit.encryption(&ds("p/boot"), Some(&ds("p/boot")), false))
        .unwrap();
    assert!(!sim.dataset("p/boot/b").key_loaded);
    refused(sim.create(&ds("p/boot/c"), &[]), ErrorKind::Key);
}

#[test]
fn bootfs_is_a_file_system_of_the_pool() {
    let sim = machine();
    let p = pool("p");
    sim.edit(|edit| edit.volume(&ds("p/swap"))).unwrap();
    refused(sim.set_bootfs(&p, Some(&ds("p/none"))), ErrorKind::NotFound);
    refused(sim.set_bootfs(&p, Some(&ds("bpool"))), ErrorKind::Invalid);
    refused(
        sim.set_bootfs(&p, Some(&ds("p/swap"))),
        ErrorKind::Unsupported,
    );
    sim.set_bootfs(&p, Some(&ds("p/ROOT/a"))).unwrap();
    sim.set_bootfs(&p, None).unwrap();
    assert_eq!(sim.pools().unwrap()[1].bootfs, None);
}

#[test]
fn a_tree_is_listed_in_the_order_of_names_each_dataset_once() {
    let sim = machine();
    sim.create(&ds("p/ROOT/a-2"), &[]).unwrap();
    let roots = [ds("p/ROOT/a/var"), ds("p/ROOT"), ds("p/none")];
    let names: Vec<String> = sim
        .tree(&roots, false)
        .unwrap()
        .into_iter()
        .map(|dataset| dataset.name.into())
        .collect();
    assert_eq!(names, ["p/ROOT", "p/ROOT/a", "p/ROOT/a-2", "p/ROOT/a/var"]);
}

/// Counts, and stops at the given number of bytes.
struct Counter(AtomicU64, u64);

impl Meter for Counter {
    fn advance(&self, bytes: u64) -> bool {
        self.0.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.1
    }
}

fn transfer(snapshot: &str, target: &str) -> Transfer {
    Transfer {
        snapshot: snap(snapshot),
        target: ds(target),
        settings: vec![setting("canmount", "noauto")],
        raw: false,
    }
}

#[test]
fn a_transfer_keeps_the_snapshots_name_and_guid_and_nothing_else() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    let counter = Counter(AtomicU64::new(0), u64::MAX);
    let sent = transfer("p/ROOT/a@1", "bpool/a");
    assert_eq!(sim.transfer_size(&sent).unwrap(), 512);
    sim.transfer(&sent, &counter).unwrap();
    assert_eq!(counter.0.into_inner(), 512);
    assert_eq!(
        sim.snapshot("bpool/a@1").guid,
        sim.snapshot("p/ROOT/a@1").guid
    );
    let received = sim.dataset("bpool/a");
    assert_ne!(received.guid, sim.dataset("p/ROOT/a").guid);
    assert_eq!(
        (received.origin, received.canmount),
        (None, Canmount::Noauto)
    );
    assert_eq!((received.used, received.written), (512, 0));
    assert_eq!(sim.text("bpool/a", "etc/motd").as_deref(), Some("one"));
    let counter = Counter(AtomicU64::new(0), u64::MAX);
    refused(sim.transfer(&sent, &counter), ErrorKind::Exists);
}

#[test]
fn an_interrupted_transfer_leaves_nothing() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    let counter = Counter(AtomicU64::new(0), 0);
    let sent = transfer("p/ROOT/a@1", "bpool/a");
    refused(sim.transfer(&sent, &counter), ErrorKind::Interrupted);
    assert!(!sim.exists("bpool/a"));
}

#[test]
fn a_transfer_needs_room_under_every_quota() {
    let sim = machine();
    sim.write_file(&ds("p/ROOT/a"), "large", vec![0; 8192])
        .unwrap();
    sim.take("p/ROOT/a@1");
    let all = Counter(AtomicU64::new(0), u64::MAX);
    sim.create(&ds("bpool/small"), &[setting("quota", "4K")])
        .unwrap();
    refused(
        sim.transfer(&transfer("p/ROOT/a@1", "bpool/small/a"), &all),
        ErrorKind::NoSpace,
    );
    sim.edit(|edit| edit.pool_size(&pool("bpool"), 4096))
        .unwrap();
    refused(
        sim.transfer(&transfer("p/ROOT/a@1", "bpool/a"), &all),
        ErrorKind::NoSpace,
    );
}

#[test]
fn without_its_key_a_dataset_is_sent_raw_only() {
    let sim = machine();
    sim.take("p/ROOT/a@1");
    sim.edit(|edit| edit.encryption(&ds("p/ROOT"), Some(&ds("p/ROOT")), false))
        .unwrap();
    let all = Counter(AtomicU64::new(0), u64::MAX);
    let mut sent = transfer("p/ROOT/a@1", "bpool/a");
    refused(sim.transfer(&sent, &all), ErrorKind::Key);
    sent.raw = true;
    sim.transfer(&sent, &all).unwrap();
    let received = sim.dataset("bpool/a");
    assert_eq!(received.encryption_root, Some(ds("bpool/a")));
    assert!(!received.key_loaded);
}

#[test]
fn a_quota_above_both_places_does_not_stop_a_rename() {
    let sim = machine();
    sim.write_file(&ds("p/ROOT/a"), "large", vec![0; 8192])
        .unwrap();
    sim.create(&ds("p/ROOT/old"), &[]).unwrap();
    sim.set(&ds("p/ROOT"), &[setting("quota", "12K")]).unwrap();
    sim.rename(&ds("p/ROOT/a"), &ds("p/ROOT/old/a")).unwrap();
    sim.create(&ds("p/small"), &[setting("quota", "4K")])
        .unwrap();
    refused(
        sim.rename(&ds("p/ROOT/old/a"), &ds("p/small/a")),
        ErrorKind::NoSpace,
    );
}

#[test]
fn only_the_root_of_a_key_has_a_place_for_it() {
    let sim = machine();
    sim.edit(|edit| edit.encryption(&ds("p/ROOT"), Some(&ds("p/ROOT")), true))
        .unwrap();
    let place = [setting("keylocation", "file:///key")];
    refused(sim.set(&ds("p/ROOT/a"), &place), ErrorKind::Invalid);
    sim.set(&ds("p/ROOT"), &place).unwrap();
}

#[test]
fn datasets_nest_fifty_deep_at_most() {
    let sim = machine();
    let mut name = "p".to_owned();
    for _ in 1..50 {
        name.push_str("/n");
        sim.create(&ds(&name), &[]).unwrap();
    }
    refused(
        sim.create(&ds(&format!("{name}/n")), &[]),
        ErrorKind::Invalid,
    );
    refused(sim.rename(&ds("p/n"), &ds("p/ROOT/n")), ErrorKind::Invalid);
}
