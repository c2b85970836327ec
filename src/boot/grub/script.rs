//! The script of a menu: what GRUB does.
//!
//! It is in this one place, and only in forms that were seen to do what is
//! meant at real boots: no `&&`, no arithmetic, no variable that names a
//! function. GRUB has no `exit` from an entry either; where there is nothing
//! more to be tried the machine is rebooted, so that tries run out.

use super::block::{self, DONE, GOOD, ONCE, TRIAL, TRIES};
use super::menu::{Entry, Menu, Provisional};
use crate::boot::command_line::{FAILBACK, words};
use crate::boot::copies::{IMAGES, failback_title};

/// What every menu begins with: how a boot goes that is not for good. Before it
/// the block was written, so that whatever fails is not done again for ever.
const FUNCTIONS: &str = r#"
function beadm_rs_try {
    if linux "$@"; then true; else
        echo "beadm-rs: the kernel cannot be loaded; the machine starts again"
        sleep 3
        reboot
    fi
}
function beadm_rs_try_initrd {
    if initrd "$@"; then true; else
        echo "beadm-rs: the initramfs cannot be loaded; the machine starts again"
        sleep 3
        reboot
    fi
}
"#;

/// What every menu ends with: what grub-reboot(8) chose comes first.
const DEFAULT: &str = r#"if [ "$boot_once" = true ]; then
    echo "beadm-rs: what grub-reboot chose boots"
else
    set default="$beadm_rs_default"
fi
"#;

/// A text as one word of GRUB's, which is nothing but that text. In single quotes
/// nothing means anything, and no line ends in them.
pub(super) fn quoted(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The words of a kernel command line as GRUB's. It puts a word with a space in
/// it in double quotes, the whole word, and backslashes before quotes
/// (`grub_create_loader_cmdline`), so those around a value are taken off: the
/// kernel takes `"a=b c"` for what `a="b c"` is (`next_arg` in lib/cmdline.c).
fn options(options: &str) -> String {
    words(options)
        .iter()
        .map(|word| format!(" {}", quoted(&word.replace('"', ""))))
        .collect()
}

/// A kernel command line that GRUB gave, without the backslashes it put in.
pub(super) fn as_given(command_line: &str) -> String {
    let mut given = String::new();
    let mut characters = command_line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next_if(|next| matches!(next, '\\' | '\'' | '"')) {
                Some('"') => {}
                Some(next) => given.push(next),
                None => given.push(c),
            },
            _ => given.push(c),
        }
    }
    given
}

/// A path on the partition.
fn path(path: &str) -> String {
    format!("\"($beadm_rs_disk)/{path}\"")
}

fn linux(entry: &Entry) -> String {
    let kernel = path(&format!("{IMAGES}/{}/linux", entry.image));
    format!("{kernel}{}", options(&entry.options))
}

fn initrd(entry: &Entry) -> String {
    path(&format!("{IMAGES}/{}/initrd", entry.image))
}

/// The lines that start an environment for good.
fn good(entry: &Entry) -> String {
    started(entry, "")
}

/// The lines that start an environment with these options more.
fn started(entry: &Entry, more: &str) -> String {
    format!(
        "    linux {}{}\n    initrd {}\n",
        linux(entry),
        options(more),
        initrd(entry)
    )
}

/// An entry that is there whatever the block says.
fn lasting(title: &str, id: &str, starts: &str) -> String {
    let title = quoted(title);
    format!("menuentry {title} --id beadm-rs-{id} --unrestricted {{\n{starts}}}\n")
}

/// The function that starts whatever the block has for good.
fn boot_good(entries: &[Entry]) -> String {
    let mut text = "function beadm_rs_boot_good {\n".to_owned();
    for entry in entries {
        text.push_str(&format!(
            "  if [ \"${GOOD}\" = {} ]; then\n{}  fi\n",
            entry.guid,
            good(entry)
        ));
    }
    // A function has to have something in it.
    text.push_str("  true\n}\n");
    text
}

/// The lines of an entry that start an environment after the block was written;
/// `otherwise` is said where it could not be.
fn guarded(entry: &Entry, more: &Provisional, saved: &str, otherwise: &str) -> String {
    let initrds: Vec<String> = more.initrds.iter().map(|file| path(file)).collect();
    format!(
        r#"        if save_env -f {} {saved}; then
            beadm_rs_try {}{}
            beadm_rs_try_initrd {}
        else
            echo "beadm-rs: {otherwise}"
            beadm_rs_boot_good
        fi
"#,
        path(block::FILE),
        linux(entry),
        options(&more.options),
        [initrds, vec![initrd(entry)]].concat().join(" ")
    )
}

/// The entry of an environment that is tried.
fn tried(entry: &Entry, more: &Provisional) -> String {
    let guid = entry.guid;
    let title = quoted(&format!("{} (on trial)", entry.title));
    let saved = format!("{TRIES} {DONE}");
    let starts = guarded(
        entry,
        more,
        &saved,
        "the try cannot be counted, so it is not made",
    );
    format!(
        r#"if regexp '^1+$' "${TRIES}"; then
    if [ "${TRIAL}" = {guid} ]; then
        set beadm_rs_default=beadm-rs-trial
        menuentry {title} --id beadm-rs-trial --unrestricted {{
        regexp --set=1:{TRIES} '^1(1*)$' "${TRIES}"
        set {DONE}="1${DONE}"
{starts}        }}
    fi
fi
"#
    )
}

/// The entry of an environment that boots once.
fn once(entry: &Entry, more: &Provisional) -> String {
    let guid = entry.guid;
    let title = quoted(&format!("{} (once)", entry.title));
    let starts = guarded(
        entry,
        more,
        ONCE,
        "that it boots once cannot be noted, so it does not boot",
    );
    format!(
        r#"if [ "${ONCE}" = {guid} ]; then
    set beadm_rs_default=beadm-rs-once
    menuentry {title} --id beadm-rs-once --unrestricted {{
        set {ONCE}=
{starts}    }}
fi
"#
    )
}

/// The script of a menu. What boots once is said last: it comes before what is
/// tried. The entry that fails back is no default: none of the block's guids is
/// its name.
pub(super) fn text(menu: &Menu) -> String {
    let entries = &menu.entries;
    let mut text = FUNCTIONS.to_owned();
    text.push_str(&boot_good(entries));
    text.push_str(&format!("set beadm_rs_default=\"beadm-rs-${GOOD}\"\n"));
    for make in [tried, once] {
        for entry in entries {
            if let Some(more) = &entry.provisional {
                text.push_str(&make(entry, more));
            }
        }
    }
    for entry in entries {
        text.push_str(&lasting(
            &entry.title,
            &entry.guid.to_string(),
            &good(entry),
        ));
    }
    if let Some(entry) = menu.failback.and_then(|guid| menu.of(guid)) {
        let title = failback_title(&entry.title);
        text.push_str(&lasting(&title, "failback", &started(entry, FAILBACK)));
    }
    text.push_str(DEFAULT);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::menu::tests::entry;
    use super::*;
    use crate::zfs::Guid;

    #[test]
    fn the_script_is_this() {
        let mut new = entry(2, "new", true);
        new.title = "it's \"new\" $HOME".to_owned();
        new.options = "root=ZFS=rpool/ROOT/new dyndbg=\"file a +p\" x='".to_owned();
        let text = text(&Menu {
            entries: vec![entry(1, "debian", false), new],
            failback: Some(Guid(1)),
        });
        assert_eq!(text, include_str!("script.expected"));
    }

    #[test]
    fn what_grub_put_in_is_taken_out() {
        for (given, meant) in [
            (r"by=it\'s\$x\\y", r"by=it's\$x\y"),
            ("\"foo=a b\" ro", "\"foo=a b\" ro"),
            (r"a\x20b", r"a\x20b"),
            (r"a\", r"a\"),
        ] {
            assert_eq!(as_given(given), meant);
        }
    }

    /// What GRUB makes of a word: its lexer's rules for single quotes and for a
    /// backslash outside of them.
    fn unquoted(word: &str) -> Option<String> {
        let mut text = String::new();
        let mut characters = word.chars();
        while let Some(c) = characters.next() {
            match c {
                '\'' => loop {
                    match characters.next()? {
                        '\'' => break,
                        c => text.push(c),
                    }
                },
                '\\' => text.push(characters.next()?),
                _ => return None,
            }
        }
        Some(text)
    }

    proptest! {
        #[test]
        fn a_quoted_text_is_that_text_and_nothing_else(text in any::<String>()) {
            let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            prop_assert_eq!(unquoted(&quoted(&text)), Some(shown));
        }

        #[test]
        fn a_title_adds_no_line_to_the_script(title in any::<String>()) {
            let of = |odd: &Entry| text(&Menu {
                entries: vec![odd.clone()],
                failback: Some(odd.guid),
            });
            let mut odd = entry(2, "new", true);
            let lines = of(&odd).lines().count();
            odd.title = title;
            prop_assert_eq!(of(&odd).lines().count(), lines);
        }

        #[test]
        fn any_command_line_was_given_somehow(text in any::<String>()) {
            prop_assert!(as_given(&text).len() <= text.len());
        }
    }
}
