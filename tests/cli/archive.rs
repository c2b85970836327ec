//! Environments that travel.

use std::io::{Cursor, Read as _};
use std::process::Stdio;
use std::sync::atomic::AtomicBool;

use beadm_rs::archive::Input;
use beadm_rs::execute::freight::Freight;
use beadm_rs::execute::{Failure, Progress, Quiet, execute_with};
use beadm_rs::host::Host;
use beadm_rs::plan::import;
use beadm_rs::survey::{Around, Scope, Survey};
use beadm_rs::zfs::Zfs as _;

use super::machine::{Machine, dataset};
use super::transcript::{Transcript, program};

/// A machine with an environment of which some things travel and others do not.
fn furnished() -> Machine {
    let machine = Machine::with_one_pool();
    let sim = &machine.sim;
    for (name, property, value) in [
        ("rpool/ROOT/debian", "compression", "zstd"),
        ("rpool/ROOT/debian", "exec", "on"),
        ("rpool/ROOT/debian", "com.example:note", "a b"),
        ("rpool/ROOT/debian/var/log", "setuid", "off"),
        ("rpool/ROOT/debian/var/log", "sharenfs", "on"),
    ] {
        let setting = (property.to_owned(), value.to_owned());
        sim.set(&dataset(name), &[setting]).unwrap();
    }
    machine.make(
        "rpool/ROOT/debian/docker",
        &[("org.beadm-rs:exclude", "on")],
    );
    let root = dataset("rpool/ROOT/debian");
    sim.write_file(
        &root,
        "etc/fstab",
        "rpool/ROOT/debian/var/log /var/log zfs - 0 0\n",
    )
    .unwrap();
    sim.write_file(&root, "etc/os-release", "ID=x\nPRETTY_NAME=\"Debian 13\"\n")
        .unwrap();
    machine
}

/// All datasets and snapshots where environments are, with their own properties.
pub fn picture(machine: &Machine) -> Vec<String> {
    let mut picture = Vec::new();
    for root in ["rpool/ROOT", "bpool/BOOT"].map(dataset) {
        let Ok(properties) = machine.sim.properties(&root) else {
            continue;
        };
        for dataset in machine.sim.tree(&[root], true).unwrap() {
            let own = properties.get(&dataset.name);
            picture.push(format!("{} {own:?}", dataset.name));
            picture.extend(dataset.snapshots.iter().map(|it| it.name.to_string()));
        }
    }
    picture
}

#[test]
fn an_environment_travels_as_a_file() {
    let mut transcript = Transcript::on(furnished());
    transcript
        .run("describe debian 'the first'")
        .run("export -n -o SCRATCH/a")
        .run("export -o SCRATCH/a")
        .run("export --info SCRATCH/a")
        .run("import -n copy -i SCRATCH/a")
        .run("import copy -i SCRATCH/a")
        .run("import copy -i SCRATCH/a")
        .run("import -i SCRATCH/a")
        .run("list -a")
        .note("Its properties, and the names in its files, are its own.");
    let sim = transcript.machine.sim.clone();
    let fstab = sim.read_file("rpool/ROOT/copy", "etc/fstab").unwrap();
    assert_eq!(
        String::from_utf8(fstab.unwrap()).unwrap(),
        "rpool/ROOT/copy/var/log /var/log zfs - 0 0\n"
    );
    let set = sim.properties(&dataset("rpool/ROOT/copy")).unwrap();
    let of = |name: &str| -> Vec<String> {
        let own = set[&dataset(name)].iter();
        own.map(|it| format!("{}={}", it.name, it.value)).collect()
    };
    assert_eq!(
        of("rpool/ROOT/copy"),
        [
            "canmount=noauto",
            "com.example:note=a b",
            "compression=zstd",
            "mountpoint=/",
            "org.beadm-rs:description=the first",
        ]
    );
    assert_eq!(
        of("rpool/ROOT/copy/var/log"),
        ["canmount=noauto", "setuid=off"]
    );
    transcript
        .run("--json export copy -o SCRATCH/a")
        .run("-y export copy --compress none -o SCRATCH/a")
        .run("--json import --info -i SCRATCH/a")
        .run("--json import other -i SCRATCH/a")
        .run("activate copy")
        .reboot()
        .run("list")
        .is("archive");
}

#[test]
fn a_difference_travels_too() {
    Transcript::on(furnished())
        .run("snapshot debian@one")
        .run("export debian@one -o SCRATCH/one")
        .run("import base -i SCRATCH/one")
        .run("export debian --since one -o SCRATCH/two")
        .run("export --info SCRATCH/two")
        .run("import two -i SCRATCH/two")
        .run("list -a")
        .run("create -e debian three")
        .run("export three --since debian -o SCRATCH/three")
        .run("export three --since debian@one -o SCRATCH/four")
        .run("export three --since none -o SCRATCH/none")
        .run("export three --since base@none -o SCRATCH/none")
        .run("create --empty empty")
        .run("export empty --since debian -o SCRATCH/none")
        .run("-y destroy two")
        .run("-y destroy base")
        .run("-y destroy debian@one")
        .run("import two -i SCRATCH/two")
        .is("archive-since");
}

#[test]
fn what_cannot_be_exported_or_imported_is_told_before() {
    let mut transcript = Transcript::on(furnished());
    transcript
        .run("export none -o SCRATCH/a")
        .run("export debian@none -o SCRATCH/a")
        .run("export 'a b' -o SCRATCH/a")
        .run("--json export")
        .run("export -o SCRATCH")
        .run("export -o SCRATCH/none/a")
        .run("export --info SCRATCH/none")
        .run("export --info SCRATCH")
        .run("import -i SCRATCH/none")
        .run("export -o SCRATCH/a")
        .run("export -o SCRATCH/a")
        .run("import debian -i SCRATCH/a")
        .run("import 'a b' -i SCRATCH/a")
        .run("import --info one -i SCRATCH/a")
        .run("export --compress gzip -o SCRATCH/b");
    let scratch = transcript.machine.scratch.clone();
    std::fs::write(scratch.join("text"), "some text or other\n").unwrap();
    std::fs::write(scratch.join("nothing"), "").unwrap();
    transcript
        .run("import one -i SCRATCH/text")
        .run("import one -i SCRATCH/nothing")
        .run("list")
        .is("archive-refused");
}

#[test]
fn what_is_damaged_leaves_nothing_behind() {
    let mut transcript = Transcript::on(furnished());
    transcript.silently("snapshot debian@one");
    let before = picture(&transcript.machine);
    transcript.run("export debian@one -o SCRATCH/a");
    let scratch = transcript.machine.scratch.clone();
    let whole = std::fs::read(scratch.join("a")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(scratch.join(name), bytes).unwrap();
    write("cut", &whole[..whole.len() - 1]);
    write("short", &whole[..whole.len() / 2]);
    let mut flipped = whole.clone();
    let at = flipped.len() / 2;
    flipped[at] ^= 1;
    write("flipped", &flipped);
    write("more", &[&whole[..], b"x"].concat());
    for name in ["cut", "short", "flipped", "more"] {
        transcript.run(&format!("import new -i SCRATCH/{name}"));
        assert_eq!(picture(&transcript.machine), before, "{name}");
    }
    transcript
        .note("To be gone on with, what arrived stays.")
        .run("import --resume new -i SCRATCH/cut")
        .run("list")
        .run("import -n --resume new -i SCRATCH/a")
        .run("import --resume new -i SCRATCH/a")
        .run("list")
        .is("archive-damaged");
}

/// Bytes that do not compress.
fn noise(words: u32) -> Vec<u8> {
    let word = |i: u32| i.wrapping_mul(2_654_435_761).rotate_left(i % 31);
    (0..words).flat_map(|i| word(i).to_le_bytes()).collect()
}

#[test]
fn what_arrived_in_part_is_gone_on_with() {
    let machine = furnished();
    let log = dataset("rpool/ROOT/debian/var/log");
    let noise = noise(200_000);
    machine
        .sim
        .write_file(&log, "noise", noise.clone())
        .unwrap();
    let mut transcript = Transcript::on(machine);
    assert!(transcript.silently("snapshot debian@one"));
    let before = picture(&transcript.machine);
    transcript.run("export debian@one --compress none -o SCRATCH/a");
    let scratch = transcript.machine.scratch.clone();
    let whole = std::fs::read(scratch.join("a")).unwrap();
    let cut = |length: usize| std::fs::write(scratch.join("cut"), &whole[..length]).unwrap();
    cut(whole.len() - 1_300_000);
    transcript.run("import --resume new -i SCRATCH/cut");
    cut(whole.len() - 200_000);
    transcript
        .run("import --resume new -i SCRATCH/cut")
        .run("list")
        .run("import -n --resume new -i SCRATCH/a")
        .run("import --resume new -i SCRATCH/a");
    let new = "rpool/ROOT/new/var/log";
    let there = transcript.machine.sim.read_file(new, "noise").unwrap();
    assert!(there.as_ref() == Some(&noise));
    assert!(transcript.silently("-y destroy new"));
    transcript
        .note("What is not gone on with can be thrown away.")
        .run("import --resume new -i SCRATCH/cut");
    let left = |it: &String| it.starts_with("rpool/ROOT/beadm-rs.import.");
    let after = picture(&transcript.machine);
    let name = after.iter().find(|it| left(it)).unwrap();
    let name = name.split([' ', '/']).nth(2).unwrap().to_owned();
    assert!(transcript.silently(&format!("-y destroy {name}")));
    assert_eq!(picture(&transcript.machine), before);
    transcript.is("archive-resume");
}

/// `import new`, in this process. The machine stops after so many changes, where a number
/// is given.
pub fn imports(
    machine: &Machine,
    archive: &[u8],
    resume: bool,
    progress: &dyn Progress,
    changes: Option<u64>,
) -> Result<(), Failure> {
    let host = Host::of_simulation(machine.sim.clone(), None);
    let input = Input::open(Box::new(Cursor::new(archive.to_vec()))).unwrap();
    let request = import::Request {
        name: Some("new".parse().unwrap()),
        offer: input.offer().clone(),
        resume,
    };
    let survey = Survey::take(&host, Scope::Change).unwrap();
    let facts = import::Facts {
        architecture: "x86_64".to_owned(),
        ..import::Facts::default()
    };
    let plan = import::plan(&survey, &request, &facts).unwrap();
    let mut freight = Freight {
        input: Some(input),
        ..Freight::default()
    };
    if let Some(changes) = changes {
        machine.sim.fail_after(changes);
    }
    let never = AtomicBool::new(false);
    let done = execute_with(&host, &plan, progress, &never, &mut freight);
    machine.sim.resume();
    done
}

/// Whether it did stop.
fn import_stops(machine: &Machine, archive: &[u8], resume: bool, changes: u64) -> bool {
    imports(machine, archive, resume, &Quiet, Some(changes)).is_err()
}

#[test]
fn a_machine_that_stops_anywhere_in_an_import_has_it_whole_or_not_at_all() {
    stops_anywhere(&furnished(), &["rpool/ROOT/new/var/log "]);
}

#[test]
fn with_two_pools_it_is_whole_in_both_or_not_at_all() {
    let whole = ["rpool/ROOT/new/var/log ", "bpool/BOOT/new "];
    stops_anywhere(&Machine::with_boot_pool(), &whole);
}

fn stops_anywhere(machine: &Machine, parts: &[&str]) {
    let run = |line: &[&str]| {
        let mut command = program();
        command.arg("--sim").arg(machine.directory()).args(line);
        command.output().unwrap()
    };
    let archive = run(&["export"]).stdout;
    let before = picture(machine);
    for resume in [false, true] {
        let mut changes = 0;
        let mut whole = 0;
        while import_stops(machine, &archive, resume, changes) {
            let survey = Survey::around(
                &Host::of_simulation(machine.sim.clone(), None),
                &Around::default(),
            )
            .unwrap();
            let named = survey.datasets.contains_key(&dataset("rpool/ROOT/new"));
            assert!(run(&["recover"]).status.success());
            let after = picture(machine);
            if named {
                whole += 1;
                for part in parts {
                    assert!(after.iter().any(|it| it.starts_with(part)), "{after:#?}");
                }
                let tidy =
                    |it: &String| !it.contains("org.beadm-rs:op") && !it.contains("@beadm-rs");
                assert!(after.iter().all(tidy), "{after:#?}");
                assert!(run(&["-y", "destroy", "new"]).status.success());
            } else if resume && after != before {
                let staged = |it: &&String| it.contains("/beadm-rs.import.");
                let others: Vec<&String> = after.iter().filter(|it| !staged(it)).collect();
                assert_eq!(others, before.iter().collect::<Vec<_>>());
                assert!(!import_stops(machine, &archive, true, 1000));
                let again = picture(machine);
                for part in parts {
                    assert!(again.iter().any(|it| it.starts_with(part)), "{again:#?}");
                }
                assert!(run(&["-y", "destroy", "new"]).status.success());
            }
            assert_eq!(picture(machine), before, "after {changes} changes");
            changes += 1;
        }
        assert!(whole > 0 && changes > 5, "{changes} changes");
        assert!(run(&["-y", "destroy", "new"]).status.success());
        assert_eq!(picture(machine), before);
    }
}

#[test]
fn an_export_into_an_import_is_a_copy() {
    let machine = furnished();
    let mut export = program()
        .arg("--sim")
        .arg(machine.directory())
        .arg("export")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let import = program()
        .arg("--sim")
        .arg(machine.directory())
        .args(["import", "copy"])
        .stdin(export.stdout.take().unwrap())
        .output()
        .unwrap();
    let export = export.wait_with_output().unwrap();
    assert!(export.status.success(), "{export:?}");
    assert!(import.status.success(), "{import:?}");
    let copied = picture(&machine);
    assert!(
        copied
            .iter()
            .any(|it| it.starts_with("rpool/ROOT/copy/var/log "))
    );
    assert!(copied.iter().all(|it| !it.contains('@')), "{copied:#?}");
}

#[test]
fn an_export_into_a_pipe_that_nobody_reads_can_be_ended() {
    let machine = furnished();
    let before = picture(&machine);
    let noise = noise(400_000);
    let root = dataset("rpool/ROOT/debian");
    machine.sim.write_file(&root, "noise", noise).unwrap();
    let mut export = program()
        .arg("--sim")
        .arg(machine.directory())
        .args(["export", "--compress", "none"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first of it is there, and then nobody takes more.
    let mut pipe = export.stdout.take().unwrap();
    pipe.read_exact(&mut [0; 19]).unwrap();
    let id = nix::unistd::Pid::from_raw(export.id().try_into().unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    let output = export.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("interrupted\n  state: what was changed was undone"),
        "{said}"
    );
    drop(pipe);
    machine.with_files("rpool/ROOT/debian", |root| root.remove_file("noise"));
    assert_eq!(picture(&machine), before);
}

#[test]
fn the_report_says_how_much_was_written() {
    let machine = furnished();
    let file = machine.scratch.join("a");
    let output = program()
        .arg("--sim")
        .arg(machine.directory())
        .args(["--json", "export", "-o", file.as_str()])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], "beadm-rs/export/v1");
    assert_eq!(report["bytes"], std::fs::metadata(&file).unwrap().len());
    // The last record holds it.
    let archive = std::fs::read(&file).unwrap();
    let seal: String = archive[archive.len() - 32..]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(report["checksum"], seal);
}

#[test]
fn who_reads_an_export_and_goes_away_is_told_of() {
    let machine = furnished();
    let before = picture(&machine);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = program()
        .arg("--sim")
        .arg(machine.directory())
        .arg("export")
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap().as_str()
        ),
        (
            Some(1),
            "beadm-rs: the output: Broken pipe (os error 32)\n  \
             state: what was changed was undone\n"
        )
    );
    assert_eq!(picture(&machine), before);
}

#[cfg(feature = "failpoints")]
#[test]
fn an_export_that_is_killed_leaves_no_file_and_one_that_is_there_as_it_was() {
    let transcript = Transcript::on(furnished());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.be");
    let line = format!("-y export debian -o {}", path.display());
    let there = || {
        let entries = std::fs::read_dir(&directory).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        entries.map(name).collect::<Vec<_>>()
    };
    transcript.is_killed(&line, "export/send:after");
    assert!(there().is_empty(), "{:?}", there());
    std::fs::write(&path, "before").unwrap();
    transcript.is_killed(&line, "export/keep:before");
    assert_eq!(there(), ["a.be"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
    transcript.is_killed(&line, "export/keep:after");
    assert_eq!(there(), ["a.be"]);
    assert!(std::fs::read(&path).unwrap().len() > 1000);
}
