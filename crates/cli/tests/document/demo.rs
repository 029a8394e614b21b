//! The demo, as a newcomer uses it: what it prints is pasted into a shell.

use std::process::Command;

use keyrack_testkit::Program;

use crate::KEYRACK;

#[test]
fn every_line_that_the_demo_prints_gives_the_status_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Program::new(KEYRACK).args(["demo", "--listen", "127.0.0.1:0"]).env("TMPDIR", folder.path()).start();
    demo.wait_line(|line| line.starts_with("  401  ") && line.contains("Eve"));
    let printed = demo.stdout();
    let variables: Vec<&str> = printed.lines().filter(|l| l.starts_with("  ") && l.trim().contains('=')).collect();
    let variables: Vec<&str> = variables.into_iter().filter(|l| !l.contains("curl")).collect();
    let calls = printed.lines().filter_map(|line| {
        let (status, call) = line.strip_prefix("  ")?.split_once("  ")?;
        Some((status.parse::<u16>().ok()?, call.trim()))
    });
    let calls: Vec<(u16, &str)> = calls.collect();
    assert_eq!(calls.len(), 14, "{printed}");
    for (status, call) in calls {
        let script = format!("{}\n{} -s", variables.join("\n"), call);
        let answer = Command::new("bash").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{call}\n{text}");
    }
    demo.interrupt();
    assert!(demo.wait().success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the demo leaves something behind");
}
