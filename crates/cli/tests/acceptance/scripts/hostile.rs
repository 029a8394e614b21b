//! Scripts that want to harm: the server and everybody else go on as ever.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use keyrack_testkit::Database;

use super::put;
use crate::support::{busy, expect_refusal, start, wait_for};

/// Loops without an end, also those that an engine's own interrupt does not see.
const ENDLESS: [&str; 18] = [
    "while (true) {}",
    "for (;;) { try { while (true) {} } catch {} finally { continue; } }",
    "const f = () => f() || f(); for (;;) try { f() } catch {}",
    "/^(a+)+$/.test('a'.repeat(50) + 'b')",
    "const a = []; a.length = 2**32 - 1; a.indexOf(1)",
    "const a = []; a.length = 2**32 - 1; a.join()",
    "new Array(1e9) + ''",
    "const big = new Uint8Array(3e6).fill(1); for (;;) big.includes(-1)",
    "const big = 'a'.repeat(3e6); for (;;) big.split('b')",
    "for (let n = 400000n; ; n *= 2n) (3n ** n).toString()",
    "for (;;) await null",
    "await new Promise(() => setInterval(() => {}, 1))",
    "await new Promise((resolve) => setTimeout(resolve, 1e9))",
    "for (;;) new Function('while (true) {}')()",
    "for (;;) [3, 1, 2].sort(() => { for (;;); })",
    "const again = () => Promise.resolve().then(again); await again()",
    "Promise.prototype.then = function () { return this }; setTimeout(() => {}, 60_000)",
    "JSON.parse('[1]', () => { for (;;); })",
];

/// What takes memory until there is none.
const GREEDY: [&str; 8] = [
    "const a = []; for (;;) a.push(new Array(1000).fill(a.length))",
    "let s = 'x'; for (;;) s += s",
    "const a = []; for (;;) a.push(new ArrayBuffer(1 << 20))",
    "const s = new Set(); for (let n = 0; ; n++) s.add({ n })",
    "new Uint8Array(1 << 30)",
    "'x'.repeat(2 ** 29).split('')",
    "const f = (a) => [f([a, a]), a]; f(1)",
    "let o = {}; for (let n = 0; ; n++) { o = { o, text: 'x'.repeat(1000) + n }; }",
];

/// What fails in other ways.
const WRONG: [&str; 18] = [
    "throw new Error('no')",
    "throw null",
    "throw undefined",
    "throw { toString() { throw 1 } }",
    "return 'a text'",
    "return undefined",
    "return Response.error()",
    "return { status: 200, headers: [], body: { text: 'no Response' } }",
    "return new Response('x'.repeat(9 << 20))",
    "await new Promise(() => {})",
    "return (await import('fs')).readFileSync('/etc/passwd')",
    "return (await import('/etc/passwd')).default",
    "return new Response(process.env)",
    "return new Response(Deno.readTextFileSync('/etc/passwd'))",
    "const f = () => f(); f()",
    "const r = new Response('x'); await r.text(); return r",
    "return Object.create(Response.prototype)",
    "ctx.params.x = 1",
];

fn script(body: &str) -> String {
    format!("export default async function (request, ctx) {{ {body};\nreturn new Response('came through'); }}")
}

#[tokio::test]
async fn what_never_ends_is_ended_and_takes_nobody_along() {
    let _turn = busy().await;
    let keyrack = start(Database::Sqlite);
    let (owner, http) = (keyrack.owner(), keyrack.http());
    put(&owner, "/run/good", &script("")).await;
    for (at, body) in ENDLESS.iter().enumerate() {
        put(&owner, &format!("/run/endless/{at}"), &script(body)).await;
    }
    // Fewer at once than run at once on a single processor.
    for (batch, bodies) in ENDLESS.chunks(9).enumerate() {
        let begun = Instant::now();
        let paths: Vec<String> = (0..bodies.len()).map(|at| format!("/run/endless/{}", batch * 9 + at)).collect();
        let endless = join_all(paths.iter().map(|path| http.get(path).send()));
        let others = async {
            let mut answered = 0;
            while begun.elapsed() < Duration::from_secs(5) {
                http.get("/health/live").send().await.expect_status(200);
                assert_eq!(http.get("/run/good").send().await.expect_status(200).text(), "came through");
                answered += 1;
            }
            answered
        };
        let (answers, others) = tokio::join!(endless, others);
        for (answer, body) in answers.into_iter().zip(bodies) {
            // Some of them end by themselves, of memory or of depth.
            let status = answer.status;
            assert!([500, 504].contains(&status), "{body}: {status} {}", answer.text());
            let code = if status == 504 { "script_timeout" } else { "script_failed" };
            expect_refusal(answer, status, code);
        }
        assert!(others > 5, "others were answered meanwhile: {others}");
        // 5 seconds for each, all at once, on a machine that they keep busy.
        assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    }
    assert_eq!(http.get("/run/good").send().await.expect_status(200).text(), "came through");
}

#[tokio::test]
async fn what_takes_too_much_or_fails_is_a_500_that_says_nothing() {
    let _turn = busy().await;
    let keyrack = start(Database::Sqlite);
    let (owner, http) = (keyrack.owner(), keyrack.http());
    for (at, body) in GREEDY.iter().chain(&WRONG).enumerate() {
        let path = format!("/run/wrong/{at}");
        put(&owner, &path, &script(body)).await;
        let answer = http.get(&path).send().await;
        let status = answer.status;
        assert!([500, 504].contains(&status), "{body}: {status} {}", answer.text());
        let answer = expect_refusal(answer, status, if status == 500 { "script_failed" } else { "script_timeout" });
        let fields: Vec<String> = answer.json().as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["error", "message", "request_id"], "{body}");
    }
    put(&owner, "/run/good", &script("")).await;
    http.get("/run/good").send().await.expect_status(200);
    // A body that is too large does not even get there.
    let answer = http.post("/run/good").body(vec![b'x'; (4 << 20) + 1]).send().await;
    expect_refusal(answer, 413, "body_too_large");
    http.post("/run/good").body(vec![b'x'; 4 << 20]).send().await.expect_status(200);
}

#[tokio::test]
async fn no_call_finds_anything_of_the_one_before() {
    let keyrack = start(Database::Sqlite);
    let (owner, http) = (keyrack.owner(), keyrack.http());
    let leaves = r#"
        let count = 0;
        export default async function (request, ctx) {
            const found = [count, globalThis.left, Object.prototype.left, Array.prototype.flat === undefined, typeof fetch,
                new Response("x").left, JSON.stringify({}), (() => {}).constructor("return typeof left")()];
            count += 1;
            globalThis.left = "a secret";
            Object.prototype.left = "a secret";
            Response.prototype.left = "a secret";
            delete Array.prototype.flat;
            globalThis.fetch = undefined;
            JSON.stringify = () => "broken";
            setTimeout(() => { globalThis.late = 1; }, 60_000);
            const text = found.join("|");
            return new Response(text);
        }"#;
    put(&owner, "/run/leaves", leaves).await;
    put(&owner, "/run/looks", &script("if (globalThis.left || ({}).left || !fetch) throw 1")).await;
    for _ in 0..30 {
        let answer = http.get("/run/leaves").send().await.expect_status(200);
        assert_eq!(answer.text(), "0|||false|function||{}|undefined");
        assert_eq!(http.get("/run/looks").send().await.expect_status(200).text(), "came through");
    }
}

#[tokio::test]
async fn a_thousand_calls_at_once_get_each_its_own_answer() {
    let _turn = busy().await;
    let keyrack = start(Database::Sqlite);
    let (owner, http) = (keyrack.owner(), keyrack.http());
    put(&owner, "/run/echo", "export default async (request) => new Response(await request.text());").await;
    let calls = (0..1000).map(|n| {
        let request = http.post("/run/echo").body(format!("call {n}"));
        async move { (n, request.send().await) }
    });
    let mut answered = 0;
    for (n, answer) in join_all(calls).await {
        if answer.status == 200 {
            assert_eq!(answer.text(), format!("call {n}"));
            answered += 1;
        } else {
            expect_refusal(answer, 503, "overloaded");
        }
    }
    assert!(answered >= 500, "{answered} were answered");
    http.post("/run/echo").body("after").send().await.expect_status(200);
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let listed = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    listed.flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
}

/// Whether a process is in a state, as `proc_pid_stat(5)` names them.
fn is(pid: u32, state: char) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(&format!(") {state} ")))
}

#[tokio::test]
async fn processes_of_scripts_have_nothing_and_end_with_the_server() {
    let mut keyrack = start(Database::Sqlite);
    let (owner, http) = (keyrack.owner(), keyrack.http());
    put(&owner, "/run/endless", &script("while (true) {}")).await;
    put(&owner, "/run/good", &script("")).await;
    http.get("/run/good").send().await.expect_status(200);
    let of_server = children(keyrack.serving().program.id());
    assert_eq!(of_server.len(), 1, "one waits for the next call");
    for pid in &of_server {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        assert_eq!(environment, b"", "it was told nothing of its surroundings");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert!(files.contains(" 4 "), "{files}");
    }
    let running = tokio::spawn(http.get("/run/endless").try_send());
    let spinning = wait_for("a process that spins", async || {
        children(keyrack.serving().program.id()).into_iter().find(|pid| is(*pid, 'R'))
    });
    let spinning = spinning.await;
    keyrack.crash();
    wait_for("its end", async || (!Path::new(&format!("/proc/{spinning}")).exists()).then_some(())).await;
    assert!(running.await.unwrap().is_err());
}
