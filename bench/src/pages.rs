//! Pages of the console: how long each takes to come, and how large it is.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use keyrack_bench::instance::{OWNER, OWNER_PASSWORD};
use keyrack_testkit::Http;
use serde_json::json;

use crate::Options;
use crate::filled::Filled;

/// How often each page is asked for.
const TIMES: usize = 50;
/// The pages that look at the most.
const PAGES: [&str; 9] = [
    "",
    "/keys",
    "/keys?sort=last_used_at",
    "/keys?name=key%2012",
    "/keys?unused=yes",
    "/keys/new",
    "/usage",
    "/audit",
    "/settings",
];

/// Prints them, one by one.
pub(crate) fn measure(_: &Options, filled: &Filled) -> anyhow::Result<()> {
    let server = filled.instance.serve("0")?;
    let http = Http::new(&server.url);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let who = json!({"email": OWNER, "password": OWNER_PASSWORD});
        let signed_in = http.post("/api/session").json(&who).send().await.expect_status(201);
        let cookie = signed_in.header("set-cookie").and_then(|set| set.split(';').next()).context("no cookie")?.to_owned();
        let get = async |path: &str| http.get(path).header("cookie", &cookie).send().await.expect_status(200);
        let page = get("/organizations/bench").await.text();
        let statics: Vec<&str> = page.split('"').filter(|text| text.starts_with("/static/")).collect();
        let mut weight = 0;
        for address in &statics {
            weight += get(address).await.body.len();
        }
        for page in PAGES {
            let path = format!("/organizations/bench{page}");
            let mut took = Vec::with_capacity(TIMES);
            let mut size = 0;
            for _ in 0..TIMES {
                let begun = Instant::now();
                size = get(&path).await.body.len();
                took.push(begun.elapsed());
            }
            took.sort_unstable();
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            println!(
                "pages: {} keys, {}: {:<24} {:>6.1} ms, 99 of 100 in {:>6.1} ms; {:.1} KB, with style and script {:.1} KB",
                filled.size,
                filled.kind,
                if page.is_empty() { "overview" } else { page },
                ms(took[TIMES / 2]),
                ms(took[TIMES * 99 / 100]),
                f64::from(u32::try_from(size)?) / 1e3,
                f64::from(u32::try_from(size + weight)?) / 1e3,
            );
        }
        Ok(())
    })
}
