//! Stopped in the middle.

use super::machine;
use crate::boot::machine::{Act, stopped_anywhere};

#[test]
fn wherever_it_is_stopped_the_loader_and_the_pool_agree() {
    stopped_anywhere(machine, |machine, told| {
        assert!(
            machine.entries().iter().all(|file| file.ends_with(".conf")),
            "{told}"
        );
    });
}

#[test]
fn an_interrupted_end_or_renaming_is_completed() {
    for new in [Act::Destroy("new"), Act::Rename("new", "newer")] {
        for stopped in 0.. {
            let machine = machine();
            machine.act(&Act::Good("new"));
            machine.act(&Act::Good("debian"));
            let guid = machine.guid("new");
            let plan = machine.plan(&new).unwrap();
            let done = machine.stopped_after(stopped, &plan);
            machine.recover();
            assert_eq!(machine.next().as_deref(), Some("debian"), "{stopped}");
            // An entry names what is there, and nothing is named that is gone.
            let survey = machine.survey();
            for (file, text) in machine.files() {
                if file.contains(&guid.to_string()) && file.ends_with(".conf") {
                    let root = crate::check::root_of(&text).unwrap();
                    assert!(
                        survey.datasets.contains_key(&root),
                        "{stopped}: {file} {text}"
                    );
                }
            }
            if done.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn wherever_the_copy_of_a_kernel_is_stopped_one_boots_and_the_next_copies_it() {
    for stopped in 0.. {
        let machine = machine();
        machine.act(&Act::Good("debian"));
        machine.installs("newer");
        let plan = machine.kernel_updated();
        let done = machine.stopped_after(stopped, &plan);
        let boots = |told: &str| {
            assert_eq!(machine.next().as_deref(), Some("debian"), "{told}");
            let files = machine.files();
            let entry = files
                .iter()
                .rev()
                .find(|(file, _)| file.contains("/beadm-rs-") && file.ends_with(".conf"))
                .map(|(_, text)| text.clone())
                .unwrap();
            let initrd = entry
                .lines()
                .find_map(|line| line.strip_prefix("initrd /"))
                .unwrap();
            files[initrd].ends_with("newer")
        };
        boots(&format!("stopped after {stopped}"));
        machine.recover();
        boots(&format!("recovered after {stopped}"));
        machine.carry_out(&machine.kernel_updated()).unwrap();
        assert!(boots("again"), "{stopped}");
        let files = machine.files();
        assert!(
            files.keys().all(|file| !file.ends_with(".new")),
            "{stopped}"
        );
        if done.is_ok() {
            assert!(stopped > 4, "{stopped}");
            break;
        }
    }
}
