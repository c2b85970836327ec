//! The languages of `bectl` and `beadm`, on a simulated machine: what they have in common,
//! and the table of their options.

mod beadm;
mod bectl;

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use beadm_rs::zfs::Zfs as _;

use super::machine::{Machine, dataset};
use super::transcript::{Transcript, program};

/// The program under another tool's name, on the machine its environment names.
fn named(name: &str, machine: &Machine) -> Command {
    let mut command = program();
    command
        .arg0(format!("/usr/sbin/{name}"))
        .env("BEADM_RS_SIM", machine.directory());
    command
}

fn out(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

/// A command line that is not understood: the usage is the same each time, what comes before
/// it is told.
fn usage(transcript: &mut Transcript, line: &str, exit: i32, begins: &str) {
    let output = program()
        .arg("--sim")
        .arg(transcript.machine.directory())
        .args(line.split(' '))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(exit), "{line}");
    assert_eq!(out(&output), "", "{line}");
    let (said, _) = err(&output)
        .split_once(begins)
        .unwrap_or_else(|| panic!("{line}: {output:?}"));
    transcript.note(&format!("$ {line}\n{}", said.trim_end()));
}

#[test]
fn what_boots_once_is_set_shown_and_taken_back() {
    let machine = Machine::with_one_pool();
    std::fs::write(machine.directory().join("label.vendor"), "freebsd").unwrap();
    let mut transcript = Transcript::on(machine);
    assert!(transcript.silently("create new"));
    assert!(transcript.silently("create other"));
    transcript
        .run("bectl activate -t new")
        .run("bectl list -H")
        .run("bectl destroy new")
        .run("bectl activate -T")
        .run("bectl list -H")
        .run("beadm activate -t new")
        .run("beadm list -H new")
        .run("beadm activate -T other")
        .run("beadm activate -T new")
        .run("beadm create -t once")
        .run("beadm list")
        .is("dialect-once");
}

#[test]
fn a_conflict_of_files_ends_an_activation() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    let passwd = |machine: &Machine, root: &str, user: &str| {
        machine
            .sim
            .write_file(
                &dataset(root),
                "etc/passwd",
                format!("root:x:0:0:root:/root:{user}\n"),
            )
            .unwrap();
    };
    passwd(&transcript.machine, "rpool/ROOT/debian", "/bin/sh");
    assert!(transcript.silently("create new"));
    transcript
        .then(
            "Both sides change the same field of the same user.",
            |machine| {
                passwd(machine, "rpool/ROOT/debian", "/bin/bash");
                passwd(machine, "rpool/ROOT/new", "/bin/zsh");
            },
        )
        .run("bectl activate new")
        .run("beadm activate new")
        .run("bectl list -H")
        .is("dialect-conflict");
}

/// Runs a command line with files for standard input and output; its exit code, and what it says.
fn redirected(machine: &Machine, line: &[&str], from: &str, to: &str) -> (Option<i32>, String) {
    let at = |name: &str| machine.scratch.join(name);
    let output = program()
        .arg("--sim")
        .arg(machine.directory())
        .args(line)
        .stdin(File::open(at(from)).unwrap())
        .stdout(File::create(at(to)).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

#[test]
fn a_stream_goes_out_of_one_dialect_and_into_the_other() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    let machine = &transcript.machine;
    std::fs::write(machine.scratch.join("nothing"), "").unwrap();
    let silent = (Some(0), String::new());
    assert_eq!(
        redirected(machine, &["bectl", "export", "debian"], "nothing", "stream"),
        silent
    );
    let bytes = std::fs::metadata(machine.scratch.join("stream"))
        .unwrap()
        .len();
    assert_eq!(
        redirected(
            machine,
            &["beadm", "export", "-v", "debian"],
            "nothing",
            "other"
        ),
        (Some(0), format!("debian: {bytes} bytes written\n"))
    );
    assert_eq!(
        redirected(machine, &["beadm", "import", "new"], "stream", "said"),
        silent
    );
    assert_eq!(
        redirected(machine, &["bectl", "import", "newer"], "other", "said"),
        silent
    );
    let (exit, said) = redirected(machine, &["bectl", "import", "newer"], "stream", "said");
    assert_eq!(exit, Some(2), "{said}");
    assert!(
        said.starts_with("boot environment name already taken\n"),
        "{said}"
    );
    transcript
        .run("bectl export nobody")
        .note("A stream that is none.")
        .run("bectl import none")
        .run("beadm import -v none")
        .note("No snapshot stays.")
        .run("--script list -s")
        .is("dialect-streams");
}

#[test]
fn what_follows_the_name_of_a_tool_is_the_tools() {
    let machine = Machine::with_one_pool();
    let listed = named("bectl", &machine)
        .args(["list", "-H"])
        .output()
        .unwrap();
    assert!(out(&listed).starts_with("debian\tNR\t/\t"), "{listed:?}");
    let listed = named("beadm", &machine)
        .args(["list", "-H"])
        .output()
        .unwrap();
    assert!(out(&listed).starts_with("debian;"), "{listed:?}");
    // A path that ends like it, and a name that only begins so.
    let other = named("bectl-not", &machine)
        .args(["list", "-H"])
        .output()
        .unwrap();
    assert_eq!(out(&other).split('\t').count(), 7, "{other:?}");
    // Options of this program's own mean nothing to another tool.
    for option in ["-n", "--json", "-y", "-H"] {
        let output = program()
            .arg("--sim")
            .arg(machine.directory())
            .args([option, "bectl", "create", "new"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{option}");
    }
    assert!(
        !machine
            .sim
            .tree(&[dataset("rpool/ROOT/new")], false)
            .unwrap()
            .iter()
            .any(|_| true)
    );
    // A tool's name as a value is none.
    let output = program()
        .arg("--sim")
        .arg(machine.directory())
        .args(["create", "bectl"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// What the module of Ansible for beadm (community.general) makes of a listing on a system that
/// is not FreeBSD: `_find_be_by_name`, `is_activated`, `is_mounted`.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    exists: bool,
    activated: bool,
    mounted: bool,
}

fn seen(machine: &Machine, name: &str) -> Seen {
    let listed = named("beadm", machine)
        .args(["list", "-H"])
        .output()
        .unwrap();
    assert_eq!(listed.status.code(), Some(0));
    let fields = out(&listed)
        .lines()
        .map(|line| line.split(';').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name));
    Seen {
        exists: fields.is_some(),
        activated: fields
            .as_ref()
            .is_some_and(|fields| fields[2].contains('R')),
        mounted: fields.is_some_and(|fields| !fields[3].is_empty()),
    }
}

#[test]
fn the_module_of_ansible_finds_what_it_looks_for() {
    let machine = Machine::with_one_pool();
    let run = |words: &[&str]| {
        let output = named("beadm", &machine).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
    };
    let is = |exists, activated, mounted| Seen {
        exists,
        activated,
        mounted,
    };
    assert_eq!(seen(&machine, "debian"), is(true, true, true));
    assert_eq!(seen(&machine, "new"), is(false, false, false));
    // present, with a description and options; from a snapshot
    run(&["create", "-d", "upgrade", "-o", "compression=on", "new"]);
    assert_eq!(seen(&machine, "new"), is(true, false, false));
    run(&["create", "new@old"]);
    run(&["create", "-e", "new@old", "second"]);
    // mounted, unmounted
    let on = machine.scratch.join("be");
    run(&["mount", "new", on.as_str()]);
    assert_eq!(seen(&machine, "new"), is(true, false, true));
    run(&["unmount", "-f", "new"]);
    assert_eq!(seen(&machine, "new"), is(true, false, false));
    run(&["mount", "new"]);
    assert!(seen(&machine, "new").mounted);
    run(&["unmount", "new"]);
    // activated
    run(&["activate", "second"]);
    assert_eq!(seen(&machine, "second"), is(true, true, false));
    assert!(!seen(&machine, "debian").activated);
    run(&["activate", "debian"]);
    run(&["activate", "debian"]);
    // absent; what was activated has the snapshot it was made of
    run(&["create", "third"]);
    run(&["destroy", "-F", "third"]);
    assert_eq!(seen(&machine, "third"), is(false, false, false));
}

/// A row of tests/cli/dialects.md.
struct Row {
    tool: &'static str,
    command: &'static str,
    /// The option's letter.
    letter: Option<char>,
    /// The tests, and whether they are on real ZFS.
    tests: Vec<(bool, &'static str)>,
}

fn table() -> Vec<Row> {
    let text = include_str!("dialects.md");
    let mut tool = "";
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            tool = name;
        }
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [command, option, tests] = cells[..] else {
            continue;
        };
        if !tests.contains('`') {
            continue;
        }
        // The scenario is no function.
        let tests = tests.split(", ").filter(|test| *test != "S").map(|test| {
            let real = test.strip_prefix("R ");
            (real.is_some(), real.unwrap_or(test).trim_matches('`'))
        });
        let letter = option.trim_matches('`').strip_prefix('-');
        let letter = letter.and_then(|letter| letter.chars().next());
        rows.push(Row {
            tool,
            command: command.trim_matches('`'),
            letter,
            tests: tests.collect(),
        });
    }
    rows
}

#[test]
fn every_option_has_a_test_and_is_taken() {
    let machine = Machine::with_one_pool();
    let here = [
        include_str!("dialects.rs"),
        include_str!("dialects/beadm.rs"),
        include_str!("dialects/bectl.rs"),
    ]
    .concat();
    let real = include_str!("../real/dialects.rs");
    let rows = table();
    assert_eq!(rows.iter().filter(|row| row.tool == "bectl").count(), 33);
    assert_eq!(rows.iter().filter(|row| row.tool == "beadm").count(), 36);
    for Row {
        tool,
        command,
        letter,
        tests,
    } in rows
    {
        for (is_real, test) in tests {
            let source = if is_real { real } else { &here };
            assert!(source.contains(&format!("fn {test}()")), "{test}");
        }
        let Some(letter) = letter.filter(|_| !command.is_empty()) else {
            continue;
        };
        // A second word that is no option ends it before anything is done.
        let said = |letter: char| {
            let words = [command, &format!("-{letter}"), "-?"];
            let output = named(tool, &machine).args(words).output().unwrap();
            err(&output).lines().next().unwrap_or_default().to_owned()
        };
        let program = if tool == "bectl" { tool } else { command };
        let taken = said(letter);
        assert_ne!(
            taken,
            format!("{program}: illegal option -- {letter}"),
            "{command}"
        );
        assert_eq!(said('z'), format!("{program}: illegal option -- z"));
    }
    let listed = named("bectl", &machine)
        .args(["list", "-H"])
        .output()
        .unwrap();
    assert_eq!(out(&listed).lines().count(), 1, "nothing was done");
}
