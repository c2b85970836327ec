//! The end of a trial, and health checks. No loader here counts: the tests set
//! the record as an activation with one would.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::blocked::Background;
use crate::machine::Machine;
use crate::picture::{assert_same, differences, normalised};
use crate::ran::{long, program, sh, try_sh};

/// `old` is confirmed, `new`, a clone of it, is tried.
fn tried() -> Machine {
    let machine = Machine::new();
    machine.write("old", "data", vec![7; 4 << 20]);
    machine.run(&["snapshot", "old@s"]).succeeds();
    machine.clone_of("old", "new");
    machine.run(&["activate", "old"]).succeeds();
    let guid = |name: &str| machine.get(name, "guid");
    let record = format!(
        r#"{} {{"version":1,"target":"{}","back":"{}","tries":3,"since":"2026-01-01T00:00:00Z"}}"#,
        guid("ROOT"),
        guid("ROOT/new"),
        guid("ROOT/old"),
    );
    sh(
        "zfs",
        &[
            "set",
            &format!("org.beadm-rs:trial={record}"),
            &machine.name("ROOT"),
        ],
    );
    machine
}

/// Whether the trial goes on, what is last good, and what `new` hangs on.
fn state(machine: &Machine) -> (bool, String, bool) {
    let status = machine.run_inside("new", &["status", "--json"]).succeeds();
    let status = status.json("status");
    assert_eq!(status["unfinished"], serde_json::Value::Null);
    (
        status["trial"].is_object(),
        status["last_good"].as_str().unwrap().to_owned(),
        machine.get("ROOT/new", "origin") == "-",
    )
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_confirmation_stopped_anywhere_is_made_again_by_the_next() {
    let machine = tried();
    let (saved, before) = (machine.save(), machine.picture());
    machine.run_inside("new", &["confirm"]).succeeds();
    assert_eq!(state(&machine), (false, "new".to_owned(), true));
    assert_eq!(machine.next(), machine.name("ROOT/new"));
    let complete = normalised(&machine.picture(), &before);
    let all = [
        ("bootfs:after", false),
        ("finish:after", true),
        ("bootfs:before", false),
        ("promote:after", true),
    ];
    for (at, confirmed) in &all[..if long() { 4 } else { 2 }] {
        machine.restore(&saved);
        let fail = format!("confirm/{at}=kill");
        let ran = machine.run_inside_failing("new", &["confirm"], &fail);
        assert_eq!(ran.exit, 128 + 9, "{at}: {ran:#?}");
        let (goes_on, good, _) = state(&machine);
        assert_eq!(goes_on, !*confirmed, "{at}");
        assert_eq!(good, if *confirmed { "new" } else { "old" }, "{at}");
        machine.run_inside("new", &["confirm"]).succeeds();
        let different = differences(&complete, &normalised(&machine.picture(), &before));
        assert!(different.is_empty(), "{at}: {}", different.join("\n"));
    }
    machine.restore(&saved);
    machine
        .run_inside_failing("new", &["confirm"], "confirm/finish:before=error")
        .says(1, "stopped by a fail point at confirm/finish:before");
    assert_same(&before, &machine.picture(), "not as before");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_promotion_that_a_stream_is_in_the_way_of_is_put_off() {
    let machine = tried();
    let stream = Background::send(&machine.name("ROOT/old@s"));
    let ran = machine.run_inside("new", &["confirm"]).succeeds();
    let said = "its datasets still hang on those it was cloned from (cannot promote ";
    assert!(ran.stderr.contains(said), "{ran:#?}");
    assert!(ran.stderr.contains("new is confirmed"), "{ran:#?}");
    assert_eq!(state(&machine), (false, "new".to_owned(), false));
    drop(stream);
    machine
        .run_inside("new", &["confirm"])
        .says(0, "nothing to confirm: no environment is being tried");
    assert_eq!(state(&machine), (false, "new".to_owned(), true));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_rejection_goes_back_and_a_boot_elsewhere_is_noticed() {
    let machine = tried();
    let saved = machine.save();
    machine.run_inside("new", &["confirm", "--reject"]).says(
        0,
        "new is rejected, old boots next; new runs until the machine is rebooted",
    );
    assert_eq!(state(&machine), (false, "old".to_owned(), false));
    machine.restore(&saved);
    machine
        .run_inside("old", &["confirm"])
        .fails(3, "new is being tried, but old runs");
    machine.run_inside("old", &["boot"]).says(
        0,
        "new did not work: another one was booted before it was confirmed; old runs",
    );
    let status = machine.run_inside("old", &["status", "--json"]);
    assert_eq!(status.json("status")["fell_back"]["name"], "new");
}

/// The checks of the machine the tests run on, which are taken away again.
struct Checks;

impl Checks {
    const ROOT: &str = "/etc/beadm-rs";

    fn write(&self, path: &str, script: &str, mode: u32) {
        let path = Path::new(Self::ROOT).join("health.d").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> crate::ran::Ran {
        let mut all = vec!["health"];
        all.extend(arguments);
        try_sh(program().to_str().unwrap(), &all)
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Self::ROOT);
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn health_is_what_the_required_checks_say() {
    let checks = Checks;
    let none = checks.run(&[]).succeeds();
    assert_eq!(
        none.stdout,
        "there is no health check in /etc/beadm-rs/health.d\n"
    );
    checks.write("required.d/10-good", "echo fine", 0o755);
    checks.write("wanted.d/20-bad", "exit 3", 0o755);
    let ran = checks.run(&[]).succeeds();
    assert_eq!(
        ran.stdout,
        "required 10-good: passed\nwanted 20-bad: failed with exit status 3\nhealthy\n"
    );
    assert_eq!(ran.stderr, "beadm-rs: 10-good: fine\n");
    checks.write("required.d/30-open", "touch /tmp/open-ran", 0o757);
    checks.write(
        "required.d/40-hangs",
        "while :; do read x </dev/zero; done",
        0o755,
    );
    fs::write("/etc/beadm-rs/config.toml", "[health]\ntimeout = 1\n").unwrap();
    let ran = checks.run(&["--json"]);
    assert_eq!(ran.exit, 1);
    let said = ran.json("health");
    assert_eq!(said["healthy"], false);
    let results: Vec<&str> = said["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["result"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["passed", "refused", "timed-out", "failed"]);
    assert!(!Path::new("/tmp/open-ran").exists());
    let listed = checks.run(&["-n"]).succeeds();
    assert!(
        listed
            .stdout
            .contains("required 40-hangs: would run /etc/beadm-rs/health.d/required.d/40-hangs\n"),
        "{listed:#?}"
    );
    fs::write("/etc/beadm-rs/config.toml", "[health]\ntimeout = 0\n").unwrap();
    checks.run(&[]).fails(3, "timeout is 0");
}
