//! What `zfs` and `zpool` print.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use beadm_rs::zfs::parse::{self, Listing, OPTIONAL_COLUMNS};
use beadm_rs::zfs::{DatasetName, Mountpoint, Property, SURVEYED, SnapshotName, Source};

fn text(data: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// The pieces between bytes that no value of ZFS can hold.
fn pieces<const N: usize>(data: &[u8]) -> [String; N] {
    let mut pieces = data.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| text(pieces.next().unwrap_or_default()).into_owned())
}

/// Every pool has a line of its own.
pub fn pools(data: &[u8]) {
    let text = text(data);
    if let Ok(pools) = parse::pools(&text) {
        assert_eq!(pools.len(), text.lines().count());
        for (pool, line) in pools.iter().zip(text.split('\n')) {
            assert!(line.starts_with(&format!("{}\t", pool.name)), "{line:?}");
        }
    }
}

/// Every dataset and snapshot comes from a line of its own, and only once.
pub fn tree(data: &[u8]) {
    let (lacking, text) = match data.split_first() {
        Some((b'~', rest)) => (&OPTIONAL_COLUMNS[..], text(rest)),
        Some((b'!', rest)) => (&[parse::MARKS][..], text(rest)),
        _ => (&[][..], text(data)),
    };
    let Ok(Listing { datasets, cut }) = parse::tree(&text, lacking) else {
        return;
    };
    let names: Vec<&str> = datasets
        .iter()
        .flat_map(|dataset| {
            let snapshots = dataset.snapshots.iter().map(|snapshot| {
                assert_eq!(snapshot.name.dataset(), dataset.name);
                snapshot.name.as_str()
            });
            std::iter::once(dataset.name.as_str()).chain(snapshots)
        })
        .collect();
    for name in &names {
        assert_eq!(names.iter().filter(|other| *other == name).count(), 1);
        assert!(
            text.split('\n')
                .any(|line| line.starts_with(&format!("{name}\t")))
        );
    }
    assert!(cut.len() <= names.len());
}

/// A listing in which one dataset and its snapshot have these values, between
/// others.
fn listing(mountpoint: &str, mark: &str, description: &str) -> String {
    format!(
        "p/a\tfilesystem\t1\t7\t1700000000\t1\t2\t3\t-\tnoauto\tno\toff\t-\t-\t-\t-\t0\t/a\t1\t-\t-\t-\t-\t-\t-\t-\t-\t-\t1\t-\tp/a\n\
         p/b\tfilesystem\t2\t7\t1700000000\t1\t2\t3\t-\tnoauto\tno\toff\t-\t-\t-\t-\t0\t{mountpoint}\t2\t-\t-\t-\t{mark}\t-\t-\t-\t-\t-\t2\t{description}\tp/b\n\
         p/b@s\tsnapshot\t3\t7\t1700000000\t1\t2\t3\t-\t-\t-\t-\t-\t-\t-\t-\t0\t-\t3\t-\t-\t-\t{mark}\t-\t-\t-\t-\t-\t3\t{description}\tp/b@s\n\
         p/d\tfilesystem\t5\t7\t1700000000\t1\t2\t3\t-\tnoauto\tno\toff\t-\t-\t-\t-\t0\t/d\t5\t-\t-\t-\t-\t-\t-\t-\t-\t-\t5\tthe last\tp/d\n"
    )
}

/// Whatever somebody writes into the values of one dataset: it is read as it
/// was written, or nothing is. No other dataset comes, goes or changes.
pub fn tree_values(data: &[u8]) {
    static PLAIN: LazyLock<Listing> =
        LazyLock::new(|| parse::tree(&listing("/x", "-", "-"), &[]).expect("a plain listing"));
    let [path, mark, description] = pieces(data);
    let mountpoint = format!("/{path}");
    let Ok(found) = parse::tree(&listing(&mountpoint, &mark, &description), &[]) else {
        return;
    };
    let mut marks = BTreeMap::new();
    for (key, value) in [(SURVEYED[3], &mark), (SURVEYED[9], &description)] {
        if value != "-" {
            marks.insert(key.to_owned(), value.clone());
        }
    }
    let mut expected = PLAIN.clone();
    let own = &mut expected.datasets[1];
    own.mountpoint = Mountpoint::Path(mountpoint.as_str().into());
    own.snapshots[0].marks.clone_from(&marks);
    own.marks = marks;
    assert_eq!(found, expected);
    without_marks(&mountpoint);
}

/// The same where no marks are asked for: a mountpoint may then hold anything.
fn without_marks(mountpoint: &str) {
    let columns = "\t2\t7\t1700000000\t1\t2\t3\t-\tnoauto\tno\toff\t-\t-\t-\t-\t0\t";
    let text = format!("p/b\tfilesystem{columns}{mountpoint}\t2\tp/b\n");
    let found = parse::tree(&text, &[parse::MARKS]).expect("a listing without marks");
    assert_eq!(found.datasets.len(), 1);
    assert_eq!(
        found.datasets[0].mountpoint,
        Mountpoint::Path(mountpoint.into())
    );
}

/// Every property comes from a line of its own.
pub fn properties(data: &[u8]) {
    let text = text(data);
    if let Ok(found) = parse::properties(&text) {
        for (dataset, properties) in &found {
            assert!(!properties.is_empty());
            for property in properties {
                let begin = format!("{dataset}\t{}\t", property.name);
                assert!(text.split('\n').any(|line| line.starts_with(&begin)));
            }
        }
    }
}

/// Whatever somebody writes into two properties of one dataset: it is read as
/// it was written, or nothing is, or what is set on the other datasets is there
/// all the same, and nothing comes to those before it.
pub fn properties_values(data: &[u8]) {
    let [mountpoint, note] = pieces(data);
    let set = [
        ("p/a", "canmount", "noauto"),
        ("p/b", "mountpoint", &mountpoint),
        ("p/b", "x:note", &note),
        ("p/b/c", "canmount", "noauto"),
        ("p/b/c", "exec", "off"),
    ];
    let text: String = set
        .iter()
        .map(|(dataset, name, value)| format!("{dataset}\t{name}\tlocal\t{value}\t{name}\n"))
        .collect();
    let Ok(found) = parse::properties(&text) else {
        return;
    };
    let mut expected: BTreeMap<DatasetName, Vec<Property>> = BTreeMap::new();
    for (dataset, name, value) in set {
        let dataset = dataset.parse().expect("a name");
        expected.entry(dataset).or_default().push(Property {
            name: name.to_owned(),
            source: Source::Local,
            value: value.to_owned(),
        });
    }
    if found == expected {
        return;
    }
    let own: DatasetName = "p/b".parse().expect("a name");
    for (dataset, expected) in expected.iter().filter(|(dataset, _)| **dataset != own) {
        let properties = found.get(dataset).expect("what is set on it");
        if *dataset < own {
            assert_eq!(properties, expected);
        }
        assert!(
            expected
                .iter()
                .all(|property| properties.contains(property))
        );
    }
    assert!(
        found
            .keys()
            .all(|dataset| expected.contains_key(dataset) || *dataset >= own)
    );
}

/// What is asked of `zfs get` is a list of plain words of the text.
pub fn settable(data: &[u8]) {
    let text = text(data);
    for name in parse::settable(&text) {
        assert!(!name.is_empty() && !name.contains(','));
        assert!(text.split_whitespace().any(|word| word == name));
    }
}

/// A value comes back as it was, byte for byte; other text is an error or is
/// read, and nothing else.
pub fn user_properties(data: &[u8]) {
    let text = text(data);
    let _ = parse::user_properties(&text);
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let written = format!(r#"{{"return":{{"p/a":{{"x:y":"r{hex}"}}}}}}"#);
    let found = parse::user_properties(&written).expect("what the program writes");
    let property = &found.values().next().expect("a dataset")[0];
    assert_eq!(property.value, text);
    assert_eq!(property.source, Source::Received);
}

/// The other channel programs.
pub fn program(data: &[u8]) {
    let text = text(data);
    let _ = parse::outcome(&text);
    if let Ok(clones) = parse::clones(&text) {
        let shown: BTreeMap<&str, BTreeMap<&str, bool>> = clones
            .iter()
            .map(|(snapshot, clones)| {
                let clones = clones.iter().map(|clone| (clone.as_str(), true)).collect();
                (snapshot.as_str(), clones)
            })
            .collect();
        let written = serde_json::json!({ "return": shown }).to_string();
        assert_eq!(parse::clones(&written), Ok(clones));
    }
}

/// A tag is read as it was written, or as several where it is made to look so;
/// it is never lost or cut.
pub fn holds(data: &[u8]) {
    let snapshot: SnapshotName = "p/a@s".parse().expect("a name");
    let text = text(data);
    if let Ok(tags) = parse::holds(&text, &snapshot) {
        assert!(tags.len() <= text.split('\n').count());
    }
    let time = "Sat Nov 21  9:00 2026";
    let written = format!("{snapshot}\tkeep\t{time}\n{snapshot}\t{text}\t{time}\n");
    let several = format!("{text}\t").contains(&format!("\n{snapshot}\t"));
    match parse::holds(&written, &snapshot) {
        Ok(tags) if several => assert!(tags.len() > 2),
        Ok(tags) => assert_eq!(tags, ["keep", &text]),
        Err(_) => assert!(several),
    }
}

/// A number is one that stands there.
pub fn send_size(data: &[u8]) {
    let text = text(data);
    if let Ok(size) = parse::send_size(&text) {
        assert!(text.lines().any(|line| {
            line.strip_prefix("size\t").is_some_and(|digits| {
                digits.trim_start_matches('0') == size.to_string().trim_start_matches('0')
            })
        }));
    }
}
