//! What the program itself costs, without ZFS: a listing of a thousand boot
//! environments on the simulator, a synchronization among them, and the help. Wall time and memory against
//! their targets; one that is missed is marked and is no failure, since a busy
//! machine misses it too. `cargo bench --bench simulated`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark stops where something fails, and prints its table"
)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use beadm_rs::sync::bases::KEPT;
use beadm_rs::zfs::sim::{NewPool, Sim};
use beadm_rs::zfs::{CloneOf, DatasetName, SnapshotName, SyncOp, Zfs as _};
use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::resource::{UsageWho, getrusage};

/// How many boot environments are listed.
const LISTED: usize = 1000;

/// A file that is synchronized.
const HOSTS: &str = "etc/hosts";

/// Runs the program; how long it took.
fn run(arguments: &[&str]) -> Duration {
    let started = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_beadm-rs"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let taken = started.elapsed();
    assert!(status.success(), "{arguments:?}: {status}");
    taken
}

/// The time in the middle of so many runs, the first one not counted.
fn median(rounds: usize, arguments: &[&str]) -> Duration {
    run(arguments);
    let mut times: Vec<Duration> = (0..rounds).map(|_| run(arguments)).collect();
    times.sort();
    times[rounds / 2]
}

/// How many environments the program lists.
fn listed(directory: &Utf8Path) -> usize {
    let output = Command::new(env!("CARGO_BIN_EXE_beadm-rs"))
        .args(["-H", "--sim", directory.as_str(), "list"])
        .env_clear()
        .output()
        .unwrap();
    output.stdout.split(|byte| *byte == b'\n').count() - 1
}

/// The most memory any child had, bytes (getrusage(2) counts KiB).
fn peak() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    u64::try_from(usage.max_rss()).unwrap() << 10
}

fn dataset(name: &str) -> DatasetName {
    name.parse().unwrap()
}

/// A running system and its clones, each of a snapshot of its own, as `create`
/// leaves them.
fn machine(directory: &Utf8Path) {
    let pools = [NewPool {
        name: "rpool".parse().unwrap(),
        size: 1 << 40,
    }];
    let set = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let sim = Sim::create(directory, &pools).unwrap();
    let container = set(&[("canmount", "off"), ("mountpoint", "none")]);
    let bootable = set(&[("canmount", "noauto"), ("mountpoint", "/")]);
    sim.create(&dataset("rpool/ROOT"), &container).unwrap();
    let root = dataset("rpool/ROOT/be-0000");
    sim.create(&root, &bootable).unwrap();
    sim.write_file(&root, HOSTS, "127.0.0.1 localhost\n")
        .unwrap();
    sim.set_bootfs(&"rpool".parse().unwrap(), Some(&root))
        .unwrap();
    for number in 1..LISTED {
        let snapshot: SnapshotName = root.snapshot(&format!("made-{number:04}")).unwrap();
        let take = SyncOp::Snapshot {
            snapshot: snapshot.clone(),
        };
        sim.transact(&root.pool(), &[take]).unwrap();
        sim.clone_all(&[CloneOf {
            snapshot,
            target: dataset(&format!("rpool/ROOT/be-{number:04}")),
            settings: bootable.clone(),
        }])
        .unwrap();
    }
    sim.reboot().unwrap();
}

/// How long a synchronization takes that releases the pair of an older one.
fn synchronization(directory: &Utf8Path) -> Duration {
    let mut times: Vec<Duration> = (0..KEPT + 5)
        .map(|time| {
            let sim = Sim::open(directory).unwrap();
            let hosts = format!("127.0.1.{time} localhost\n");
            sim.write_file(&dataset("rpool/ROOT/be-0000"), HOSTS, hosts)
                .unwrap();
            drop(sim);
            run(&["--sim", directory.as_str(), "sync", "--to", "be-0001"])
        })
        .skip(KEPT)
        .collect();
    times.sort();
    times[times.len() / 2]
}

struct Row {
    what: String,
    measured: String,
    target: String,
    ok: bool,
}

fn time(what: &str, measured: Duration, target: Duration) -> Row {
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    Row {
        what: what.to_owned(),
        measured: milliseconds(measured),
        target: format!("< {}", milliseconds(target)),
        ok: measured < target,
    }
}

fn main() {
    // Making the machine saves and syncs its state three thousand times.
    let memory = Utf8Path::new("/dev/shm");
    let scratch = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .unwrap();
    let directory: Utf8PathBuf = Utf8Path::from_path(scratch.path()).unwrap().join("machine");
    // The help first: the memory measured is the largest child's.
    let help = median(50, &["--help"]);
    machine(&directory);
    assert_eq!(
        listed(&directory),
        LISTED,
        "what is measured is the whole list"
    );
    let listing = median(10, &["--sim", directory.as_str(), "list"]);
    let memory = peak();
    let synchronization = synchronization(&directory);
    let rows = [
        time("--help", help, Duration::from_millis(10)),
        time(
            &format!("list of {LISTED} environments"),
            listing,
            Duration::from_millis(100),
        ),
        Row {
            what: "its memory at most".to_owned(),
            measured: format!("{} MiB", memory >> 20),
            target: "< 64 MiB".to_owned(),
            ok: memory < 64 << 20,
        },
        time(
            &format!("sync among {LISTED} environments"),
            synchronization,
            Duration::from_secs(1),
        ),
    ];
    for row in &rows {
        println!(
            "{:28} | {:>9} | {:>10} | {}",
            row.what,
            row.measured,
            row.target,
            if row.ok { "ok" } else { "MISSED" }
        );
    }
}
