//! What is around a command: the lock, pipes, the machine it is pointed at.

use std::time::Duration;

use beadm_rs::os::{LockKind, Platform as _};

use super::machine::Machine;
use super::transcript::{Transcript, program};

#[test]
fn another_process_at_work_is_waited_for_and_then_named() {
    let machine = Machine::with_one_pool();
    let lock = machine
        .sim
        .lock(LockKind::Change, "create something", Duration::ZERO)
        .unwrap();
    let mut transcript = Transcript::on(machine);
    transcript
        .note("Readers do not wait.")
        .run("list")
        .run("create -n one")
        .note("Changers do, for ten seconds.")
        .run("create one");
    drop(lock);
    transcript.note("It is over.").run("create one").is("lock");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let machine = Machine::with_one_pool();
    for line in [
        &["list"][..],
        &["--json", "list", "-a"],
        &["list", "--tree"],
        &["status"],
        &["--json", "status"],
        &["create", "-n", "one"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program()
            .arg("--sim")
            .arg(machine.directory())
            .args(line)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(
            (
                output.status.code(),
                String::from_utf8_lossy(&output.stderr)
            ),
            (Some(0), "".into()),
            "{line:?}"
        );
    }
}

#[test]
fn a_simulated_machine_is_one_or_is_refused() {
    let machine = Machine::with_one_pool();
    let scratch = machine.scratch.clone();
    std::fs::create_dir(scratch.join("empty")).unwrap();
    std::fs::create_dir(scratch.join("other")).unwrap();
    std::fs::write(scratch.join("other/state.json"), r#"{"schema":"other"}"#).unwrap();
    for (directory, expected) in [
        ("empty", "empty"),
        ("missing", "missing"),
        ("other", "other"),
    ] {
        let output = program()
            .arg("--sim")
            .arg(scratch.join(directory))
            .arg("list")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{expected}: {said}");
        let begin = format!(
            "beadm-rs: cannot open the simulated machine {}",
            scratch.join(directory)
        );
        assert!(said.starts_with(&begin), "{expected}: {said}");
        assert!(output.stdout.is_empty());
    }
    // By the environment too.
    let output = program()
        .env("BEADM_RS_SIM", machine.directory())
        .args(["-H", "list"])
        .output()
        .unwrap();
    assert!(output.stdout.starts_with(b"debian\tNR\t/\t"));
}

#[test]
fn the_demonstration_plays_to_its_end() {
    let scratch = tempfile::tempdir().unwrap();
    let output = program()
        .arg("demo")
        .arg(scratch.path().join("pool"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("$ beadm-rs failback\n"), "{shown}");
    // And the machine is there to play with.
    let output = program()
        .arg("--sim")
        .arg(scratch.path().join("pool"))
        .args(["demo", "--reboot"])
        .output()
        .unwrap();
    assert!(output.status.success());
}
