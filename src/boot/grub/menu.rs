//! A menu: a file that GRUB reads as its script, and this program by the lines
//! at its head. One for each state of things; none is ever written over.

use serde::{Deserialize, Serialize};

use super::script;
use crate::boot::copies::IMAGES;
use crate::zfs::{DatasetName, Guid};

/// The version of what stands at a menu's head.
const VERSION: u32 = 1;

/// Before each record at its head.
const RECORD: &str = "# beadm-rs: ";

/// An environment in a menu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its root.
    pub guid: Guid,
    /// The root's name.
    pub root: DatasetName,
    /// What is shown.
    pub title: String,
    /// Which copies of kernel and initramfs it starts.
    pub image: String,
    /// The kernel's command line.
    pub options: String,
    /// What is added where it is tried, or boots once; it has entries for that
    /// only where this is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional: Option<Provisional>,
}

/// What a boot gets that is not for good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Provisional {
    /// Archives that are loaded before the initramfs, from the partition's root.
    #[serde(default)]
    pub initrds: Vec<String>,
    /// What is added to the command line.
    #[serde(default)]
    pub options: String,
}

/// The first record.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failback: Option<Guid>,
}

/// A menu.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Menu {
    /// Its environments, in the order they are shown.
    pub entries: Vec<Entry>,
    /// The one of them that one more entry fails back to.
    pub failback: Option<Guid>,
}

/// Why a file is no menu.
#[derive(Debug, thiserror::Error)]
pub enum MenuError {
    /// It does not begin as one.
    #[error("it does not begin as a menu of beadm-rs")]
    NoHead,
    /// A record at its head is none.
    #[error("line {line} of it cannot be read: {cause}")]
    Record {
        /// The line's number.
        line: usize,
        /// Why not.
        cause: serde_json::Error,
    },
    /// It is another version's.
    #[error("version {0} of beadm-rs's menus is not known to this program")]
    Version(u32),
    /// Copies that are not where this program makes them, or an archive that is not.
    #[error("line {line} of it names '{path}', which is none of beadm-rs's files")]
    Foreign {
        /// The line's number.
        line: usize,
        /// What it names.
        path: String,
    },
}

/// The name of a menu's file, from the partition's root.
#[must_use]
pub fn file(number: u64) -> String {
    format!("{IMAGES}/menu-{number}.cfg")
}

/// Which menu a file of that name in this program's directory is.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("menu-")?.strip_suffix(".cfg")?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// A name in this program's directory that needs no quoting anywhere.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

impl Menu {
    /// Reads what stands at a menu's head; total, whatever the file says.
    ///
    /// # Errors
    /// Where it is none that this program wrote.
    pub fn parse(text: &str) -> Result<Self, MenuError> {
        let mut records = text
            .lines()
            .zip(1..)
            .skip_while(|(line, _)| !line.starts_with(RECORD) && line.starts_with('#'))
            .map_while(|(line, number)| Some((line.strip_prefix(RECORD)?, number)));
        let (head, line) = records.next().ok_or(MenuError::NoHead)?;
        let failed = |line| move |cause| MenuError::Record { line, cause };
        let head: Head = serde_json::from_str(head).map_err(failed(line))?;
        if head.version != VERSION {
            return Err(MenuError::Version(head.version));
        }
        let mut menu = Self {
            failback: head.failback,
            ..Self::default()
        };
        for (record, line) in records {
            let entry: Entry = serde_json::from_str(record).map_err(failed(line))?;
            let foreign = |path: &str| MenuError::Foreign {
                line,
                path: path.to_owned(),
            };
            if !is_plain(&entry.image) {
                return Err(foreign(&entry.image));
            }
            for path in entry.provisional.iter().flat_map(|more| &more.initrds) {
                path.strip_prefix(IMAGES)
                    .and_then(|path| path.strip_prefix('/'))
                    .filter(|name| is_plain(name))
                    .ok_or_else(|| foreign(path))?;
            }
            menu.entries.push(entry);
        }
        Ok(menu)
    }

    /// The file.
    ///
    /// # Errors
    /// None that is known: what a menu is made of can be written as JSON.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        let head = serde_json::to_string(&Head {
            version: VERSION,
            failback: self.failback,
        })?;
        let mut text = format!(
            "# Made by beadm-rs, which makes another one at each change.\n{RECORD}{head}\n"
        );
        for entry in &self.entries {
            text.push_str(&format!("{RECORD}{}\n", serde_json::to_string(entry)?));
        }
        text.push_str(&script::text(self));
        Ok(text)
    }

    /// The menu whose entry that fails back leads to an environment, where that
    /// has an entry of its own, and so its copies.
    #[must_use]
    pub fn leading_back_to(self, guid: Option<Guid>) -> Self {
        let failback = guid.filter(|guid| self.of(*guid).is_some());
        Self { failback, ..self }
    }

    /// An environment's entry.
    #[must_use]
    pub fn of(&self, guid: Guid) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.guid == guid)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn entry(guid: u64, name: &str, provisional: bool) -> Entry {
        Entry {
            guid: Guid(guid),
            root: format!("rpool/ROOT/{name}").parse().unwrap(),
            title: name.to_owned(),
            image: "abc".to_owned(),
            options: format!("root=ZFS=rpool/ROOT/{name} ro quiet"),
            provisional: provisional.then(|| Provisional {
                initrds: vec!["beadm-rs/watch-1.img".to_owned()],
                options: "panic=10".to_owned(),
            }),
        }
    }

    #[test]
    fn a_menu_is_read_as_it_was_written() {
        for entries in [
            vec![],
            vec![entry(1, "debian", false)],
            vec![entry(1, "debian", false), entry(2, "new", true)],
        ] {
            let menu = Menu {
                entries,
                failback: Some(Guid(1)),
            };
            assert_eq!(Menu::parse(&menu.text().unwrap()).unwrap(), menu);
        }
    }

    /// What wrote such menus takes a head that says more for one of its own.
    #[test]
    fn a_menu_without_an_entry_that_fails_back_is_read_and_has_none() {
        let menu = Menu {
            entries: vec![entry(1, "debian", false)],
            failback: None,
        };
        let text = menu.text().unwrap();
        assert!(text.contains("\n# beadm-rs: {\"version\":1}\n"), "{text}");
        assert!(!text.contains("failback"), "{text}");
        assert_eq!(Menu::parse(&text).unwrap(), menu);
        // One that leads to what is not in the menu is not shown.
        let text = menu.clone().leading_back_to(Some(Guid(2))).text().unwrap();
        assert!(!text.contains("failback"), "{text}");
        let text = menu.leading_back_to(Some(Guid(1))).text().unwrap();
        assert!(
            text.contains("\n# beadm-rs: {\"version\":1,\"failback\":\"1\"}\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_menu_is_told() {
        let menu = Menu {
            entries: vec![entry(1, "debian", true)],
            failback: None,
        };
        let told = |from: &str, to: &str| {
            let text = menu.text().unwrap().replacen(from, to, 1);
            Menu::parse(&text).unwrap_err().to_string()
        };
        assert_eq!(
            told("# beadm-rs:", "#:"),
            "line 3 of it cannot be read: missing field `version` at line 1 column 190"
        );
        assert_eq!(
            told("\"version\":1", "\"version\":2"),
            "version 2 of beadm-rs's menus is not known to this program"
        );
        assert_eq!(
            told("\"abc\"", "\"../x\""),
            "line 3 of it names '../x', which is none of beadm-rs's files"
        );
        assert_eq!(
            told("beadm-rs/watch-1.img", "own/watch-1.img"),
            "line 3 of it names 'own/watch-1.img', which is none of beadm-rs's files"
        );
        for text in ["", "# comment\n", "set default=0\n"] {
            let error = Menu::parse(text).unwrap_err();
            assert_eq!(error.to_string(), "it does not begin as a menu of beadm-rs");
        }
    }

    #[test]
    fn a_menu_is_known_by_its_name() {
        assert_eq!(file(7), "beadm-rs/menu-7.cfg");
        assert_eq!(number("menu-7.cfg"), Some(7));
        for name in [
            "menu-07.cfg",
            "menu-.cfg",
            "menu-+7.cfg",
            "menu-7.cfg.new",
            "7",
        ] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_titles_and_options_say_they_are_read_again(
            title in any::<String>(), options in any::<String>(), added in any::<String>(),
        ) {
            let mut odd = entry(7, "new", true);
            odd.title = title;
            odd.options = options;
            odd.provisional = Some(Provisional { initrds: Vec::new(), options: added });
            let menu = Menu {
                entries: vec![entry(1, "debian", false), odd],
                failback: Some(Guid(7)),
            };
            prop_assert_eq!(Menu::parse(&menu.text().unwrap()).unwrap(), menu);
        }

        #[test]
        fn any_text_is_a_menu_or_none(text in "(?s)(# beadm-rs: .{0,30}\n){0,3}.{0,60}") {
            if let Ok(menu) = Menu::parse(&text) {
                prop_assert_eq!(Menu::parse(&menu.text().unwrap()).unwrap(), menu);
            }
        }
    }
}
