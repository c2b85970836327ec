//! The links and mounts of what is shared, in environments that were made before.

use beadm_rs::zfs::{SyncOp, Zfs as _};

use super::machine::{Machine, dataset};
use super::share::machine;
use super::transcript::Transcript;

/// Has everything shared since then: the files of a simulation have no times of
/// their own choice.
fn shared_at(machine: &Machine, at: &str) {
    let share = dataset("rpool/VARSHARE");
    let set = machine.sim.properties(&share).unwrap();
    let mut marks = set[&share].iter();
    let mark = marks.find(|one| one.name == "org.beadm-rs:share").unwrap();
    let (_, text) = mark.value.split_once(' ').unwrap();
    let mut record: serde_json::Value = serde_json::from_str(text).unwrap();
    for entry in record["shared"].as_array_mut().unwrap() {
        entry["at"] = at.into();
    }
    let mark = SyncOp::Mark {
        object: share.to_string(),
        key: "share".to_owned(),
        text: record.to_string(),
    };
    machine.sim.transact(&share.pool(), &[mark]).unwrap();
}

/// What `old` had of its own in its `/var`, kept beside the link: the names.
fn kept_of_old(machine: &Machine) -> Vec<String> {
    let mut kept = Vec::new();
    machine.with_files("rpool/ROOT/old", |root| {
        for entry in root.read_dir("var")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.contains(".beadm-rs-") {
                kept.push(name);
            }
        }
        Ok(())
    });
    kept
}

#[test]
fn what_is_refused_gives_no_environment_the_layout() {
    let mut story = Transcript::on(machine());
    for line in [
        "create old",
        "share init",
        "share add --discard-old /var/mail",
        "activate debian",
    ] {
        assert!(story.silently(line), "{line}");
    }
    story
        .then("Both change the same file.", |machine| {
            shared_at(machine, "2099-01-01T00:00:00Z");
            for name in ["debian", "old"] {
                let hosts = format!("127.0.0.1 {name}\n");
                machine.with_files(&format!("rpool/ROOT/{name}"), |root| {
                    root.write("etc/hosts", &hosts)
                });
            }
        })
        .run("activate old")
        .then("It has no kernel.", |machine| {
            machine.with_files("rpool/ROOT/old", |root| root.rename("boot", root, "away"));
        })
        .run("activate old");
    assert_eq!(kept_of_old(&story.machine), [""; 0]);
    story
        .then("It has.", |machine| {
            machine.with_files("rpool/ROOT/old", |root| root.rename("away", root, "boot"));
        })
        .run("mount old SCRATCH/nowhere/old");
    assert_eq!(kept_of_old(&story.machine), [""; 0]);
    story
        .run("activate --conflicts target old")
        .is("share-refusals-first");
    assert_eq!(kept_of_old(&story.machine).len(), 1);
}

#[cfg(feature = "failpoints")]
#[test]
fn the_layout_an_activation_was_killed_at_is_there_after_the_next_try() {
    for at in ["apply:before", "apply:after"] {
        let mut story = Transcript::on(machine());
        for line in [
            "create old",
            "share init",
            "share add --discard-old /var/mail /var/lib/dhcp",
        ] {
            assert!(story.silently(line), "{line}");
        }
        shared_at(&story.machine, "2099-01-01T00:00:00Z");
        story.is_killed("activate old", &format!("share-apply/{at}"));
        // Of two steps the first one is done, or none.
        let done = usize::from(at.ends_with("after"));
        let mut leases = 0;
        story.machine.with_files("rpool/ROOT/old", |root| {
            for entry in root.read_dir("var/lib")? {
                let entry = entry?.file_name();
                let name = entry.to_str().unwrap();
                if name.starts_with("dhcp.beadm-rs-") {
                    leases += root.read(format!("var/lib/{name}/leases"))?.len();
                }
            }
            Ok(())
        });
        assert_eq!(
            (leases, kept_of_old(&story.machine).len()),
            (6 * done, 0),
            "{at}"
        );
        assert!(story.silently("activate old"), "{at}");
        let kept = kept_of_old(&story.machine);
        assert_eq!(kept.len(), 1, "{at}");
        story.machine.with_files("rpool/ROOT/old", |root| {
            assert_eq!(root.read(format!("var/{}/alice", kept[0]))?.len(), 9000);
            assert!(root.symlink_metadata("var/mail")?.is_symlink());
            assert!(root.exists("etc/systemd/system/var-lib-dhcp.mount"));
            Ok(())
        });
        assert!(story.silently("check old"), "{at}");
    }
}

#[test]
fn environments_that_were_made_before_get_the_layout() {
    let mut transcript = Transcript::on(machine());
    for line in [
        "create old",
        "create older",
        "create debian@before",
        "share init",
    ] {
        assert!(transcript.silently(line), "{line}");
    }
    transcript
        .run("share add --discard-old /var/mail /var/lib/dhcp")
        .then("All of old was written before that.", |machine| {
            shared_at(machine, "2099-01-01T00:00:00Z");
        })
        .run("check old")
        .run("share apply -n old")
        .run("activate -n old")
        .run("activate old")
        .run("check old")
        .then("Somebody writes into older.", |machine| {
            machine.with_files("rpool/ROOT/older", |root| {
                root.write("var/mail/bob", "bob\n")?;
                root.remove_dir_all("var/lib/dhcp")
            });
            shared_at(machine, "2023-01-01T00:00:00Z");
        })
        .run("activate older");
    let kept = |machine: &Machine, name: &str| {
        let mut found = Vec::new();
        machine.with_files(&format!("rpool/ROOT/{name}"), |root| {
            for entry in root.read_dir("var")? {
                let entry = entry?.file_name().into_string().unwrap();
                if entry.contains(".beadm-rs-") {
                    found.push(root.read(format!("var/{entry}/alice"))?.len());
                }
            }
            Ok(())
        });
        found
    };
    assert_eq!(kept(&transcript.machine, "old"), [9000]);
    assert_eq!(kept(&transcript.machine, "older"), [0; 0]);
    transcript
        .run("share apply")
        .run("share apply older")
        .run("--json share apply older");
    assert_eq!(kept(&transcript.machine, "older"), [9000]);
    transcript.machine.with_files("rpool/ROOT/older", |root| {
        assert!(root.exists("etc/systemd/system/var-lib-dhcp.mount"));
        Ok(())
    });
    transcript
        .then(
            "One made of a snapshot of before gets it at once.",
            |machine| {
                shared_at(machine, "2099-01-01T00:00:00Z");
            },
        )
        .run("create -e debian@before again")
        .run("share list")
        .run("share apply nobody")
        .is("share-apply");
}
