//! Notes and pins, and what is said in JSON.

use crate::machine::Machine;

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn pins_and_descriptions_are_set_shown_and_taken_away() {
    let machine = Machine::new();
    let before = machine.picture();
    let row = |machine: &Machine| {
        let listed = machine.run(&["list", "-H", "old"]).succeeds().stdout;
        let cells: Vec<String> = listed.trim_end().split('\t').map(str::to_owned).collect();
        (cells[1].clone(), cells[6].clone())
    };
    machine
        .run(&["pin", "old"])
        .says(0, "old is pinned: it is not destroyed until it is unpinned");
    machine
        .run(&["describe", "old", "vor dem Update: ü €"])
        .says(0, "old is described");
    assert_eq!(
        row(&machine),
        ("RP".to_owned(), "vor dem Update: ü €".to_owned())
    );
    machine.unchanged(|| {
        machine.run(&["pin", "old"]).says(0, "old is pinned already");
        machine.run(&["describe", "old", "a\tb"]).says(
            3,
            "refused to describe old: a description is one line without tabs or other control characters",
        );
    });
    machine.run(&["describe", "old", ""]).succeeds();
    machine
        .run(&["unpin", "old"])
        .says(0, "old is not pinned any more");
    machine.run(&["unpin", "old"]).says(0, "old is not pinned");
    assert_eq!(row(&machine), ("R".to_owned(), "-".to_owned()));
    crate::picture::assert_same(&before, &machine.picture(), "all was taken away");
    // A clone has neither.
    machine.run(&["pin", "old"]).succeeds();
    machine.run(&["describe", "old", "x"]).succeeds();
    machine.clone_of("old", "new");
    assert_eq!(machine.get("ROOT/new", "org.beadm-rs:pinned"), "-");
    assert_eq!(machine.get("ROOT/new", "org.beadm-rs:description"), "-");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn everything_is_said_in_json_too() {
    let machine = Machine::new();
    let done: [(&[&str], &str); 11] = [
        (&["create", "-e", "old", "new"], "create"),
        (&["snapshot", "new@s"], "snapshot"),
        (&["activate", "new"], "activate"),
        (&["failback"], "failback"),
        (&["describe", "new", "x"], "describe"),
        (&["pin", "new"], "pin"),
        (&["unpin", "new"], "unpin"),
        (&["rename", "new", "newer"], "rename"),
        (&["rollback", "-y", "newer@s"], "rollback"),
        (&["recover"], "recover"),
        (&["destroy", "-y", "newer"], "destroy"),
    ];
    for (arguments, what) in done {
        for dry in [true, false] {
            let mut all = vec!["--json"];
            if dry {
                all.push("-n");
            }
            all.extend(arguments);
            let said = machine.run(&all).succeeds().json(what);
            assert_eq!(said["done"], !dry, "{said}");
            assert_eq!(said["changed"], !dry && what != "recover", "{said}");
            assert!(
                said["outcome"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{said}"
            );
            if what != "recover" {
                let steps = said["plan"]["steps"].as_array().unwrap();
                assert_eq!(
                    steps.iter().filter(|step| step["commit"] == true).count(),
                    usize::from(what != "snapshot"),
                    "{said}"
                );
            }
        }
    }
    let status = machine.run(&["status", "--json"]).succeeds().json("status");
    assert_eq!(status["beroot"], machine.name("ROOT"));
    assert_eq!(
        (&status["next"], &status["last_good"]),
        (&"old".into(), &"old".into())
    );
    assert_eq!(status["unfinished"], serde_json::Value::Null);
    let list = machine
        .run(&["list", "-a", "-s", "--json"])
        .succeeds()
        .json("list");
    let old = &list["environments"][0];
    assert_eq!(old["name"], "old");
    // Beyond 2^53 a number would lose digits in other languages.
    assert_eq!(old["guid"], machine.get("ROOT/old", "guid"));
    assert_eq!(old["datasets"].as_array().unwrap().len(), 5);
    let mount = machine
        .run(&["mount", "--json", "old"])
        .succeeds()
        .json("mount");
    assert_eq!(mount["directory"], "/run/beadm-rs/mnt/old");
    machine
        .run(&["unmount", "--json", "old"])
        .succeeds()
        .json("unmount");
    let error = machine.run(&["destroy", "--json", "-y", "old"]);
    let said = error.json("error");
    assert_eq!(said["exit"], 3);
    assert_eq!(
        said["error"],
        "refused to destroy old: it is the environment that boots next"
    );
    assert_eq!(said["state"], "nothing was changed");
    assert_eq!(said["remedy"], "activate another one first");
    error.says(
        3,
        "refused to destroy old: it is the environment that boots next",
    );
}
