//! The kernel's command line. Pure, and total.

/// What it says for the switch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// After how long the machine is restarted, seconds.
    pub seconds: Option<u64>,
    /// The init of the initramfs, where another one than the usual was asked for.
    pub init: Option<String>,
}

/// Longer than a day nobody waits for a machine; seconds.
const LONGEST: u64 = 86_400;

/// A time that can be meant: what is 0, or no number, would restart at once.
pub fn seconds(text: &str) -> Option<u64> {
    text.parse()
        .ok()
        .filter(|seconds| (1..=LONGEST).contains(seconds))
}

impl Line {
    /// Reads it. The last one of a parameter counts, as for the kernel; what
    /// comes behind `--` is for init. `own` is the path of this program, which is
    /// not what is to be started after it.
    pub fn parse(text: &str, own: &str) -> Self {
        let mut line = Self::default();
        for word in text
            .split_ascii_whitespace()
            .take_while(|word| *word != "--")
        {
            match word.split_once('=') {
                Some(("beadm-rs.watch", value)) => line.seconds = seconds(value),
                Some(("rdinit", path)) if path != own => line.init = Some(path.to_owned()),
                _ => {}
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_parameter_counts() {
        for (text, seconds, init) in [
            ("", None, None),
            (
                "root=ZFS=a ro rdinit=/w beadm-rs.watch=300",
                Some(300),
                None,
            ),
            ("beadm-rs.watch=60 beadm-rs.watch=90\n", Some(90), None),
            (
                "rdinit=/bin/sh beadm-rs.watch=60 rdinit=/w",
                Some(60),
                Some("/bin/sh"),
            ),
            ("rdinit=/a rdinit=/b", None, Some("/b")),
            ("beadm-rs.watch=0", None, None),
            ("beadm-rs.watch=86401", None, None),
            ("beadm-rs.watch=-1 rdinit", None, None),
            (
                "beadm-rs.watch=60 -- beadm-rs.watch=1 rdinit=/a",
                Some(60),
                None,
            ),
        ] {
            let init = init.map(str::to_owned);
            assert_eq!(Line::parse(text, "/w"), Line { seconds, init }, "{text}");
        }
    }
}
