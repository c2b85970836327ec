//! Several at once, and a signal in the middle.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::fakes::Fakes;
use crate::machine::Machine;
use crate::ran::{Ran, sh};

/// Waits for a file that another process makes.
fn wait_for(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} was not made", path.display());
        thread::sleep(Duration::from_millis(20));
    }
}

/// `zfs` that stops once where its arguments begin so, until it is let go.
fn stopping_at(arguments: &str) -> Fakes {
    let fakes = Fakes::new();
    sh("mkfifo", &[fakes.path().join("go").to_str().unwrap()]);
    fakes.zfs(&format!(
        r#"case "$*" in "{arguments}"*)
    if mkdir $here/once 2>/dev/null; then mkdir $here/reached; cat $here/go >/dev/null; fi ;;
esac"#
    ));
    fakes
}

/// The program, begun and stopped at that subcommand of `zfs`.
fn begun(fakes: &Fakes, machine: &Machine, arguments: &[&str]) -> Child {
    let child = fakes
        .command(machine, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    wait_for(&fakes.path().join("reached"));
    child
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap())
}

/// Lets the stopped `zfs` go on, and waits for the program.
fn ended(fakes: &Fakes, child: Child) -> Ran {
    std::fs::write(fakes.path().join("go"), "").unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn several_creates_at_once_all_succeed_or_say_busy_and_none_is_half() {
    let machine = Machine::new();
    let before = machine.objects();
    let names = ["a", "b", "c", "d", "e", "f"];
    let children = names.map(|name| {
        machine
            .command(&["create", "-e", "old", name])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let ended = children.map(|child| Ran::of(child.wait_with_output().unwrap()));
    let objects = machine.objects();
    let mut made = 0;
    for (name, ran) in names.iter().zip(&ended) {
        let root = machine.name(&format!("ROOT/{name}"));
        let own = objects
            .iter()
            .filter(|object| object.starts_with(&root))
            .count();
        match ran.exit {
            0 => made += 1,
            5 => assert!(
                ran.stderr
                    .starts_with("beadm-rs: another beadm-rs is at work (pid "),
                "{ran:#?}"
            ),
            _ => panic!("{ran:#?}"),
        }
        assert_eq!(own, if ran.exit == 0 { 5 } else { 0 }, "{name}");
    }
    assert!(made > 1, "{ended:#?}");
    let taken: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| Some(object.split_once("/old@")?.1))
        .collect();
    assert_eq!(taken.len(), made);
    let status = machine.run(&["status", "--json"]).succeeds().json("status");
    assert_eq!(status["unfinished"], serde_json::Value::Null);
    for (name, ran) in names.iter().zip(&ended) {
        if ran.exit == 0 {
            machine.run(&["destroy", "-y", name]).succeeds();
        }
    }
    assert_eq!(machine.objects(), before);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn snapshots_taken_within_one_second_have_names_of_their_own() {
    let machine = Machine::new();
    for _ in 0..8 {
        machine.run(&["snapshot", "old"]).succeeds();
    }
    // Several of them fall into one second, at this pace.
    let objects = machine.objects();
    let names: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| Some(object.split_once("/old@beadm-rs.")?.1))
        .collect();
    assert_eq!(names.len(), 8, "{objects:#?}");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn who_comes_second_waits_and_then_says_who_is_at_work() {
    let machine = Machine::new();
    let fakes = stopping_at("clone");
    let first = begun(&fakes, &machine, &["create", "-e", "old", "first"]);
    let holder = format!("pid {}: create first", first.id());
    machine
        .run(&["create", "-e", "old", "second"])
        .says(5, &format!("another beadm-rs is at work ({holder})"))
        .offers("wait for it to end, and try again");
    // Who only reads does not wait.
    for command in ["list", "status"] {
        let ran = machine.run(&[command]).succeeds();
        let said = format!("a change is under way ({holder})");
        assert!(
            ran.stderr.contains(&said) || ran.stdout.contains(&said),
            "{ran:#?}"
        );
    }
    ended(&fakes, first).succeeds();
    machine.run(&["create", "-e", "old", "second"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_interrupted_command_undoes_what_it_did() {
    type Sent = fn(Pid) -> nix::Result<()>;
    let signals: [(&str, Sent); 3] = [
        ("Ctrl-C, to the whole process group", |pid| {
            killpg(pid, Signal::SIGINT)
        }),
        ("SIGINT, to the process", |pid| kill(pid, Signal::SIGINT)),
        ("SIGTERM, to the process", |pid| kill(pid, Signal::SIGTERM)),
    ];
    let machine = Machine::with_boot_pool();
    for (name, send) in signals {
        let fakes = stopping_at("clone");
        let ran = machine.unchanged(|| {
            let child = begun(&fakes, &machine, &["create", "-e", "old", "new"]);
            send(pid(&child)).unwrap();
            ended(&fakes, child)
        });
        assert_eq!(ran.exit, 1, "{name}: {ran:#?}");
        ran.says(
            1,
            "interrupted; waiting for zfs to end, Ctrl-C again kills it",
        )
        .fails(
            1,
            "beadm-rs: interrupted\n  state: what was changed was undone",
        );
        machine.run(&["recover"]).says(0, "nothing was interrupted");
    }
    machine.run(&["create", "-e", "old", "new"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_signal_after_the_commit_point_does_not_stop_what_is_left() {
    let machine = Machine::new();
    let fakes = stopping_at("set mountpoint=/");
    let child = begun(&fakes, &machine, &["create", "-e", "old", "new"]);
    kill(pid(&child), Signal::SIGINT).unwrap();
    ended(&fakes, child).succeeds();
    machine.run(&["recover"]).says(0, "nothing was interrupted");
    machine.run(&["activate", "new"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_interrupted_copy_leaves_nothing_in_either_pool() {
    let mut machine = Machine::new();
    let other = machine.another_pool("x");
    machine.write("old", "data", vec![5; 8 << 20]);
    let fakes = Fakes::new();
    sh("mkfifo", &[fakes.path().join("go").to_str().unwrap()]);
    // A part of the stream, a stop, the rest.
    fakes.zfs(
        r#"if [ "$1" = send ] && [ "$2" != -nP ] && mkdir $here/once 2>/dev/null; then
    real "$@" | { head -c 2000000; mkdir $here/reached; cat $here/go >/dev/null; cat; }
    exit
fi"#,
    );
    let ran = machine.unchanged(|| {
        let child = begun(
            &fakes,
            &machine,
            &["create", "-e", "old", "-p", &other, "copy"],
        );
        kill(pid(&child), Signal::SIGINT).unwrap();
        ended(&fakes, child)
    });
    ran.fails(1, "interrupted")
        .fails(1, "state: what was changed was undone");
    machine
        .run(&["create", "-e", "old", "-p", &other, "copy"])
        .succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_copy_interrupted_while_it_is_received_leaves_nothing_in_either_pool() {
    let mut machine = Machine::new();
    let other = machine.another_pool("x");
    machine.write("old", "data", vec![5; 8 << 20]);
    let fakes = stopping_at("receive");
    let copy = ["create", "-e", "old", "-p", &other, "copy"];
    let ran = machine.unchanged(|| {
        // What is sent waits for the receiver, which has not begun to read.
        let child = begun(&fakes, &machine, &copy);
        kill(pid(&child), Signal::SIGINT).unwrap();
        ended(&fakes, child)
    });
    ran.fails(1, "interrupted")
        .fails(1, "state: what was changed was undone");
    machine.run(&copy).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_a_dead_process_left_is_told_by_who_reads_and_ended_by_who_changes() {
    let machine = Machine::new();
    let before = machine.picture();
    let ran = machine.run_failing(
        &["create", "-e", "old", "dead"],
        "create/clone:after",
        "kill",
    );
    assert_eq!(ran.exit, 128 + 9);
    let left = machine.picture();
    let told = format!("create {}, begun ", machine.name("ROOT/dead"));
    let list = machine.run(&["list"]).succeeds();
    assert!(
        list.stderr.starts_with(&format!("beadm-rs: {told}")),
        "{list:#?}"
    );
    assert!(
        list.stderr
            .contains("'beadm-rs recover' completes it or takes it back"),
        "{list:#?}"
    );
    assert!(
        machine
            .run(&["list", "-H", "dead"])
            .succeeds()
            .stdout
            .starts_with("dead\t!\t")
    );
    let status = machine.run(&["status", "--json"]).succeeds().json("status");
    assert!(status["unfinished"].as_str().unwrap().starts_with(&told));
    let dry = machine.run(&["-n", "create", "-e", "old", "x"]).succeeds();
    assert!(dry.stderr.contains(&told), "{dry:#?}");
    let dry = machine.run(&["-n", "recover"]).succeeds();
    assert!(
        dry.stdout.contains("was interrupted and is taken back"),
        "{dry:#?}"
    );
    crate::picture::assert_same(&left, &machine.picture(), "who reads changes nothing");
    // Nor does a refusal.
    machine.run(&["-n", "activate", "dead"]).fails(
        3,
        "refused to activate dead: it is part of an operation that did not end",
    );
    let ran = machine.run(&["describe", "old", ""]).succeeds();
    assert!(
        ran.stderr.contains("was interrupted and is taken back"),
        "{ran:#?}"
    );
    crate::picture::assert_same(&before, &machine.picture(), "it was taken back");
    machine.run(&["recover"]).says(0, "nothing was interrupted");
}
