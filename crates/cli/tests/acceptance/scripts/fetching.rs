//! `fetch` in scripts: other services, over the same guard as what is sent to upstreams.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use keyrack_testkit::{Database, Upstream};
use serde_json::{Value, json};

use super::put;
use crate::support::start;

/// Fetches what the query names, and tells what came of it.
const FETCHES: &str = r"
    export default async function (request, ctx) {
        const { url, ...init } = JSON.parse(ctx.query.what);
        try {
            const answer = await fetch(url, init);
            return Response.json({ status: answer.status, url: answer.url, redirected: answer.redirected, ok: answer.ok,
                headers: Object.fromEntries(answer.headers), text: await answer.text() });
        } catch (error) {
            return Response.json({ error: `${error.name}: ${error.message}` });
        }
    }";

#[tokio::test]
async fn scripts_ask_other_services_and_none_they_may_not() {
    let keyrack = start(Database::Sqlite);
    let (owner, http) = (keyrack.owner(), keyrack.http());
    let upstream = Upstream::start().await;
    let elsewhere = format!("http://127.0.0.2:{}", upstream.address().port());
    let own = keyrack.url();
    let redirecting = {
        let (here, elsewhere, own) = (upstream.url(), elsewhere.clone(), own.clone());
        Upstream::answering(move |request| {
            let to = match request.uri().path() {
                "/there" => format!("{here}/arrived?a=b"),
                "/private" => format!("{elsewhere}/x"),
                "/self" => format!("{own}/health/live"),
                "/round" => "/round".to_owned(),
                "/file" => "file:///etc/passwd".to_owned(),
                _ => return std::future::ready(Response::new(Full::new(Bytes::from("x".repeat(9 << 20))))),
            };
            let status = if request.method() == "POST" { 303 } else { 307 };
            let answer = Response::builder().status(status).header("location", to).body(Full::default());
            std::future::ready(answer.unwrap())
        })
        .await
    };
    put(&owner, "/run/fetch", FETCHES).await;
    let fetch = async |what: Value| {
        let query: String = what.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        http.get(&format!("/run/fetch?what={query}")).send().await.expect_status(200).json()
    };

    let headers = json!({"x-own": "1", "host": "other.example", "content-length": "99", "authorization": "Bearer b"});
    let what =
        json!({"url": format!("{}/a?b=c#d", upstream.url()), "method": "POST", "body": "\u{e4}", "headers": headers});
    let answer = fetch(what).await;
    assert_eq!((&answer["status"], &answer["ok"], &answer["redirected"]), (&json!(200), &json!(true), &json!(false)));
    let seen = &upstream.seen()[0];
    assert_eq!((&seen["method"], &seen["target"]), (&json!("POST"), &json!("/a?b=c")), "{seen}");
    let header = |name: &str| crate::support::seen_headers(seen, name);
    assert_eq!(header("x-own"), ["1"]);
    assert_eq!(header("authorization"), ["Bearer b"]);
    assert_eq!(header("host"), [upstream.address().to_string()]);
    assert_eq!(header("content-length"), ["2"]);

    // Redirects are looked at like the first address, and credentials do not go along to another origin.
    let there = format!("{}/there", redirecting.url());
    let what =
        json!({"url": there, "method": "POST", "body": "x", "headers": {"authorization": "Bearer b", "x-own": "2"}});
    let answer = fetch(what).await;
    let arrived = format!("{}/arrived?a=b", upstream.url());
    assert_eq!((&answer["url"], &answer["redirected"]), (&json!(arrived), &json!(true)), "{answer}");
    let seen = &upstream.seen()[1];
    assert_eq!(seen["method"], "GET");
    assert_eq!(crate::support::seen_headers(seen, "x-own"), ["2"]);
    assert!(crate::support::seen_headers(seen, "authorization").is_empty());
    let manual = fetch(json!({"url": there, "redirect": "manual"})).await;
    assert_eq!((&manual["status"], &manual["headers"]["location"]), (&json!(307), &json!(arrived)));
    let before = upstream.count();
    let not_allowed = "TypeError: connections to this address are not allowed";
    for (what, wanted) in [
        (json!({"url": there, "redirect": "error"}), "TypeError: the answer is a redirect"),
        (json!({"url": format!("{elsewhere}/x")}), not_allowed),
        (json!({"url": format!("http://[::ffff:127.0.0.2]:{}/x", upstream.address().port())}), not_allowed),
        (json!({"url": "http://169.254.169.254/latest/meta-data/"}), not_allowed),
        (json!({"url": "http://2130706434/"}), not_allowed),
        (json!({"url": format!("{}/private", redirecting.url())}), not_allowed),
        (json!({"url": own}), not_allowed),
        (json!({"url": format!("{}/self", redirecting.url())}), not_allowed),
        (json!({"url": format!("{}/file", redirecting.url())}), "TypeError: only http and https can be fetched"),
        (json!({"url": "file:///etc/passwd"}), "TypeError: only http and https can be fetched"),
        (json!({"url": format!("{}/round", redirecting.url())}), "TypeError: there are too many redirects"),
        (
            json!({"url": format!("{}/big", redirecting.url())}),
            "TypeError: the answer broke off, or has more than 8388608 bytes",
        ),
        (json!({"url": "http://127.0.0.1:1/"}), "TypeError: fetch failed: no connection could be made"),
        (json!({"url": "/relative"}), "TypeError: /relative is not a URL"),
    ] {
        let answer = fetch(what.clone()).await;
        assert_eq!(answer["error"], wanted, "{what}: {answer}");
    }
    assert_eq!(upstream.count(), before, "nobody was asked");

    // Many at once, and one too many.
    let source = format!(
        "export default async () => {{
            const all = Array.from({{length: 51}}, (_, n) => fetch('{}/n' + n).then((a) => a.status, (e) => e.message));
            return Response.json(await Promise.all(all));
        }}",
        upstream.url()
    );
    put(&owner, "/run/many", &source).await;
    let answers = http.get("/run/many").send().await.expect_status(200).json();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.iter().filter(|answer| **answer == json!(200)).count(), 50);
    assert!(answers.contains(&json!("a call may fetch 50 times")), "{answers:?}");
}
