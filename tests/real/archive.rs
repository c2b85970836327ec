//! Environments that travel: archives and streams of `zfs send`, out of one pool and
//! into another.

mod resume;

use std::path::Path;
use std::process::{Command, Stdio};

use crate::machine::Machine;
use crate::ran::{Ran, program, sh, try_sh};
use crate::streams::noise;

/// A machine, a pool of another name to import into, and a file between them.
struct Journey {
    machine: Machine,
    beroot: String,
    file: String,
}

impl Journey {
    fn new() -> Self {
        let mut machine = Machine::new();
        let beroot = format!("{}/ROOT", machine.another_pool("x"));
        Self::between(machine, beroot)
    }

    fn between(machine: Machine, beroot: String) -> Self {
        let file = machine.directory().join("archive");
        Self {
            file: file.to_str().unwrap().to_owned(),
            machine,
            beroot,
        }
    }

    fn import(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["import", "-i", self.file.as_str()];
        all.extend(arguments);
        self.machine.run_on(&self.beroot, &all)
    }

    /// What is below the other beroot, by name.
    fn there(&self) -> Vec<String> {
        let listed = sh(
            "zfs",
            &["list", "-H", "-r", "-t", "all", "-o", "name", &self.beroot],
        );
        let below = |name: &str| name.strip_prefix(&self.beroot).unwrap().to_owned();
        listed.lines().map(below).collect()
    }

    fn get(&self, below: &str, property: &str) -> String {
        let name = format!("{}{below}", self.beroot);
        sh("zfs", &["get", "-Hp", "-o", "value", property, &name])
    }

    fn read(&self, below: &str, path: &str) -> Option<String> {
        let name = format!("{}{below}", self.beroot);
        self.machine
            .with_dataset(&name, |root| std::fs::read_to_string(root.join(path)).ok())
    }

    /// A shell command with the archive as `$file`, which has to succeed.
    fn shell(&self, script: &str) {
        let ran = Command::new("bash")
            .args(["-o", "pipefail", "-ec", script])
            .env("file", &self.file)
            .env("pool", &self.machine.pool)
            .env("beroot", &self.beroot)
            .env("program", program())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let ran = Ran::of(ran);
        assert_eq!(ran.exit, 0, "{script}: {ran:#?}");
    }

    fn nothing_is_left(&self) {
        assert_eq!(self.there(), [""]);
        let mark = format!("{}:op", "org.beadm-rs");
        assert_eq!(self.get("", &mark), "-");
    }
}

const WHOLE: [&str; 6] = [
    "",
    "/new",
    "/new/usr",
    "/new/usr/local",
    "/new/var",
    "/new/var/lib",
];

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_environment_comes_out_as_it_went_in() {
    let journey = Journey::new();
    let machine = &journey.machine;
    for (dataset, setting) in [
        ("ROOT/old", "compression=zstd-3"),
        ("ROOT/old", "com.example:note=a b"),
        ("ROOT/old/var", "recordsize=1048576"),
        ("ROOT/old/var", "exec=off"),
        ("ROOT/old/var/lib", "mountpoint=/srv/lib"),
        ("ROOT/old/var/lib", "sharenfs=off"),
        ("ROOT/old/usr/local", "quota=100M"),
    ] {
        sh("zfs", &["set", setting, &machine.name(dataset)]);
    }
    machine.run(&["describe", "old", "the one"]).succeeds();
    let fstab = format!("{}/ROOT/old/var /var zfs defaults 0 0\n", machine.pool);
    machine.write("old", "etc/fstab", fstab);
    let noise = noise(3_000_000);
    machine.write("old", "data", &noise);
    let var = machine.name("ROOT/old/var");
    machine.with_dataset(&var, |root| {
        std::fs::write(root.join("text"), "x".repeat(4 << 20)).unwrap();
    });
    machine.unchanged(|| {
        machine
            .run(&["export", "old", "-o", &journey.file])
            .succeeds();
    });
    let mode = std::fs::metadata(&journey.file).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o7777,
        0o600
    );
    let info = machine.run(&["--json", "export", "--info", &journey.file]);
    let info = info.succeeds().json("archive");
    assert_eq!(info["manifest"]["name"], "old");
    assert_eq!(info["manifest"]["description"], "the one");
    let needs = info["needs"].as_array().unwrap();
    for feature in ["large_blocks", "zstd_compress"] {
        assert!(needs.contains(&feature.into()), "{feature}: {needs:?}");
    }
    journey.import(&["new"]).succeeds();
    assert_eq!(journey.there(), WHOLE);
    for (below, property, expected) in [
        ("/new", "mountpoint", "/"),
        ("/new", "canmount", "noauto"),
        ("/new", "compression", "zstd-3"),
        ("/new", "com.example:note", "a b"),
        ("/new", "org.beadm-rs:description", "the one"),
        ("/new", "org.beadm-rs:op", "-"),
        ("/new/var", "recordsize", "1048576"),
        ("/new/var", "exec", "off"),
        ("/new/var", "mountpoint", "/var"),
        ("/new/var/lib", "mountpoint", "/srv/lib"),
        ("/new/usr", "canmount", "off"),
        ("/new/usr/local", "quota", "104857600"),
        ("/new/var", "org.beadm-rs:op", "-"),
        ("/new", "mounted", "no"),
    ] {
        assert_eq!(journey.get(below, property), expected, "{below} {property}");
    }
    let fstab = format!("{}/new/var /var zfs defaults 0 0\n", journey.beroot);
    assert_eq!(journey.read("/new", "etc/fstab"), Some(fstab));
    let name = format!("{}/new", journey.beroot);
    let same = machine.with_dataset(&name, |root| {
        std::fs::read(root.join("data")).unwrap() == noise
    });
    assert!(same);
    assert_eq!(journey.read("/new/var", "text"), Some("x".repeat(4 << 20)));
    // It can boot, and its name is taken.
    machine.run_on(&journey.beroot, &["list", "-H"]).succeeds();
    journey
        .import(&["new"])
        .fails(3, "exists already")
        .offers("beadm-rs import OTHERNAME");
    machine
        .run_on(&journey.beroot, &["activate", "new"])
        .succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_encrypted_environment_travels_locked_and_opens_with_its_key() {
    let journey = Journey::new();
    let machine = &journey.machine;
    let key = machine.directory().join("key");
    std::fs::write(&key, [0x5a; 32]).unwrap();
    let location = format!("keylocation=file://{}", key.display());
    machine.dataset(
        "ROOT/enc",
        &[
            "encryption=on",
            "keyformat=raw",
            &location,
            "canmount=noauto",
            "mountpoint=/",
        ],
    );
    machine.dataset("ROOT/enc/var", &["canmount=noauto"]);
    machine.write("enc", "etc/secret", "kept\n");
    sh("zfs", &["unload-key", "-r", &machine.name("ROOT/enc")]);
    machine
        .run(&["export", "enc", "-o", &journey.file])
        .succeeds();
    let info = machine.run(&["export", "--info", &journey.file]).succeeds();
    let keys = format!("encrypted with the key of {}/ROOT/enc", machine.pool);
    assert!(info.stdout.contains(&keys), "{info:#?}");
    let raw = std::fs::read(&journey.file).unwrap();
    assert!(!raw.windows(5).any(|window| window == b"kept\n"));
    journey.import(&["new"]).succeeds();
    assert_eq!(journey.there(), ["", "/new", "/new/var"]);
    assert_eq!(journey.get("/new", "keystatus"), "unavailable");
    for below in ["/new", "/new/var"] {
        let name = format!("{}{below}", journey.beroot);
        let from = location.trim_start_matches("keylocation=");
        sh("zfs", &["load-key", "-L", from, &name]);
    }
    assert_eq!(
        journey.read("/new", "etc/secret"),
        Some("kept\n".to_owned())
    );
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_zfs_send_writes_comes_in_too() {
    let journey = Journey::new();
    let machine = &journey.machine;
    sh(
        "zfs",
        &[
            "set",
            "mountpoint=/srv/lib",
            &machine.name("ROOT/old/var/lib"),
        ],
    );
    sh(
        "zfs",
        &["set", "com.example:note=x", &machine.name("ROOT/old/var")],
    );
    sh(
        "zfs",
        &["set", "sharenfs=on", &machine.name("ROOT/old/var")],
    );
    sh(
        "zfs",
        &["set", "canmount=on", &machine.name("ROOT/old/var")],
    );
    sh("zfs", &["snapshot", "-r", &machine.name("ROOT/old@one")]);
    machine.write("old", "etc/later", "later\n");
    sh("zfs", &["snapshot", "-r", &machine.name("ROOT/old@two")]);
    // As bectl export writes it.
    journey.shell("zfs send $pool/ROOT/old@two >$file");
    journey
        .import(&[])
        .fails(3, "does not say what the environment is to be called");
    journey.import(&["new"]).succeeds();
    assert_eq!(journey.there(), ["", "/new", "/new@two"]);
    assert_eq!(journey.get("/new", "mountpoint"), "/");
    assert_eq!(journey.get("/new", "canmount"), "noauto");
    assert_eq!(
        journey.read("/new", "etc/later"),
        Some("later\n".to_owned())
    );
    // A difference to what is there.
    machine.write("old", "etc/latest", "latest\n");
    sh("zfs", &["snapshot", &machine.name("ROOT/old@three")]);
    journey.shell("zfs send -i @two $pool/ROOT/old@three >$file");
    journey.import(&["newer"]).succeeds();
    assert_eq!(
        journey.read("/newer", "etc/latest"),
        Some("latest\n".to_owned())
    );
    for name in ["/newer", "/new"] {
        let name = format!("{}{name}", journey.beroot);
        sh("zfs", &["destroy", "-r", &name]);
    }
    // Packages, with what an environment is not to do here.
    for how in [
        "zfs send -R $pool/ROOT/old@two",
        "zfs send -R $pool/ROOT/old@two | zstd -q",
    ] {
        journey.shell(&format!("{how} >$file"));
        journey.import(&["new"]).succeeds();
        let mut expected = Vec::new();
        for dataset in WHOLE {
            expected.push(dataset.to_owned());
            if !dataset.is_empty() {
                expected.extend([format!("{dataset}@one"), format!("{dataset}@two")]);
            }
        }
        assert_eq!(journey.there(), expected, "{how}");
        for (below, property, expected) in [
            ("/new", "mountpoint", "/"),
            ("/new/var", "canmount", "noauto"),
            ("/new/var", "sharenfs", "off"),
            ("/new/var", "com.example:note", "x"),
            ("/new/var/lib", "mountpoint", "/srv/lib"),
            ("/new/usr", "canmount", "off"),
            ("/new", "mounted", "no"),
        ] {
            assert_eq!(
                journey.get(below, property),
                expected,
                "{how}: {below} {property}"
            );
        }
        assert_eq!(
            journey.read("/new", "etc/later"),
            Some("later\n".to_owned())
        );
        sh(
            "zfs",
            &["destroy", "-r", &format!("{}/new", journey.beroot)],
        );
    }
    journey.shell("zfs send -R -I @one $pool/ROOT/old@two >$file");
    journey
        .import(&["new"])
        .fails(3, "which changes datasets that are there");
    journey.nothing_is_left();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_is_cut_off_or_changed_leaves_nothing() {
    let journey = Journey::new();
    let machine = &journey.machine;
    machine.write("old", "data", "y".repeat(3 << 20));
    for (what, make) in [
        (
            "an archive",
            "$program -r $pool/ROOT export old --compress none -o $file",
        ),
        (
            "a stream",
            "zfs snapshot $pool/ROOT/old@s; zfs send $pool/ROOT/old@s >$file",
        ),
        (
            "a package",
            "zfs snapshot -r $pool/ROOT/old@r; zfs send -R $pool/ROOT/old@r >$file",
        ),
    ] {
        journey.shell(make);
        let whole = std::fs::read(&journey.file).unwrap();
        let beyond = [&whole[..], b"x"].concat();
        let mut cases = vec![("and more", beyond)];
        for part in [3, 20, 50, 90] {
            let at = whole.len() * part / 100;
            cases.push(("cut off", whole[..at].to_vec()));
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            cases.push(("flipped", flipped));
        }
        cases.push(("without its last byte", whole[..whole.len() - 1].to_vec()));
        cases.push(("twice", [&whole[..], &whole[..]].concat()));
        for (how, bytes) in cases {
            std::fs::write(&journey.file, &bytes).unwrap();
            let ran = journey.import(&["new"]);
            assert!(matches!(ran.exit, 1 | 3), "{what}, {how}: {ran:#?}");
            journey.nothing_is_left();
        }
        std::fs::remove_file(&journey.file).unwrap();
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_pool_without_the_features_says_so_before() {
    let mut machine = Machine::new();
    // No feature but those that every pool has.
    let beroot = format!("{}/ROOT", machine.another_pool_with("y", &["-d"]));
    let journey = Journey::between(machine, beroot);
    let machine = &journey.machine;
    sh(
        "zfs",
        &["set", "recordsize=1M", &machine.name("ROOT/old/var")],
    );
    sh(
        "zfs",
        &["set", "compression=zstd", &machine.name("ROOT/old/var")],
    );
    machine.with_dataset(&machine.name("ROOT/old/var"), |root| {
        std::fs::write(root.join("big"), "z".repeat(2 << 20)).unwrap();
    });
    machine
        .run(&["export", "old", "-o", &journey.file])
        .succeeds();
    let before = sh(
        "zpool",
        &["get", "-H", "-o", "value", "freeing", &machine.pool],
    );
    journey
        .import(&["new"])
        .fails(3, "does not have what its streams need")
        .fails(3, "zstd_compress");
    let after = sh(
        "zpool",
        &["get", "-H", "-o", "value", "freeing", &machine.pool],
    );
    assert_eq!(before, after);
    journey.nothing_is_left();
    journey.import(&["-n", "new"]).fails(3, "large_blocks");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_difference_comes_in_where_its_base_is_and_nowhere_else() {
    let journey = Journey::new();
    let machine = &journey.machine;
    machine.write("old", "etc/first", "first\n");
    machine.run(&["snapshot", "old@one"]).succeeds();
    machine
        .run(&["export", "old@one", "-o", &journey.file])
        .succeeds();
    journey.import(&["base"]).succeeds();
    let kept = journey.there();
    assert!(kept.contains(&"/base@one".to_owned()), "{kept:?}");
    machine.write("old", "etc/second", "second\n");
    machine.dataset("ROOT/old/opt", &["canmount=noauto"]);
    let second = machine.directory().join("second");
    let second = second.to_str().unwrap();
    machine
        .run(&["export", "old", "--since", "one", "-o", second])
        .succeeds();
    machine
        .run_on(&journey.beroot, &["import", "new", "-i", second])
        .succeeds();
    assert_eq!(
        journey.read("/new", "etc/second"),
        Some("second\n".to_owned())
    );
    assert_eq!(
        journey.read("/new", "etc/first"),
        Some("first\n".to_owned())
    );
    assert_eq!(
        journey.get("/new", "origin"),
        format!("{}/base@one", journey.beroot)
    );
    assert_eq!(journey.get("/new/opt", "origin"), "-");
    // To an environment it was cloned from.
    machine.clone_of("old", "clone");
    machine.write("clone", "etc/third", "third\n");
    let third = machine.directory().join("third");
    let third = third.to_str().unwrap();
    machine
        .run(&["export", "clone", "--since", "old", "-o", third])
        .succeeds();
    let here = machine.name("ROOT");
    machine
        .run_on(&here, &["import", "third", "-i", third])
        .succeeds();
    assert_eq!(
        machine.read("third", "etc/third"),
        Some("third\n".to_owned())
    );
    machine
        .run_on(&journey.beroot, &["import", "other", "-i", third])
        .fails(3, "has no such snapshot");
    machine
        .run(&["export", "clone", "--since", "nothing", "-o", third, "-y"])
        .fails(3, "called 'nothing'");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_import_that_was_to_be_gone_on_with_goes_on() {
    let journey = Journey::new();
    let machine = &journey.machine;
    let lib = machine.name("ROOT/old/var/lib");
    machine.with_dataset(&lib, |root| {
        std::fs::write(root.join("big"), "w".repeat(4 << 20)).unwrap();
    });
    machine
        .run(&["export", "old", "--compress", "none", "-o", &journey.file])
        .succeeds();
    let whole = std::fs::read(&journey.file).unwrap();
    std::fs::write(&journey.file, &whole[..whole.len() - 2_000]).unwrap();
    journey
        .import(&["--resume", "new"])
        .fails(1, "it ends too early")
        .offers("the same command goes on; or destroy what 'beadm-rs list' shows of it");
    let left = journey.there();
    assert!(
        left.len() > 3
            && left
                .iter()
                .all(|it| it.is_empty() || it.starts_with("/beadm-rs.import.")),
        "{left:?}"
    );
    let staging = left[1].trim_start_matches('/').to_owned();
    assert_eq!(journey.get(&left[1], "mountpoint"), "none");
    std::fs::write(&journey.file, &whole).unwrap();
    let plan = journey.import(&["--resume", "-n", "new"]).succeeds();
    assert!(plan.stdout.contains("arrived before"), "{plan:#?}");
    journey.import(&["--resume", "new"]).succeeds();
    assert_eq!(journey.there(), WHOLE);
    assert_eq!(journey.get("/new", "mountpoint"), "/");
    // What is left can be thrown away, too.
    std::fs::write(&journey.file, &whole[..whole.len() / 2]).unwrap();
    journey
        .import(&["--resume", "other"])
        .fails(1, "it ends too early");
    if journey.there().len() > WHOLE.len() {
        machine
            .run_on(&journey.beroot, &["destroy", "-y", &staging])
            .succeeds();
    }
    assert_eq!(journey.there(), WHOLE);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn both_ends_of_a_pipe_are_looked_at() {
    let journey = Journey::new();
    let machine = &journey.machine;
    machine.write("old", "data", noise(3_000_000));
    journey.shell("$program -r $pool/ROOT export old | $program -r $beroot import piped");
    assert!(journey.there().contains(&"/piped/var/lib".to_owned()));
    sh(
        "zfs",
        &["destroy", "-r", &format!("{}/piped", journey.beroot)],
    );
    let kept = |path: &Path| path.exists();
    // Who reads goes away: the export says so, and nothing of it stays.
    machine.unchanged(|| {
        let script = "$program -r $pool/ROOT export old | head -c 100000 >/dev/null; \
            test ${PIPESTATUS[0]} = 1";
        let ran = Command::new("bash")
            .args(["-c", script])
            .env("pool", &machine.pool)
            .env("program", program())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran::of(ran).succeeds();
    });
    machine.unchanged(|| {
        machine
            .run(&["export", "old", "-o", "/nowhere/archive"])
            .fails(3, "there is no directory /nowhere");
        machine
            .run_failing(
                &["export", "old", "-o", &journey.file],
                "export/send:after",
                "error",
            )
            .fails(1, "undone");
        assert!(!kept(Path::new(&journey.file)));
    });
    // An export that is killed leaves a snapshot, which recover knows.
    machine.unchanged(|| {
        let ran = machine.run_failing(
            &["export", "old", "-o", &journey.file],
            "export/send:after",
            "kill",
        );
        assert_eq!(ran.exit, 137);
        machine
            .run(&["recover"])
            .fails(0, "the snapshots of an interrupted export are gone");
    });
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn below_an_encrypted_beroot_it_is_encrypted_too() {
    let mut machine = Machine::new();
    let pool = machine.another_pool("x");
    let key = machine.directory().join("key");
    std::fs::write(&key, [0x5a; 32]).unwrap();
    let beroot = format!("{pool}/ROOT");
    sh("zfs", &["destroy", &beroot]);
    let location = format!("keylocation=file://{}", key.display());
    let mut arguments = vec!["create"];
    for setting in [
        "encryption=on",
        "keyformat=raw",
        &location,
        "canmount=off",
        "mountpoint=none",
    ] {
        arguments.extend(["-o", setting]);
    }
    arguments.push(&beroot);
    sh("zfs", &arguments);
    // Short files are embedded in the pool they come from.
    for number in 0..50 {
        machine.write("old", &format!("etc/short-{number}"), "short\n");
    }
    let journey = Journey::between(machine, beroot);
    journey
        .machine
        .run(&["export", "old", "-o", &journey.file])
        .succeeds();
    journey.import(&["new"]).succeeds();
    assert_eq!(journey.there(), WHOLE);
    assert_eq!(journey.get("/new/var", "encryptionroot"), journey.beroot);
    assert_eq!(
        journey.read("/new", "etc/short-7"),
        Some("short\n".to_owned())
    );
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_import_killed_amid_a_stream_leaves_nothing_under_its_name() {
    use std::io::Write as _;
    let journey = Journey::new();
    let machine = &journey.machine;
    machine.write("old", "data", noise(3_000_000));
    machine
        .run(&["export", "old", "--compress", "none", "-o", &journey.file])
        .succeeds();
    let whole = std::fs::read(&journey.file).unwrap();
    for resume in [false, true] {
        let mut arguments = vec!["-r", &journey.beroot, "import", "new"];
        if resume {
            arguments.push("--resume");
        }
        let mut import = Command::new(program())
            .args(arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut pipe = import.stdin.take().unwrap();
        // What was written has been taken from the pipe but for what that holds, so the
        // first dataset is being received.
        pipe.write_all(&whole[..2_500_000]).unwrap();
        import.kill().unwrap();
        import.wait().unwrap();
        drop(pipe);
        let name = format!("{}/new", journey.beroot);
        assert_ne!(try_sh("zfs", &["list", &name]).exit, 0);
        // With --resume what arrived stays (`resume`), and can be thrown away.
        let thrown_away = || {
            let there = journey.there();
            let left = there.iter().find(|it| it.starts_with("/beadm-rs.import."));
            left.is_none_or(|left| {
                let left = left.trim_start_matches('/');
                let ran = machine.run_on(&journey.beroot, &["destroy", "-y", left]);
                ran.exit == 0
            })
        };
        // Until the kernel has taken back what `zfs receive` had, it is busy.
        let recovered = (0..100).any(|_| {
            let ran = machine.run_on(&journey.beroot, &["recover"]);
            ran.exit == 0 && (!resume || thrown_away()) && journey.there() == [""]
        });
        assert!(recovered, "{:?}", journey.there());
        journey.nothing_is_left();
    }
    journey.import(&["new"]).succeeds();
    assert_eq!(journey.there(), WHOLE);
}
