//! What the program costs, against what one would otherwise type, in one run
//! on real ZFS (`tests/lab/run bench`): medians, ratios, child processes and
//! transaction groups. A ratio above its target is marked and is no failure:
//! times in emulation are noisy, and a benchmark is read by a person.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark stops where something fails, and prints its table"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use beadm_rs::check::stand_in;
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;

/// How often each side of a comparison is measured: in the ordinary run once, which takes four
/// minutes under emulation, and tells enough to see something grow worse.
fn rounds() -> usize {
    if long() { 3 } else { 1 }
}

fn long() -> bool {
    std::env::var("BEADM_RS_LONG").is_ok_and(|long| !long.is_empty())
}

/// How many boot environments the listing has.
const LISTED: usize = 100;

/// Runs a program, which has to succeed.
fn sh(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

fn zfs(arguments: &[&str]) -> String {
    sh("/usr/sbin/zfs", arguments)
}

struct Bench {
    program: PathBuf,
    directory: tempfile::TempDir,
    /// How long a write takes on its disk beyond what it takes, milliseconds.
    delay: Option<u32>,
}

const POOL: &str = "bench";

/// A pool to copy to.
const OTHER: &str = "bench-other";

/// The lab's disk to spare.
const SPARE_DISK: &str = "/dev/disk/by-id/virtio-scratch";

/// The name of the slower disk.
const SLOW: &str = "bench-slow";

/// One side of a comparison.
#[derive(Default)]
struct Side {
    times: Vec<Duration>,
    groups: Vec<u64>,
}

impl Side {
    fn measure(&mut self, work: impl FnOnce()) {
        let before = group();
        let started = Instant::now();
        work();
        self.times.push(started.elapsed());
        self.groups.push(group() - before);
    }

    fn seconds(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort();
        times[times.len() / 2].as_secs_f64()
    }

    fn groups(&self) -> u64 {
        let mut groups = self.groups.clone();
        groups.sort_unstable();
        groups[groups.len() / 2]
    }
}

/// The newest transaction group of the pool.
fn group() -> u64 {
    fs::read_to_string(format!("/proc/spl/kstat/zfs/{POOL}/txgs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .max()
        .unwrap_or(0)
}

fn row(what: &str, plain: &Side, own: &Side, children: usize, target: f64) {
    let ratio = own.seconds() / plain.seconds();
    let verdict = if ratio <= target { "ok" } else { "MISSED" };
    println!(
        "{what:<44} {:>7.2} s {:>7.2} s {ratio:>6.2} {target:>6.2} {:>5}/{:<3} {children:>4}  {verdict}",
        plain.seconds(),
        own.seconds(),
        plain.groups(),
        own.groups(),
    );
}

/// How long a write takes on a slower disk, milliseconds.
///
/// Emulation makes the processor ten to twenty times slower and the disk not at
/// all; a disk this slow is to the emulated processor about what an SSD that
/// takes a millisecond is to a real one.
const SSD: u32 = 10;

/// The same of a disk that takes five milliseconds, as one that turns does.
const TURNING: u32 = 50;

impl Bench {
    fn new(delay: Option<u32>) -> Self {
        let bench = Self {
            program: std::env::var_os("BEADM_RS_BIN")
                .map(PathBuf::from)
                .expect("BEADM_RS_BIN names the program; run tests/lab/run bench"),
            directory: tempfile::tempdir().expect("a temporary directory"),
            delay,
        };
        let mut disk = SPARE_DISK.to_owned();
        if let Some(milliseconds) = delay {
            let sectors = sh("blockdev", &["--getsz", SPARE_DISK]);
            let table = format!("0 {sectors} delay {disk} 0 0 {disk} 0 {milliseconds}");
            sh("modprobe", &["dm-delay"]);
            sh("dmsetup", &["create", SLOW, "--table", &table]);
            disk = format!("/dev/mapper/{SLOW}");
        }
        sh(
            "/usr/sbin/zpool",
            &[
                "create",
                "-f",
                "-o",
                "cachefile=none",
                "-O",
                "canmount=off",
                "-O",
                "mountpoint=none",
                POOL,
                &disk,
            ],
        );
        zfs(&[
            "create",
            "-o",
            "canmount=off",
            "-o",
            "mountpoint=none",
            "bench/ROOT",
        ]);
        bench
    }

    fn run(&self, arguments: &[&str]) -> String {
        let program = self.program.to_str().expect("a path in UTF-8");
        let mut all = vec!["-r", "bench/ROOT"];
        all.extend(arguments);
        sh(program, &all)
    }

    /// The same by one of the two engines of a program that has both.
    fn run_by(&self, engine: &str, arguments: &[&str]) {
        let assignment = format!("BEADM_RS_ENGINE={engine}");
        let program = self.program.to_str().expect("a path in UTF-8");
        let mut all = vec![assignment.as_str(), program, "-r", "bench/ROOT"];
        all.extend(arguments);
        sh("/usr/bin/env", &all);
    }

    /// How many `zfs` and `zpool` a command starts.
    fn children(&self, arguments: &[&str]) -> usize {
        self.children_by("commands", arguments)
    }

    fn children_by(&self, engine: &str, arguments: &[&str]) -> usize {
        let count = self.directory.path().join("count");
        let wrappers = self.directory.path().join("wrappers");
        fs::create_dir_all(&wrappers).expect("a directory for wrappers");
        let _ = fs::remove_file(&count);
        for name in ["zfs", "zpool"] {
            wrapper(&wrappers.join(name), name, &count);
        }
        let output = Command::new(&self.program)
            .args(["-r", "bench/ROOT"])
            .args(arguments)
            .env("BEADM_RS_ZFS_DIRECTORY", &wrappers)
            .env("BEADM_RS_ENGINE", engine)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(&count)
            .unwrap_or_default()
            .lines()
            .count()
    }

    /// An environment of so many datasets: a root, and half of the others
    /// below the other half.
    fn environment(&self, name: &str, datasets: usize) -> Vec<String> {
        let root = format!("bench/ROOT/{name}");
        zfs(&[
            "create",
            "-u",
            "-o",
            "canmount=noauto",
            "-o",
            "mountpoint=/",
            &root,
        ]);
        let mut names = vec![root.clone()];
        for index in 1..datasets {
            let parent = if index % 2 == 1 {
                root.clone()
            } else {
                names[index - 1].clone()
            };
            let child = format!("{parent}/d{index}");
            zfs(&["create", "-u", "-o", "canmount=noauto", &child]);
            names.push(child);
        }
        names
    }

    /// The same, mounted as the running one is: of a file system that is not, ZFS reads
    /// everything anew each time it is asked for anything, which takes it several times as
    /// long (`dmu_objset_open_impl`).
    fn running(&self, name: &str, datasets: usize) -> Vec<String> {
        let names = self.environment(name, datasets);
        let root = self.directory.path().join("running");
        for dataset in &names {
            let below = dataset.trim_start_matches(&names[0]);
            let on = format!("{}{below}", root.display());
            fs::create_dir_all(&on).expect("a directory to mount on");
            sh("mount", &["-t", "zfs", "-o", "zfsutil", dataset, &on]);
        }
        names
    }

    fn destroy(&self, name: &str) {
        zfs(&["destroy", "-r", &format!("bench/ROOT/{name}")]);
    }

    /// The clones one by one, as typed.
    fn clone_plainly(&self, names: &[String], from: &str, to: &str, snapshot: &str) {
        zfs(&["snapshot", "-r", &format!("{}@{snapshot}", names[0])]);
        for (index, name) in names.iter().enumerate() {
            let target = name.replacen(from, to, 1);
            let origin = format!("{name}@{snapshot}");
            let mut arguments = vec!["clone", "-o", "canmount=noauto"];
            if index == 0 {
                arguments.extend(["-o", "mountpoint=/"]);
            }
            arguments.extend([origin.as_str(), target.as_str()]);
            zfs(&arguments);
        }
    }

    fn create(&self, datasets: usize, target: f64) {
        let names = self.running("a", datasets);
        let (mut plain, mut own) = (Side::default(), Side::default());
        for _ in 0..rounds() {
            plain.measure(|| self.clone_plainly(&names, "ROOT/a", "ROOT/b", "s"));
            self.destroy("b");
            zfs(&["destroy", "-r", "bench/ROOT/a@s"]);
            own.measure(|| drop(self.run(&["create", "-e", "a", "b"])));
            self.run(&["destroy", "-y", "b"]);
        }
        let children = self.children(&["create", "-e", "a", "b"]);
        row(
            &format!("create, {datasets} datasets"),
            &plain,
            &own,
            children,
            target,
        );
        self.run(&["destroy", "-y", "b"]);
        self.destroy("a");
    }

    fn activate(&self) {
        let names = self.running("a", 7);
        self.run(&["create", "-e", "a", "b"]);
        let clones: Vec<String> = names
            .iter()
            .map(|name| name.replacen("ROOT/a", "ROOT/b", 1))
            .collect();
        let back = || {
            for name in &names {
                zfs(&["promote", name]);
            }
            sh("/usr/sbin/zpool", &["set", "bootfs=bench/ROOT/a", POOL]);
        };
        sh("/usr/sbin/zpool", &["set", "bootfs=bench/ROOT/a", POOL]);
        // The commands beside it look at no files: these hold no system, and none are carried.
        let forth = ["activate", "--no-check", "--no-sync", "b"];
        let mut plain = Side::default();
        let (mut own, mut carrying) = (Side::default(), Side::default());
        for _ in 0..rounds() {
            plain.measure(|| {
                for name in &clones {
                    zfs(&["promote", name]);
                }
                sh("/usr/sbin/zpool", &["set", "bootfs=bench/ROOT/b", POOL]);
            });
            back();
            own.measure(|| drop(self.run(&forth)));
            back();
            carrying.measure(|| drop(self.run(&["activate", "--no-check", "b"])));
            back();
        }
        let children = self.children(&forth);
        row("activate, 7 datasets", &plain, &own, children, 0.6);
        row(
            "  the same where files may be carried",
            &plain,
            &carrying,
            children,
            0.8,
        );
        let (mut plain, mut own) = (Side::default(), Side::default());
        for _ in 0..rounds() {
            plain.measure(back);
            self.run(&forth);
            own.measure(|| drop(self.run(&["failback", "--no-check", "--no-sync"])));
            self.run(&forth);
        }
        row("failback, 7 datasets", &plain, &own, children, 0.6);
        sh("/usr/sbin/zpool", &["set", "bootfs=", POOL]);
        zfs(&["inherit", "org.beadm-rs:confirmed", "bench/ROOT"]);
        self.destroy_both();
    }

    /// What the look at an environment costs an activation: the other side is
    /// the same command without it.
    fn preflight(&self) {
        self.environment("a", 7);
        let root = self.directory.path().join("root");
        fs::create_dir_all(&root).expect("a directory to mount on");
        let path = root.to_str().expect("a path in UTF-8");
        sh(
            "mount",
            &["-t", "zfs", "-o", "zfsutil", "bench/ROOT/a", path],
        );
        let files = Dir::open_ambient_dir(&root, ambient_authority()).expect("the root opens");
        stand_in::write_system(&files, None).expect("a system is written");
        drop(files);
        sh("umount", &[path]);
        self.run(&["create", "-e", "a", "b"]);
        let (mut without, mut with) = (Side::default(), Side::default());
        for _ in 0..rounds() {
            without.measure(|| drop(self.run(&["activate", "--no-check", "b"])));
            self.run(&["activate", "--no-check", "a"]);
            with.measure(|| drop(self.run(&["activate", "b"])));
            self.run(&["activate", "--no-check", "a"]);
        }
        let children = self.children(&["activate", "b"]);
        row(
            "activate with and without a look",
            &without,
            &with,
            children,
            1.2,
        );
        sh("/usr/sbin/zpool", &["set", "bootfs=", POOL]);
        zfs(&["inherit", "org.beadm-rs:confirmed", "bench/ROOT"]);
        self.destroy_both();
    }

    /// What synchronization has to look at, beside what looks at as much: 10,000 files in
    /// 500 directories, one of them changed.
    fn synchronize(&self) {
        self.environment("a", 1);
        let root = self.directory.path().join("root");
        let other = self.directory.path().join("other");
        let mount = |name: &str, path: &Path| {
            fs::create_dir_all(path).expect("a directory to mount on");
            let path = path.to_str().expect("a path in UTF-8");
            sh("mount", &["-t", "zfs", "-o", "zfsutil", name, path]);
        };
        let unmount = |path: &Path| {
            sh("umount", &[path.to_str().expect("a path in UTF-8")]);
        };
        mount("bench/ROOT/a", &root);
        for directory in 0..500 {
            let directory = root.join(format!("srv/{directory}"));
            fs::create_dir_all(&directory).expect("a directory");
            for file in 0..20 {
                fs::write(directory.join(file.to_string()), "some text\n").expect("a file");
            }
        }
        fs::create_dir_all(root.join("etc/beadm-rs")).expect("a directory");
        fs::write(root.join("etc/beadm-rs/synclist"), "/srv\n").expect("a list");
        unmount(&root);
        self.run(&["create", "-e", "a", "b"]);
        mount("bench/ROOT/a", &root);
        fs::write(root.join("srv/250/10"), "another text\n").expect("a file");
        unmount(&root);
        let sync = ["sync", "--check", "--from", "a", "--to", "b"];
        let (mut plain, mut own) = (Side::default(), Side::default());
        for _ in 0..rounds() {
            own.measure(|| drop(self.run(&sync)));
            plain.measure(|| {
                mount("bench/ROOT/a", &root);
                mount("bench/ROOT/b", &other);
                let [from, to] = [&root, &other].map(|side| format!("{}/srv/", side.display()));
                sh("rsync", &["-aAXH", "--dry-run", "-i", &from, &to]);
                unmount(&root);
                unmount(&other);
            });
        }
        let children = self.children(&sync);
        row(
            "sync --check, 10,000 files, rsync",
            &plain,
            &own,
            children,
            1.5,
        );
        self.destroy_both();
    }

    /// An environment out of the pool and in again: 64 MiB of text, noise and small files in
    /// three datasets, beside `zfs send -R | zstd` and back.
    fn travel(&self) {
        let names = self.environment("a", 3);
        let at = self.directory.path().join("at");
        fs::create_dir_all(&at).expect("a directory to mount on");
        let path = at.to_str().expect("a path in UTF-8");
        for name in &names {
            sh("mount", &["-t", "zfs", "-o", "zfsutil", name, path]);
            let script = "head -c 8M /dev/urandom >noise; \
                seq 1000000 1700000 | sed 's/$/ some text that compresses/' >text; \
                for i in $(seq 500); do echo $i >small-$i; done";
            sh("sh", &["-ec", &format!("cd {path}; {script}")]);
            sh("umount", &[path]);
        }
        // On the pool's own disk there is room; /tmp is memory.
        let archive = self.directory.path().join("archive");
        let archive = archive.to_str().expect("a path in UTF-8");
        let package = format!("{archive}.zst");
        let (mut plain, mut own) = (Side::default(), Side::default());
        let export = ["-y", "export", "a", "-o", archive];
        let import = ["import", "b", "-i", archive];
        for _ in 0..rounds() {
            own.measure(|| {
                self.run(&export);
                self.run(&import);
            });
            self.destroy("b");
            plain.measure(|| {
                let there = "zfs snapshot -r bench/ROOT/a@x; zfs send -R bench/ROOT/a@x | zstd -q";
                let back = "zfs receive -u bench/ROOT/b";
                for line in [
                    format!("{there} >{package}"),
                    format!("zstd -dcq {package} | {back}"),
                ] {
                    sh("bash", &["-o", "pipefail", "-ec", &line]);
                }
            });
            self.destroy("b");
            zfs(&["destroy", "-r", "bench/ROOT/a@x"]);
        }
        let children = self.children(&export) + self.children(&import);
        self.destroy("b");
        // 0.9 of the speed.
        row(
            "export and import, send -R | zstd",
            &plain,
            &own,
            children,
            1.11,
        );
        let bytes = |path: &str| fs::metadata(path).map_or(0, |metadata| metadata.len());
        println!(
            "    the archive has {} bytes, the package {}",
            bytes(archive),
            bytes(&package)
        );
        self.destroy("a");
    }

    fn destroy_both(&self) {
        // Whichever is the clone goes first.
        for name in ["a", "b", "a"] {
            let _ = Command::new("/usr/sbin/zfs")
                .args(["destroy", "-r", &format!("bench/ROOT/{name}")])
                .output();
        }
    }

    fn destroy_measured(&self) {
        let names = self.running("a", 7);
        let prepare = || {
            self.run(&["create", "-e", "a", "b"]);
            for snapshot in ["x", "y", "z"] {
                zfs(&["snapshot", "-r", &format!("bench/ROOT/b@{snapshot}")]);
            }
        };
        let origins = || {
            zfs(&[
                "list",
                "-H",
                "-r",
                "-t",
                "snapshot",
                "-o",
                "name",
                "bench/ROOT/a",
            ])
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
        };
        let clones: Vec<String> = names
            .iter()
            .rev()
            .map(|name| name.replacen("ROOT/a", "ROOT/b", 1))
            .collect();
        let (mut single, mut recursive, mut own) =
            (Side::default(), Side::default(), Side::default());
        for _ in 0..rounds() {
            prepare();
            let left = origins();
            single.measure(|| {
                for name in &clones {
                    for snapshot in ["z", "y", "x"] {
                        zfs(&["destroy", &format!("{name}@{snapshot}")]);
                    }
                    zfs(&["destroy", name]);
                }
                for origin in &left {
                    zfs(&["destroy", origin]);
                }
            });
            prepare();
            let left = origins();
            recursive.measure(|| {
                zfs(&["destroy", "-r", "bench/ROOT/b"]);
                zfs(&["destroy", "-r", &left[0]]);
            });
            prepare();
            own.measure(|| drop(self.run(&["destroy", "-y", "b"])));
        }
        prepare();
        let children = self.children(&["destroy", "-y", "b"]);
        row(
            "destroy, 7 datasets, 3 snapshots each",
            &single,
            &own,
            children,
            0.5,
        );
        row(
            "  the same against zfs destroy -r, twice",
            &recursive,
            &own,
            children,
            1.0,
        );
        self.destroy("a");
    }

    /// The engine that sends by itself against the one over commands alone.
    fn engines(&self) {
        let disk = self.directory.path().join("other");
        let disk = disk.to_str().expect("a path in UTF-8");
        sh("truncate", &["-s", "512M", disk]);
        sh(
            "/usr/sbin/zpool",
            &["create", "-o", "cachefile=none", "-m", "none", OTHER, disk],
        );
        let beroot = format!("{OTHER}/ROOT");
        zfs(&["create", "-o", "canmount=off", &beroot]);
        // Few: copying takes three processes or two for each, and a minute for many.
        self.environment("a", 3);
        let create = ["create", "-e", "a", "b"];
        let destroy = ["destroy", "-y", "b"];
        let copy = ["create", "-e", "a", "-p", OTHER, "b"];
        let gone = || drop(zfs(&["destroy", "-r", &format!("{beroot}/b")]));
        let engines = ["commands", "libzetta"];
        let mut sides: [[Side; 2]; 3] = Default::default();
        for _ in 0..rounds() {
            for (engine, name) in engines.iter().enumerate() {
                sides[0][engine].measure(|| self.run_by(name, &create));
                sides[1][engine].measure(|| self.run_by(name, &destroy));
                sides[2][engine].measure(|| self.run_by(name, &copy));
                gone();
            }
        }
        let children = engines.map(|name| {
            let counts = [&create[..], &destroy, &copy].map(|words| self.children_by(name, words));
            gone();
            counts
        });
        header("by engine", engines);
        for (index, what) in ["create", "destroy", "copy to a pool"].iter().enumerate() {
            let [commands, libzetta] = children.map(|counts| counts[index]);
            let what = format!("{what}, 3 datasets ({commands} zfs)");
            let [left, right] = &sides[index];
            row(&what, left, right, libzetta, 1.1);
        }
        sh("/usr/sbin/zpool", &["destroy", "-f", OTHER]);
        self.destroy("a");
    }

    fn list(&self) {
        self.environment("a", 2);
        zfs(&["snapshot", "-r", "bench/ROOT/a@s"]);
        let next = std::sync::atomic::AtomicUsize::new(1);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if index >= LISTED {
                            break;
                        }
                        let root = format!("bench/ROOT/be{index}");
                        zfs(&[
                            "clone",
                            "-o",
                            "canmount=noauto",
                            "-o",
                            "mountpoint=/",
                            "bench/ROOT/a@s",
                            &root,
                        ]);
                        zfs(&[
                            "clone",
                            "-o",
                            "canmount=noauto",
                            "bench/ROOT/a/d1@s",
                            &format!("{root}/d1"),
                        ]);
                    }
                });
            }
        });
        zfs(&["snapshot", "-r", "bench/ROOT@t"]);
        let columns = beadm_rs::zfs::parse::tree_columns(&[]);
        let (mut plain, mut own) = (Side::default(), Side::default());
        for _ in 0..rounds() {
            plain.measure(|| {
                zfs(&[
                    "list",
                    "-Hp",
                    "-r",
                    "-t",
                    "filesystem,volume,snapshot",
                    "-o",
                    &columns,
                    "bench/ROOT",
                ]);
            });
            own.measure(|| drop(self.run(&["list"])));
        }
        let children = self.children(&["list"]);
        row(
            &format!("list, {LISTED} environments, 2 datasets each"),
            &plain,
            &own,
            children,
            1.15,
        );
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The guest ends with what is left of them.
        for (program, arguments) in [
            ("/usr/sbin/zpool", ["destroy", "-f", POOL]),
            ("dmsetup", ["remove", "--retry", SLOW]),
        ] {
            if self.delay.is_some() || program != "dmsetup" {
                let _ = Command::new(program).args(arguments).output();
            }
        }
    }
}

/// A program that notes that it was called and becomes the real one.
fn wrapper(path: &Path, name: &str, count: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let script = format!(
        "#!/bin/sh\necho x >> {}\nexec /usr/sbin/{name} \"$@\"\n",
        count.display()
    );
    fs::write(path, script)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .expect("a wrapper");
}

fn header(what: &str, [left, right]: [&str; 2]) {
    println!(
        "\n{:<44} {:>9} {:>9} {:>6} {:>6} {:>9} {:>4}",
        format!("{what} (median of {})", rounds()),
        left,
        right,
        "ratio",
        "target",
        "groups",
        "zfs"
    );
}

fn main() {
    let mut delays = vec![None, Some(SSD)];
    if long() {
        delays.push(Some(TURNING));
    }
    for delay in delays {
        let disk = match delay {
            None => "a disk without latency".to_owned(),
            Some(milliseconds) => format!("a disk whose writes take {milliseconds} ms"),
        };
        let bench = Bench::new(delay);
        header(&disk, ["plain", "beadm-rs"]);
        // Without latency it is the processor alone that is measured, which emulation makes ten
        // to twenty times slower: how it looks then is for who asks.
        if delay.is_some() || long() {
            bench.create(7, 0.8);
        }
        // Where a transaction group takes a second, the others would take minutes.
        if delay == Some(SSD) || (delay.is_none() && long()) {
            bench.create(27, 0.5);
            bench.activate();
            bench.destroy_measured();
        }
        // What costs no transaction group, or has a target it is far from missing,
        // is not worth the minutes it takes on the slower disk.
        if delay.is_none() {
            bench.preflight();
            if long() {
                bench.synchronize();
                bench.travel();
            }
            // tests/lab/run says so where the program has both engines.
            if std::env::var("BEADM_RS_ENGINE").is_ok_and(|engine| !engine.is_empty()) {
                bench.engines();
            }
            bench.list();
        }
    }
}
