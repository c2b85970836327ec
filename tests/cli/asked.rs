//! Conflicts that somebody is asked about.

use super::carried::clash;
use super::machine::Machine;
use super::sync::{NEW, OLD, PASSWD, machine, read, write};
use super::terminal::{Said, run};
use super::transcript::Transcript;

const CRONTAB: &str = "var/spool/cron/crontabs/alice";

/// Both change the same again, otherwise.
fn differ(machine: &Machine) {
    for (name, shell, minute) in [(OLD, "ksh", "11"), (NEW, "dash", "21")] {
        let passwd = PASSWD.replace("alice:/bin/bash", &format!("alice:/bin/{shell}"));
        write(machine, name, "etc/passwd", &passwd);
        write(
            machine,
            name,
            CRONTAB,
            &format!("{minute} 1 * * * backup\n"),
        );
    }
}

/// Two environments that both changed an account's shell, and a crontab.
fn clashing() -> Machine {
    let mut story = Transcript::on(machine());
    assert!(story.silently("create new"));
    clash(&story.machine);
    story.machine
}

fn next(machine: Machine) -> (Machine, String) {
    let mut story = Transcript::on(machine);
    let status = story.output("--json status");
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let next = status["next"].as_str().unwrap().to_owned();
    (story.machine, next)
}

/// Its exit code, and all of this on the terminal.
fn says(said: &Said, exit: i32, parts: &[&str]) {
    assert_eq!(said.exit, exit, "{}", said.terminal);
    for part in parts {
        assert!(said.terminal.contains(part), "{part}: {}", said.terminal);
    }
}

/// Where the conflicts are, in both.
fn contents(machine: &Machine) -> [String; 4] {
    [
        read(machine, OLD, "etc/passwd"),
        read(machine, OLD, CRONTAB),
        read(machine, NEW, "etc/passwd"),
        read(machine, NEW, CRONTAB),
    ]
}

#[test]
fn nobody_is_asked_where_there_is_no_terminal() {
    let mut story = Transcript::on(clashing());
    story
        .run("activate --conflicts ask new")
        .run("sync --to new --conflicts ask")
        .run("failback --conflicts ask")
        .run("create -a --conflicts ask third")
        .run("create --conflicts source third")
        .run("upgrade --conflicts ask")
        .run("upgrade --no-activate --conflicts ask")
        .run("list")
        .is("asked-nobody");
}

#[test]
fn each_conflict_is_shown_and_decided() {
    let machine = clashing();
    let said = run(
        &machine,
        "sync --to new --conflicts ask",
        "what\nt\nsource\n",
        None,
    );
    says(
        &said,
        0,
        &[
            "conflict 1 of 2: /etc/passwd",
            "alice",
            "conflict 2 of 2: /var/spool/cron/crontabs/alice",
            "    source | 10 1 * * * backup",
            "source (s), target (t), edit (e) or stop (q)?",
        ],
    );
    assert!(said.out.contains("as was answered"), "{}", said.out);
    let passwd = read(&machine, NEW, "etc/passwd");
    assert!(passwd.contains("alice:/bin/fish"), "{passwd}");
    assert_eq!(read(&machine, NEW, CRONTAB), "10 1 * * * backup\n");
    let again = run(&machine, "sync --to new --conflicts ask", "", None);
    says(
        &again,
        0,
        &["nothing was changed in debian or new that has to be carried"],
    );
}

#[test]
fn who_stops_has_changed_nothing() {
    let machine = clashing();
    let before = contents(&machine);
    for answers in ["s\nq\n", "stop\n", "t\n\u{4}"] {
        let said = run(&machine, "activate --conflicts ask new", answers, None);
        says(&said, 4, &["conflict 1 of 2", "nothing was changed"]);
    }
    assert_eq!(contents(&machine), before);
    let (_, next) = next(machine);
    assert_eq!(next, "debian");
}

#[test]
fn what_is_edited_is_carried_with_the_switch_and_back() {
    let machine = clashing();
    let editor = "\
        /bin/grep -q '^<<<<<<< new$' \"$1\" && /bin/grep -q '^>>>>>>> debian$' \"$1\" || exit 9\n\
        case $1 in *passwd) /bin/sed -i -e '/^[<|=>]\\{7\\}/d' -e '/zsh/d' -e '/bash$/{/alice/d}' \"$1\";;\n\
        *) echo '30 1 * * * backup' > \"$1\";; esac\n";
    let line = "activate --conflicts ask new";
    says(&run(&machine, line, "e\ne\n", Some(editor)), 0, &[]);
    let passwd = read(&machine, NEW, "etc/passwd");
    assert_eq!(passwd.matches("alice:x").count(), 1, "{passwd}");
    assert!(passwd.contains("alice:/bin/fish"), "{passwd}");
    assert_eq!(read(&machine, NEW, CRONTAB), "30 1 * * * backup\n");
    let (machine, next) = next(machine);
    assert_eq!(next, "new");
    // There somebody answers on the way back, too.
    machine.sim.reboot().unwrap();
    differ(&machine);
    let said = run(&machine, "failback --conflicts ask", "q\n", None);
    says(&said, 4, &["conflict 1 of 2", "nothing was changed"]);
    assert_eq!(read(&machine, OLD, CRONTAB), "11 1 * * * backup\n");
    let said = run(&machine, "failback --conflicts ask", "t\ns\n", None);
    says(&said, 0, &["debian boots next"]);
    assert_eq!(read(&machine, OLD, CRONTAB), "21 1 * * * backup\n");
}

#[test]
fn what_comes_out_of_the_editor_has_to_be_decided() {
    let machine = clashing();
    let before = contents(&machine);
    let line = "sync --to new --conflicts ask";
    for (editor, why) in [
        ("exit 3\n", "the editor ended with exit status: 3"),
        ("exit 0\n", "nothing was changed in the editor"),
        (
            "echo more >> \"$1\"\n",
            "there are markers of the conflict left in it",
        ),
        (
            "echo no-account > \"$1\"\n",
            "cannot settle /etc/passwd: line 1",
        ),
    ] {
        let said = run(&machine, line, "e\nq\n", Some(editor));
        says(&said, 4, &[why]);
    }
    says(
        &run(&machine, line, "e\nq\n", None),
        4,
        &["neither VISUAL nor EDITOR"],
    );
    assert_eq!(contents(&machine), before);
    // What was made of it is what one goes on with.
    let editor = "\
        case $1 in *passwd) ;; *) exit 9;; esac\n\
        if /bin/grep -q half \"$1\"; then /bin/sed -i -e '/^[<|=>]\\{7\\}/d' -e '/half/d' \
        -e '/zsh/d' -e '/^alice.*bash$/d' \"$1\"; else echo half >> \"$1\"; fi\n";
    let said = run(&machine, line, "e\ne\nt\n", Some(editor));
    says(&said, 0, &["there are markers"]);
    let passwd = read(&machine, NEW, "etc/passwd");
    assert!(passwd.contains("alice:/bin/fish"), "{passwd}");
    assert!(!passwd.contains("half"), "{passwd}");
}

/// Conflicts that nobody was asked about wait in `debian`.
fn waiting() -> Machine {
    let mut story = Transcript::on(clashing());
    assert!(story.silently("activate --conflicts target new"));
    story.machine.sim.reboot().unwrap();
    differ(&story.machine);
    assert!(story.silently("failback"));
    story.machine
}

#[test]
fn all_that_waits_is_settled_one_after_another() {
    let mut story = Transcript::on(waiting());
    story
        .run("sync --to debian --resolve")
        .run("-n sync --to debian --resolve --keep other")
        .run("sync --to debian --resolve --keep other")
        .run("--json sync --to debian --resolve --keep other")
        .run("--json sync --to debian --resolve --keep mine")
        .run("sync --to debian --resolve --keep mine")
        .run("sync --resolve --keep mine")
        .is("resolved-all");
    assert_eq!(read(&story.machine, OLD, CRONTAB), "21 1 * * * backup\n");
}

#[test]
fn what_an_editor_makes_of_what_waits_is_there() {
    let machine = waiting();
    let before = contents(&machine);
    let one = "sync --to debian --resolve /var/spool/cron/crontabs/alice";
    let all = "sync --to debian --resolve";
    let left = "2 conflicts are left in debian: /etc/passwd, /var/spool/cron/crontabs/alice";
    for (editor, why) in [
        ("exit 3\n", "the editor ended with exit status: 3"),
        ("exit 0\n", "nothing was changed in the editor"),
    ] {
        let said = run(&machine, one, "", Some(editor));
        assert!([1, 3].contains(&said.exit), "{}", said.terminal);
        says(&said, said.exit, &[why, "--keep other"]);
        says(&run(&machine, all, "", Some(editor)), 4, &[why, left]);
    }
    // Both versions are between markers, and the other one is beside; what was made of
    // them so far is not lost.
    let editor = "test \"$(cat \"$2\")\" = '21 1 * * * backup' || exit 9; echo more >> \"$1\"\n";
    let editor = format!("PATH=/bin:/usr/bin; {editor}");
    let said = run(&machine, one, "", Some(&editor));
    says(
        &said,
        1,
        &["there are markers", "what was made of it is in "],
    );
    let (_, draft) = said
        .terminal
        .split_once("what was made of it is in ")
        .unwrap();
    let (draft, _) = draft.split_once(';').unwrap();
    assert_eq!(
        std::fs::read_to_string(draft).unwrap(),
        "<<<<<<< debian\n11 1 * * * backup\n=======\n21 1 * * * backup\n>>>>>>> new\nmore\n"
    );
    std::fs::remove_dir_all(std::path::Path::new(draft).parent().unwrap()).unwrap();
    assert_eq!(contents(&machine), before);
    // One of the two is settled, and the other one is left.
    let editor = "case $1 in *passwd) exit 1;; *) echo '30 1 * * * backup' > \"$1\";; esac\n";
    let left = "1 conflict is left in debian: /etc/passwd";
    says(&run(&machine, all, "", Some(editor)), 4, &[left]);
    assert_eq!(read(&machine, OLD, CRONTAB), "30 1 * * * backup\n");
    let editor = "PATH=/bin:/usr/bin; sed -i -e '/^[<|=>]\\{7\\}/d' -e '/ksh/d' \"$1\"\n";
    let said = run(&machine, all, "", Some(editor));
    says(&said, 0, &["no conflict is left in debian"]);
    let passwd = read(&machine, OLD, "etc/passwd");
    assert_eq!(passwd.matches("alice:x").count(), 1, "{passwd}");
    assert!(passwd.contains("alice:/bin/dash"), "{passwd}");
}
