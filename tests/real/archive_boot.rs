//! Environments that travel with a `/boot` in a pool of its own.

use std::collections::BTreeMap;
use std::path::Path;

use crate::machine::Machine;
use crate::ran::{Ran, sh, try_sh};
use crate::streams::noise;

/// A machine with two pools, and pools to import into, as if of another machine.
struct Journey {
    machine: Machine,
    /// Where the roots go.
    beroot: String,
    /// The source's own boot pool.
    from: String,
    file: String,
}

impl Journey {
    /// With the pool for the roots.
    fn new() -> Self {
        let mut machine = Machine::with_boot_pool();
        let beroot = format!("{}/ROOT", machine.another_pool("x"));
        let file = machine.directory().join("archive");
        Self {
            from: machine.boot_pool.clone().unwrap(),
            file: file.to_str().unwrap().to_owned(),
            beroot,
            machine,
        }
    }

    /// Adds a pool with BOOT in it, that GRUB can read; the name of that.
    fn boot_pool(&mut self) -> String {
        let options = ["-o", "compatibility=grub2"];
        let pool = self.machine.another_pool_with("y", &options);
        let root = format!("{pool}/ROOT");
        sh("zfs", &["destroy", &root]);
        let boot = format!("{pool}/BOOT");
        let mut create = vec!["create", "-o", "canmount=off", "-o", "mountpoint=none"];
        create.push(&boot);
        sh("zfs", &create);
        boot
    }

    /// Something in the environment that it could lose.
    fn furnish(&self) {
        let boot = format!("{}/BOOT/old", self.from);
        let grub = format!("{boot}/grub");
        let create = ["create", "-u", "-o", "canmount=noauto", &grub];
        sh("zfs", &create);
        sh("zfs", &["set", "exec=off", &boot]);
        // What GRUB reads.
        sh("zfs", &["set", "compression=lz4", &boot]);
        self.machine.with_dataset(&boot, |root| {
            std::fs::write(root.join("data-1"), noise(1_500_000)).unwrap();
            std::fs::create_dir(root.join("efi")).unwrap();
            std::os::unix::fs::symlink("data-1", root.join("data")).unwrap();
        });
        self.machine.with_dataset(&grub, |root| {
            std::fs::write(root.join("grub.cfg"), "menuentry 1\n".repeat(9000)).unwrap();
        });
        let fstab = format!("{boot} /boot zfs defaults 0 0\n");
        self.machine.write("old", "etc/fstab", fstab);
    }

    fn export(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["export", "-y", "-o", self.file.as_str()];
        all.extend(arguments);
        self.machine.run(&all)
    }

    /// The source's pools are another machine's.
    fn depart(&self) {
        sh("zpool", &["export", &self.from]);
    }

    /// They are here again.
    fn come_back(&self) {
        let directory = self.machine.directory().to_str().unwrap();
        sh(
            "zpool",
            &[
                "import",
                "-N",
                "-o",
                "cachefile=none",
                "-d",
                directory,
                &self.from,
            ],
        );
    }

    fn on(&self, arguments: &[&str]) -> Ran {
        self.machine.run_on(&self.beroot, arguments)
    }

    fn import(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["import", "-i", self.file.as_str()];
        all.extend(arguments);
        self.on(&all)
    }

    /// All files of a dataset: what they are and what is in them.
    fn files(&self, dataset: &str) -> BTreeMap<String, String> {
        self.machine.with_dataset(dataset, |root| {
            let mut found = BTreeMap::new();
            list(root, root, &mut found);
            found
        })
    }
}

fn list(root: &Path, at: &Path, found: &mut BTreeMap<String, String>) {
    use std::os::unix::fs::MetadataExt as _;
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let contents = if metadata.is_symlink() {
            format!("{:?}", std::fs::read_link(&path).unwrap())
        } else if metadata.is_file() {
            sh("sha256sum", &["--", path.to_str().unwrap()])[..64].to_owned()
        } else {
            list(root, &path, found);
            String::new()
        };
        let (mode, time) = (metadata.mode(), metadata.mtime());
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        found.insert(name.to_owned(), format!("{mode:o} {time} {contents}"));
    }
}

/// Datasets and snapshots, by name, below some.
fn there(roots: &[&str]) -> Vec<String> {
    let mut list = vec!["list", "-H", "-r", "-t", "all", "-o", "name"];
    list.extend(roots);
    sh("zfs", &list).lines().map(str::to_owned).collect()
}

fn get(name: &str, property: &str) -> String {
    sh("zfs", &["get", "-Hp", "-o", "value", property, name])
}

/// What a check says of an environment, which its pool does not boot yet.
fn checked(journey: &Journey, name: &str) -> String {
    let said = journey.on(&["check", name]).stdout;
    let (_, found) = said.split_once(&format!("\n{name}:")).unwrap();
    found.to_owned()
}

/// Neither marks nor anything half there.
#[track_caller]
fn nothing_is_left(beroot: &str, boot: &str) {
    assert_eq!(there(&[beroot, boot]), [beroot, boot]);
    assert_eq!(get(beroot, "org.beadm-rs:op"), "-");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn boot_comes_out_as_it_went_in() {
    let mut journey = Journey::new();
    journey.furnish();
    let source = format!("{}/BOOT/old", journey.from);
    let (kernels, grub) = (
        journey.files(&source),
        journey.files(&format!("{source}/grub")),
    );
    assert!(kernels.len() > 4 && grub.len() == 1, "{kernels:?} {grub:?}");
    journey
        .machine
        .unchanged(|| journey.export(&["old"]).succeeds());
    // A snapshot of an export that is killed is in both pools, and goes from both.
    journey.machine.unchanged(|| {
        let other = journey.machine.directory().join("other");
        let arguments = ["export", "old", "-o", other.to_str().unwrap()];
        let killed = journey
            .machine
            .run_failing(&arguments, "export/send:after", "kill");
        assert_eq!(killed.exit, 137);
        let left = there(&[&source]);
        assert!(left.iter().any(|it| it.contains('@')), "{left:?}");
        journey
            .machine
            .run(&["recover"])
            .fails(0, "the snapshots of an interrupted export are gone");
    });
    journey.depart();
    let boot = journey.boot_pool();
    journey.import(&["new"]).succeeds();
    let new = format!("{}/new", journey.beroot);
    let new_boot = format!("{boot}/new");
    assert_eq!(
        there(&[&boot]),
        [boot.clone(), new_boot.clone(), format!("{new_boot}/grub")]
    );
    assert!(there(&[&new]).iter().all(|it| !it.contains('@')));
    for (name, property, expected) in [
        (&new, "mountpoint", "/"),
        (&new, "org.beadm-rs:op", "-"),
        (&new_boot, "mountpoint", "/boot"),
        (&new_boot, "canmount", "noauto"),
        (&new_boot, "exec", "off"),
        (&new_boot, "compression", "lz4"),
        (&new_boot, "mounted", "no"),
        (&new_boot, "org.beadm-rs:op", "-"),
    ] {
        assert_eq!(get(name, property), expected, "{name} {property}");
    }
    assert_eq!(journey.files(&new_boot), kernels);
    assert_eq!(journey.files(&format!("{new_boot}/grub")), grub);
    let fstab = journey.files(&new);
    assert!(fstab.contains_key("etc/fstab"));
    let fstab = journey.machine.with_dataset(&new, |root| {
        std::fs::read_to_string(root.join("etc/fstab")).unwrap()
    });
    assert_eq!(fstab, format!("{new_boot} /boot zfs defaults 0 0\n"));
    // It is an environment with two roots here.
    assert_eq!(checked(&journey, "new"), " nothing found\n");
    journey.on(&["create", "-e", "new", "clone"]).succeeds();
    assert_eq!(
        get(&format!("{boot}/clone/grub"), "origin")
            .split('@')
            .next(),
        Some(format!("{new_boot}/grub").as_str())
    );
    journey.on(&["activate", "clone"]).succeeds();
    journey.on(&["destroy", "-y", "new"]).succeeds();
    assert_eq!(journey.files(&format!("{boot}/clone")), kernels);
    // Its name is taken where only its /boot is.
    sh(
        "zfs",
        &[
            "create",
            "-u",
            "-o",
            "mountpoint=/boot",
            &format!("{boot}/stray"),
        ],
    );
    journey
        .import(&["stray"])
        .fails(3, &format!("{boot}/stray exists already"));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_a_loader_could_not_read_is_refused_before() {
    let mut journey = Journey::new();
    journey.furnish();
    let source = format!("{}/BOOT/old", journey.from);
    sh("zfs", &["set", "compression=zstd", &source]);
    journey.machine.with_dataset(&source, |root| {
        std::fs::write(root.join("big"), "z".repeat(2 << 20)).unwrap();
    });
    journey.export(&["old"]).succeeds();
    let info = journey.machine.run(&["export", "--info", &journey.file]);
    let needs = info.succeeds().stdout;
    assert!(
        needs.lines().any(|line| line.starts_with("needs ")
            && line.contains("zstd_compress")
            && line.ends_with("of the pool that its /boot goes to")),
        "{needs}"
    );
    journey.depart();
    let boot = journey.boot_pool();
    let pool = boot.trim_end_matches("/BOOT");
    journey.import(&["new"]).fails(
        3,
        &format!("pool {pool} does not have what its streams need: zstd_compress"),
    );
    nothing_is_left(&journey.beroot, &boot);
    // The root's pool has it, and there it may lie.
    sh("zpool", &["export", pool]);
    journey.import(&["new"]).succeeds();
    let name = format!("{}/new/boot", journey.beroot);
    assert_eq!(get(&name, "compression"), "zstd");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn without_a_boot_pool_it_is_a_child_of_the_root() {
    let journey = Journey::new();
    journey.furnish();
    let source = format!("{}/BOOT/old", journey.from);
    let kernels = journey.files(&source);
    journey.export(&["old"]).succeeds();
    journey.depart();
    let ran = journey.import(&["new"]).succeeds();
    assert!(ran.stderr.contains("it becomes"), "{ran:#?}");
    let new = format!("{}/new", journey.beroot);
    for (below, property, expected) in [
        ("/boot", "mountpoint", "/boot"),
        ("/boot", "canmount", "noauto"),
        ("/boot", "exec", "off"),
        ("/boot", "org.beadm-rs:op", "-"),
        ("/boot/grub", "mountpoint", "/boot/grub"),
    ] {
        let name = format!("{new}{below}");
        assert_eq!(get(&name, property), expected, "{name} {property}");
    }
    // Its place says it: nothing is set.
    let source = sh(
        "zfs",
        &[
            "get",
            "-H",
            "-o",
            "source",
            "mountpoint",
            &format!("{new}/boot"),
        ],
    );
    assert_eq!(source, format!("inherited from {new}"));
    assert_eq!(journey.files(&format!("{new}/boot")), kernels);
    let fstab = journey.machine.with_dataset(&new, |root| {
        std::fs::read_to_string(root.join("etc/fstab")).unwrap()
    });
    assert_eq!(fstab, format!("{new}/boot /boot zfs defaults 0 0\n"));
    // GRUB's files are in a pool that it does not read, which is told.
    let found = checked(&journey, "new");
    let warned = found.starts_with("\n  warning grub-cannot-read-pool: /boot/grub is in pool ");
    assert!(warned && !found.contains("error"), "{found}");
    journey.on(&["create", "-e", "new", "clone"]).succeeds();
    // A dataset that has the place already.
    journey.come_back();
    journey.machine.dataset("ROOT/old/boot", &["canmount=off"]);
    journey.export(&["old"]).succeeds();
    journey.depart();
    journey
        .import(&["other"])
        .fails(3, "it cannot become")
        .fails(3, "ROOT/old/boot does");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_root_that_is_locked_has_a_boot_that_is_not() {
    let mut journey = Journey::new();
    let machine = &journey.machine;
    let key = machine.directory().join("key");
    std::fs::write(&key, [0x5a; 32]).unwrap();
    let location = format!("keylocation=file://{}", key.display());
    let settings = ["encryption=on", "keyformat=raw", &location];
    machine.dataset(
        "ROOT/enc",
        &[&settings[..], &["canmount=noauto", "mountpoint=/"]].concat(),
    );
    machine.write("enc", "etc/secret", "kept\n");
    let source = format!("{}/BOOT/enc", journey.from);
    let place = ["-o", "canmount=noauto", "-o", "mountpoint=/boot"];
    sh("zfs", &[&["create", "-u"], &place[..], &[&source]].concat());
    machine.with_dataset(&source, |root| {
        std::fs::write(root.join("vmlinuz"), noise(300_000)).unwrap();
    });
    let kernels = journey.files(&source);
    sh("zfs", &["unload-key", &machine.name("ROOT/enc")]);
    journey.export(&["enc"]).succeeds();
    journey.depart();
    // Below the root, which is locked.
    journey.import(&["below"]).succeeds();
    let root = format!("{}/below", journey.beroot);
    assert_eq!(get(&root, "keystatus"), "unavailable");
    assert_eq!(get(&format!("{root}/boot"), "encryption"), "off");
    assert_eq!(journey.files(&format!("{root}/boot")), kernels);
    // An environment with its /boot below it: the others go there too.
    sh("zfs", &["destroy", "-r", &root]);
    let boot = journey.boot_pool();
    journey.import(&["new"]).succeeds();
    let root = format!("{}/new", journey.beroot);
    assert_eq!(get(&root, "keystatus"), "unavailable");
    assert_eq!(journey.files(&format!("{boot}/new")), kernels);
    let from = location.trim_start_matches("keylocation=");
    sh("zfs", &["load-key", "-L", from, &root]);
    let secret = journey.machine.with_dataset(&root, |root| {
        std::fs::read_to_string(root.join("etc/secret")).unwrap()
    });
    assert_eq!(secret, "kept\n");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_difference_of_boot_comes_in_and_what_arrived_is_gone_on_with() {
    let mut journey = Journey::new();
    journey.furnish();
    let source = format!("{}/BOOT/old", journey.from);
    journey.machine.run(&["snapshot", "old@one"]).succeeds();
    journey.export(&["old@one"]).succeeds();
    let first = std::fs::read(&journey.file).unwrap();
    journey.machine.with_dataset(&source, |root| {
        std::fs::write(root.join("data-2"), noise(200_000)).unwrap();
    });
    let kernels = journey.files(&source);
    journey.export(&["old", "--since", "one"]).succeeds();
    let second = std::fs::read(&journey.file).unwrap();
    assert!(second.len() < first.len() / 2);
    journey.depart();
    let boot = journey.boot_pool();
    let beroot = journey.beroot.clone();
    // The base is not there.
    journey.import(&["two"]).fails(3, "has no such snapshot");
    nothing_is_left(&beroot, &boot);
    // All has arrived but the end.
    std::fs::write(&journey.file, &first[..first.len() - 10]).unwrap();
    journey.import(&["base"]).fails(1, "it ends too early");
    nothing_is_left(&beroot, &boot);
    journey
        .import(&["--resume", "base"])
        .fails(1, "it ends too early");
    let left = there(&[&boot]);
    assert!(left.len() > 1 && left[1..].iter().all(|it| it.contains("/beadm-rs.import.")));
    std::fs::write(&journey.file, &first).unwrap();
    let plan = journey.import(&["-n", "--resume", "base"]).succeeds();
    assert!(
        plan.stdout.contains("of which 7 arrived before"),
        "{plan:#?}"
    );
    journey.import(&["--resume", "base"]).succeeds();
    std::fs::write(&journey.file, &second).unwrap();
    journey.import(&["two"]).succeeds();
    assert_eq!(
        get(&format!("{boot}/two"), "origin"),
        format!("{boot}/base@one")
    );
    assert_eq!(journey.files(&format!("{boot}/two")), kernels);
    let again = try_sh(
        "zfs",
        &["list", "-H", "-r", "-t", "snapshot", &format!("{boot}/two")],
    );
    assert_eq!(again.stdout, "");
    // What a try left is destroyed in both pools.
    std::fs::write(&journey.file, &first[..first.len() - 10]).unwrap();
    journey
        .import(&["--resume", "base2"])
        .fails(1, "it ends too early");
    let left = there(&[&boot]);
    let left = left.iter().find(|it| it.contains("/beadm-rs.import."));
    let leaf = left.unwrap().rsplit_once('/').unwrap().1.to_owned();
    journey.on(&["destroy", "-y", &leaf]).succeeds();
    let all = there(&[&beroot, &boot]);
    assert!(
        all.iter().all(|it| !it.contains("beadm-rs.import")),
        "{all:?}"
    );
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn to_be_gone_on_with_it_is_stopped_between_the_two_renames() {
    let journey = Journey::new();
    journey.furnish();
    journey.export(&["old"]).succeeds();
    let machine = &journey.machine;
    let import = ["import", "--resume", "-i", journey.file.as_str(), "new"];
    let boot = format!("{}/BOOT", journey.from);
    let before = machine.picture();
    for (at, how) in [
        ("import/rename-boot:before", "error"),
        ("import/rename-boot:after", "error"),
        ("import/commit:before", "error"),
        ("import/rename-boot:before", "kill"),
        ("import/rename-boot:after", "kill"),
    ] {
        let stopped = machine.run_failing(&import, at, how);
        assert!(matches!(stopped.exit, 1 | 137), "{at}: {stopped:#?}");
        machine.run(&["recover"]).succeeds();
        let left = there(&[&boot]);
        let staged = left.iter().filter(|it| it.contains("/beadm-rs.import."));
        assert_eq!(staged.count(), 4, "{at} {how}: {left:?}");
        assert!(left.iter().all(|it| !it.contains("BOOT/new")), "{at} {how}");
        let list = machine.run(&["list"]).succeeds();
        assert!(!list.stdout.contains("\nnew "), "{at} {how}: {list:#?}");
    }
    machine.run(&import).succeeds();
    machine.run(&["destroy", "-y", "new"]).succeeds();
    crate::picture::assert_same(&before, &machine.picture(), "imported and destroyed");
}
