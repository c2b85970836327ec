//! A machine that stops in the middle of it.

use super::*;

#[test]
fn wherever_it_is_stopped_the_loader_and_the_pool_agree() {
    stopped_anywhere(machine, is_tidy);
}

#[test]
fn an_interrupted_end_or_renaming_is_completed() {
    for new in [Act::Destroy("new"), Act::Rename("new", "newer")] {
        for stopped in 0.. {
            let machine = machine();
            machine.act(&Act::Good("new"));
            machine.act(&Act::Good("debian"));
            let plan = machine.plan(&new).unwrap();
            let done = machine.stopped_after(stopped, &plan);
            machine.recover();
            assert_eq!(machine.starts(), "debian", "{stopped}");
            // Whatever the menu names is there.
            let survey = machine.survey();
            for entry in machine.menu().entries {
                assert!(
                    survey.datasets.contains_key(&entry.root),
                    "{stopped}: {entry:?}"
                );
            }
            // What is left over goes with the next change.
            machine.act(&Act::Good("other"));
            is_tidy(&machine, &format!("stopped after {stopped}"));
            if done.is_ok() {
                assert!(stopped > 2, "{stopped}");
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
        let told = format!("stopped after {stopped}");
        assert_eq!(machine.starts(), "debian", "{told}");
        machine.recover();
        assert_eq!(machine.starts(), "debian", "{told}");
        is_tidy(&machine, &told);
        machine.carry_out(&machine.kernel_updated()).unwrap();
        let entry = machine.menu().of(machine.guid("debian")).unwrap().clone();
        let initrd = &machine.files()[&format!("beadm-rs/{}/initrd", entry.image)];
        assert!(initrd.ends_with("newer"), "{told}");
        if done.is_ok() {
            assert!(stopped > 4, "{stopped}");
            break;
        }
    }
}

#[test]
fn a_confirmation_that_is_stopped_is_done_by_the_next_one() {
    for stopped in 0.. {
        let machine = machine();
        machine.act(&Act::Trial("new"));
        assert_eq!(machine.starts(), "new");
        machine.sim.reboot_into(&dataset("new")).unwrap();
        let confirm = || {
            let host = machine.host();
            crate::plan::confirm::plan(&machine.survey(), host.loader.as_ref()).unwrap()
        };
        let plan = confirm();
        let done = machine.stopped_after(stopped, &plan);
        let next = machine.state().next;
        assert_eq!(next, Some(dataset("new")), "{stopped}");
        machine.carry_out(&confirm()).unwrap();
        assert_eq!(seen(&machine), (some("new"), some("new"), None));
        let survey = machine.survey();
        assert_eq!(survey.trial().unwrap(), None);
        assert_eq!(survey.last_good(), Some(machine.guid("new")));
        if done.is_ok() {
            assert!(stopped > 2, "{stopped}");
            break;
        }
    }
}
