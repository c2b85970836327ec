//! `share`: directories of the running environment in the shared dataset.

use std::process::Command;
use std::sync::atomic::AtomicBool;

use beadm_rs::be::BeName;
use beadm_rs::execute::{Quiet, execute};
use beadm_rs::host::Host;
use beadm_rs::plan::{activate, recover};
use beadm_rs::survey::{Scope, Survey};
use beadm_rs::zfs::sim::Sim;
use beadm_rs::zfs::{SnapshotName, SyncOp, Zfs as _};

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

/// Mail, a spool with a link out of it, a sandboxed service's state.
pub(super) fn machine() -> Machine {
    let machine = Machine::with_one_pool();
    let unit = "[Service]\nProtectSystem=strict\nReadWritePaths=/var/lib/dhcp\n";
    machine.with_files("rpool/ROOT/debian", |root| {
        for directory in [
            "var/mail",
            "var/spool/cron/crontabs",
            "var/lib/dhcp",
            "var/lib/dpkg",
            "usr/lib/systemd/system",
        ] {
            root.create_dir_all(directory)?;
        }
        root.write("var/mail/alice", "From bob\n".repeat(1000))?;
        root.write("var/lib/dhcp/leases", "lease\n")?;
        root.write("var/spool/cron/crontabs/root", "@daily true\n")?;
        root.symlink_contents("../mail", "var/spool/mail")?;
        root.write("usr/lib/systemd/system/dhcpd.service", unit)
    });
    machine
}

/// What is at a path of the running environment.
fn link(machine: &Machine, path: &str) -> String {
    let mut found = String::new();
    machine.with_files("rpool/ROOT/debian", |root| {
        found = root
            .read_link_contents(path)?
            .to_string_lossy()
            .into_owned();
        Ok(())
    });
    found
}

#[test]
fn directories_become_those_of_the_shared_dataset() {
    let mut transcript = Transcript::on(machine());
    transcript
        .run("share list")
        .run("share add /var/mail")
        .run("share init -n")
        .run("share init")
        .note("A second time there is nothing to do.")
        .run("share init")
        .run("share add -n /var/mail")
        .run("share add /var/mail")
        .note("A link in it leads out of it; a unit would not follow a link.")
        .run("share add /var/spool /var/lib/dhcp");
    assert_eq!(link(&transcript.machine, "var/mail"), "share/mail");
    transcript.machine.with_files("rpool/VARSHARE", |share| {
        assert_eq!(share.read("mail/alice")?.len(), 9000);
        assert_eq!(share.read("dhcp/leases")?, b"lease\n");
        Ok(())
    });
    transcript
        .run("share list")
        .run("-H share list")
        .run("--json share list")
        .note("An environment made now shares it too; one made before would not.")
        .run("create new")
        .run("share list")
        .run("share confirm")
        .run("share confirm -y")
        .run("share confirm -y")
        .run("recover")
        .is("share");
}

#[test]
fn one_mailbox_is_put_back_as_it_was_and_nothing_else() {
    let machine = machine();
    machine.with_files("rpool/ROOT/debian", |root| {
        root.write("var/mail/carol", "carol\n")
    });
    let mut transcript = Transcript::on(machine);
    transcript
        .run("share init")
        .run("share add --discard-old /var/mail")
        .run("share diff")
        .run("share restore --from monday /var/mail/alice")
        .then(
            "It is Monday; then mail is lost, and more comes.",
            |machine| {
                let snapshot = SyncOp::Snapshot {
                    snapshot: "rpool/VARSHARE@monday".parse().unwrap(),
                };
                let pool = "rpool".parse().unwrap();
                machine.sim.transact(&pool, &[snapshot]).unwrap();
                machine.with_files("rpool/VARSHARE", |share| {
                    share.write("mail/alice", "")?;
                    share.write("mail/carol", "carol\nmore\n")
                });
            },
        )
        .run("share diff")
        .run("-H share diff monday")
        .run("share diff tuesday")
        .run("share restore --from monday /var/mail/nobody")
        .run("share restore --from monday /etc/passwd")
        .run("share restore --from monday -n /var/mail/alice")
        .run("share restore --from monday /var/mail/alice");
    transcript.machine.with_files("rpool/VARSHARE", |share| {
        assert_eq!(share.read("mail/alice")?.len(), 9000);
        assert_eq!(share.read("mail/carol")?, b"carol\nmore\n");
        assert_eq!(share.entries()?.count(), 1);
        Ok(())
    });
    transcript
        .run("-H share diff monday")
        .then("A mailbox is gone altogether.", |machine| {
            machine.with_files("rpool/VARSHARE", |share| share.remove_file("mail/alice"));
        })
        .run("share restore --from VARSHARE@monday /var/share/mail/alice")
        .run("--json share diff monday")
        .run("recover")
        .is("share-restore");
}

#[test]
fn what_must_not_be_moved_is_refused_with_the_reason() {
    let mut transcript = Transcript::on(machine());
    transcript
        .run("share init")
        .run("share add /var")
        .run("share add /etc/ssh")
        .run("share add /var/lib/dpkg")
        .run("share add var/mail")
        .run("share add /var/none")
        .run("share add /var/log")
        .run("share add /home/alice")
        .run("share add /var/spool/mail")
        .then("Something has it open.", |machine| {
            machine
                .sim
                .edit(|edit| edit.busy(&dataset("rpool/ROOT/debian"), true))
                .unwrap();
        })
        .run("share add /var/mail")
        .run("share add --force --discard-old /var/mail")
        .run("share add --force /var/mail")
        .run("share confirm -y /var/spool")
        .run("--json share add --force /var/none")
        .is("share-refused");
}

#[test]
fn the_dataset_that_is_there_is_adopted_and_files_in_its_place_are_not_hidden() {
    let machine = machine();
    machine.make(
        "rpool/VARSHARE",
        &[("canmount", "noauto"), ("mountpoint", "/var/share")],
    );
    machine.with_files("rpool/ROOT/debian", |root| {
        root.create_dir_all("var/share/old")
    });
    Transcript::on(machine)
        .run("share init")
        .then("It is moved away.", |machine| {
            machine.with_files("rpool/ROOT/debian", |root| root.remove_dir_all("var/share"));
        })
        .run("--json share init")
        .run("share init -p tank")
        .reboot()
        .run("share list")
        .is("share-adopted");
}

/// A machine whose mail is shared, and an environment to switch to.
fn shared() -> Transcript {
    let mut transcript = Transcript::on(machine());
    for line in [
        "share init",
        "share add --discard-old /var/mail",
        "create new",
    ] {
        assert!(transcript.silently(line), "{line}");
    }
    transcript
}

#[test]
fn an_activation_snapshots_what_is_shared_and_the_last_three_are_kept() {
    let mut transcript = shared();
    transcript
        .run("activate -n new")
        .run("activate new")
        .run("share snapshots")
        .run("--json share snapshots")
        .note("Taken back before it was booted: nothing new is kept.")
        .run("activate debian")
        .run("activate new")
        .reboot()
        .run("failback")
        .run("share snapshots")
        .run("status")
        .note("One more, and the first goes; a held one stays.")
        .reboot()
        .then("Somebody holds the second.", |machine| {
            let found = snapshots(machine, "rpool/VARSHARE");
            machine
                .sim
                .edit(|edit| edit.hold(&found[1], "mine", true))
                .unwrap();
        })
        .run("activate new")
        .reboot()
        .run("activate debian")
        .run("share snapshots")
        .run("--json status")
        .is("share-activations");
}

/// The snapshots of a dataset, by the parts of their names after the @.
fn snapshots(machine: &Machine, name: &str) -> Vec<SnapshotName> {
    let found = machine.sim.tree(&[dataset(name)], true).unwrap();
    let found = found.into_iter().find(|one| one.name == dataset(name));
    let snapshots = found.unwrap().snapshots;
    snapshots.into_iter().map(|one| one.name).collect()
}

#[test]
fn an_activation_that_is_stopped_leaves_no_snapshot_unless_it_is_complete() {
    let transcript = shared();
    let machine = &transcript.machine;
    let target: BeName = "new".parse().unwrap();
    let mut outcomes = std::collections::BTreeSet::new();
    for changes in 0.. {
        let copy = machine.scratch.join(format!("copy-{changes}"));
        let from = machine.directory();
        let mut copied = Command::new("cp");
        copied.args(["-a", from.as_str(), copy.as_str()]);
        assert!(copied.status().unwrap().success());
        let sim = Sim::open(&copy).unwrap();
        let host = Host::of_simulation(sim.clone(), None);
        let request = activate::Request {
            name: target.clone(),
            once: false,
            no_trial: false,
        };
        let survey = Survey::around(&host, &activate::around(&target)).unwrap();
        let plan = activate::plan(&survey, host.loader.as_ref(), &request).unwrap();
        let never = AtomicBool::new(false);
        sim.fail_after(changes);
        let whole = execute(&host, &plan, &Quiet, &never).is_ok();
        sim.resume();
        let survey = Survey::take(&host, Scope::Change).unwrap();
        if let Some(plan) = recover::plan(&survey, host.loader.as_ref()).unwrap() {
            execute(&host, &plan, &Quiet, &never).unwrap();
        }
        let boots = sim.pools().unwrap().remove(0).bootfs.unwrap();
        let taken = |name: &str| {
            let found = sim.tree(&[dataset(name)], true).unwrap();
            found[0].snapshots.len()
        };
        let switched = usize::from(boots == dataset("rpool/ROOT/new"));
        assert_eq!(taken("rpool/VARSHARE"), switched, "after {changes} changes");
        assert_eq!(taken("rpool/home"), switched, "after {changes} changes");
        outcomes.insert((switched, whole));
        if whole {
            break;
        }
    }
    // Taken back, completed, and never stopped.
    assert_eq!(
        Vec::from_iter(outcomes),
        [(0, false), (1, false), (1, true)]
    );
}

#[test]
fn a_confirmation_releases_what_older_activations_kept() {
    let mut transcript = shared();
    for line in ["activate new", "activate --once debian"] {
        transcript.silently(line);
    }
    let machine = &transcript.machine;
    let pool = "rpool".parse().unwrap();
    for (number, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let snapshot: SnapshotName = format!("rpool/VARSHARE@{name}").parse().unwrap();
        let text = format!("{:016x} activate {number} \"{name}\"", number + 1);
        let operations = [
            SyncOp::Snapshot {
                snapshot: snapshot.clone(),
            },
            SyncOp::Mark {
                object: snapshot.to_string(),
                key: "op".to_owned(),
                text,
            },
        ];
        machine.sim.transact(&pool, &operations).unwrap();
    }
    // By the same name and not this program's.
    let mine = SyncOp::Snapshot {
        snapshot: "rpool/VARSHARE@mine".parse().unwrap(),
    };
    machine.sim.transact(&pool, &[mine]).unwrap();
    assert!(transcript.silently("confirm"));
    let left = snapshots(&transcript.machine, "rpool/VARSHARE");
    let left: Vec<&str> = left.iter().map(SnapshotName::component).collect();
    assert_eq!(left, ["b", "c", "d", "mine"]);
}

#[test]
fn a_failback_puts_back_what_is_shared_only_where_that_is_asked_for() {
    let mut transcript = shared();
    let machine = &transcript.machine;
    machine.with_files("rpool/VARSHARE", |share| {
        share.write("mail/bob", "bob\n")?;
        share.write("note", "before\n")
    });
    transcript
        .run("failback --restore-share")
        .run("activate new")
        .reboot()
        .then("The new one eats mail, and more comes.", |machine| {
            machine.with_files("rpool/VARSHARE", |share| {
                share.write("mail/alice", "")?;
                share.remove_file("mail/bob")?;
                share.write("mail/carol", "carol\n")?;
                share.write("note", "after\n")
            });
        })
        .run("failback --restore-share /etc/passwd")
        .run("failback --restore-share /var/mail/dave")
        .run("failback --restore-share /var/mail/bob -n")
        .run("failback --restore-share /var/mail/bob");
    transcript.machine.with_files("rpool/VARSHARE", |share| {
        assert_eq!(share.read("mail/bob")?, b"bob\n");
        assert_eq!(share.read("mail/alice")?, b"");
        Ok(())
    });
    transcript
        .run("activate new")
        .run("failback --restore-share")
        .run("failback --restore-share -y");
    transcript.machine.with_files("rpool/VARSHARE", |share| {
        assert_eq!(share.read("mail/bob")?, b"bob\n");
        assert_eq!(share.read("mail/alice")?.len(), 9000);
        assert!(!share.exists("mail/carol"));
        assert_eq!(share.read("note")?, b"before\n");
        Ok(())
    });
    transcript
        .run("share snapshots")
        .run("recover")
        .is("share-failback");
}

#[test]
fn a_shared_directory_becomes_one_of_the_environment_again() {
    let mut transcript = shared();
    transcript
        .run("share remove /var/spool")
        .note("new leads there too.")
        .run("share remove /var/mail")
        .run("share remove -n --only-here /var/mail")
        .run("share remove --only-here /var/mail")
        .run("share list")
        .run("share remove --only-here /var/mail");
    transcript.machine.with_files("rpool/ROOT/debian", |root| {
        assert_eq!(root.read("var/mail/alice")?.len(), 9000);
        Ok(())
    });
    transcript
        .note("Nobody but new does, and that goes.")
        .run("share remove /var/mail")
        .run("destroy -y new")
        .run("share remove /var/mail")
        .run("share list")
        .run("share confirm -y")
        .note("A bind mount, and what was there before it was shared is kept still.")
        .run("share add /var/spool")
        .run("share remove -n /var/spool")
        .run("share remove /var/spool")
        .run("share list");
    transcript.machine.with_files("rpool/ROOT/debian", |root| {
        assert_eq!(root.read("var/spool/cron/crontabs/root")?, b"@daily true\n");
        assert!(!root.exists("etc/systemd/system/var-spool.mount"));
        Ok(())
    });
    transcript
        .run("share confirm -y /var/spool")
        .run("share add --discard-old /var/spool")
        .run("share remove --discard-old /var/spool")
        .run("--json share list");
    transcript.machine.with_files("rpool/VARSHARE", |share| {
        assert_eq!(share.entries()?.count(), 0);
        Ok(())
    });
    transcript.run("recover").is("share-remove");
}
