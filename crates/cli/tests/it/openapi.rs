//! The `OpenAPI` document: that it is current and whole. Whether it is true of callers, the matrices say.

use keyrack_testkit::Program;
use serde_json::Value;

use crate::support::{KEYRACK, document};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[test]
fn the_committed_document_is_what_the_program_writes_each_time() {
    let openapi = |words: &[&str]| Program::new(KEYRACK).arg("openapi").args(words);
    openapi(&["--check", COMMITTED]).run().success();
    let committed = std::fs::read_to_string(COMMITTED).unwrap();
    for _ in 0..3 {
        assert_eq!(openapi(&[]).run().success().stdout, committed);
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("openapi.json").display().to_string();
    let missing = openapi(&["--check", &file]).run().expect_code(1);
    assert!(missing.stderr.contains("cannot read"), "{}", missing.stderr);
    std::fs::write(&file, committed.replacen("Keyrack", "Keyrock", 1)).unwrap();
    let old = openapi(&["--check", &file]).run().expect_code(1);
    assert!(old.stderr.contains(&format!("keyrack openapi --output {file}")), "{}", old.stderr);
    openapi(&["--output", &file]).run().success();
    openapi(&["--check", &file]).run().success();
    openapi(&["--check", &file, "--output", &file]).run().expect_code(2);
}

#[test]
fn everything_that_the_document_refers_to_is_in_it() {
    fn references<'d>(value: &'d Value, found: &mut Vec<&'d str>) {
        match value {
            Value::Array(list) => list.iter().for_each(|one| references(one, found)),
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|one| references(one, found));
            }
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100, "{found:?}");
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} is nowhere");
    }
}
