//! Imports that are killed amid a dataset, and go on within it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use beadm_rs::archive::token::Token;

use super::Journey;
use crate::fakes::Fakes;
use crate::machine::Machine;
use crate::ran::{Ran, program, sh, try_sh};
use crate::streams::noise;

/// A `zfs` that keeps what `zfs receive` is given, and says when it has ended.
fn counting() -> Fakes {
    let fakes = Fakes::new();
    fakes.zfs(&count(""));
    fakes
}

fn count(before: &str) -> String {
    format!(
        "{before}\nif [ \"$1\" = receive ]; then n=$(ls \"$here\" | grep -c '^given'); \
         tee \"$here/given-$n\" | real \"$@\"; status=$?; echo >\"$here/ended-$n\"; exit $status; fi"
    )
}

/// Bytes that each `zfs receive` was given, in order, of all that have ended.
fn given(fakes: &Fakes) -> Vec<u64> {
    let file = |kind: &str, number: u32| fakes.path().join(format!("{kind}-{number}"));
    (0..)
        .take_while(|number| file("ended", *number).exists())
        .map(|number| std::fs::metadata(file("given", number)).unwrap().len())
        .collect()
}

impl Journey {
    fn resuming(&self, fakes: &Fakes, name: &str) -> Command {
        let mut command = Command::new(program());
        command
            .args(["-r", &self.beroot, "import", "--resume", name])
            .env("BEADM_RS_ZFS_DIRECTORY", fakes.path());
        command
    }

    /// `import --resume`, which is killed when so much of the archive was read.
    fn killed_after(&self, fakes: &Fakes, archive: &[u8]) {
        let mut import = self
            .resuming(fakes, "new")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut pipe = import.stdin.take().unwrap();
        pipe.write_all(archive).unwrap();
        import.kill().unwrap();
        import.wait().unwrap();
        drop(pipe);
        // What `zfs receive` had is written down when that has ended.
        let begun = || {
            let entries = std::fs::read_dir(fakes.path()).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.starts_with("given")).count()
        };
        let ended = (0..200).any(|_| {
            self.machine.run_on(&self.beroot, &["recover"]).succeeds();
            given(fakes).len() == begun()
        });
        assert!(ended, "a receiver still runs");
    }

    fn goes_on(&self, fakes: &Fakes, name: &str) -> Ran {
        let mut import = self.resuming(fakes, name);
        import.args(["-i", &self.file]);
        Ran::of(import.stdin(Stdio::null()).output().unwrap())
    }

    /// The dataset that arrived in part, and how far.
    fn in_part(&self) -> Option<(String, Token)> {
        let listed = sh(
            "zfs",
            &[
                "get",
                "-H",
                "-r",
                "-t",
                "filesystem",
                "-o",
                "name,value",
                "receive_resume_token",
                &self.beroot,
            ],
        );
        listed.lines().find_map(|line| {
            let (name, token) = line.split_once('\t').unwrap();
            let token = (token != "-").then(|| Token::parse(token).unwrap())?;
            Some((name.to_owned(), token))
        })
    }
}

/// Everything in a dataset: names, kinds, modes, lengths, targets, attributes, contents.
fn everything(machine: &Machine, dataset: &str) -> String {
    machine.with_dataset(dataset, |root| {
        let script = "cd \"$1\"; find . -printf '%y %m %s %n %l %p\\n' | sort; \
                      find . -type f -exec sha256sum {} + | sort -k 2";
        sh("bash", &["-ec", script, "bash", root.to_str().unwrap()])
    })
}

/// Files of every kind that a stream knows, tens of megabytes.
fn furnish(machine: &Machine, dataset: &str, seed: usize) {
    let set = |setting: &str| sh("zfs", &["set", setting, dataset]);
    let with = |work: &dyn Fn(&Path)| machine.with_dataset(dataset, work);
    let noise = noise(14 << 20);
    for (size, length) in [("1M", 6 << 20), ("128K", 5 << 20), ("8K", 2 << 20)] {
        set(&format!("recordsize={size}"));
        with(&|root| {
            std::fs::write(
                root.join(format!("noise-{size}")),
                &noise[seed..seed + length],
            )
            .unwrap();
        });
    }
    set("recordsize=128K");
    with(&|root| {
        for number in 0..150 {
            let text = format!("short {number} {seed}\n");
            std::fs::write(root.join(format!("short-{number}")), text).unwrap();
        }
        let sparse = std::fs::File::create(root.join("sparse")).unwrap();
        sparse.set_len(64 << 20).unwrap();
        for at in [1_u64 << 20, 9 << 20, 40 << 20] {
            let part = &noise[seed..seed + 300_000];
            std::os::unix::fs::FileExt::write_all_at(&sparse, part, at).unwrap();
        }
        std::fs::write(root.join("text"), format!("text {seed}\n").repeat(300_000)).unwrap();
        // Too long for its object: it lies in a spill block.
        let far = root.join("link");
        let _ = std::fs::remove_file(&far);
        std::os::unix::fs::symlink("far/".repeat(200), far).unwrap();
    });
    set("compression=zstd");
    with(&|root| {
        std::fs::write(
            root.join("packed"),
            format!("packed {seed} ").repeat(400_000),
        )
        .unwrap();
        std::fs::write(root.join("late"), &noise[seed..seed + (1 << 20)]).unwrap();
        let _ = std::fs::remove_file(root.join("short-7"));
    });
}

/// Kills imports of the archive at several points, and lets the last one end. What is
/// there then is what was sent, and each byte was given about once.
fn killed_and_gone_on_with(journey: &Journey, datasets: &[(&str, &str)]) {
    let archive = std::fs::read(&journey.file).unwrap();
    let fakes = counting();
    let mut last = (String::new(), 0);
    let mut within = 0;
    for percent in [30, 45, 60, 75, 90] {
        journey.killed_after(&fakes, &archive[..archive.len() * percent / 100]);
        if let Some((dataset, token)) = journey.in_part() {
            if dataset == last.0 {
                assert!(token.bytes >= last.1, "{percent}: {token:?} after {last:?}");
                within += 1;
            }
            last = (dataset, token.bytes);
        }
    }
    assert!(within >= 2, "{within} times within a dataset");
    let before = given(&fakes).len();
    let plan = Ran::of(
        journey
            .resuming(&fakes, "new")
            .args(["-n", "-i", &journey.file])
            .stdin(Stdio::null())
            .output()
            .unwrap(),
    )
    .succeeds();
    assert!(
        plan.stdout
            .contains(&format!("; {} goes on after ", last.0)),
        "{plan:#?}"
    );
    journey.goes_on(&fakes, "new").succeeds();
    // The first that was given went on amid its stream.
    let given = given(&fakes);
    let whole = archive.len() as u64;
    assert!(
        given[before] < whole * 7 / 10,
        "{given:?} of {whole}, from {before}"
    );
    assert_eq!(journey.in_part(), None);
    for (source, below) in datasets {
        let sent = journey.machine.get(&format!("{source}@one"), "guid");
        assert_eq!(
            journey.get(&format!("{below}@one"), "guid"),
            sent,
            "{below}"
        );
        let there = format!("{}{below}", journey.beroot);
        assert_eq!(journey.get(below, "org.beadm-rs:op"), "-");
        if journey.get(below, "keystatus") == "unavailable" {
            let key = journey.machine.directory().join("key");
            let from = format!("file://{}", key.display());
            sh("zfs", &["load-key", "-L", &from, &there]);
        }
        assert_eq!(
            everything(&journey.machine, &there),
            everything(&journey.machine, &journey.machine.name(source)),
            "{below}"
        );
    }
    // What is written to the disk is as good.
    let pool = journey.beroot.split('/').next().unwrap();
    sh("zpool", &["scrub", "-w", pool]);
    let health = sh("zpool", &["status", "-x", pool]);
    assert!(health.contains("is healthy"), "{health}");
}

fn exported(journey: &Journey, arguments: &[&str]) {
    let mut all = vec!["export", "--compress", "none", "-y", "-o", &journey.file];
    all.extend(arguments);
    journey.machine.run(&all).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_import_that_is_killed_amid_a_dataset_goes_on_within_it() {
    let journey = Journey::new();
    let machine = &journey.machine;
    furnish(machine, &machine.name("ROOT/old/var"), 0);
    machine.run(&["snapshot", "old@one"]).succeeds();
    exported(&journey, &["old@one"]);
    let datasets = [("ROOT/old", "/new"), ("ROOT/old/var", "/new/var")];
    killed_and_gone_on_with(&journey, &datasets);
    assert_eq!(journey.get("/new", "mountpoint"), "/");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn so_does_a_difference() {
    let journey = Journey::new();
    let machine = &journey.machine;
    // A dataset without children: below one with large blocks OpenZFS 2.3 refuses the
    // difference of one without (`dmu_recv_begin_check` looks at the parent).
    furnish(machine, &machine.name("ROOT/old/var/lib"), 0);
    machine.run(&["snapshot", "old@zero"]).succeeds();
    exported(&journey, &["old@zero"]);
    journey.import(&["base"]).succeeds();
    furnish(machine, &machine.name("ROOT/old/var/lib"), 900_001);
    machine.run(&["snapshot", "old@one"]).succeeds();
    exported(&journey, &["old@one", "--since", "zero"]);
    killed_and_gone_on_with(&journey, &[("ROOT/old/var/lib", "/new/var/lib")]);
    assert_eq!(
        journey.get("/new/var/lib", "origin"),
        format!("{}/base/var/lib@zero", journey.beroot)
    );
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn so_does_what_is_encrypted_whole_and_as_a_difference() {
    let journey = Journey::new();
    let machine = &journey.machine;
    let key = machine.directory().join("key");
    std::fs::write(&key, [0x5a; 32]).unwrap();
    let location = format!("keylocation=file://{}", key.display());
    let encrypted = [
        "encryption=on",
        "keyformat=raw",
        &location,
        "canmount=noauto",
    ];
    machine.dataset("ROOT/enc", &[&encrypted[..], &["mountpoint=/"]].concat());
    let source = machine.name("ROOT/enc");
    furnish(machine, &source, 0);
    machine.run(&["snapshot", "enc@one"]).succeeds();
    exported(&journey, &["enc@one"]);
    killed_and_gone_on_with(&journey, &[("ROOT/enc", "/new")]);
    let base = format!("{}/base", journey.beroot);
    sh(
        "zfs",
        &["rename", &format!("{}/new", journey.beroot), &base],
    );
    sh(
        "zfs",
        &[
            "rename",
            &format!("{source}@one"),
            &format!("{source}@zero"),
        ],
    );
    furnish(machine, &source, 900_001);
    machine.run(&["snapshot", "enc@one"]).succeeds();
    exported(&journey, &["enc@one", "--since", "zero"]);
    killed_and_gone_on_with(&journey, &[("ROOT/enc", "/new")]);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_cannot_be_gone_on_with_is_received_from_its_beginning() {
    let journey = Journey::new();
    let machine = &journey.machine;
    machine.write("old", "data", noise(12 << 20));
    machine.run(&["snapshot", "old@one"]).succeeds();
    exported(&journey, &["old@one"]);
    let archive = std::fs::read(&journey.file).unwrap();
    let leave = |fakes: &Fakes| {
        journey.killed_after(fakes, &archive[..archive.len() * 8 / 10]);
        let (dataset, token) = journey.in_part().unwrap();
        assert!(token.bytes > 0, "{token:?}");
        (dataset, token)
    };
    // A token that is damaged, as `zfs list` prints it.
    let fakes = counting();
    let (dataset, token) = leave(&fakes);
    let listed = |with: &str| {
        count(&format!(
            "if [ \"$1\" = list ]; then real \"$@\" >\"$here/list\"; status=$?; \
             sed -E 's/\\t1-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+/\\t{with}/' \"$here/list\"; exit $status; fi"
        ))
    };
    let before = given(&fakes).len();
    fakes.zfs(&listed("1-0-b8-00"));
    let ran = journey.goes_on(&fakes, "new").succeeds();
    assert!(
        ran.stderr.contains(&format!(
            "what had arrived of {dataset} cannot be gone on with (it is damaged: the token of \
             what was received "
        )),
        "{ran:#?}"
    );
    assert!(given(&fakes)[before] > 12 << 20);
    let new = format!("{}/new", journey.beroot);
    let old = machine.name("ROOT/old");
    assert_eq!(everything(machine, &new), everything(machine, &old));
    sh("zfs", &["destroy", "-r", &new]);
    // One of a point that the archive does not have: nothing is given, and what was there
    // goes; the next try begins at the beginning.
    let fakes = counting();
    leave(&fakes);
    let nowhere = Token {
        object: 1 << 40,
        ..token
    };
    fakes.zfs(&listed(&nowhere.text()));
    let before = given(&fakes).len();
    journey
        .goes_on(&fakes, "new")
        .fails(1, "(the stream has no such point), and was taken away")
        .offers("the same command goes on; or destroy what 'beadm-rs list' shows of it");
    assert_eq!(given(&fakes)[before], 0);
    assert_ne!(try_sh("zfs", &["list", &dataset]).exit, 0);
    journey.goes_on(&counting(), "new").succeeds();
    assert_eq!(everything(machine, &new), everything(machine, &old));
    sh("zfs", &["destroy", "-r", &new]);
    // Another archive of the same, and an import without --resume, leave it alone; it can
    // be thrown away.
    let fakes = counting();
    leave(&fakes);
    let part = journey.in_part();
    exported(&journey, &["old@one"]);
    journey.goes_on(&fakes, "new").succeeds();
    journey.import(&["other"]).succeeds();
    assert_eq!(journey.in_part(), part);
    for name in ["new", "other"] {
        let there = format!("{}/{name}", journey.beroot);
        assert_eq!(everything(machine, &there), everything(machine, &old));
    }
    let leaf = dataset.rsplit('/').next().unwrap();
    machine
        .run_on(&journey.beroot, &["destroy", "-y", leaf])
        .succeeds();
    assert_eq!(journey.in_part(), None);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_pool_that_cannot_keep_a_part_keeps_what_is_whole() {
    let mut machine = Machine::new();
    let options = ["-d", "-o", "feature@lz4_compress=enabled"];
    let beroot = format!("{}/ROOT", machine.another_pool_with("y", &options));
    let journey = Journey::between(machine, beroot);
    let machine = &journey.machine;
    let lib = machine.name("ROOT/old/var/lib");
    machine.with_dataset(&lib, |root| {
        std::fs::write(root.join("big"), noise(4 << 20)).unwrap();
    });
    exported(&journey, &["old"]);
    let whole = std::fs::read(&journey.file).unwrap();
    std::fs::write(&journey.file, &whole[..whole.len() - 2_000]).unwrap();
    let plan = journey.import(&["--resume", "-n", "new"]).succeeds();
    let note = "only the datasets that arrived whole are kept";
    assert!(plan.stdout.contains(note), "{plan:#?}");
    journey
        .import(&["--resume", "new"])
        .fails(1, "it ends too early");
    assert_eq!(journey.in_part(), None);
    assert!(journey.there().len() > 3);
    std::fs::write(&journey.file, &whole).unwrap();
    journey.import(&["--resume", "new"]).succeeds();
    let new = format!("{}/new/var/lib", journey.beroot);
    assert_eq!(everything(machine, &new), everything(machine, &lib));
}
