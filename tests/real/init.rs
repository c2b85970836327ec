//! Systems as guides and installers make them, adopted and worked on: their own
//! commands (`tests/fixtures/layouts/*/commands.sh`) on pools of files.

use std::process::{Command, Stdio};

use crate::ran::{Ran, program, sh, try_sh};

/// The names the guides give to pools.
const NAMES: [&str; 4] = ["bpool", "rpool", "tank", "zroot"];

/// The commands of a guide or installer.
fn commands(layout: &str) -> &'static str {
    match layout {
        "openzfs-debian" => include_str!("../fixtures/layouts/openzfs-debian/commands.sh"),
        "ubuntu-installer" => include_str!("../fixtures/layouts/ubuntu-installer/commands.sh"),
        "zfsbootmenu-void" => include_str!("../fixtures/layouts/zfsbootmenu-void/commands.sh"),
        "proxmox" => include_str!("../fixtures/layouts/proxmox/commands.sh"),
        "freebsd" => include_str!("../fixtures/layouts/freebsd/commands.sh"),
        other => panic!("no commands of {other}"),
    }
}

/// A machine made by a guide; not running from it.
struct System {
    /// What is its root.
    root: String,
    directory: tempfile::TempDir,
}

impl Drop for System {
    fn drop(&mut self) {
        for name in pools() {
            let _ = try_sh("zpool", &["destroy", "-f", &name]);
            // One that is imported read-only can only be exported.
            let _ = try_sh("zpool", &["export", "-f", &name]);
        }
    }
}

/// Those of [`NAMES`] that are imported.
fn pools() -> Vec<String> {
    sh("zpool", &["list", "-H", "-o", "name"])
        .lines()
        .filter(|name| NAMES.contains(name))
        .map(str::to_owned)
        .collect()
}

impl System {
    /// Runs the commands of a guide.
    fn new(layout: &str, root: &str) -> Self {
        assert!(
            pools().is_empty(),
            "pools of these names are there already: {:?}",
            pools()
        );
        let system = Self {
            root: root.to_owned(),
            directory: tempfile::tempdir().unwrap(),
        };
        system.add(layout);
        system.import(&[]);
        system
    }

    /// Runs the commands of another guide beside it.
    fn add(&self, layout: &str) {
        let commands = commands(layout);
        let disk = |suffix: &str| {
            let path = self.directory.path().join(format!("{layout}{suffix}"));
            let file = std::fs::File::create(&path).unwrap();
            file.set_len(1 << 30).unwrap();
            path
        };
        let output = Command::new("bash")
            .args(["-e", "-c", commands])
            .env("MNT", self.directory.path().join("target"))
            .env("DISK", disk(""))
            .env("DISK2", disk("2"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran::of(output).succeeds();
    }

    /// Imports all pools anew, without mounting anything.
    fn import(&self, options: &[&str]) {
        for name in pools() {
            sh("zpool", &["export", "-f", &name]);
        }
        let directory = self.directory.path().to_str().unwrap();
        let mut arguments = vec![
            "import",
            "-a",
            "-N",
            "-o",
            "cachefile=none",
            "-d",
            directory,
        ];
        arguments.extend(options);
        sh("zpool", &arguments);
    }

    /// The last part of the root's name.
    fn be(&self) -> &str {
        self.root.rsplit_once('/').unwrap().1
    }

    /// Its root's parent.
    fn beroot(&self) -> &str {
        self.root.rsplit_once('/').unwrap().0
    }

    /// What is mounted on `/boot`, where that is a pool of its own; else nothing.
    fn boot(&self) -> String {
        pools()
            .into_iter()
            .map(|pool| format!("{pool}/BOOT/{}", self.be()))
            .find(|name| try_sh("zfs", &["list", name]).exit == 0)
            .unwrap_or_default()
    }

    /// Runs the program as on the machine itself: in a mount namespace whose
    /// root is that dataset.
    fn inside(&self, arguments: &[&str]) -> Ran {
        self.inside_failing(arguments, "")
    }

    /// The same, stopping at a fail point.
    fn inside_failing(&self, arguments: &[&str], at: &str) -> Ran {
        let script = r#"
            set -e
            root=$1 dataset=$2 boot=$3; shift 3
            mount --make-rprivate /
            mount -t zfs -o zfsutil "$dataset" "$root"
            if [ -n "$boot" ]; then
                mkdir -p "$root/boot"
                mount -t zfs -o zfsutil "$boot" "$root/boot"
            fi
            for d in usr dev proc sys run job tmp; do
                mkdir -p "$root/$d"
                mount --rbind "/$d" "$root/$d"
            done
            for l in bin sbin lib lib64; do [ -L "$root/$l" ] || ln -s "usr/$l" "$root/$l"; done
            exec chroot "$root" "$@"
        "#;
        let root = self.directory.path().join("inside");
        let _ = std::fs::create_dir(&root);
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", script, "sh", root.to_str().unwrap()])
            .args([&self.root, &self.boot()])
            .arg(program())
            .args(arguments)
            .stdin(Stdio::null());
        if !at.is_empty() {
            command.env("BEADM_RS_FAIL", at);
        }
        Ran::of(command.output().unwrap())
    }

    /// Every property that is set, on everything in these pools, and the pools'
    /// bootfs: a line each.
    fn settings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for pool in pools() {
            for (program, arguments) in [
                (
                    "zfs",
                    vec![
                        "get",
                        "-Hp",
                        "-r",
                        "-t",
                        "filesystem,volume,snapshot",
                        "-s",
                        "local,received",
                        "-o",
                        "name,property,value",
                        "all",
                        &pool,
                    ],
                ),
                (
                    "zfs",
                    vec!["list", "-H", "-r", "-t", "all", "-o", "name,origin", &pool],
                ),
                (
                    "zpool",
                    vec!["get", "-H", "-o", "name,property,value", "bootfs", &pool],
                ),
            ] {
                lines.extend(sh(program, &arguments).lines().map(str::to_owned));
            }
        }
        lines.sort();
        lines
    }

    fn guid(&self, dataset: &str) -> String {
        sh("zfs", &["get", "-Hp", "-o", "value", "guid", dataset])
    }

    /// What `init` adds to what is set.
    fn records(&self) -> Vec<String> {
        let beroot = self.beroot();
        let own = self.guid(beroot);
        let good = self.guid(&self.root);
        vec![
            format!("{beroot}\torg.beadm-rs:confirmed\t{own} {good}"),
            format!("{beroot}\torg.beadm-rs:schema\t{own} 1"),
        ]
    }

    /// Adopts it while it runs, and sees that this sets two properties, once.
    fn is_adopted_as(&self, layout: &str) {
        let before = self.settings();
        self.inside(&["init", "-n"]).succeeds();
        assert_eq!(self.settings(), before, "a dry run changes nothing");
        let said = self.inside(&["--json", "init"]).succeeds().json("init");
        assert_eq!(said["layout"]["name"], layout, "{said:#}");
        assert_eq!(said["changed"], true);
        let adopted = self.settings();
        assert_eq!(added(&before, &adopted), self.records());
        assert_eq!(added(&adopted, &before), Vec::<String>::new());
        let again = self.inside(&["--json", "init"]).succeeds().json("init");
        assert_eq!(again["changed"], false);
        assert_eq!(self.settings(), adopted, "a second init changes nothing");
    }

    /// Makes, activates, fails back from and destroys an environment; what
    /// stays is what was, but for the bootfs.
    fn works(&self, run: impl Fn(&[&str]) -> Ran) {
        let set = |lines: Vec<String>| -> Vec<String> {
            lines
                .into_iter()
                .filter(|line| !line.contains("\tbootfs\t"))
                // A switch notes which environment has the newest files.
                .filter(|line| !line.contains("\torg.beadm-rs:files\t"))
                .collect()
        };
        let before = set(self.settings());
        run(&["create", "-e", self.be(), "new"]).succeeds();
        run(&["activate", "--no-check", "new"]).succeeds();
        run(&["destroy", "-y", "new"]).fails(3, "refused to destroy new");
        run(&["failback", "--no-check"]).succeeds();
        run(&["destroy", "-y", "new"]).succeeds();
        let after = set(self.settings());
        assert_eq!(added(&before, &after), Vec::<String>::new());
        assert_eq!(added(&after, &before), Vec::<String>::new());
    }
}

/// The lines that are in the second and not in the first.
fn added(before: &[String], after: &[String]) -> Vec<String> {
    after
        .iter()
        .filter(|line| !before.contains(line))
        .cloned()
        .collect()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn init_adopts_a_system_made_after_the_debian_guide() {
    let system = System::new("openzfs-debian", "rpool/ROOT/debian");
    system.is_adopted_as("openzfs-debian");
    system.works(|arguments| system.inside(arguments));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn init_adopts_a_system_made_by_ubuntus_installer() {
    let system = System::new("ubuntu-installer", "rpool/ROOT/ubuntu_4r8k2m");
    system.is_adopted_as("ubuntu-zsys");
    system.works(|arguments| system.inside(arguments));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn init_adopts_a_system_made_after_zfsbootmenus_guide() {
    let system = System::new("zfsbootmenu-void", "zroot/ROOT/void");
    system.is_adopted_as("zfsbootmenu");
    system.works(|arguments| system.inside(arguments));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn init_adopts_proxmox_and_sets_canmount_where_it_is_asked_to() {
    let system = System::new("proxmox", "rpool/ROOT/pve-1");
    let before = system.settings();
    let canmount = || {
        sh(
            "zfs",
            &["get", "-H", "-o", "value", "canmount", &system.root],
        )
    };
    // Between canmount and the records: undone where it fails, done by the
    // next one where it was killed.
    system
        .inside_failing(&["init", "--noauto"], "init/commit:before=error")
        .fails(1, "what was changed was undone");
    assert_eq!(canmount(), "on");
    system.inside_failing(&["init", "--noauto"], "init/commit:before=kill");
    assert_eq!(canmount(), "noauto");
    system.inside(&["init", "--noauto"]).succeeds();
    let mut expected = system.records();
    expected.push(format!("{}\tcanmount\tnoauto", system.root));
    expected.sort();
    assert_eq!(added(&before, &system.settings()), expected);
    let again = system.inside(&["--json", "init", "--noauto"]).succeeds();
    assert_eq!(again.json("init")["changed"], false);
    system.works(|arguments| system.inside(arguments));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn init_works_from_a_rescue_system() {
    let system = System::new("freebsd", "zroot/ROOT/default");
    let program = program();
    let program = program.to_str().unwrap();
    let altroot = system.directory.path().join("altroot");
    let altroot = altroot.to_str().unwrap();
    let rescue = |arguments: &[&str]| {
        let mut all = vec!["-R", altroot];
        all.extend(arguments);
        try_sh(program, &all)
    };
    // Nothing runs from it, and nobody said that this is a rescue system.
    try_sh(program, &["init"]).fails(3, "root file system is not on ZFS");
    rescue(&["init"]).fails(3, "no pool is imported with the altroot");
    system.import(&["-R", altroot, "-o", "readonly=on"]);
    rescue(&["init"]).fails(3, "pool zroot is imported read-only");
    system.import(&["-R", altroot]);
    let before = system.settings();
    let said = rescue(&["--json", "init"]).succeeds().json("init");
    assert_eq!(said["layout"]["name"], "freebsd", "{said:#}");
    assert_eq!(added(&before, &system.settings()), system.records());
    system.works(rescue);
    // A second system beside it: which one is meant has to be said.
    system.add("proxmox");
    system.import(&["-R", altroot]);
    rescue(&["init"])
        .fails(
            3,
            "root file systems in several places: rpool/ROOT, zroot/ROOT",
        )
        .offers("say which: -r rpool/ROOT, or -r zroot/ROOT");
    rescue(&["-r", "rpool/ROOT", "init", "pve-1"]).succeeds();
    let again = rescue(&["--json", "-r", "zroot/ROOT", "init"]).succeeds();
    assert_eq!(again.json("init")["changed"], false);
}
