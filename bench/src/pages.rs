//! Pages of the console: how long each takes to come, and how large it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use keyrack_bench::instance::{Instance, OWNER, OWNER_PASSWORD};
use keyrack_core::usage::{Label, Method, Span, StatusClass};
use keyrack_core::{KeyId, NodeId, OrganizationId};
use keyrack_engine::{Clock as _, SystemClock};
use keyrack_store::{
    KeyFilter, KeyPosition, SecretUse, UsageCounts, UsageKey, UsageKind, UsagePlace, UsageStep, UsageSubject,
};
use keyrack_testkit::Http;
use serde_json::json;
use uuid::Uuid;

use crate::Options;
use crate::filled::Filled;

/// On how many days each key was used.
const DAYS: i64 = 10;
/// The keys that were never used are one of so many.
const UNUSED: usize = 100;
/// How many keys are used in one transaction.
const AT_ONCE: i64 = 5000;
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

/// Uses every key but a few on several days, as far as that has not been done: a row for each key and day, added up as the server does.
async fn use_keys(instance: &Instance) -> anyhow::Result<()> {
    let done = instance.keyfile.with_file_name("used");
    if done.exists() {
        return Ok(());
    }
    let begun = Instant::now();
    let store = instance.store().await?;
    let organization = store.read().await?.list_organizations(None, 1).await?.first().context("no organization")?.id;
    let writer = NodeId(Uuid::from_u128(1));
    let mut place = UsagePlace { writer, generation: 1, place: Vec::new() };
    store.write(&[]).await?.commit_usage_writer(&place).await?;
    let now = SystemClock.now();
    let (mut filter, mut rows) = (KeyFilter::default(), 0);
    loop {
        let keys = store.read().await?.list_keys(organization, &filter, now, AT_ONCE).await?;
        let Some(last) = keys.last() else { break };
        filter.after = Some(KeyPosition { last_used: 0, id: last.id });
        let used = keys.iter().enumerate().filter(|(at, _)| at % UNUSED != 0).map(|(_, key)| key.id);
        let step = step(organization, used, now);
        rows += step.counts.len();
        let next = place.next_generation();
        store.write(&[]).await?.commit_usage(&place, &next, &step).await?;
        place = next;
    }
    let (minutes, hours) = (Span::Minute.start_of(now), Span::Hour.start_of(now));
    while store.write(&[]).await?.commit_usage_rolled(Span::Minute, minutes).await? {}
    while store.write(&[]).await?.commit_usage_rolled(Span::Hour, hours).await? {}
    store.close().await;
    std::fs::write(done, "")?;
    println!("{rows} rows of usage written in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

fn step(organization: OrganizationId, keys: impl Iterator<Item = KeyId>, now: Timestamp) -> UsageStep {
    let label =
        Label { endpoint: "/api/contacts".into(), method: Method::Get, status: StatusClass::of(200), denial: None };
    let mut counts: BTreeMap<UsageKey, UsageCounts> = BTreeMap::new();
    let mut uses = Vec::new();
    for (at, key) in keys.enumerate() {
        // Spread over the days, and the same each time.
        let spread = i64::try_from(at).unwrap_or(0) * 7919;
        for day in 0..DAYS {
            let requests = 1 + (spread + day * 31) % 900;
            let of = |subject, version| UsageKey {
                start: Span::Minute
                    .start_of(now.saturating_sub(SignedDuration::from_hours(24 * day + 1)).unwrap_or(now)),
                subject,
                version,
                label: label.id(),
                bucket: 3,
            };
            let one = UsageCounts { requests: requests.unsigned_abs(), ..UsageCounts::default() };
            let subject = UsageSubject { organization, kind: UsageKind::Key, id: key.0 };
            *counts.entry(of(subject, 1)).or_default() += one;
            *counts.entry(of(UsageSubject::organization(organization), 0)).or_default() += one;
        }
        let last = now.saturating_sub(SignedDuration::from_secs(3600 + spread % (DAYS * 86_400))).unwrap_or(now);
        uses.push(SecretUse { key, version: 1, at: last, address: None, user_agent: None, old_from: Vec::new() });
    }
    UsageStep { labels: vec![label], counts, uses }
}

/// Prints them, one by one.
pub(crate) fn measure(_: &Options, filled: &Filled) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(use_keys(&filled.instance))?;
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
            let gzip = http.get(address).header("accept-encoding", "gzip").send().await.expect_status(200);
            weight += gzip.body.len();
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
