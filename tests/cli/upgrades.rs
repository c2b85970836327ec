//! `upgrade`, `prune`, and what package managers' hooks call, on a simulated
//! machine whose package manager copies files from a directory.

use beadm_rs::zfs::{SyncOp, Zfs as _};

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

fn status(packages: &[(&str, &str)]) -> String {
    packages
        .iter()
        .map(|(name, version)| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n\
                 Version: {version}\n\n"
            )
        })
        .collect()
}

/// A machine that says it has apt.
fn with_apt() -> Machine {
    let machine = Machine::with_one_pool();
    machine.with_files("rpool/ROOT/debian", |root| {
        root.create_dir_all("usr/bin")?;
        root.create_dir_all("var/lib/dpkg")?;
        root.write("usr/bin/apt-get", "this stands for a program\n")?;
        root.write(
            "var/lib/dpkg/status",
            status(&[("hello", "2.10-3"), ("libc6", "2.41-12")]),
        )
    });
    machine
}

/// What the simulated package manager has to offer.
fn offers(machine: &Machine, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = machine.directory().join("repository").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn newer(machine: &Machine) {
    let packages = status(&[("hello", "2.12-1"), ("libc6", "2.41-12"), ("libnew", "1")]);
    let files = [
        ("var/lib/dpkg/status", packages.as_str()),
        ("usr/bin/hello", "newer\n"),
    ];
    offers(machine, &files);
}

#[test]
fn a_clone_is_upgraded_and_boots_next() {
    Transcript::on(with_apt())
        .run("upgrade -n")
        .run("--json upgrade -n --no-activate --name next")
        .note("The repository has nothing newer.")
        .run("upgrade")
        .run("list")
        .then("Now it has.", newer)
        .run("upgrade --no-activate --name tried")
        .run("--json upgrade --keep-failed -e tried --name again")
        .run("upgrade")
        .run("list -a")
        .run("diff -p debian debian-YYYY-MM-DD")
        .run("status")
        .reboot()
        .run("upgrade -n --no-check")
        .is("upgrade");
}

#[test]
fn an_upgrade_that_fails_leaves_nothing_or_what_was_asked_for() {
    Transcript::on(with_apt())
        .then("A package's script fails.", |machine| {
            newer(machine);
            let said = "Setting up hello\ndpkg: error processing package hello\n";
            offers(machine, &[("FAILS", said)]);
        })
        .run("upgrade --name new")
        .run("--json upgrade --name new")
        .run("list")
        .run("upgrade --keep-failed --name kept")
        .run("list")
        .run("--json list kept")
        .then(
            "The script is put right, and a package breaks what boots.",
            |machine| {
                std::fs::remove_file(machine.directory().join("repository/FAILS")).unwrap();
                let fstab = "rpool/ROOT/debian/var/log /var/log zfs defaults 0 0\n";
                offers(machine, &[("etc/fstab", fstab), ("etc/hostid", "abcd")]);
            },
        )
        .run("upgrade --name new")
        .run("upgrade --name new --no-activate")
        .run("upgrade --name new --no-check")
        .run("list")
        .is("upgrade-fails");
}

#[test]
fn what_cannot_be_upgraded_is_said_before_anything_is_made() {
    Transcript::on(Machine::with_one_pool())
        .run("upgrade")
        .run("upgrade -e none")
        .run("upgrade --name debian -- true")
        .note("The simulation has a package manager only.")
        .run("upgrade --name new -- sh -c 'echo hello'")
        .run("upgrade -n --name new -- sh -c 'echo hello'")
        .run("list")
        .run("upgrade apt-get")
        .is("upgrade-refused");
}

/// Every dataset and snapshot of the environments, by name.
#[cfg(feature = "failpoints")]
fn everything(machine: &Machine) -> Vec<String> {
    let tree = machine.sim.tree(&[dataset("rpool/ROOT")], true).unwrap();
    tree.iter()
        .flat_map(|dataset| {
            let snapshots = dataset.snapshots.iter().map(|one| one.name.to_string());
            std::iter::once(dataset.name.to_string()).chain(snapshots)
        })
        .collect()
}

#[cfg(feature = "failpoints")]
#[test]
fn an_upgrade_that_is_killed_anywhere_is_not_there_or_complete() {
    let steps = [
        "create/snapshot",
        "create/clone",
        "create/commit",
        "upgrade/finish",
        "activate/promote",
        "activate/commit",
        "activate/finish",
    ];
    let sides = ["before", "after"];
    let places = steps
        .iter()
        .flat_map(|step| sides.map(|side| format!("{step}:{side}")));
    // By `recover`, or by the next command.
    for (at, recovers) in places.flat_map(|at| [(at.clone(), true), (at, false)]) {
        let mut story = Transcript::on(with_apt());
        newer(&story.machine);
        let before = everything(&story.machine);
        story.is_killed("upgrade --name new", &at);
        assert!(!recovers || story.silently("recover"), "{at}");
        let is_complete = at.starts_with("activate/") || at == "upgrade/finish:after";
        if is_complete {
            story.machine.with_files("rpool/ROOT/new", |root| {
                assert_eq!(root.read("usr/bin/hello")?, b"newer\n", "{at}");
                Ok(())
            });
            assert!(story.silently("activate new"), "{at}");
        } else {
            assert!(!recovers || everything(&story.machine) == before, "{at}");
            assert!(story.silently("upgrade --name new"), "{at}");
        }
        let status = String::from_utf8(story.output("-H status").stdout).unwrap();
        for line in ["next boot\tnew\n", "unfinished\tnothing\n"] {
            assert!(status.contains(line), "{at}: {status}");
        }
    }
}

#[test]
fn an_interrupted_upgrade_is_recognised_and_taken_back() {
    let unfinished = |machine: &Machine| {
        machine
            .sim
            .transact(
                &"rpool".parse().unwrap(),
                &[SyncOp::Mark {
                    object: "rpool/ROOT/half".to_owned(),
                    key: "made".to_owned(),
                    text: "0123456789abcdef upgrade 2026-11-22T01:02:03Z".to_owned(),
                }],
            )
            .unwrap();
    };
    let mut transcript = Transcript::on(with_apt());
    transcript
        .run("create half")
        .then("As an upgrade leaves it where the power fails.", unfinished)
        .run("status")
        .run("list")
        .run("activate half")
        .run("prune")
        .note("A clone of it is no such thing.")
        .run("create -e half other")
        .run("recover -n")
        .run("--json recover")
        .run("recover")
        .run("list")
        .run("create half")
        .then("Again.", unfinished)
        .run("upgrade")
        .run("list");
    transcript.is("upgrade-unfinished");
}

#[test]
fn a_hook_makes_one_environment_for_a_transaction_and_prunes() {
    let again = |machine: &Machine| {
        std::fs::remove_dir_all(machine.directory().join("run")).unwrap();
    };
    Transcript::on(with_apt())
        .run("package-hook -n apt")
        .run("package-hook apt")
        .note("The same process again, as dpkg runs a second time.")
        .run("package-hook apt")
        .run("list")
        .then("Another transaction, and a third.", again)
        .run("package-hook apt")
        .then("The third.", again)
        .run("package-hook dnf")
        .run("prune -n --keep 1")
        .run("prune --keep 1")
        .run("--json prune -y --keep 2")
        .run("pin before-dnf-YYYY-MM-DD")
        .then("Only two are to be kept.", |machine| {
            again(machine);
            let config = "[hooks]\nkeep = 2\n";
            std::fs::write(machine.directory().join("config.toml"), config).unwrap();
        })
        .run("package-hook apt")
        .run("prune")
        .run("-H prune --keep 0 -y")
        .note("What is run inside, and who does not want one, has none made.")
        .then("Hooks are turned off.", |machine| {
            again(machine);
            let config = "[hooks]\nenabled = false\n";
            std::fs::write(machine.directory().join("config.toml"), config).unwrap();
        })
        .run("package-hook apt")
        .then("The pool is nearly full for them.", |machine| {
            let config = "[hooks]\nmin-free = 99\n";
            machine
                .sim
                .write_file(&dataset("rpool/ROOT/debian"), "big", "x".repeat(64 << 20))
                .unwrap();
            std::fs::write(machine.directory().join("config.toml"), config).unwrap();
        })
        .run("package-hook apt")
        .then("And no transaction is to go on without.", |machine| {
            let config = "[hooks]\nmin-free = 99\non-failure = \"stop\"\n";
            std::fs::write(machine.directory().join("config.toml"), config).unwrap();
        })
        .run("package-hook apt")
        .then("What the file says is not understood.", |machine| {
            std::fs::write(machine.directory().join("config.toml"), "[hook]\n").unwrap();
        })
        .run("package-hook apt")
        .run("package-hook portage")
        .is("package-hook");
}

#[test]
fn what_a_hook_made_and_somebody_needs_stays() {
    Transcript::on(with_apt())
        .run("package-hook apt")
        .run("activate before-apt-YYYY-MM-DD")
        .run("prune --keep 0")
        .reboot()
        .run("prune --keep 0")
        .run("failback")
        .reboot()
        .note("It was activated once.")
        .run("prune --keep 0 -y")
        .run("rename before-apt-YYYY-MM-DD mine")
        .run("prune -n --keep 0")
        .is("prune");
}
