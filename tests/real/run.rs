//! Commands run inside environments, and what they cannot reach.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::ran::{Mounted, Ran, sh};

/// A machine with a clone `new` that has a shell and some tools.
fn furnished() -> Machine {
    let machine = Machine::new();
    give_tools(&machine);
    machine.clone_of("old", "new");
    machine
}

/// Puts a shell and some tools into `old`.
pub fn give_tools(machine: &Machine) {
    machine.with_mounted("old", |root| {
        let bin = root.join("usr/bin");
        std::fs::copy("/usr/bin/busybox", bin.join("busybox")).unwrap();
        for tool in [
            "sh", "cat", "chmod", "cut", "dd", "echo", "false", "grep", "hostname", "kill", "ls",
            "mkdir", "mknod", "mount", "ps", "readlink", "rm", "sleep", "touch", "true",
        ] {
            symlink("busybox", bin.join(tool)).unwrap();
        }
        for directory in ["boot/efi", "usr/sbin"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\n";
        std::fs::write(root.join("etc/passwd"), passwd).unwrap();
    });
}

/// Runs a script of the shell in `new`.
fn script(machine: &Machine, text: &str) -> Ran {
    machine.run(&["run", "new", "sh", "-c", text])
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// In no mount namespace is anything of the dataset mounted any more. The
/// kernel takes namespaces of killed processes away in its own time, so this
/// asks again for a while.
#[track_caller]
fn vanishes(dataset: &str) {
    let began = Instant::now();
    loop {
        let still = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .any(|process| {
                std::fs::read_to_string(process.path().join("mountinfo"))
                    .is_ok_and(|text| text.contains(dataset))
            });
        if !still {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{dataset} is mounted somewhere for ever"
        );
        std::thread::yield_now();
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_command_inside_sees_the_environment_and_no_disk_and_no_firmware() {
    let machine = furnished();
    machine.run(&["mount", "new", "/mnt"]).succeeds();
    std::fs::write("/mnt/var/lib/file", "of new\n").unwrap();
    machine.run(&["unmount", "new"]).succeeds();
    let before = mounts();
    let ran = script(
        &machine,
        "cat /proc/cmdline /var/lib/file; echo $SYSTEMD_OFFLINE $HOME $SHELL; ls /dev; \
         ls /run /tmp; ls /sys/firmware/efi/efivars 2>&1; echo \"as $$\"; touch /var/lib/made; exit 7",
    );
    assert_eq!(ran.exit, 7, "{ran:#?}");
    let given = std::fs::read_to_string("/proc/cmdline").unwrap();
    let new = machine.name("ROOT/new");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], format!("root=ZFS={new} {}", given.trim()));
    assert_eq!(lines[1], "of new");
    assert_eq!(lines[2], "1 /root /bin/sh");
    let devices: Vec<&str> = lines[3..]
        .iter()
        .copied()
        .take_while(|line| *line != "/run:")
        .collect();
    let expected = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero zfs";
    let mut devices: Vec<&str> = devices
        .into_iter()
        .filter(|line| !line.is_empty())
        .collect();
    devices.sort_unstable();
    assert_eq!(devices.join(" "), expected);
    assert!(ran.stdout.contains("/run:\nlock\n\n/tmp:\n"), "{ran:#?}");
    assert!(ran.stdout.contains("efivars: No such file"), "{ran:#?}");
    assert_eq!(mounts(), before);
    vanishes(&new);
    // It lasted, in the environment's own dataset, and in no other.
    machine.run(&["mount", "new", "/mnt"]).succeeds();
    assert!(Path::new("/mnt/var/lib/made").exists());
    assert!(std::fs::read_dir("/mnt/dev").unwrap().next().is_none());
    assert!(std::fs::read_dir("/mnt/run").unwrap().next().is_none());
    // Where it is mounted already a command runs as well.
    assert_eq!(script(&machine, "cat /var/lib/made; exit 3").exit, 3);
    machine.run(&["unmount", "new"]).succeeds();
    machine.run(&["destroy", "-y", "new"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn nothing_inside_can_write_to_a_disk_or_change_the_kernel() {
    let machine = furnished();
    let scratch = std::fs::canonicalize("/dev/disk/by-id/virtio-scratch").unwrap();
    let metadata = std::fs::metadata(&scratch).unwrap();
    assert!(metadata.file_type().is_block_device());
    // A device file somebody planted: the disk's own number.
    machine.with_mounted("new", |root| {
        let planted = root.join("planted");
        sh(
            "cp",
            &["-a", scratch.to_str().unwrap(), planted.to_str().unwrap()],
        );
        let found = std::fs::metadata(planted).unwrap();
        assert!(found.file_type().is_block_device());
    });
    let attempts = [
        "echo x > /planted",
        "cat /planted",
        "mknod /tmp/disk b 254 0",
        "mount -t devtmpfs dev /tmp",
        "mount -t efivarfs efivarfs /tmp",
        "mount -o remount,rw /sys",
        "mount -o remount,rw /proc/sys",
        "echo 0 > /proc/sysrq-trigger",
        "echo other > /proc/sys/kernel/hostname",
        "hostname other",
        "touch /sys/kernel/x",
        "echo x > /etc/resolv.conf",
        "head -c 1 /proc/kcore | grep -q .",
        "echo x >> /proc/1/exe",
        "ls -l /proc/1/exe | grep beadm-rs | grep -v memfd",
        // CAP_DAC_READ_SEARCH, the third bit: open_by_handle_at(2).
        "[ $((0x$(grep CapEff /proc/self/status | cut -f2) & 4)) != 0 ]",
        "[ $((0x$(grep CapBnd /proc/self/status | cut -f2) & 4)) != 0 ]",
    ];
    let text: String = attempts
        .iter()
        .map(|attempt| format!("if ({attempt}) 2>/dev/null; then echo '{attempt}'; fi; "))
        .collect();
    // The link leads to what the first process runs from, wherever that is.
    let text = format!("{text} chmod 6777 /proc/1/exe;");
    let program = std::env::var("BEADM_RS_BIN").unwrap();
    let mode = || std::fs::metadata(&program).unwrap().permissions();
    let before = mode();
    std::fs::write("/etc/resolv.conf", "nameserver 192.0.2.1\n").unwrap();
    machine.with_mounted("new", |root| {
        std::fs::write(root.join("etc/resolv.conf"), "own\n").unwrap();
    });
    let ran = script(&machine, &format!("{text} echo end"));
    assert_eq!(ran.stdout, "end\n", "these succeeded: {ran:#?}");
    assert_eq!(mode(), before);
    let ran = script(
        &machine,
        "echo ok > /dev/null && echo x > /proc/self/comm && cat /dev/zfs",
    );
    assert_eq!(ran.exit, 1, "{ran:#?}");
    assert!(!ran.stderr.contains("denied"), "{ran:#?}");
    std::fs::remove_file("/etc/resolv.conf").unwrap();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn names_are_resolved_as_outside_whatever_the_environment_has_there() {
    let machine = furnished();
    let text = "nameserver 192.0.2.53\n";
    std::fs::write("/etc/resolv.conf", text).unwrap();
    let victim = tempfile::tempdir().unwrap();
    let outside = victim.path().join("resolv.conf");
    std::fs::write(&outside, "victim\n").unwrap();
    for link in [
        "/run/systemd/resolve/stub-resolv.conf",
        "../run/nothing",
        outside.to_str().unwrap(),
        "../../../../../../etc/hostname",
    ] {
        machine.with_mounted("new", |root| {
            let path = root.join("etc/resolv.conf");
            let _ = std::fs::remove_file(&path);
            symlink(link, path).unwrap();
        });
        let ran = script(&machine, "cat /etc/resolv.conf").succeeds();
        assert_eq!(ran.stdout, text, "{link}");
        machine.with_mounted("new", |root| {
            let found = std::fs::read_link(root.join("etc/resolv.conf")).unwrap();
            assert_eq!(found.to_str(), Some(link));
        });
    }
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "victim\n");
    // None at all: nothing is written into it.
    machine.with_mounted("new", |root| {
        std::fs::remove_file(root.join("etc/resolv.conf")).unwrap();
    });
    let ran = script(&machine, "ls /etc").succeeds();
    assert!(!ran.stdout.contains("resolv.conf"), "{ran:#?}");
    assert!(
        ran.stderr.contains("names may not be resolved inside"),
        "{ran:#?}"
    );
    std::fs::remove_file("/etc/resolv.conf").unwrap();
    // A policy that would let services start is covered.
    machine.with_mounted("new", |root| {
        let policy = root.join("usr/sbin/policy-rc.d");
        std::fs::write(&policy, "#!/bin/sh\nexit 0\n").unwrap();
        std::fs::set_permissions(policy, PermissionsExt::from_mode(0o755)).unwrap();
    });
    assert_eq!(script(&machine, "/usr/sbin/policy-rc.d").exit, 101);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_link_planted_where_something_is_mounted_leads_nowhere() {
    let machine = furnished();
    let victim = tempfile::tempdir().unwrap();
    let before = mounts();
    for place in ["dev", "proc", "sys", "run", "tmp", "var"] {
        machine.with_mounted("new", |root| {
            std::fs::rename(root.join(place), root.join("away")).unwrap();
            symlink(victim.path(), root.join(place)).unwrap();
        });
        let ran = script(&machine, "echo it ran");
        assert_eq!((ran.exit, ran.stdout.as_str()), (125, ""), "{place}");
        let said = format!("/{place} in it is, or lies below, a symbolic link");
        assert!(ran.stderr.contains(&said), "{place}: {ran:#?}");
        assert_eq!(mounts(), before, "{place}");
        machine.with_mounted("new", |root| {
            std::fs::remove_file(root.join(place)).unwrap();
            std::fs::rename(root.join("away"), root.join(place)).unwrap();
        });
    }
    assert_eq!(std::fs::read_dir(victim.path()).unwrap().count(), 0);
    vanishes(&machine.name("ROOT/new"));
    script(&machine, "true").succeeds();
}

fn start(machine: &Machine, text: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = machine
        .command(&["run", "new", "sh", "-c", text])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, out)
}

fn signal(child: &Child, signal: &str) {
    sh("kill", &[signal, &child.id().to_string()]);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn however_it_ends_nothing_of_it_runs_or_is_mounted_any_more() {
    let machine = furnished();
    let new = machine.name("ROOT/new");
    let before = mounts();
    let mut rest = String::new();

    // While it runs, others are told that it is in use, and wait for no lock.
    let (mut child, mut out) = start(&machine, "sleep 9999 & echo ready; sleep 9999");
    machine.run(&["describe", "new", "in use"]).succeeds();
    machine
        .run(&["destroy", "-y", "new"])
        .fails(3, "in the mount namespace of process");
    // SIGKILL gives the program no time to do anything. Its output ends with
    // the last process that holds it.
    signal(&child, "-KILL");
    child.wait().unwrap();
    out.read_to_string(&mut rest).unwrap();
    vanishes(&new);
    assert_eq!(mounts(), before);

    // The command is killed; what it left running goes with it.
    let (mut child, mut out) = start(&machine, "sleep 9999 & echo ready; kill -KILL $$");
    assert_eq!(child.wait().unwrap().code(), Some(137));
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(mounts(), before);

    // A signal to the program is the command's.
    let text = "trap 'exit 9' TERM; echo ready; while true; do sleep 1; done";
    let (mut child, _out) = start(&machine, text);
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(9));

    // What it left running in a session of its own goes too, and at once: the
    // next command finds nothing in use.
    machine
        .run(&["run", "new", "sh", "-c", "busybox setsid sleep 9999 & true"])
        .succeeds();
    machine.run(&["destroy", "-y", "new"]).succeeds();
    assert_eq!(mounts(), before);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_exit_status_is_the_commands_or_one_that_says_it_did_not_run() {
    let machine = furnished();
    for (words, exit) in [
        (vec!["true"], 0),
        (vec!["false"], 1),
        (vec!["--", "sh", "-c", "exit 6"], 6),
        (vec!["sh", "-c", "exit 255"], 255),
        (vec!["no-such-command"], 127),
        (vec!["/etc/passwd"], 126),
    ] {
        let mut arguments = vec!["run", "new"];
        arguments.extend(&words);
        assert_eq!(machine.run(&arguments).exit, exit, "{words:?}");
    }
    machine.run(&["run", "none", "true"]).says(
        125,
        &format!(
            "refused to run a command in none: there is no boot environment 'none' under {}",
            machine.name("ROOT")
        ),
    );
    machine.run_inside("old", &["run", "old", "true"]).says(
        125,
        "refused to run a command in old: it is the running environment: the command would change \
         the machine while it works",
    );
    let ran = machine.run(&["--json", "run", "new", "sh", "-c", "echo said; exit 4"]);
    // What it said, before what there is to be said about it.
    assert_eq!((ran.exit, ran.stderr.lines().next()), (4, Some("said")));
    assert_eq!(ran.json("run")["status"], 4);
    machine.run(&["run", "new"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_loaders_files_of_the_machine_stay_as_they_are_byte_for_byte() {
    let machine = furnished();
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("esp");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(16 << 20)
        .unwrap();
    let image = image.to_str().unwrap();
    sh("mkfs.vfat", &[image]);
    // /boot is shared by the environments; the ESP is below it.
    sh("mount", &["-t", "tmpfs", "boot", "/boot"]);
    let _boot = Mounted("/boot");
    std::fs::create_dir_all("/boot/grub").unwrap();
    std::fs::write("/boot/grub/grub.cfg", "menu\n").unwrap();
    std::fs::write("/boot/vmlinuz", "kernel\n").unwrap();
    std::fs::create_dir("/boot/efi").unwrap();
    sh("modprobe", &["-a", "loop", "vfat"]);
    sh("mount", &["-o", "loop", image, "/boot/efi"]);
    let _esp = Mounted("/boot/efi");
    std::fs::create_dir_all("/boot/efi/EFI/BOOT").unwrap();
    std::fs::write("/boot/efi/EFI/BOOT/BOOTX64.EFI", "loader\n").unwrap();
    std::fs::write("/boot/efi/EFI/gone", "x").unwrap();
    sh("sync", &[]);
    let sums = || {
        sh("sync", &[]);
        let list = "find /boot -type f | sort | xargs sha256sum";
        (sh("sh", &["-c", list]), sh("sha256sum", &[image]))
    };
    let before = sums();
    let below = |boot: &std::path::Path| sh("find", &[boot.to_str().unwrap()]);
    let own = machine.with_mounted("new", |root| below(&root.join("boot")));
    let text = "cat /boot/grub/grub.cfg /boot/efi/EFI/BOOT/BOOTX64.EFI; \
                echo other > /boot/grub/grub.cfg; rm /boot/vmlinuz; echo k > /boot/vmlinuz-2; \
                echo evil > /boot/efi/EFI/BOOT/BOOTX64.EFI; rm /boot/efi/EFI/gone; \
                mkdir /boot/efi/EFI/new; echo n > /boot/efi/EFI/new/n; echo same > /dev/null";
    let ran = script(&machine, text).succeeds();
    assert_eq!(ran.stdout, "menu\nloader\n");
    let begin =
        "beadm-rs: thrown away, since the loader's files and /var/share were private copies:\n";
    let (_, told) = ran.stderr.split_once(begin).unwrap();
    assert_eq!(
        told,
        "  changed /boot/grub/grub.cfg\n  \
         removed /boot/vmlinuz\n  \
         created /boot/vmlinuz-2\n  \
         changed /boot/efi/EFI/BOOT/BOOTX64.EFI\n  \
         removed /boot/efi/EFI/gone\n  \
         created /boot/efi/EFI/new/n\n"
    );
    assert_eq!(sums(), before);
    // Nothing of it is in the environment's own /boot either.
    machine.with_mounted("new", |root| {
        assert_eq!(below(&root.join("boot")), own);
    });
}
