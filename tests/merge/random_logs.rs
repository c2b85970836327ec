//! Properties of what is added to logs.

use std::collections::BTreeSet;

use beadm_rs::sync::append::{append, prepend};
use beadm_rs::sync::content::Contents;
use proptest::prelude::*;

use super::config;

fn contents<'a>(four: &'a [String; 4], target: &'a [u8]) -> Contents<'a> {
    Contents {
        base_source: Some(four[0].as_bytes()),
        source: four[1].as_bytes(),
        base_target: Some(four[2].as_bytes()),
        target,
    }
}

/// What a daemon does to its log, or somebody to the daemon's.
#[derive(Debug, Clone)]
enum Doing {
    Write(&'static str),
    TurnOver,
    CutFront(usize),
    CutEnd(usize),
}

fn doings() -> impl Strategy<Value = Vec<Doing>> {
    let doing = prop_oneof![
        10 => prop::sample::select(vec![
            "a\n", "b\n", "c\n", "a\nb\n", "b\na\n", "ab\n", "aa\nb\na\n", "c\nc\n", "a", "ab", "b\nc",
        ])
        .prop_map(Doing::Write),
        1 => Just(Doing::TurnOver),
        1 => (0..6_usize).prop_map(Doing::CutFront),
        1 => (0..9_usize).prop_map(Doing::CutEnd),
    ];
    prop::collection::vec(doing, 0..4)
}

fn done(log: &str, doings: &[Doing]) -> String {
    let mut log = log.to_owned();
    for doing in doings {
        match doing {
            Doing::Write(text) => log.push_str(text),
            Doing::TurnOver => log.clear(),
            Doing::CutFront(lines) => {
                log = log.split_inclusive('\n').skip(*lines).collect();
            }
            Doing::CutEnd(length) => log.truncate(*length),
        }
    }
    log
}

fn four() -> impl Strategy<Value = [String; 4]> {
    (doings(), doings(), doings(), any::<bool>()).prop_map(|(base, source, target, written)| {
        let base = done("", &base);
        // Mostly logs are written to and nothing else.
        let only = |doings: Vec<Doing>| -> Vec<Doing> {
            let writes = |doing: &Doing| !written || matches!(doing, Doing::Write(_));
            doings.into_iter().filter(writes).collect()
        };
        let source = done(&base, &only(source));
        let target = done(&base, &only(target));
        [base.clone(), source, base, target]
    })
}

fn lines(text: &[u8]) -> BTreeSet<String> {
    String::from_utf8_lossy(text)
        .lines()
        .map(str::to_owned)
        .collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_of_the_target_changes_and_what_was_written_to_the_source_is_there(four in four()) {
        let [base, source, _, target] = &four;
        let merged = append(&contents(&four, target.as_bytes())).unwrap();
        prop_assert!(merged.starts_with(target.as_bytes()));
        if let Some(added) = source.strip_prefix(base.as_str()) {
            // A line that was begun before is one only with its beginning.
            let begun = base.rsplit('\n').next().unwrap();
            let added = format!("{begun}{added}");
            if added != begun {
                let missing: Vec<_> =
                    lines(added.as_bytes()).difference(&lines(&merged)).cloned().collect();
                prop_assert!(missing.is_empty(), "{missing:?}");
            }
        }
    }

    #[test]
    fn what_was_carried_is_not_carried_again(four in four()) {
        for make in [append, prepend] {
            let merged = make(&contents(&four, four[3].as_bytes())).unwrap();
            let again = make(&contents(&four, &merged)).unwrap();
            prop_assert_eq!(String::from_utf8(again), String::from_utf8(merged));
        }
    }

    #[test]
    fn without_a_change_in_the_source_nothing_is_added(four in four()) {
        let four = [four[0].clone(), four[0].clone(), four[2].clone(), four[3].clone()];
        for make in [append, prepend] {
            prop_assert_eq!(make(&contents(&four, four[3].as_bytes())).unwrap(), four[3].as_bytes());
        }
    }

    #[test]
    fn each_line_comes_once_over_many_times(
        rounds in prop::collection::vec((0..3_u32, 0..3_u32, any::<bool>()), 1..6),
    ) {
        // Every line is its own, as with times in front; at times the log is turned over.
        let mut number = 0;
        let mut line = || {
            number += 1;
            format!("line {number}\n")
        };
        let (mut source, mut target) = (String::new(), String::new());
        let mut written = Vec::new();
        for (to_source, to_target, turned_over) in rounds {
            let (base_source, base_target) = (source.clone(), target.clone());
            if turned_over {
                source.clear();
            }
            for _ in 0..to_source {
                written.push(line());
                source.push_str(written.last().unwrap());
            }
            for _ in 0..to_target {
                written.push(line());
                target.push_str(written.last().unwrap());
            }
            let four = [base_source, source.clone(), base_target, target.clone()];
            target = String::from_utf8(append(&contents(&four, target.as_bytes())).unwrap()).unwrap();
        }
        let mut found: Vec<String> = target.split_inclusive('\n').map(str::to_owned).collect();
        found.sort();
        written.sort();
        prop_assert_eq!(found, written);
    }

    #[test]
    fn in_front_nothing_of_the_target_changes_either(four in four()) {
        let merged = prepend(&contents(&four, four[3].as_bytes())).unwrap();
        prop_assert!(merged.ends_with(four[3].as_bytes()));
    }
}
