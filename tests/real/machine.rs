//! Pools to test on, and the program under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use beadm_rs::check::stand_in;
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;

use crate::ran::{Ran, program, sh, try_sh};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A machine's disks: a pool with boot environments, sometimes one for /boot.
pub struct Machine {
    /// The pool with ROOT in it.
    pub pool: String,
    /// The pool with BOOT in it.
    pub boot_pool: Option<String>,
    others: Vec<String>,
    directory: tempfile::TempDir,
}

impl Machine {
    /// A pool with one environment `old`: `/`, `/var`, `/var/lib` and
    /// `/usr/local` below a `canmount=off` `/usr`, with files in them; and
    /// `home` outside. It boots next.
    pub fn new() -> Self {
        Self::with_pool_options(&[])
    }

    /// The same with more options for `zpool create`.
    pub fn with_pool_options(options: &[&str]) -> Self {
        Self::with_disk(1 << 30, options)
    }

    /// The same on a disk of so many bytes.
    pub fn with_disk(bytes: u64, options: &[&str]) -> Self {
        let machine = Self::bare();
        machine.create_pool(&machine.pool, bytes, options);
        machine.furnish();
        machine
    }

    /// The same on a block device.
    pub fn on_device(device: &str) -> Self {
        let machine = Self::bare();
        zpool_create(&machine.pool, device, &[]);
        machine.furnish();
        machine
    }

    /// No pool yet, only its name.
    fn bare() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self {
            pool: format!("t{number}"),
            boot_pool: None,
            others: Vec::new(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn furnish(&self) {
        self.dataset("ROOT", &["canmount=off", "mountpoint=none"]);
        self.dataset("home", &["canmount=noauto", "mountpoint=/home"]);
        self.dataset("ROOT/old", &["canmount=noauto", "mountpoint=/"]);
        self.dataset("ROOT/old/var", &["canmount=noauto"]);
        self.dataset("ROOT/old/var/lib", &["canmount=noauto"]);
        self.dataset("ROOT/old/usr", &["canmount=off"]);
        self.dataset("ROOT/old/usr/local", &["canmount=noauto"]);
        self.bootfs("old");
        self.with_mounted("old", |root| {
            for directory in [
                "etc", "proc", "sys", "dev", "run", "tmp", "job", "usr/bin", "var", "root",
            ] {
                std::fs::create_dir_all(root.join(directory)).unwrap();
            }
            for link in ["bin", "sbin", "lib", "lib64"] {
                std::os::unix::fs::symlink(format!("usr/{link}"), root.join(link)).unwrap();
            }
            std::fs::write(root.join("etc/os-release"), "ID=test\n").unwrap();
        });
        self.install("old");
    }

    /// Writes into an environment's root what a preflight looks for.
    pub fn install(&self, be: &str) {
        self.with_mounted(be, |root| {
            stand_in::write_system(&open(root), hostid()).unwrap();
        });
    }

    /// A second pool with `/boot` of `old` in it.
    pub fn with_boot_pool() -> Self {
        let mut machine = Self::new();
        let name = format!("{}b", machine.pool);
        machine.create_pool(&name, 1 << 30, &[]);
        machine.furnish_boot(name);
        machine
    }

    /// The same on a block device.
    pub fn add_boot_pool_on(&mut self, device: &str) {
        let name = format!("{}b", self.pool);
        zpool_create(&name, device, &[]);
        self.furnish_boot(name);
    }

    fn furnish_boot(&mut self, name: String) {
        sh(
            "zfs",
            &[
                "create",
                "-o",
                "canmount=off",
                "-o",
                "mountpoint=none",
                &format!("{name}/BOOT"),
            ],
        );
        sh(
            "zfs",
            &[
                "create",
                "-o",
                "canmount=noauto",
                "-o",
                "mountpoint=/boot",
                &format!("{name}/BOOT/old"),
            ],
        );
        self.with_mounted("old", |root| {
            std::fs::remove_dir_all(root.join("boot")).unwrap();
        });
        self.with_dataset(&format!("{name}/BOOT/old"), |boot| {
            stand_in::write_boot(&open(boot), hostid()).unwrap();
        });
        self.boot_pool = Some(name);
    }

    /// Another pool, with an empty ROOT in it; destroyed with the machine.
    pub fn another_pool(&mut self, suffix: &str) -> String {
        self.another_pool_with(suffix, &[])
    }

    /// The same with more options for `zpool create`.
    pub fn another_pool_with(&mut self, suffix: &str, options: &[&str]) -> String {
        let name = format!("{}{suffix}", self.pool);
        self.create_pool(&name, 1 << 30, options);
        self.adopt(name)
    }

    /// Another pool with an empty ROOT in it, on a block device.
    pub fn pool_on(&mut self, suffix: &str, device: &str) -> String {
        let name = format!("{}{suffix}", self.pool);
        zpool_create(&name, device, &[]);
        self.adopt(name)
    }

    fn adopt(&mut self, name: String) -> String {
        let root = format!("{name}/ROOT");
        sh(
            "zfs",
            &[
                "create",
                "-o",
                "canmount=off",
                "-o",
                "mountpoint=none",
                &root,
            ],
        );
        self.others.push(name.clone());
        name
    }

    fn create_pool(&self, name: &str, bytes: u64, options: &[&str]) {
        let file = self.disk(name);
        std::fs::File::create(&file)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        zpool_create(name, file.to_str().unwrap(), options);
    }

    /// Where the machine keeps its disks and mounts.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The file a pool lies in.
    pub fn disk(&self, pool: &str) -> PathBuf {
        self.directory.path().join(pool)
    }

    /// The machine's pools, the one with ROOT first.
    pub fn pools(&self) -> Vec<String> {
        let mut pools = vec![self.pool.clone()];
        pools.extend(self.boot_pool.clone());
        pools.extend(self.others.clone());
        pools
    }

    /// Creates a dataset below the pool.
    pub fn dataset(&self, name: &str, settings: &[&str]) {
        let name = self.name(name);
        let mut arguments = vec!["create", "-u"];
        for setting in settings {
            arguments.extend(["-o", setting]);
        }
        arguments.push(&name);
        sh("zfs", &arguments);
    }

    /// The full name of something below the pool.
    pub fn name(&self, below: &str) -> String {
        format!("{}/{below}", self.pool)
    }

    /// Sets what boots next.
    pub fn bootfs(&self, be: &str) {
        sh(
            "zpool",
            &[
                "set",
                &format!("bootfs={}/ROOT/{be}", self.pool),
                &self.pool,
            ],
        );
    }

    /// What boots next.
    pub fn next(&self) -> String {
        sh("zpool", &["get", "-H", "-o", "value", "bootfs", &self.pool])
    }

    /// A property of something below the pool.
    pub fn get(&self, below: &str, property: &str) -> String {
        sh(
            "zfs",
            &["get", "-Hp", "-o", "value", property, &self.name(below)],
        )
    }

    /// The program with arguments, on this machine's beroot.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(["-r", &self.name("ROOT")])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs the program on another beroot.
    pub fn run_on(&self, beroot: &str, arguments: &[&str]) -> Ran {
        let mut all = vec!["-r", beroot];
        all.extend(arguments);
        try_sh(program().to_str().unwrap(), &all)
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Runs the program, which stops at a fail point: `create/clone:after`.
    pub fn run_failing(&self, arguments: &[&str], at: &str, how: &str) -> Ran {
        let output = self
            .command(arguments)
            .env("BEADM_RS_FAIL", format!("{at}={how}"))
            .output()
            .unwrap();
        Ran::of(output)
    }

    /// Makes an environment by cloning one.
    pub fn clone_of(&self, from: &str, new: &str) {
        self.run(&["create", "-e", from, new]).succeeds();
    }

    /// Writes a file into the root dataset of an environment.
    pub fn write(&self, be: &str, path: &str, content: impl AsRef<[u8]>) {
        self.with_mounted(be, |root| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        });
    }

    /// Reads a file of the root dataset of an environment; `None` where it is
    /// not there.
    pub fn read(&self, be: &str, path: &str) -> Option<String> {
        self.with_mounted(be, |root| std::fs::read_to_string(root.join(path)).ok())
    }

    /// Runs the program as on a machine that was booted into `be`: in a mount
    /// namespace of its own whose root is that environment.
    pub fn run_inside(&self, be: &str, arguments: &[&str]) -> Ran {
        self.run_inside_failing(be, arguments, "")
    }

    /// The same, and it stops at a fail point: `confirm/finish:after=kill`.
    pub fn run_inside_failing(&self, be: &str, arguments: &[&str], fail: &str) -> Ran {
        let script = r#"
            set -e
            root=$1 be=$2; shift 2
            mount --make-rprivate /
            mount -t zfs -o zfsutil "$be" "$root"
            for d in usr dev proc sys run job tmp; do mount --rbind "/$d" "$root/$d"; done
            exec chroot "$root" "$@"
        "#;
        let root = self.directory.path().join("inside");
        let _ = std::fs::create_dir(&root);
        // Inside, the directory of the program is where it is outside.
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh", root.to_str().unwrap()])
            .arg(self.name(&format!("ROOT/{be}")))
            .arg(program())
            .args(arguments)
            .env("BEADM_RS_FAIL", fail)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran::of(output)
    }

    /// Mounts an environment's root alone, and unmounts it again.
    pub fn with_mounted<T>(&self, be: &str, work: impl FnOnce(&Path) -> T) -> T {
        self.with_dataset(&self.name(&format!("ROOT/{be}")), work)
    }

    /// Mounts one dataset, and unmounts it again.
    pub fn with_dataset<T>(&self, dataset: &str, work: impl FnOnce(&Path) -> T) -> T {
        let directory = self.directory.path().join("mounted");
        let _ = std::fs::create_dir(&directory);
        let path = directory.to_str().unwrap();
        sh("mount", &["-t", "zfs", "-o", "zfsutil", dataset, path]);
        let result = work(&directory);
        sh("umount", &[path]);
        result
    }

    /// What is there below ROOT (and BOOT): datasets and snapshots, by name.
    pub fn objects(&self) -> Vec<String> {
        let root = self.name("ROOT");
        let mut roots = vec![root];
        roots.extend(self.boot_pool.iter().map(|pool| format!("{pool}/BOOT")));
        roots
            .iter()
            .flat_map(|root| {
                sh(
                    "zfs",
                    &["list", "-H", "-r", "-t", "all", "-o", "name", root],
                )
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
            })
            .collect()
    }
}

/// A directory's files, for what the library writes.
pub fn open(directory: &Path) -> Dir {
    Dir::open_ambient_dir(directory, ambient_authority()).unwrap()
}

/// The hostid of the machine the tests run on, which their pools have.
pub fn hostid() -> Option<u32> {
    beadm_rs::os::Platform::facts(&beadm_rs::os::linux::Linux::default()).hostid
}

fn zpool_create(name: &str, device: &str, options: &[&str]) {
    let mut arguments = vec!["create", "-f", "-o", "cachefile=none"];
    arguments.extend(["-O", "canmount=off", "-O", "mountpoint=none"]);
    arguments.extend(options);
    arguments.extend([name, device]);
    sh("zpool", &arguments);
}

impl Drop for Machine {
    fn drop(&mut self) {
        let output = Command::new("zpool")
            .args(["list", "-H", "-o", "name"])
            .output();
        let names = output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        for name in names.lines() {
            let own = name == self.pool
                || name
                    .strip_prefix(&self.pool)
                    .is_some_and(|suffix| !suffix.starts_with(|c: char| c.is_ascii_digit()));
            if own {
                // One that is imported read-only can only be exported.
                for verb in ["destroy", "export"] {
                    let _ = Command::new("zpool").args([verb, "-f", name]).output();
                }
            }
        }
    }
}
