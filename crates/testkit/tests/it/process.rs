//! Real programs, played by shell scripts.

use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use keyrack_testkit::Program;

fn script(text: &str) -> Program {
    Program::new("/bin/sh").args(["-c", text])
}

/// What a failure of the helper says.
fn complaint<T>(failing: impl FnOnce() -> T) -> String {
    let outcome = catch_unwind(AssertUnwindSafe(failing));
    outcome.err().expect("no failure").downcast_ref::<String>().expect("a text").clone()
}

#[test]
fn a_program_gets_its_input_and_gives_all_its_output() {
    let directory = tempfile::tempdir().unwrap();
    let finished = script(r#"read -r word; echo "$word $1 $NAME $(pwd)"; echo no newline at the end >&2; exit 3"#)
        .args(["sh", "one"])
        .env("NAME", "two")
        .directory(directory.path())
        .stdin("zero\n")
        .run()
        .expect_code(3);
    let real = directory.path().canonicalize().unwrap();
    assert_eq!(finished.stdout, format!("zero one two {}\n", real.display()));
    assert_eq!(finished.stderr, "no newline at the end\n");
}

#[test]
fn a_large_input_and_output_block_nobody() {
    let text = "0123456789".repeat(100_000);
    assert_eq!(script("cat").stdin(text.as_str()).run().success().stdout, text);
    // And a program need not read what it is given.
    script("exit 0").stdin(text.as_str()).run().success();
}

#[test]
fn a_line_is_found_whether_it_came_before_or_comes_after() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    Program::new("mkfifo").arg(&gate).run().success();
    let program =
        script(r#"echo first; echo aside >&2; read -r _ <"$1"; echo second; printf third"#).arg("sh").arg(&gate);
    let mut program = program.start();
    assert_eq!(program.wait_line(|line| line.starts_with('f')), "first");
    assert_eq!(program.wait_error_line(|_| true), "aside");
    assert!(!program.has_ended());
    std::fs::write(&gate, "go\n").unwrap();
    assert_eq!(program.wait_line(|line| line == "second"), "second");
    assert_eq!(program.wait_line(|_| true), "first");
    let missing = complaint(|| program.wait_line(|line| line == "third"));
    assert!(missing.contains("without the awaited line") && missing.contains("aside"), "{missing}");
    assert!(program.wait().success());
    assert!(program.has_ended());
    assert_eq!(program.stdout(), "first\nsecond\nthird");
}

#[test]
fn a_program_can_be_asked_to_end() {
    let asked = "trap 'echo asked; kill $!; exit 4' INT TERM; sleep 60 >/dev/null 2>&1 & echo up; wait $!";
    for signal in [keyrack_testkit::process::Running::interrupt, keyrack_testkit::process::Running::terminate] {
        let mut program = script(asked).start();
        program.wait_line(|line| line == "up");
        signal(&program);
        assert_eq!(program.wait().code(), Some(4));
        assert_eq!(program.stdout(), "up\nasked\n");
        // Nothing is left to be told.
        signal(&program);
    }
}

#[test]
fn a_program_ends_with_its_handle() {
    let program = script("echo up; exec sleep 60").start();
    program.wait_line(|line| line == "up");
    let place = Path::new("/proc").join(program.id().to_string());
    assert!(!Path::new("/proc/self").exists() || place.exists());
    drop(program);
    assert!(!place.exists());
}

#[test]
fn a_program_that_takes_too_long_is_a_failure() {
    let mut program = script("echo up; exec sleep 60").deadline(Duration::from_millis(50)).start();
    let waiting = complaint(|| program.wait_line(|line| line == "never"));
    assert!(waiting.contains("in time"), "{waiting}");
    let ending = complaint(|| program.wait());
    assert!(ending.contains("did not end in time"), "{ending}");
    program.kill();
    assert_eq!(program.wait().signal(), Some(9));
}

#[test]
fn a_failure_tells_what_the_program_said() {
    let told = complaint(|| script("echo out; echo err >&2; exit 1").run().success());
    assert!(told.contains("out") && told.contains("err") && told.contains("exit status: 1"), "{told}");
    let told = complaint(|| script("echo no json").run().json());
    assert!(told.contains("printed no JSON") && told.contains("no json"), "{told}");
    assert_eq!(script(r#"echo '{"a": 1}'"#).run().json()["a"], 1);
    assert!(complaint(|| Program::new("/no/such/program").start()).contains("/no/such/program"));
}

#[test]
fn the_settings_of_whoever_runs_the_tests_stay_outside() {
    // The variables are set for a process in between, as a test must not change its own environment.
    let name = "process::says_its_settings";
    let between = Program::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("TESTKIT_SETTINGS", "1")
        .env("KEYRACK_DATABASE", "outside")
        .env("RUST_LOG", "outside");
    let said = between.run().success();
    assert!(said.stdout.contains("settings: inside unset unset"), "{}", said.stdout);
}

/// Not a test by itself: the process in between.
#[test]
fn says_its_settings() {
    if std::env::var_os("TESTKIT_SETTINGS").is_some() {
        let said = script("echo settings: $KEYRACK_LISTEN ${KEYRACK_DATABASE-unset} ${RUST_LOG-unset}");
        println!("{}", said.env("KEYRACK_LISTEN", "inside").run().success().stdout);
    }
}
