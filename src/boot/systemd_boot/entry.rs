//! Entries of the Boot Loader Specification, type 1: one file each. Pure, and
//! total: whatever the file says, it is some entry or none.

use crate::boot::command_line::{PANIC, says_panic, with_root, words};
use crate::boot::watch::{Watch, is_archive};
use crate::zfs::Guid;

/// How the files of this program's own entries begin.
pub(super) const PREFIX: &str = "beadm-rs-";

/// How the files of entries end.
const SUFFIX: &str = ".conf";

/// What is behind the name of an entry that is not finished: systemd-boot reads
/// what ends in `.conf`.
pub(super) const STAGED: &str = ".new";

/// The sort key of this program's own entries. Those with the least come first,
/// and digits come before the letters of distributions' names, which others use.
pub(super) const SORT_KEY: &str = "0beadm-rs";

/// How often an entry is tried (Automatic Boot Assessment): `+LEFT-DONE` before
/// the end of the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counter {
    /// How many tries there are left.
    pub left: u32,
    /// How many were made.
    pub done: u32,
}

/// An entry of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    /// The environment.
    pub guid: Guid,
    /// The newest boots first. The entry of what boots once has none, 0.
    pub generation: u64,
}

impl Own {
    /// The name of its file.
    pub(super) fn file(self, tries: Option<u32>) -> String {
        let Self { guid, generation } = self;
        let counter = tries.map(|tries| format!("+{tries}")).unwrap_or_default();
        format!("{PREFIX}{guid}-{generation}{counter}{SUFFIX}")
    }
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Entry {
    /// Its file's name.
    pub file: String,
    /// It is on the partition that is written to.
    pub here: bool,
    /// Its lines: key and value, without comments.
    pub lines: Vec<(String, String)>,
    /// The options this program added for a trial, or for one boot.
    pub added: Vec<String>,
    /// All of it.
    pub text: String,
}

/// The comment that names the options that were added for a trial.
const ADDED: &str = "# for the trial: ";

impl Entry {
    /// Reads a file; `None` where systemd-boot would not take it for an entry by
    /// its name.
    pub(super) fn parse(file: &str, here: bool, text: &str) -> Option<Self> {
        let folded = file.to_ascii_lowercase();
        let is_entry =
            folded.ends_with(SUFFIX) && !folded.starts_with('.') && !folded.starts_with("auto-");
        is_entry.then(|| Self {
            file: file.to_owned(),
            here,
            lines: text.lines().filter_map(line).collect(),
            added: text
                .lines()
                .filter_map(|line| line.strip_prefix(ADDED))
                .flat_map(|options| options.split_whitespace().map(str::to_owned))
                .collect(),
            text: text.to_owned(),
        })
    }

    /// The last value of a key.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.values(key).next_back()
    }

    /// The kernel command line without what was added for a trial.
    pub(super) fn lasting_options(&self) -> String {
        let options = self.options();
        let added = |word: &&str| self.added.iter().any(|added| added == word);
        let kept: Vec<&str> = words(&options)
            .into_iter()
            .filter(|word| !added(word))
            .collect();
        kept.join(" ")
    }

    /// It has something that is there for a trial, or for one boot, alone.
    pub(super) fn is_provisional(&self) -> bool {
        !self.added.is_empty() || self.values("initrd").any(is_switch)
    }

    /// Its text with these options, on one line, and each other line as `edit` has
    /// it, which is given key, value and line.
    pub(super) fn edited(
        &self,
        options: &str,
        edit: impl Fn(&str, &str, &str) -> Option<String>,
    ) -> String {
        let mut options = Some(format!("options {options}"));
        let lines = self.text.lines().filter_map(|line| {
            let (key, value) = self::line(line).unwrap_or_default();
            match key.as_str() {
                "options" => options.take(),
                key => edit(key, &value, line),
            }
        });
        lines.map(|line| line + "\n").collect()
    }

    /// All values of a key.
    pub(super) fn values(&self, key: &str) -> impl DoubleEndedIterator<Item = &str> {
        self.lines
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The kernel command line it gives.
    pub(super) fn options(&self) -> String {
        self.values("options").collect::<Vec<_>>().join(" ")
    }

    /// What it starts; `None` where systemd-boot would pass it over.
    pub(super) fn image(&self) -> Option<&str> {
        let mut images = self
            .lines
            .iter()
            .filter(|(key, _)| matches!(key.as_str(), "linux" | "efi" | "uki" | "uki-url"));
        let (kind, image) = images.next_back()?;
        images.all(|(other, _)| other == kind).then_some(image)
    }

    /// It starts a unified image of an environment's, by this program.
    pub(super) fn is_unified(&self) -> bool {
        self.value("efi").is_some()
    }

    /// Its name and its counter.
    pub(super) fn counted(&self) -> (&str, Option<Counter>) {
        counted(&self.file)
    }

    /// Which of this program's own it is, by its name.
    pub(super) fn own(&self) -> Option<Own> {
        own(&self.file)
    }

    /// It has a counter, and no tries left.
    pub(super) fn is_exhausted(&self) -> bool {
        matches!(self.counted().1, Some(Counter { left: 0, .. }))
    }
}

/// A line: a key, spaces or tabs, a value, which may be quoted.
pub(super) fn line(text: &str) -> Option<(String, String)> {
    let text = text.trim();
    if text.starts_with('#') {
        return None;
    }
    let (key, value) = text.split_once([' ', '\t'])?;
    let value = value.trim_start();
    let unquoted = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some((key.to_owned(), unquoted.unwrap_or(value).to_owned()))
}

/// The name of a file without counter and end, and its counter.
pub(super) fn counted(file: &str) -> (&str, Option<Counter>) {
    let end = file.rfind('.').unwrap_or(file.len());
    let stem = file.get(..end).unwrap_or(file);
    let counter = || {
        let (name, counter) = stem.rsplit_once('+')?;
        let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // As large as systemd-boot takes (INT_MAX).
            let number = digits.then(|| text.parse::<u32>().ok())?;
            number.filter(|number| i32::try_from(*number).is_ok())
        };
        let (left, done) = (number(left)?, number(done)?);
        Some((name, Counter { left, done }))
    };
    match counter() {
        Some((name, counter)) => (name, Some(counter)),
        None => (stem, None),
    }
}

/// Which of this program's own entries a file of that name is.
pub(super) fn own(file: &str) -> Option<Own> {
    let folded = file.to_ascii_lowercase();
    let (name, _) = counted(folded.strip_suffix(SUFFIX).map(|_| folded.as_str())?);
    let (guid, generation) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some(Own {
        guid: guid.parse().ok()?,
        generation: generation.parse().ok()?,
    })
}

/// What an entry of this program is written from.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    /// What the menu shows.
    pub title: &'a str,
    /// The root's dataset.
    pub root: &'a str,
    /// Which entry.
    pub own: Own,
    /// Where kernel and initramfs are, from the partition's root.
    pub images: &'a str,
    /// The entry whose keys and options are kept.
    pub base: Option<&'a Entry>,
    /// The running command line, where there is no such entry.
    pub command_line: &'a str,
    /// It is for a trial, or for one boot: it has to end by itself.
    pub provisional: bool,
    /// The dead man's switch it gets.
    pub watch: Option<&'a Watch>,
    /// The command line of the unified image that it starts. With Secure Boot that
    /// counts whatever the entry says, so it does without, too.
    pub unified: Option<&'a str>,
}

/// The text of an entry.
pub(super) fn text(wanted: &Wanted<'_>) -> String {
    let base = wanted.base;
    let kept = || base.map_or_else(|| wanted.command_line.to_owned(), Entry::lasting_options);
    let mut options = with_root(
        &wanted.unified.map_or_else(kept, str::to_owned),
        wanted.root,
    );
    let mut added = Vec::new();
    if wanted.provisional && !says_panic(&options) {
        added.push(PANIC);
    }
    // Last, since of an option that is there twice the kernel takes the last.
    let watch = wanted.watch.iter().flat_map(|watch| &watch.options);
    added.extend(watch.map(String::as_str));
    let mut text = "# Made by beadm-rs, which writes it anew at each activation.\n".to_owned();
    if !added.is_empty() {
        let added = added.join(" ");
        options = format!("{options} {added}");
        text.push_str(&format!("{ADDED}{added}\n"));
    }
    let mut put = |key: &str, value: &str| text.push_str(&format!("{key} {value}\n"));
    put("title", wanted.title);
    put("sort-key", SORT_KEY);
    put("version", &wanted.own.generation.to_string());
    let image = format!("{}/linux", wanted.images);
    if wanted.unified.is_some() {
        put("efi", &image);
    } else {
        put("linux", &image);
        if let Some(watch) = wanted.watch {
            put("initrd", &format!("/{}", watch.file));
        }
        for initrd in extra_initrds(base) {
            put("initrd", initrd);
        }
        put("initrd", &format!("{}/initrd", wanted.images));
    }
    put("options", &options);
    for (key, value) in base.iter().flat_map(|base| &base.lines) {
        // The machine's id would come before the version in the order.
        let own = [
            "title",
            "sort-key",
            "version",
            "linux",
            "initrd",
            "options",
            "machine-id",
            "efi",
            "uki",
            "uki-url",
        ];
        if !own.contains(&key.as_str()) {
            put(key, value);
        }
    }
    text
}

/// Whether a line is there for a trial, or for one boot, alone; its options are
/// another thing.
pub(super) fn is_for_trial(key: &str, value: &str, line: &str) -> bool {
    line.starts_with(ADDED) || (key == "initrd" && is_switch(value))
}

/// The text of an entry that boots from now on: without what was there for the
/// trial alone, and under another number.
pub(super) fn confirmed(entry: &Entry, own: Own) -> String {
    entry.edited(&entry.lasting_options(), |key, value, line| match key {
        _ if is_for_trial(key, value, line) => None,
        "version" => Some(format!("version {}", own.generation)),
        _ => Some(line.to_owned()),
    })
}

/// The text of an entry whose environment is called differently now.
pub(super) fn renamed(entry: &Entry, root: &str, title: &str) -> String {
    let options = with_root(&entry.options(), root);
    entry.edited(&options, |key, _, line| match key {
        "title" => Some(format!("title {title}")),
        _ => Some(line.to_owned()),
    })
}

/// What else is loaded beside the initramfs, which comes last: microcode.
fn extra_initrds(base: Option<&Entry>) -> Vec<&str> {
    let mut initrds: Vec<&str> = base.iter().flat_map(|base| base.values("initrd")).collect();
    initrds.pop();
    initrds.retain(|path| !is_switch(path));
    initrds
}

/// Whether a path is that of a dead man's switch.
fn is_switch(path: &str) -> bool {
    path.rsplit(['/', '\\']).next().is_some_and(is_archive)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counters_are_read_as_systemd_boot_reads_them() {
        let some = |left, done| Some(Counter { left, done });
        for (file, name, counter) in [
            ("a.conf", "a", None),
            ("a+3.conf", "a", some(3, 0)),
            ("a+2-1.conf", "a", some(2, 1)),
            ("a+0-3.conf", "a", some(0, 3)),
            ("a+b+1.conf", "a+b", some(1, 0)),
            ("a+.conf", "a+", None),
            ("a+x.conf", "a+x", None),
            ("a+3-.conf", "a+3-", None),
            ("a+3x.conf", "a+3x", None),
            ("a+9999999999.conf", "a+9999999999", None),
        ] {
            assert_eq!(counted(file), (name, counter), "{file}");
        }
    }

    #[test]
    fn only_files_of_its_own_form_are_its_own() {
        let own_7_2 = Own {
            guid: Guid(7),
            generation: 2,
        };
        assert_eq!(own_7_2.file(None), "beadm-rs-7-2.conf");
        assert_eq!(own_7_2.file(Some(3)), "beadm-rs-7-2+3.conf");
        for file in ["beadm-rs-7-2.conf", "BEADM-RS-7-2+1-2.CONF"] {
            assert_eq!(own(file), Some(own_7_2), "{file}");
        }
        for file in [
            "beadm-rs-x-2.conf",
            "beadm-rs-7.conf",
            "beadm-rs-7-2.conf.new",
            "debian.conf",
        ] {
            assert_eq!(own(file), None, "{file}");
        }
    }

    #[test]
    fn a_file_is_an_entry_by_its_name() {
        let text = "# comment\ntitle \"A b\"\nlinux\t/vmlinuz\noptions a\noptions b\nx\n\n";
        let entry = Entry::parse("A.conf", true, text).unwrap();
        assert_eq!(entry.value("title"), Some("A b"));
        assert_eq!(entry.options(), "a b");
        assert_eq!(entry.image(), Some("/vmlinuz"));
        for file in ["auto-x.conf", ".x.conf", "x.conf.new", "x"] {
            assert!(Entry::parse(file, true, text).is_none(), "{file}");
        }
        let two = Entry::parse("a.conf", true, "linux /a\nefi /b\n").unwrap();
        assert_eq!(two.image(), None);
        assert_eq!(Entry::parse("a.conf", true, "").unwrap().image(), None);
    }

    fn wanted<'a>(base: Option<&'a Entry>, trial: bool) -> Wanted<'a> {
        Wanted {
            title: "new",
            root: "rpool/ROOT/new",
            own: Own {
                guid: Guid(7),
                generation: 5,
            },
            images: "/beadm-rs/abc",
            base,
            command_line: "BOOT_IMAGE=x root=zfs:AUTO ro",
            provisional: trial,
            watch: None,
            unified: None,
        }
    }

    #[test]
    fn an_entry_keeps_what_is_the_users_own() {
        let base = "title Debian\nmachine-id 1\nsort-key debian\nversion 6.1\nlinux /a\ninitrd /ucode\n\
                    initrd /b\noptions root=ZFS=rpool/ROOT/a quiet\narchitecture x64\n";
        let base = Entry::parse("debian.conf", true, base).unwrap();
        let made = text(&wanted(Some(&base), true));
        assert_eq!(
            made,
            "# Made by beadm-rs, which writes it anew at each activation.\n\
             # for the trial: panic=10\n\
             title new\nsort-key 0beadm-rs\nversion 5\nlinux /beadm-rs/abc/linux\ninitrd /ucode\n\
             initrd /beadm-rs/abc/initrd\noptions root=ZFS=rpool/ROOT/new quiet panic=10\n\
             architecture x64\n"
        );
        // What was added for the trial does not stay.
        let tried = Entry::parse("beadm-rs-7-5.conf", true, &made).unwrap();
        let again = text(&wanted(Some(&tried), false));
        assert!(
            again.contains("options root=ZFS=rpool/ROOT/new quiet\n"),
            "{again}"
        );
        assert!(!again.contains("# for"), "{again}");
        // What the user wants to happen happens.
        let own = Entry::parse("a.conf", true, "options panic=60\n").unwrap();
        assert!(text(&wanted(Some(&own), true)).contains("new panic=60\n"));
        assert!(text(&wanted(None, false)).contains("options root=ZFS=rpool/ROOT/new ro\n"));
    }

    #[test]
    fn a_switch_comes_first_and_does_not_stay() {
        let switch = format!("beadm-rs/watch-{}.img", "0a".repeat(32));
        let watch = Watch::of_file(&switch, &["rdinit=/beadm-rs-watch", "beadm-rs.watch=300"]);
        let base = "title Debian\nlinux /a\ninitrd /ucode\ninitrd /b\n\
                    options root=ZFS=rpool/ROOT/a rdinit=/own panic=60\n";
        let base = Entry::parse("debian.conf", true, base).unwrap();
        let made = text(&Wanted {
            watch: Some(&watch),
            ..wanted(Some(&base), true)
        });
        assert_eq!(
            made,
            format!(
                "# Made by beadm-rs, which writes it anew at each activation.\n\
                 # for the trial: rdinit=/beadm-rs-watch beadm-rs.watch=300\n\
                 title new\nsort-key 0beadm-rs\nversion 5\nlinux /beadm-rs/abc/linux\n\
                 initrd /{switch}\ninitrd /ucode\ninitrd /beadm-rs/abc/initrd\n\
                 options root=ZFS=rpool/ROOT/new rdinit=/own panic=60 rdinit=/beadm-rs-watch \
                 beadm-rs.watch=300\n"
            )
        );
        let tried = Entry::parse("beadm-rs-7-5+2-1.conf", true, &made).unwrap();
        assert!(tried.is_provisional());
        // Another's entry that is made from it, and its own when it is confirmed.
        let again = text(&wanted(Some(&tried), false));
        let lasting = "title new\nsort-key 0beadm-rs\nversion 5\nlinux /beadm-rs/abc/linux\n\
                       initrd /ucode\ninitrd /beadm-rs/abc/initrd\n\
                       options root=ZFS=rpool/ROOT/new rdinit=/own panic=60\n";
        let comment = "# Made by beadm-rs, which writes it anew at each activation.\n";
        assert_eq!(again, format!("{comment}{lasting}"));
        let own = Own {
            guid: Guid(7),
            generation: 6,
        };
        let settled = confirmed(&tried, own);
        let lasting = lasting.replace("version 5", "version 6");
        assert_eq!(settled, format!("{comment}{lasting}"));
        assert!(
            !Entry::parse("a.conf", true, &settled)
                .unwrap()
                .is_provisional()
        );
    }

    #[test]
    fn a_renamed_environment_keeps_everything_but_its_name() {
        let text = "# for the trial: panic=10\ntitle new\nx-own  1\noptions a root=ZFS=rpool/ROOT/new\n\
                    options panic=10\n";
        let entry = Entry::parse("beadm-rs-7-5.conf", true, text).unwrap();
        assert_eq!(
            renamed(&entry, "rpool/ROOT/newer", "newer"),
            "# for the trial: panic=10\ntitle newer\nx-own  1\n\
             options a root=ZFS=rpool/ROOT/newer panic=10\n"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_some_entry(file in ".{0,30}", text in "(?s).{0,200}") {
            if let Some(entry) = Entry::parse(&format!("{file}.conf"), true, &text) {
                let _ = (entry.counted(), entry.own(), entry.image(), entry.options());
                let again = super::text(&wanted(Some(&entry), true));
                let read = Entry::parse("a.conf", true, &again).unwrap();
                prop_assert_eq!(read.value("sort-key"), Some(SORT_KEY));
            }
        }
    }
}
