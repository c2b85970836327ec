//! Shared directories that become an environment's own again, and what activations
//! keep of what is shared: stopped anywhere, without space, in another pool, from a
//! rescue system.

use crate::machine::Machine;
use crate::ran::{long, sh};
use crate::share::{Running, furnish, listed, picture, sh_noise};

/// The steps of a plan, and whether each is or comes after the commit point.
fn steps(plan: &serde_json::Value) -> Vec<(String, bool)> {
    let mut committed = false;
    let mut found = Vec::new();
    for step in plan["steps"].as_array().unwrap() {
        committed |= step["commit"] == true;
        found.push((step["name"].as_str().unwrap().to_owned(), committed));
    }
    found
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn share_remove_stopped_anywhere_is_taken_back_or_complete() {
    let running = Running::new();
    running.run("share init").succeeds();
    running.var(|var| {
        furnish(&var.join("mail"));
        furnish(&var.join("tmp"));
    });
    for path in ["/var/mail", "/var/tmp"] {
        let ran = running.run(&format!("share add --discard-old {path}"));
        assert_eq!(
            ran.succeeds().stderr.contains("a bind mount"),
            path == "/var/tmp"
        );
        let leaf = path.trim_start_matches("/var/");
        let before = running.share(|share| picture(&share.join(leaf)));
        let command = format!("share remove {path}");
        let plan = running
            .run(&format!("-n --json {command}"))
            .succeeds()
            .json("share-remove")["moves"][0]["plan"]
            .clone();
        for (name, done) in steps(&plan) {
            // Until its end of the mount the second way is the first one's.
            let again = path == "/var/tmp" && !["unbind", "switch"].contains(&name.as_str());
            if again && !long() {
                continue;
            }
            let at = format!("share-remove/{name}:after=kill");
            let saved = running.machine.save();
            let ran = running.failing(&command, &at);
            assert_eq!(ran.exit, 137, "{at}: {ran:#?}");
            running.run("recover").succeeds();
            let (own, shared) = if done {
                (
                    running.var(|var| picture(&var.join(leaf))),
                    running.share(listed),
                )
            } else {
                let found = running.share(|share| picture(&share.join(leaf)));
                (found, running.share(listed))
            };
            let differs: Vec<_> = before
                .iter()
                .filter(|(name, value)| own.get(*name) != Some(value))
                .collect();
            assert!(differs.is_empty(), "{at}: {differs:#?}");
            // Kept beside, or as it was.
            assert_eq!(shared, [leaf], "{at}");
            running.var(|var| {
                let names = listed(var);
                let ours = names.iter().filter(|name| *name == leaf).count();
                assert_eq!(ours, 1, "{at}: {names:?}");
                let link = std::fs::read_link(var.join(leaf)).ok();
                assert_eq!(link.is_some(), !done && path == "/var/mail", "{at}");
            });
            if path == "/var/tmp" {
                let unit = "etc/systemd/system/var-tmp.mount";
                let unit = running.machine.read("old", unit);
                assert_eq!(unit.is_some(), !done, "{at}: {unit:?}");
            }
            let list = running.run("--json share list").succeeds();
            let list = list.json("share-list");
            assert_eq!(list["shared"].as_array().unwrap().len(), usize::from(!done));
            running.machine.restore(&saved);
        }
        running.run(&command).succeeds();
        running.run("-y share confirm").succeeds();
        let found = running.var(|var| picture(&var.join(leaf)));
        assert_eq!(found, before);
        running.share(|share| assert_eq!(listed(share), [""; 0]));
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn share_remove_without_space_or_beside_a_writer_is_taken_back() {
    let running = Running::new();
    running.run("share init").succeeds();
    running.var(|var| {
        furnish(&var.join("mail"));
        std::fs::write(var.join("mail/large"), sh_noise(8 << 20)).unwrap();
    });
    running.run("share add --discard-old /var/mail").succeeds();
    let before = running.share(|share| picture(&share.join("mail")));
    let var = running.machine.name("ROOT/old/var");
    // What was discarded is accounted for when it is on disk.
    sh("zpool", &["sync", &running.machine.pool]);
    sh("zfs", &["set", "refquota=2M", &var]);
    running
        .run("share remove /var/mail")
        .fails(1, "what was changed was undone");
    sh("zfs", &["set", "refquota=none", &var]);
    running
        .shell(
            "exec 3</var/mail/alice; \"$BEADM_RS\" share remove /var/mail; exit $?",
            "",
        )
        .fails(3, "mail/alice open");
    // Mail that comes between the copy and the switch.
    let late = "cat >/tmp/late.$$ <<'END'\n#!/bin/sh\necho more >> /var/mail/alice\nEND\n\
                chmod +x /tmp/late.$$\n\
                BEADM_RS_FAIL=share-remove/durable:after=run:/tmp/late.$$ \
                \"$BEADM_RS\" share remove /var/mail; exit $?";
    running
        .shell(late, "")
        .fails(1, "it was changed after it was copied");
    running.var(|var| assert_eq!(listed(var), ["mail", "share"]));
    assert_eq!(
        running.run("recover").succeeds().stderr.trim(),
        "beadm-rs: nothing was interrupted"
    );
    let after = running.share(|share| picture(&share.join("mail")));
    assert_ne!(after["alice"], before["alice"]);
    running
        .run("share remove --discard-old /var/mail")
        .succeeds();
    running.var(|var| assert_eq!(picture(&var.join("mail")), after));
}

/// The snapshots of a dataset.
fn snapshots(dataset: &str) -> Vec<String> {
    let all = sh(
        "zfs",
        &["list", "-H", "-t", "snapshot", "-o", "name", dataset],
    );
    all.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn share_is_snapshotted_by_an_activation_and_put_back_by_a_failback() {
    let mut running = Running::new();
    let tank = running.machine.another_pool("tank");
    running.var(|var| furnish(&var.join("mail")));
    running.run(&format!("share init -p {tank}")).succeeds();
    running.run("share add --discard-old /var/mail").succeeds();
    // Outside of all environments, in the environments' pool.
    let srv = running.machine.name("srv");
    sh("zfs", &["create", "-u", "-o", "mountpoint=/srv", &srv]);
    running
        .machine
        .with_mounted("old", |root| std::fs::create_dir(root.join("srv")).unwrap());
    let share = format!("{tank}/VARSHARE");
    running.run("create new").succeeds();
    let monday = running
        .machine
        .with_dataset(&share, |share| picture(&share.join("mail")));
    let plan = running
        .run("-n --json activate --no-check new")
        .succeeds()
        .json("activate")["plan"]
        .clone();
    for (name, done) in steps(&plan) {
        let at = format!("activate/{name}:after=kill");
        let saved = running.machine.save();
        let ran = running.failing("activate --no-check new", &at);
        assert_eq!(ran.exit, 137, "{at}: {ran:#?}");
        running.run("recover").succeeds();
        for dataset in [&share, &srv] {
            assert_eq!(
                snapshots(dataset).len(),
                usize::from(done),
                "{at} {dataset}"
            );
        }
        running.machine.restore(&saved);
    }
    running.run("activate --no-check new").succeeds();
    let spoilt = running.machine.with_dataset(&share, |share| {
        std::fs::write(share.join("mail/alice"), "eaten").unwrap();
        std::fs::remove_dir_all(share.join("mail/deep")).unwrap();
        std::fs::write(share.join("mail/late"), "late").unwrap();
        picture(&share.join("mail"))
    });
    // A rescue system: no environment runs, and nothing of it is mounted.
    let machine = &running.machine;
    machine
        .run(&["failback", "--no-check", "--restore-share"])
        .fails(3, "needs a yes");
    let ran = machine
        .run(&["-y", "failback", "--no-check", "--restore-share"])
        .succeeds();
    assert!(ran.stderr.contains("2 files of"), "{ran:#?}");
    assert_eq!(machine.next(), machine.name("ROOT/old"));
    let found = machine.with_dataset(&share, |share| picture(&share.join("mail")));
    // Of a file with several names another one is the first.
    assert_eq!(found, monday);
    let mut all = snapshots(&share);
    assert_eq!(all.len(), 3, "{all:?}");
    let before = all.pop().unwrap();
    // A snapshot is mounted as what fstab mounts is (mount.zfs(8)).
    let directory = machine.directory().join("before");
    std::fs::create_dir(&directory).unwrap();
    let path = directory.to_str().unwrap();
    sh("mount", &["-t", "zfs", "-o", "ro", &before, path]);
    let kept = picture(&directory.join("mail"));
    sh("umount", &[path]);
    assert_eq!(kept, spoilt);
    released(&running, &share);
}

/// The last three activations' snapshots are kept, and what somebody holds.
fn released(running: &Running, share: &str) {
    let machine: &Machine = &running.machine;
    let first = snapshots(share).remove(0);
    sh("zfs", &["hold", "mine", &first]);
    for _ in 0..2 {
        running.run("activate --no-check new").succeeds();
        running.run("activate --no-check old").succeeds();
    }
    let kept = running.run("-H share snapshots").succeeds().stdout;
    let of = |what: &str| kept.lines().filter(|line| line.contains(what)).count();
    // Of both datasets the newest two; of one the held one's, and the failback's, when
    // the other was not mounted.
    assert_eq!(of("activate new"), 2 + 1 + 2, "{kept}");
    assert_eq!(of("failback to old"), 1, "{kept}");
    assert!(kept.contains(first.rsplit('@').next().unwrap()), "{kept}");
    let status = machine.run(&["status"]).succeeds();
    assert!(!status.stdout.contains("shared:"), "{status:#?}");
    let status = running.run("status").succeeds();
    assert!(
        status.stdout.contains("4 activations have snapshots"),
        "{status:#?}"
    );
    sh("zfs", &["release", "mine", &first]);
}
