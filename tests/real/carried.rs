//! Files that go along with a switch and with the boot after it, on real file systems.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Instant;

use crate::machine::Machine;
use crate::picture::assert_same;
use crate::sync::{PASSWD, SHADOW, crontab, is_tidy, live, machine};

/// Everything that goes on in the old one is in the new one, once.
#[track_caller]
fn is_carried(machine: &Machine, at: &str) {
    let passwd = machine.read("new", "etc/passwd").unwrap();
    for name in ["daemon9:x", "alice:x", "carol:x"] {
        assert_eq!(passwd.matches(name).count(), 1, "{at}: {passwd}");
    }
    let shadow = machine.read("new", "etc/shadow").unwrap();
    assert!(shadow.contains("alice:!$6$two:"), "{at}: {shadow}");
    assert_eq!(crontab(machine, "new", "bob"), None, "{at}");
    is_tidy(machine, "new");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_activation_with_files_stopped_anywhere_is_whole_in_each_half() {
    let machine = machine();
    live(&machine);
    let (saved, before) = (machine.save(), machine.picture());
    let old = machine.name("ROOT/old");
    let source = machine.read("old", "etc/passwd");
    for (at, carried, switched) in [
        ("sync/snapshot:after", false, false),
        ("sync/apply:after", false, false),
        ("sync/carry:after", false, false),
        ("sync/pair:after", true, false),
        ("sync/finish:after", true, false),
        ("activate/promote:after", true, false),
        ("activate/commit:after", true, true),
    ] {
        let ran = machine.run_failing(&["activate", "new"], at, "kill");
        assert_eq!(ran.exit, 128 + 9, "{at}: {ran:#?}");
        machine.run(&["recover"]).succeeds();
        let now = machine.picture();
        if carried {
            is_carried(&machine, at);
        } else {
            assert_same(&before, &now, at);
        }
        assert_eq!(machine.next() != old, switched, "{at}");
        assert_eq!(machine.read("old", "etc/passwd"), source, "{at}");
        machine.run(&["activate", "new"]).succeeds();
        is_carried(&machine, at);
        assert_eq!(machine.next(), machine.name("ROOT/new"), "{at}");
        machine.restore(&saved);
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_comes_up_gets_what_changed_until_then() {
    let machine = machine();
    live(&machine);
    let mut seconds = Vec::new();
    for arguments in [
        &["activate", "--no-sync", "new"][..],
        &["activate", "old"],
        &["activate", "new"],
        &["activate", "--no-sync", "old"],
        &["activate", "new"],
    ] {
        let start = Instant::now();
        machine.run_inside("old", arguments).succeeds();
        seconds.push(start.elapsed().as_secs_f64());
    }
    println!("activate --no-sync, (back), with files, (back), with none: {seconds:.2?} s");
    is_carried(&machine, "activate");
    // Until the machine is down: a secret that both change, and a user.
    let changed = |be: &str, [was, is]: [&str; 2]| {
        let shadow = machine.read(be, "etc/shadow").unwrap();
        assert!(shadow.contains(was), "{shadow}");
        machine.write(be, "etc/shadow", shadow.replace(was, is));
    };
    changed("old", ["$6$one", "$6$newer"]);
    changed("new", ["$6$one", "$6$other"]);
    let dave = "dave:x:1002:1002::/home/dave:/bin/sh\n";
    let passwd = machine.read("old", "etc/passwd").unwrap();
    machine.write("old", "etc/passwd", passwd + dave);
    let ran = machine.run_inside_failing("new", &["late-sync"], "late-sync/record:after=kill");
    assert_eq!(ran.exit, 128 + 9, "{ran:#?}");
    let before = machine.picture();

    // Whatever stops it, it is taken back and done by the next one.
    for at in ["sync/stage:after", "sync/apply:after", "sync/carry:after"] {
        let ran = machine.run_inside_failing("new", &["late-sync"], &format!("{at}=kill"));
        assert_eq!(ran.exit, 128 + 9, "{at}: {ran:#?}");
        machine.run(&["recover"]).succeeds();
        assert_same(&before, &machine.picture(), at);
        is_tidy(&machine, "new");
    }
    // It never makes a boot fail, and forgets nothing then.
    let outside = machine.directory().join("outside");
    std::fs::create_dir(&outside).unwrap();
    machine.with_mounted("new", |root| {
        std::fs::create_dir_all(root.join("etc/beadm-rs")).unwrap();
        symlink(&outside, root.join("etc/beadm-rs/conflicts")).unwrap();
    });
    let ran = machine.run_inside("new", &["late-sync"]).succeeds();
    assert!(
        ran.stderr
            .contains("could not be kept beside: /etc/beadm-rs/conflicts is in the way"),
        "{ran:#?}"
    );
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    let passwd = machine.read("new", "etc/passwd").unwrap();
    assert_eq!(passwd.matches("dave:x").count(), 1, "{passwd}");
    let shadow = machine.read("new", "etc/shadow").unwrap();
    assert!(
        shadow.contains("$6$other") && !shadow.contains("$6$newer"),
        "{shadow}"
    );

    // The way back, with another conflict about it, which is kept where only root reads.
    machine.with_mounted("new", |root| {
        std::fs::remove_file(root.join("etc/beadm-rs/conflicts")).unwrap();
    });
    changed("old", ["$6$newer", "$6$third"]);
    changed("new", ["$6$other", "$6$fourth"]);
    machine.run_inside("new", &["failback"]).succeeds();
    machine.with_mounted("old", |root| {
        let at = root.join("etc/beadm-rs/conflicts");
        let other = at.join("etc%2Fshadow/other");
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&at), mode(&other)), (0o700, 0o600));
        let kept = std::fs::read_to_string(&other).unwrap();
        assert!(kept.contains("$6$fourth"), "{kept}");
    });
    let status = machine.run_inside("old", &["status", "--json"]).succeeds();
    let status = status.json("status");
    assert_eq!(status["conflicts"][0]["path"], "/etc/shadow", "{status:#}");
    let resolve = ["sync", "--resolve", "/etc/shadow", "--keep", "mine"];
    machine.run_inside("old", &resolve).succeeds();
    let shadow = machine.read("old", "etc/shadow").unwrap();
    assert!(shadow.contains("$6$third"), "{shadow}");
    is_tidy(&machine, "old");
    let again = machine.run_inside("old", &["status", "--json"]).succeeds();
    assert_eq!(again.json("status")["conflicts"], serde_json::json!([]));
    // What came up has it all already.
    machine.run_inside("old", &["late-sync"]).says(
        0,
        "nothing was changed in new or old that has to be carried",
    );
    machine
        .run_inside("old", &["late-sync"])
        .says(0, "nothing is to be carried");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn on_a_rescue_system_files_come_from_what_would_boot() {
    let machine = machine();
    machine.write("old", "etc/shadow", SHADOW.replace("alice:$", "alice:!$"));
    // Both change the same: nothing is done. On the way back that stops nothing.
    let shell = |be: &str, shell: &str| {
        let passwd = PASSWD.replace("alice:/bin/sh", &format!("alice:/bin/{shell}"));
        machine.write(be, "etc/passwd", passwd);
    };
    shell("old", "zsh");
    shell("new", "fish");
    let ran = machine.unchanged(|| machine.run(&["activate", "new"]));
    assert_eq!(ran.exit, 4, "{ran:#?}");
    machine
        .run(&["activate", "--conflicts", "source", "new"])
        .succeeds();
    let shadow = machine.read("new", "etc/shadow").unwrap();
    assert!(shadow.contains("alice:!"), "{shadow}");
    assert!(machine.read("new", "etc/passwd").unwrap().contains("zsh"));
    shell("old", "dash");
    shell("new", "bash");
    machine.run(&["failback"]).succeeds();
    assert!(machine.read("old", "etc/passwd").unwrap().contains("dash"));
}
