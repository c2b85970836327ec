//! This program's lines in `custom.cfg`, which every `grub.cfg` that
//! grub-mkconfig(8) makes reads at its end (`/etc/grub.d/41_custom`). They read
//! the block and then the menu that it names. What else stands in that file is
//! somebody else's, and stays.

use std::ops::Range;

use super::block::{FILE, MENU, VARIABLES};

/// Where it is, from the partition's root.
pub(super) const CUSTOM: &str = "grub/custom.cfg";

const BEGIN: &str = "### BEGIN beadm-rs ###";
const END: &str = "### END beadm-rs ###";

/// What a file has of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stub {
    /// They are there as this program writes them.
    Current,
    /// They are there otherwise: another version wrote them, or somebody
    /// changed them.
    Other,
    /// They are not there.
    Absent,
    /// Only one of the two marking lines is there, or they are in a wrong order.
    Damaged,
}

/// The lines.
#[must_use]
pub fn text() -> String {
    let variables = VARIABLES.join(" ");
    format!(
        "{BEGIN}
# Boot environments. Written by beadm-rs init; what is around it is left alone.
if regexp --set=1:beadm_rs_disk '^\\(([^)]*)\\)' \"$prefix\"; then
  if load_env -f \"($beadm_rs_disk)/{FILE}\" {variables}; then
    source \"($beadm_rs_disk)/beadm-rs/menu-${MENU}.cfg\"
  fi
fi
{END}
"
    )
}

/// The bytes from the first marking line to the end of the last.
fn marked(custom: &str) -> Result<Option<Range<usize>>, ()> {
    let mut at = 0;
    let (mut begin, mut end) = (None, None);
    for line in custom.split_inclusive('\n') {
        let (start, stop) = (at, at + line.len());
        at = stop;
        let place = match line.trim_end() {
            BEGIN => &mut begin,
            END => &mut end,
            _ => continue,
        };
        if place.replace(start..stop).is_some() {
            return Err(());
        }
    }
    match (begin, end) {
        (None, None) => Ok(None),
        (Some(begin), Some(end)) if begin.start < end.start => Ok(Some(begin.start..end.end)),
        _ => Err(()),
    }
}

/// What a file has of them.
#[must_use]
pub fn state(custom: &str) -> Stub {
    match marked(custom) {
        Err(()) => Stub::Damaged,
        Ok(None) => Stub::Absent,
        Ok(Some(range)) if custom.get(range.clone()) == Some(&text()) => Stub::Current,
        Ok(Some(_)) => Stub::Other,
    }
}

/// The file with them, in the place they have, else at its end; `None` where the
/// marking lines are damaged, so that what is this program's cannot be told.
#[must_use]
pub fn inserted(custom: &str) -> Option<String> {
    let range = marked(custom).ok()?;
    let (before, after) = match range {
        Some(range) => (custom.get(..range.start)?, custom.get(range.end..)?),
        None => (custom, ""),
    };
    let line_end = if before.is_empty() || before.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    Some(format!("{before}{line_end}{}{after}", text()))
}

/// What somebody says after them about what boots by default: a line that sets
/// it. GRUB does what is said last.
#[must_use]
pub fn overruled(after: &str) -> Option<&str> {
    after.lines().map(str::trim).find(|line| {
        let line = line.strip_prefix("set ").unwrap_or(line).trim_start();
        line.starts_with("default=")
    })
}

/// What stands behind them.
#[must_use]
pub fn behind(custom: &str) -> &str {
    match marked(custom) {
        Ok(Some(range)) => custom.get(range.end..).unwrap_or_default(),
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lines_are_these() {
        assert_eq!(
            text(),
            "### BEGIN beadm-rs ###\n\
             # Boot environments. Written by beadm-rs init; what is around it is left alone.\n\
             if regexp --set=1:beadm_rs_disk '^\\(([^)]*)\\)' \"$prefix\"; then\n\
             \x20 if load_env -f \"($beadm_rs_disk)/beadm-rs/grubenv\" beadm_rs_menu beadm_rs_good \
             beadm_rs_trial beadm_rs_once beadm_rs_tries beadm_rs_done; then\n\
             \x20   source \"($beadm_rs_disk)/beadm-rs/menu-$beadm_rs_menu.cfg\"\n\
             \x20 fi\n\
             fi\n\
             ### END beadm-rs ###\n"
        );
    }

    #[test]
    fn what_is_somebody_elses_stays() {
        assert_eq!(state(""), Stub::Absent);
        assert_eq!(inserted("").unwrap(), text());
        let own = "menuentry 'mine' { true }";
        let with = inserted(own).unwrap();
        assert_eq!(with, format!("{own}\n{}", text()));
        assert_eq!(state(&with), Stub::Current);
        let more = format!("{with}set default=mine\n");
        let older = more.replace("load_env", "load_env -s");
        assert_eq!(state(&older), Stub::Other);
        assert_eq!(inserted(&older).unwrap(), more);
        assert_eq!(overruled(behind(&more)), Some("set default=mine"));
        assert_eq!(overruled(behind(&with)), None);
    }

    #[test]
    fn what_is_damaged_is_not_touched() {
        for lines in [
            vec![BEGIN],
            vec![END],
            vec![END, BEGIN],
            vec![BEGIN, END, END],
            vec![BEGIN, BEGIN, END],
        ] {
            let text = lines.join("\n");
            assert_eq!(state(&text), Stub::Damaged, "{text}");
            assert_eq!(inserted(&text), None);
        }
    }

    proptest! {
        #[test]
        fn inserted_once_it_stays(custom in "(?s)[a-z#\n]{0,80}") {
            let with = inserted(&custom).unwrap();
            prop_assert!(with.starts_with(&custom));
            prop_assert_eq!(state(&with), Stub::Current);
            prop_assert_eq!(inserted(&with), Some(with));
        }
    }
}
