//! Files of users and groups, merged.

use beadm_rs::sync::content::{Contents, How, Outcome};
use beadm_rs::sync::records::{Format, lonely};

/// The result, or the conflicts, of two sides that were the same.
fn merged(format: Format, base: &str, source: &str, target: &str) -> String {
    merged_apart(format, [base, source, base, target])
}

fn merged_apart(format: Format, four: [&str; 4]) -> String {
    let [base_source, source, base_target, target] = four.map(str::as_bytes);
    let contents = Contents {
        base_source: Some(base_source),
        source,
        base_target: Some(base_target),
        target,
    };
    match contents.merge(How::Records(format)) {
        Outcome::Same => String::from_utf8(target.to_vec()).unwrap(),
        Outcome::New(bytes) => String::from_utf8(bytes).unwrap(),
        Outcome::Conflict(conflicts) => conflicts
            .iter()
            .map(|conflict| format!("! {conflict}\n"))
            .collect(),
    }
}

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
eve:x:1000:1000:Eve,,,:/home/eve:/bin/bash
";

const SHADOW: &str = "\
root:!:20000:0:99999:7:::
daemon:*:20000:0:99999:7:::
eve:$y$j9T$aa$bb:20000:0:99999:7:::
";

#[test]
fn a_locked_account_stays_locked_and_the_upgrade_s_system_user_stays() {
    let source = SHADOW.replace("eve:$", "eve:!$");
    let target = format!("{SHADOW}_chrony:!:20400::::::\n");
    assert_eq!(
        merged(Format::Shadow, SHADOW, &source, &target),
        target.replace("eve:$", "eve:!$")
    );
}

#[test]
fn it_stays_locked_where_the_password_was_changed_on_the_other_side() {
    let locked = SHADOW.replace("eve:$", "eve:!$");
    let changed = SHADOW.replace("$bb:20000", "$cc:20401");
    let both = SHADOW.replace("eve:$y$j9T$aa$bb:20000", "eve:!$y$j9T$aa$cc:20401");
    assert_eq!(merged(Format::Shadow, SHADOW, &locked, &changed), both);
    assert_eq!(merged(Format::Shadow, SHADOW, &changed, &locked), both);
}

#[test]
fn a_lock_that_one_side_took_away_is_gone() {
    let locked = SHADOW.replace("eve:$", "eve:!$");
    let target = format!("{locked}_chrony:!:20400::::::\n");
    assert_eq!(
        merged(Format::Shadow, &locked, SHADOW, &target),
        format!("{SHADOW}_chrony:!:20400::::::\n")
    );
}

#[test]
fn new_passwords_on_both_sides_are_a_conflict_that_shows_neither() {
    let source = SHADOW.replace("$bb:20000", "$cc:20401");
    let target = SHADOW.replace("$bb:20000", "$dd:20402");
    assert_eq!(
        merged(Format::Shadow, SHADOW, &source, &target),
        "! eve: both sides changed the password differently\n"
    );
}

#[test]
fn different_fields_of_one_record_are_both_changed() {
    let source = PASSWD.replace("/home/eve:/bin/bash", "/home/eve:/bin/zsh");
    let target = PASSWD.replace("Eve,,,", "Eve Adams,,,");
    assert_eq!(
        merged(Format::Passwd, PASSWD, &source, &target),
        PASSWD.replace(
            "Eve,,,:/home/eve:/bin/bash",
            "Eve Adams,,,:/home/eve:/bin/zsh"
        )
    );
}

#[test]
fn the_same_field_changed_differently_is_a_conflict_and_nologin_is_no_lock() {
    let source = PASSWD.replace("/home/eve:/bin/bash", "/home/eve:/usr/sbin/nologin");
    let target = PASSWD.replace("/home/eve:/bin/bash", "/home/eve:/bin/zsh");
    assert_eq!(
        merged(Format::Passwd, PASSWD, &source, &target),
        "! eve: both sides changed the shell differently\n"
    );
}

#[test]
fn members_of_a_group_are_added_and_removed_one_by_one() {
    assert_eq!(
        merged(
            Format::Group,
            "sudo:x:27:eve,mallory\n",
            "sudo:x:27:eve\n",
            "sudo:x:27:eve,mallory,bob\nchrony:x:105:\n"
        ),
        "sudo:x:27:eve,bob\nchrony:x:105:\n"
    );
    assert_eq!(
        merged(
            Format::Gshadow,
            "sudo:!::\n",
            "sudo:!:eve:eve\n",
            "sudo:!:bob:\n"
        ),
        "sudo:!:bob,eve:eve\n"
    );
}

#[test]
fn two_users_with_one_number_are_a_conflict_that_names_both() {
    let alice = format!("{PASSWD}alice:x:1001:1001::/home/alice:/bin/sh\n");
    let bob = format!("{PASSWD}bob:x:1001:1001::/home/bob:/bin/sh\n");
    assert_eq!(
        merged(Format::Passwd, PASSWD, &alice, &bob),
        "! uid 1001 is alice in the source and bob in the target\n"
    );
    assert_eq!(
        merged(
            Format::Group,
            "root:x:0:\n",
            "root:x:0:\na:x:7:\n",
            "root:x:0:\nb:x:7:\n"
        ),
        "! gid 7 is a in the source and b in the target\n"
    );
}

#[test]
fn two_users_that_share_a_number_on_one_side_may_do_so() {
    let source = format!("{PASSWD}toor:x:0:0::/root:/bin/sh\n");
    let target = format!("{PASSWD}bob:x:1001:1001::/home/bob:/bin/sh\n");
    assert_eq!(
        merged(Format::Passwd, PASSWD, &source, &target),
        format!("{PASSWD}toor:x:0:0::/root:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n")
    );
}

#[test]
fn ranges_of_two_users_that_overlap_are_a_conflict_and_several_of_one_are_none() {
    assert_eq!(
        merged(
            Format::Subuid,
            "eve:100000:65536\n",
            "eve:100000:65536\nalice:165536:65536\n",
            "eve:100000:65536\nbob:200000:10\n"
        ),
        "! subordinate uid 200000 is alice in the source and bob in the target\n"
            .replace("alice", "alice:165536")
            .replace("bob", "bob:200000")
    );
    assert_eq!(
        merged(
            Format::Subgid,
            "eve:100000:65536\n",
            "eve:100000:65536\neve:300000:10\n",
            "eve:100000:1000\nbob:200000:10\n"
        ),
        "eve:100000:1000\neve:300000:10\nbob:200000:10\n"
    );
}

#[test]
fn a_deleted_user_is_gone_from_both_files_unless_the_other_side_changed_it() {
    let without = |text: &str| {
        text.lines()
            .take(2)
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let (passwd, shadow): (String, String) = (without(PASSWD), without(SHADOW));
    let grown = |text: &str| format!("{text}{}", "bob:x:1001:1001::/home/bob:/bin/sh\n");
    assert_eq!(
        merged(Format::Passwd, PASSWD, &passwd, &grown(PASSWD)),
        grown(&passwd)
    );
    let changed = SHADOW.replace("$bb:20000", "$cc:20401");
    assert_eq!(
        merged(Format::Shadow, SHADOW, &shadow, &changed),
        "! eve: deleted in the source, changed in the target\n"
    );
    assert_eq!(
        merged(Format::Shadow, SHADOW, &changed, &shadow),
        "! eve: changed in the source, deleted in the target\n"
    );
    // Who is deleted cannot log in: that the other side locked it says no more.
    let locked = SHADOW
        .replace("eve:$", "eve:!$")
        .replace("daemon:*", "daemon:!*");
    assert_eq!(
        merged(Format::Shadow, SHADOW, &shadow, &locked),
        shadow.replace("daemon:*", "daemon:!*")
    );
}

#[test]
fn a_user_both_sides_made_is_one_where_they_are_the_same() {
    let line = "chrony:x:105:107:Chrony,,,:/var/lib/chrony:/usr/sbin/nologin\n";
    let both = format!("{PASSWD}{line}");
    let source = format!("{both}bob:x:1001:1001::/home/bob:/bin/sh\n");
    assert_eq!(merged(Format::Passwd, PASSWD, &source, &both), source);
    assert_eq!(
        merged(Format::Passwd, PASSWD, &source, &both.replace("105", "106")),
        "! chrony: both sides made one, with a different uid\n"
    );
}

#[test]
fn what_the_target_has_more_from_before_stays_when_the_source_changes() {
    let base_target = format!("{SHADOW}_chrony:!:20400::::::\n");
    let source = SHADOW.replace("eve:$", "eve:!$");
    assert_eq!(
        merged_apart(
            Format::Shadow,
            [SHADOW, &source, &base_target, &base_target]
        ),
        base_target.replace("eve:$", "eve:!$")
    );
}

#[test]
fn a_new_line_follows_the_line_it_followed_and_nis_stays_last() {
    let base = "# people\nroot:x:0:0::/:/bin/sh\neve:x:1:1::/:/bin/sh\n+::::::\n";
    let source = "# people\nroot:x:0:0::/:/bin/sh\nadm:x:2:2::/:/bin/sh\neve:x:1:1::/:/bin/sh\nbob:x:3:3::/:/bin/sh\n+::::::\n";
    let target = "# people\nroot:x:0:0::/:/bin/sh\neve:x:1:1:Eve:/:/bin/sh\nsys:x:4:4::/:/bin/sh\n-mallory::::::\n+::::::\n";
    assert_eq!(
        merged(Format::Passwd, base, source, target),
        "# people\nroot:x:0:0::/:/bin/sh\nadm:x:2:2::/:/bin/sh\neve:x:1:1:Eve:/:/bin/sh\nbob:x:3:3::/:/bin/sh\nsys:x:4:4::/:/bin/sh\n-mallory::::::\n+::::::\n"
    );
    assert_eq!(
        merged(
            Format::Passwd,
            "",
            "a:x:1:1::/:/bin/sh\n",
            "b:x:2:2::/:/bin/sh\n+::::::"
        ),
        "b:x:2:2::/:/bin/sh\na:x:1:1::/:/bin/sh\n+::::::\n"
    );
}

#[test]
fn an_end_of_the_file_without_a_newline_stays_one() {
    assert_eq!(
        merged(
            Format::Group,
            "a:x:1:\nb:x:2:",
            "a:x:1:eve\nb:x:2:",
            "a:x:1:\nb:x:2:\nc:x:3:"
        ),
        "a:x:1:eve\nb:x:2:\nc:x:3:"
    );
}

#[test]
fn a_broken_file_is_not_merged_and_no_text_of_it_is_shown() {
    let broken = format!("{SHADOW}bob:$y$secret\n");
    let grown = format!("{SHADOW}_chrony:!:20400::::::\n");
    assert_eq!(
        merged(Format::Shadow, SHADOW, &broken, &grown),
        "! it is no shadow: line 4 of the source: it has 2 fields, and a line of shadow has 9\n"
    );
    assert_eq!(
        merged(Format::Shadow, SHADOW, &grown, &broken),
        "! it is no shadow: line 4 of the target: it has 2 fields, and a line of shadow has 9\n"
    );
    assert_eq!(
        merged(
            Format::Passwd,
            PASSWD,
            &PASSWD.replace("eve:", ":"),
            &PASSWD.replace("Eve", "")
        ),
        "! it is no passwd: line 3 of the source: its name is empty\n"
    );
    // Where nobody else changed it, it is carried as it is.
    assert_eq!(merged(Format::Shadow, SHADOW, &broken, SHADOW), broken);
}

#[test]
fn of_several_records_of_a_name_the_first_stays_the_first() {
    let base = "a:x:1:\nb:x:2:\n";
    assert_eq!(
        merged(
            Format::Group,
            base,
            "a:x:1:\nb:x:2:\na:x:9:\n",
            "b:x:2:\na:x:1:\n"
        ),
        "! a: there are several, and each side changed others of them\n"
    );
    assert_eq!(
        merged(
            Format::Group,
            base,
            "a:x:1:\na:x:9:\nb:x:2:\n",
            "a:x:1:\nb:x:2:eve\n"
        ),
        "a:x:1:\na:x:9:\nb:x:2:eve\n"
    );
}

#[test]
fn an_account_in_one_of_two_files_is_found() {
    let passwd = format!("{PASSWD}bob:x:1001:1001::/home/bob:/bin/sh\n");
    let shadow = SHADOW.replace("daemon", "games");
    assert_eq!(
        lonely(
            (Format::Passwd, passwd.as_bytes()),
            (Format::Shadow, shadow.as_bytes())
        ),
        [
            vec!["daemon".to_owned(), "bob".to_owned()],
            vec!["games".to_owned()]
        ]
    );
}

#[test]
fn only_the_system_s_own_files_are_files_of_records() {
    assert_eq!(Format::of(b"/etc/passwd"), Some(Format::Passwd));
    assert_eq!(Format::of(b"etc/gshadow"), Some(Format::Gshadow));
    assert_eq!(Format::of(b"/srv/etc/passwd"), None);
    assert_eq!(Format::of(b"/etc/passwd-"), None);
}
