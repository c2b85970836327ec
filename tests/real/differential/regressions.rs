//! What once came out differently, in as few operations as show it. What the
//! simulator does now is in `src/zfs/sim/tests/differential.rs`.

use super::difference;
use super::operation::Op;

/// A line each, as the differential test prints them.
const FOUND: &str = r#"
{"create":["da/a",[["canmount","noauto"]]]}
{"set":["da/a",[["acltype","posixacl"],["xattr","sa"]]]}
{"set":["da/a",[["filesystem_limit","none"],["version","5"]]]}
{"set":["da/a",[["mountpoint","/tmp//y/"]]]}
{"create":["da/a/b",[["canmount","noauto"]]]}
{"set":["da/a",[["quota","16E"]]]}
{"set":["da/a",[["refreservation","auto"]]]}
{"create":["da",[["canmount","off"]]]}
{"rename":["da/a","db"]}
{"rename":["da/a","da/a/b"]}
{"rename":["da","da/a"]}
{"volume":"da/v"}
{"set":["da/v",[["org.test:note","x"]]]}
{"create":["da/v/b",[["canmount","off"]]]}
{"rename":["da/v","da/w"]}
{"transact":["da",[{"mark":["da/a@none","op","x"]}]]}
{"transact":["da",[{"rollback":["da/none","be-it"]}]]}
{"transact":["nopool",[{"snapshot":"nopool/a@s"}]]}
{"transact":["da",[{"snapshot":"da/a@s"},{"snapshot":"da/a/b@s"}]]}
{"clone":["da/a@s","da/a/b",[["canmount","noauto"],["acltype","x"]]]}
{"transfer":["da/a@none","da/c",[["canmount","noauto"]]]}
{"transfer":["da/a@s","da/a/b",[["canmount","noauto"]]]}
{"bootfs":["nopool","da/a"]}
{"mount":["da/a",0,true]}
{"write":["da/a",0,64]}
{"mount":["da/a",1,false]}
{"unmount":0}
{"mount":["da/a",0,false]}
{"mount":["da/a",0,false]}
{"transfer":["da/a@s","da/a/b",[["canmount","noauto"],["used","1"]]]}
"#;

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_once_came_out_differently_does_so_no_more() {
    let ops: Vec<Op> = FOUND
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found: Vec<String> = difference::of(&ops)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(found.is_empty(), "{}", found.concat());
}
