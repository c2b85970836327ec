//! Everything in a machine's pools that an operation could change, as text to
//! compare.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use crate::machine::Machine;
use crate::ran::{sh, try_sh};

/// What stands where: an object's columns, an object's set property, a pool's
/// bootfs.
pub type Picture = BTreeMap<String, String>;

/// The columns of an object; the first is the key, the second its identity.
const COLUMNS: &str = "name,guid,origin,canmount,mountpoint,mounted,userrefs";

impl Machine {
    /// Every object of the machine's pools with its identity, origin and set
    /// properties.
    pub fn picture(&self) -> Picture {
        let pools = self.pools();
        let names: Vec<&str> = pools.iter().map(String::as_str).collect();
        let mut picture = Picture::new();
        let mut list = vec!["list", "-Hp", "-r", "-t", "all", "-o", COLUMNS];
        list.extend(&names);
        for line in sh("zfs", &list).lines() {
            let (name, rest) = line.split_once('\t').unwrap();
            picture.insert(name.to_owned(), rest.to_owned());
        }
        picture.extend(set_properties(settable(), "filesystem,volume", &names));
        for pool in &names {
            picture.extend(user_properties(pool));
        }
        let mut bootfs = vec!["get", "-H", "-o", "name,value", "bootfs"];
        bootfs.extend(&names);
        for line in sh("zpool", &bootfs).lines() {
            let (pool, value) = line.split_once('\t').unwrap();
            picture.insert(format!("bootfs of {pool}"), value.to_owned());
        }
        picture
    }

    /// Nothing in the machine's pools is different after `work`.
    #[track_caller]
    pub fn unchanged<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.picture();
        let result = work();
        assert_same(&before, &self.picture(), "nothing was to change");
        result
    }
}

/// The properties of ZFS's own that can be set, for `zfs get`: asking for `all`
/// takes several times as long, for some that cannot change.
fn settable() -> &'static str {
    static NAMES: OnceLock<String> = OnceLock::new();
    NAMES.get_or_init(|| {
        let names = beadm_rs::zfs::parse::settable(&try_sh("zfs", &["get"]).stderr);
        assert!(names.len() > 20, "{names:?}");
        names.join(",")
    })
}

/// The user properties set on everything in a pool, as a channel program sees
/// them: `zfs get` has to be told their names. Values come in hexadecimal, since
/// JSON ends at bytes that are no UTF-8.
fn user_properties(pool: &str) -> Picture {
    const PROGRAM: &str = r#"
        local found = {}
        local function hex(c)
            return string.format("%02x", string.byte(c))
        end
        local function own(object)
            for property, value, source in zfs.list.properties(object) do
                if source == object or source == "$recvd" then
                    found[object .. " " .. property] = string.gsub(value, ".", hex)
                end
            end
        end
        local function walk(dataset)
            own(dataset)
            for snapshot in zfs.list.snapshots(dataset) do own(snapshot) end
            for child in zfs.list.children(dataset) do walk(child) end
        end
        walk((...)["argv"][1])
        return found
    "#;
    let script = "printf %s \"$1\" | zfs program -jn -t 100000000 \"$2\" - \"$2\"";
    let said = try_sh("sh", &["-ec", script, "sh", PROGRAM, pool]);
    if said.exit != 0 {
        // A pool that is imported read-only runs none.
        return set_properties("all", "all", &[pool]);
    }
    let said: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let set = said["return"].as_object().unwrap();
    let text = |digits: &str| -> String {
        let bytes: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    set.iter()
        .map(|(key, value)| (key.clone(), text(value.as_str().unwrap())))
        .collect()
}

/// What `zfs get` says is set of these properties on objects of these types.
fn set_properties(properties: &str, types: &str, pools: &[&str]) -> Picture {
    let mut get = vec!["get", "-Hp", "-r", "-t", types, "-s", "local,received"];
    get.extend(["-o", "name,property,value", properties]);
    get.extend(pools);
    sh("zfs", &get)
        .lines()
        .map(|line| {
            let mut fields = line.splitn(3, '\t');
            let mut next = || fields.next().unwrap_or_default();
            (format!("{} {}", next(), next()), next().to_owned())
        })
        .collect()
}

/// Fails with what is different, and only that.
#[track_caller]
pub fn assert_same(expected: &Picture, found: &Picture, why: &str) {
    let different = differences(expected, found);
    assert!(different.is_empty(), "{why}:\n{}", different.join("\n"));
}

/// One line per entry that is not the same in both.
pub fn differences(one: &Picture, other: &Picture) -> Vec<String> {
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter()
        .filter(|key| one.get(*key) != other.get(*key))
        .map(|key| format!("{key}: {:?} -> {:?}", one.get(key), other.get(key)))
        .collect()
}

/// The picture with what is different in every run made the same: identities
/// of objects as their names, times and operation ids as words. What was there
/// `before` stays as it is.
pub fn normalised(picture: &Picture, before: &Picture) -> Picture {
    let known: BTreeSet<&str> = before
        .iter()
        .flat_map(|(key, value)| words(key).into_iter().chain(words(value)))
        .collect();
    let guids: BTreeMap<&str, &str> = picture
        .iter()
        .filter(|(key, _)| !key.contains(' '))
        .filter_map(|(key, value)| Some((value.split('\t').next()?, key.as_str())))
        .collect();
    let text = |text: &str| -> String {
        let mut result = String::new();
        let mut after_time = false;
        for word in pieces(text) {
            let time = is_time(word);
            let new = match word {
                word if known.contains(word) => word.to_owned(),
                _ if time => "TIME".to_owned(),
                word if after_time && word.len() == 8 => "ID".to_owned(),
                word => match guids.get(word) {
                    Some(name) => format!("<{name}>"),
                    None if is_operation(word) => "OPERATION".to_owned(),
                    None => word.to_owned(),
                },
            };
            result.push_str(&new);
            after_time = time || (after_time && word == ".");
        }
        result
    };
    // Names of objects can themselves hold a time: once more over the result.
    picture
        .iter()
        .map(|(key, value)| (text(key), text(&text(value))))
        .collect()
}

/// A text cut where letters and digits end or begin.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let alphanumeric = first.is_ascii_alphanumeric();
        let end = if alphanumeric {
            rest.find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn words(text: &str) -> Vec<&str> {
    let mut words = pieces(text);
    words.retain(|word| word.len() > 7);
    words
}

/// `20260102T030405Z`.
fn is_time(word: &str) -> bool {
    word.len() == 16 && word.ends_with('Z') && word.as_bytes().get(8) == Some(&b'T')
}

fn is_operation(word: &str) -> bool {
    word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}
