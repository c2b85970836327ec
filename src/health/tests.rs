//! On real files and programs: root is whoever runs the tests.

use std::os::unix::fs::symlink;

use super::*;

const LONG: Duration = Duration::from_secs(600);

struct Stage {
    _directory: tempfile::TempDir,
    root: Utf8PathBuf,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let root = Utf8PathBuf::from_path_buf(root).unwrap().join("health.d");
        for name in ["required.d", "wanted.d"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let stage = Self {
            _directory: directory,
            root,
        };
        for name in ["", "required.d", "wanted.d"] {
            stage.mode(name, 0o755);
        }
        stage
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn script(&self, path: &str, text: &str) {
        fs::write(self.root.join(path), format!("#!/bin/sh\n{text}\n")).unwrap();
        self.mode(path, 0o755);
    }

    fn find(&self) -> Checks {
        Checks::find(&self.root, nix::unistd::geteuid().as_raw()).unwrap()
    }

    /// Each with its need and what would be run.
    fn found(&self) -> Vec<String> {
        self.find()
            .checks
            .into_iter()
            .map(|check| {
                let program = match check.program {
                    Ok(path) => path.file_name().unwrap().to_owned(),
                    Err(why) => format!("not run: {}", why.replace(self.root.as_str(), "")),
                };
                format!("{} {}: {program}", check.need.label(), check.name)
            })
            .collect()
    }
}

/// Runs a check; again where another test's child still holds its file open for
/// writing, which it does between its fork and its exec.
fn run(check: &Check, limit: Duration, told: &mut dyn FnMut(&str)) -> Ran {
    let busy = io::Error::from(nix::errno::Errno::ETXTBSY).to_string();
    loop {
        let ran = check.run(limit, told);
        if !matches!(&ran.outcome, Outcome::Refused { why } if why.contains(&busy)) {
            return ran;
        }
    }
}

#[test]
fn the_required_ones_come_first_and_each_kind_by_name() {
    let stage = Stage::new();
    for path in [
        "wanted.d/05-a",
        "required.d/20-b",
        "required.d/10-c",
        "wanted.d/01-d.sh",
    ] {
        stage.script(path, "exit 0");
    }
    assert_eq!(
        stage.found(),
        [
            "required 10-c: 10-c",
            "required 20-b: 20-b",
            "wanted 01-d.sh: 01-d.sh",
            "wanted 05-a: 05-a",
        ]
    );
}

#[test]
fn leftovers_are_passed_over_and_what_is_no_check_is_told() {
    let stage = Stage::new();
    for name in [
        ".hidden",
        "check~",
        "check.dpkg-new",
        "check.rpmsave",
        "check.swp",
    ] {
        stage.script(&format!("required.d/{name}"), "exit 1");
    }
    stage.script("required.d/off", "exit 1");
    stage.mode("required.d/off", 0o644);
    fs::create_dir(stage.root.join("required.d/lib")).unwrap();
    stage.script("stray", "exit 1");
    fs::write(stage.root.join("README"), "text").unwrap();
    let found = stage.find();
    assert_eq!(found.checks, []);
    let skipped: Vec<String> = found
        .skipped
        .iter()
        .map(|(path, why)| format!("{}: {why}", path.replace(stage.root.as_str(), "")))
        .collect();
    assert_eq!(
        skipped,
        [
            "/required.d/off: it is no executable file",
            "/stray: it is neither in required.d nor in wanted.d",
        ]
    );
}

#[test]
fn where_there_is_no_directory_there_is_no_check() {
    let stage = Stage::new();
    let missing = stage.root.join("not-there");
    assert_eq!(Checks::find(&missing, 0).unwrap(), Checks::default());
    fs::write(&missing, "").unwrap();
    assert!(Checks::find(&missing, 0).is_err());
}

#[test]
fn what_others_could_have_written_is_not_run() {
    let stage = Stage::new();
    for name in ["a", "b", "c"] {
        stage.script(&format!("required.d/{name}"), "exit 0");
    }
    stage.mode("required.d/b", 0o775);
    stage.mode("required.d/c", 0o757);
    assert_eq!(
        stage.found(),
        [
            "required a: a",
            "required b: not run: /required.d/b can be written by others than root (mode 0775)",
            "required c: not run: /required.d/c can be written by others than root (mode 0757)",
        ]
    );
    // Nor what lies in a directory where others could put another file.
    stage.mode("required.d", 0o777);
    let why = "not run: /required.d can be written by others than root (mode 0777)";
    assert_eq!(stage.found()[0], format!("required a: {why}"));
    // Unless it is sticky, as /tmp is.
    stage.mode("required.d", 0o1777);
    assert_eq!(stage.found()[0], "required a: a");
}

#[test]
fn a_link_is_judged_by_what_it_leads_to() {
    let stage = Stage::new();
    let elsewhere = stage.root.parent().unwrap().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    stage.script("../elsewhere/good", "exit 0");
    for (name, target) in [("a", "good"), ("b", "missing"), ("c", ".")] {
        symlink(
            elsewhere.join(target),
            stage.root.join("wanted.d").join(name),
        )
        .unwrap();
    }
    let found = stage.found();
    assert_eq!(found[0], "wanted a: good");
    assert!(found[1].starts_with("wanted b: not run: it cannot be looked at: No such file"));
    assert_eq!(found.len(), 2);
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o770)).unwrap();
    assert!(stage.found()[0].contains("elsewhere can be written by others"));
}

#[test]
fn another_users_file_is_not_run() {
    let stage = Stage::new();
    stage.script("required.d/a", "exit 0");
    let me = nix::unistd::geteuid().as_raw();
    let found = Checks::find(&stage.root, me).unwrap();
    assert!(found.checks[0].program.is_ok());
    if me == 0 {
        nix::unistd::chown(
            stage.root.join("required.d/a").as_std_path(),
            Some(nix::unistd::Uid::from_raw(65534)),
            None,
        )
        .unwrap();
    }
    let found = Checks::find(&stage.root, 0).unwrap();
    let why = found.checks[0].program.clone().unwrap_err();
    assert!(why.contains("belongs to user"), "{why}");
}

#[test]
fn each_outcome_is_told_and_only_a_required_one_is_fatal() {
    let stage = Stage::new();
    for need in ["required.d", "wanted.d"] {
        stage.script(&format!("{need}/1-good"), "echo fine");
        stage.script(&format!("{need}/2-bad"), "echo no >&2; exit 7");
        stage.script(&format!("{need}/3-killed"), "kill -9 $$");
        stage.script(&format!("{need}/4-open"), "exit 0");
        stage.mode(&format!("{need}/4-open"), 0o777);
        stage.script(&format!("{need}/5-many"), "seq 100");
    }
    let mut told = 0;
    let ran: Vec<Ran> = stage
        .find()
        .checks
        .iter()
        .map(|check| run(check, LONG, &mut |_| told += 1))
        .collect();
    assert_eq!(told, 2 * 102);
    let told: Vec<String> = ran[..4]
        .iter()
        .map(|ran| format!("{} {}", ran.name, ran.outcome.phrase()))
        .collect();
    assert_eq!(
        told[..3],
        [
            "1-good passed",
            "2-bad failed with exit status 7",
            "3-killed was ended by signal 9",
        ]
    );
    assert!(told[3].starts_with("4-open was not run: "));
    let fatal: Vec<bool> = ran.iter().map(Ran::is_fatal).collect();
    assert_eq!(
        fatal,
        [
            false, true, true, true, false, false, false, false, false, false
        ]
    );
    assert_eq!(ran[0].output, ["fine"]);
    assert_eq!(ran[1].output, ["no"]);
    assert_eq!(ran[4].output.len(), KEPT);
    assert_eq!(ran[4].output.last().unwrap(), "100");
}

#[test]
fn a_check_that_does_not_end_is_killed_at_the_limit() {
    let stage = Stage::new();
    stage.script(
        "required.d/hangs",
        "read x < /dev/zero; while :; do :; done",
    );
    let ran = run(&stage.find().checks[0], Duration::from_secs(1), &mut |_| {});
    assert_eq!(ran.outcome.phrase(), "was killed after 1 seconds");
    assert!(ran.is_fatal());
}
