//! What is carried between environments: the list, and files of either side.

use beadm_rs::sync::append::{Binary, append, prepend};
use beadm_rs::sync::content::Contents;
use beadm_rs::sync::list::{Rule, Source, Synclist};
use beadm_rs::sync::records::{Format, merge};

fn list(text: &[u8]) -> Option<Synclist> {
    let source = Source {
        file: "synclist",
        text,
    };
    Synclist::parse(Some(source), &[]).ok()
}

/// What was read can be written, and read again; every path is met once from the tops.
pub fn synclist(data: &[u8]) {
    let Some(read) = list(data) else {
        return;
    };
    let mut written = String::new();
    for rule in read.rules() {
        let path = rule.path.as_str();
        assert!(path.starts_with('/') && !path.ends_with('/') && !path.contains("//"));
        let dots = |name: &str| matches!(name, "." | "..");
        assert!(!path.split('/').any(dots), "{path}");
        assert_eq!(read.policy_of(path.as_bytes()), rule.policy);
        let path = path.replace('\\', "\\\\").replace('"', "\\\"");
        let policy = rule.policy.map_or("-", |policy| policy.as_str());
        written.push_str(&format!("\"{path}\" {policy}\n"));
    }
    let again = list(written.as_bytes()).expect("what was written is a list");
    let said = |list: &Synclist| -> Vec<_> {
        let said = |rule: &Rule| (rule.path.clone(), rule.policy);
        list.rules().map(said).collect()
    };
    assert_eq!(said(&read), said(&again));
    for rule in read.tops() {
        let above = rule.path.parent().expect("a rule is never for the root");
        assert_eq!(read.policy_of(above.as_str().as_bytes()), None);
    }
}

/// The four versions, each ended by a byte that is in no text.
fn versions(data: &[u8]) -> [&[u8]; 4] {
    let mut parts = data.splitn(4, |byte| *byte == 0xff);
    [(); 4].map(|()| parts.next().unwrap_or_default())
}

fn contents<'a>(versions: [&'a [u8]; 4], target: &'a [u8]) -> Contents<'a> {
    Contents {
        base_source: Some(versions[0]),
        source: versions[1],
        base_target: Some(versions[2]),
        target,
    }
}

/// The result can be merged again, and is the same; every line comes from a side or from
/// the merge of a record of both.
pub fn sync_records(data: &[u8]) {
    let formats = [
        Format::Passwd,
        Format::Shadow,
        Format::Group,
        Format::Gshadow,
        Format::Subuid,
        Format::Subgid,
    ];
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let format = formats[usize::from(*first) % formats.len()];
    let versions = versions(rest);
    if let Ok(merged) = merge(format, &contents(versions, versions[3])) {
        assert_eq!(
            merge(format, &contents(versions, &merged)).as_ref(),
            Ok(&merged)
        );
        let name = |line: &[u8]| line.split(|byte| *byte == b':').next().map(<[u8]>::to_vec);
        let lines = |bytes: &[u8]| -> std::collections::BTreeSet<_> {
            bytes.split(|byte| *byte == b'\n').map(name).collect()
        };
        let sides = &lines(versions[1]) | &lines(versions[3]);
        assert!(lines(&merged).is_subset(&sides) || merged.is_empty());
    }
}

type Make = fn(&Contents<'_>) -> Result<Vec<u8>, Binary>;

/// What the target has stays as it is, and nothing is added twice.
pub fn sync_append(data: &[u8]) {
    let versions = versions(data);
    let both: [(Make, bool); 2] = [(append, true), (prepend, false)];
    for (make, behind) in both {
        let Ok(made) = make(&contents(versions, versions[3])) else {
            continue;
        };
        assert!(if behind {
            made.starts_with(versions[3])
        } else {
            made.ends_with(versions[3])
        });
        assert_eq!(make(&contents(versions, &made)).as_ref(), Ok(&made));
    }
}
