use keyrack_core::Timestamp;
use keyrack_core::usage::{Latency, Method, Network, Span, StatusClass, UNTIMED, endpoint, latency_bucket};
use proptest::prelude::*;

#[test]
fn spans_begin_where_clocks_of_utc_do() {
    let at: Timestamp = "2026-11-22T21:43:59.999999Z".parse().unwrap();
    let starts = Span::ALL.map(|span| span.start_of(at).to_string());
    assert_eq!(starts, ["2026-11-22T21:43:00Z", "2026-11-22T21:00:00Z", "2026-11-22T00:00:00Z"]);
    let next = Span::ALL.map(|span| span.next(span.start_of(at)).to_string());
    assert_eq!(next, ["2026-11-22T21:44:00Z", "2026-11-22T22:00:00Z", "2026-11-23T00:00:00Z"]);
    let before_1970: Timestamp = "1969-12-31T23:59:30Z".parse().unwrap();
    assert_eq!(Span::Hour.start_of(before_1970).to_string(), "1969-12-31T23:00:00Z");
}

#[test]
fn what_looks_like_an_id_is_not_told_apart() {
    for (path, expected) in [
        ("/contacts", "/contacts"),
        ("/contacts/17", "/contacts/:id"),
        ("/contacts/0192f0c1-7d4e-7a63-8a41-5b2c3d4e5f60/notes", "/contacts/:id/notes"),
        ("/v1/embeddings", "/v1/embeddings"),
        ("/customers/cus_NffrFeUfNV2Hib", "/customers/:id"),
        ("/a/very/long/word/internationalization", "/a/very/long/word/internationalization"),
        ("/", "/"),
        ("", ""),
    ] {
        assert_eq!(endpoint(path), expected);
    }
    assert_eq!(endpoint(&"/x".repeat(1000)), "other");
}

#[test]
fn methods_and_statuses_are_told_apart_as_far_as_that_is_of_use() {
    let methods = ["GET", "DELETE", "get", "PROPFIND", ""].map(|name| Method::of(name).as_str());
    assert_eq!(methods, ["GET", "DELETE", "other", "other", ""]);
    let classes = [200, 204, 101, 503, 0, 700, u16::MAX].map(|status| StatusClass::of(status).name());
    assert_eq!(classes, [Some("2xx"), Some("2xx"), Some("1xx"), Some("5xx"), None, None, None]);
}

#[test]
fn an_address_counts_for_its_network() {
    for (address, network) in [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.1", "203.0.113.0/24"),
        ("2001:db8:7:1::5", "2001:db8:7::/48"),
        ("::1", "::/48"),
    ] {
        let known = Network::of(Some(address.parse().unwrap()));
        assert_eq!(known.to_string(), network);
        assert_eq!(Network::from_bits(known.bits()), known);
    }
    assert_eq!(Network::of(None).to_string(), "unknown");
    assert_eq!(Network::OTHER.to_string(), "other");
}

#[test]
fn buckets_are_two_to_each_power_of_two() {
    let buckets = [0, 1, 2, 3, 4, 5, 6, 7, 8, 1000, 1_000_000, u64::MAX].map(latency_bucket);
    assert_eq!(buckets, [0, 0, 2, 3, 4, 4, 5, 5, 6, 19, 39, 127]);
}

fn summed(times: &[u64]) -> Vec<(i8, u64, u64)> {
    let mut buckets: Vec<(i8, u64, u64)> = Vec::new();
    for &time in times {
        match buckets.iter_mut().find(|(bucket, ..)| *bucket == latency_bucket(time)) {
            Some((_, requests, took)) => (*requests, *took) = (*requests + 1, *took + time),
            None => buckets.push((latency_bucket(time), 1, time)),
        }
    }
    buckets.sort_unstable();
    buckets
}

#[test]
fn nothing_is_said_of_times_that_were_not_taken() {
    assert_eq!(Latency::of(&[]), None);
    assert_eq!(Latency::of(&[(UNTIMED, 5, 0)]), None);
    let some = Latency::of(&[(UNTIMED, 5, 0), (20, 2, 3000)]).unwrap();
    assert_eq!(some, Latency { mean: 1500, p50: 1500, p99: 1500 });
}

proptest! {
    /// Against the times themselves: the mean is exact, quantiles are of the right bucket.
    #[test]
    fn quantiles_are_right_to_a_bucket(times in proptest::collection::vec(1_u64..100_000_000, 1..500)) {
        let latency = Latency::of(&summed(&times)).unwrap();
        let mut sorted = times.clone();
        sorted.sort_unstable();
        let exact = |hundredths: usize| sorted[(sorted.len() * hundredths).div_ceil(100) - 1];
        prop_assert_eq!(latency.mean, times.iter().sum::<u64>() / times.len() as u64);
        prop_assert_eq!(latency_bucket(latency.p50), latency_bucket(exact(50)));
        prop_assert_eq!(latency_bucket(latency.p99), latency_bucket(exact(99)));
    }
}
