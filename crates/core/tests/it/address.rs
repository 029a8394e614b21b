//! Networks and lists of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use keyrack_core::IpAllowlist;
use keyrack_core::address::{AddressError, MAX_NETWORKS, canonical, client, network};
use proptest::prelude::*;

fn list(texts: &[&str]) -> IpAllowlist {
    IpAllowlist::parse(Some(texts)).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn networks_are_read_in_one_canonical_form() {
    for (text, expected) in [
        ("203.0.113.7", "203.0.113.7/32"),
        ("203.0.113.7/32", "203.0.113.7/32"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("2001:DB8:0:0::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        // IPv4 in the dress of IPv6 is IPv4.
        ("::ffff:203.0.113.7", "203.0.113.7/32"),
        ("::ffff:cb00:7107", "203.0.113.7/32"),
        ("::ffff:203.0.113.7/128", "203.0.113.7/32"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        // What only looks like it is not: compatible form, NAT64, a network wider than the mapped range.
        ("::203.0.113.7", "::cb00:7107/128"),
        ("64:ff9b::203.0.113.7", "64:ff9b::cb00:7107/128"),
        ("::/95", "::/95"),
    ] {
        assert_eq!(network(text).unwrap().to_string(), expected, "{text}");
    }
}

#[test]
fn bits_behind_the_prefix_are_refused_with_what_was_meant() {
    for (text, meant) in [
        ("203.0.113.7/24", "203.0.113.0/24"),
        ("10.0.0.1/0", "0.0.0.0/0"),
        ("2001:db8::1/64", "2001:db8::/64"),
        ("::ffff:203.0.113.7/120", "203.0.113.0/24"),
        ("::ffff:0:0/95", "::fffe:0:0/95"),
    ] {
        assert_eq!(network(text), Err(AddressError::HostBits(meant.parse().unwrap())), "{text}");
    }
}

#[test]
fn what_is_no_network_is_refused() {
    for text in [
        "",
        " ",
        "localhost",
        "203.0.113",
        "203.0.113.7.1",
        "203.0.113.256",
        "0203.0.113.7",
        "203.0.113.7/33",
        "203.0.113.7/-1",
        "203.0.113.0/",
        "203.0.113.0/255.255.255.0",
        " 203.0.113.7",
        "203.0.113.7 ",
        "203.0.113.*",
        "203.0.113.0-9",
        "2001:db8::/129",
        "fe80::1%eth0",
        "[2001:db8::1]",
        "203.0.113.7:80",
        "3405803783",
        "0x7f.1",
    ] {
        assert_eq!(network(text), Err(AddressError::Form), "{text}");
    }
}

#[test]
fn no_list_admits_all_and_an_empty_list_is_refused() {
    let unrestricted = IpAllowlist::parse(None::<&[&str]>).unwrap();
    assert_eq!(unrestricted, IpAllowlist::default());
    assert!(unrestricted.is_unrestricted());
    assert_eq!(unrestricted.to_strings(), None);
    assert!(unrestricted.admits(address("203.0.113.7")) && unrestricted.admits(address("::1")));
    assert_eq!(IpAllowlist::parse(Some(&[] as &[&str])), Err((0, AddressError::Empty)));
}

#[test]
fn list_has_at_most_64_networks_and_an_error_says_which() {
    let texts: Vec<String> = (0..=MAX_NETWORKS).map(|i| format!("10.0.0.{i}")).collect();
    assert_eq!(IpAllowlist::parse(Some(&texts[..64])).unwrap().to_strings().unwrap().len(), 64);
    assert_eq!(IpAllowlist::parse(Some(&texts)), Err((MAX_NETWORKS, AddressError::TooMany)));
    assert_eq!(IpAllowlist::parse(Some(&["10.0.0.1", "x"])), Err((1, AddressError::Form)));
}

#[test]
fn list_is_sorted_without_repetition() {
    let texts = list(&["10.0.0.2", "::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2/32"]).to_strings().unwrap();
    assert_eq!(texts, ["10.0.0.1/32", "10.0.0.2/32"]);
}

#[test]
fn address_is_admitted_in_either_dress() {
    let v4 = list(&["203.0.113.0/24"]);
    assert!(!v4.is_unrestricted());
    let mapped = list(&["::ffff:203.0.113.0/120"]);
    assert_eq!(v4, mapped);
    for (text, admitted) in [
        ("203.0.113.0", true),
        ("203.0.113.255", true),
        ("::ffff:203.0.113.7", true),
        ("203.0.112.255", false),
        ("203.0.114.0", false),
        ("::ffff:203.0.114.0", false),
        ("::203.0.113.7", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(v4.admits(address(text)), admitted, "{text}");
    }
    // All of IPv6 is not IPv4: a mapped address does not come in by it.
    let v6 = list(&["::/0"]);
    assert!(v6.admits(address("2001:db8::1")) && !v6.admits(address("::ffff:203.0.113.7")));
    assert_eq!(canonical(address("::ffff:203.0.113.7")), address("203.0.113.7"));
}

#[test]
fn covering_follows_the_table() {
    let any = IpAllowlist::default();
    let net = |text: &str| list(&[text]);
    for (ours, theirs, covers) in [
        (any.clone(), any.clone(), true),
        (any.clone(), net("10.0.0.0/8"), true),
        // A list that names every address is still a list.
        (net("0.0.0.0/0"), any.clone(), false),
        (net("10.0.0.0/8"), net("10.1.0.0/16"), true),
        (net("10.1.0.0/16"), net("10.0.0.0/8"), false),
        (net("10.0.0.0/8"), list(&["10.1.0.0/16", "11.0.0.0/16"]), false),
        (list(&["10.0.0.0/8", "11.0.0.0/8"]), list(&["10.1.0.0/16", "11.0.0.0/16"]), true),
        (net("::/0"), net("10.0.0.0/8"), false),
        (net("0.0.0.0/0"), net("::ffff:10.0.0.0/104"), true),
    ] {
        assert_eq!(ours.covers(&theirs), covers, "{ours:?} {theirs:?}");
    }
}

#[test]
fn client_is_the_right_most_hop_that_is_no_trusted_proxy() {
    let trusted = [network("10.0.0.0/8").unwrap(), network("2001:db8::/32").unwrap()];
    for (peer, hops, expected) in [
        // Nobody but a trusted peer is believed.
        ("203.0.113.7", &[][..], "203.0.113.7"),
        ("203.0.113.7", &["198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", &["203.0.113.7", "10.0.0.2", "2001:db8::1"], "203.0.113.7"),
        // What the client wrote itself stands to the left of its own address.
        ("10.0.0.1", &["127.0.0.1", "10.0.0.3", "203.0.113.7", "10.0.0.2"], "203.0.113.7"),
        // Through trusted proxies alone: the first of them.
        ("10.0.0.1", &["10.0.0.3", "10.0.0.2"], "10.0.0.3"),
        // A hop that is no address ends the search.
        ("10.0.0.1", &["203.0.113.7", "unknown"], "10.0.0.1"),
        ("10.0.0.1", &["203.0.113.7", "_hidden", "10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", &["203.0.113.7", ""], "10.0.0.1"),
        // In either dress, and with the spaces that stand behind commas.
        ("::ffff:10.0.0.1", &["::ffff:203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", &["203.0.113.7", " ::ffff:10.0.0.2 "], "203.0.113.7"),
        ("::ffff:203.0.113.7", &[], "203.0.113.7"),
    ] {
        assert_eq!(client(address(peer), hops, &trusted), address(expected), "{peer} {hops:?}");
    }
    assert_eq!(client(address("10.0.0.1"), &["203.0.113.7"], &[]), address("10.0.0.1"));
}

/// A network as the test understands it: an address of 128 bits and how many of them count.
#[derive(Clone, Copy, Debug)]
struct Net {
    bits: u128,
    prefix: u32,
    v4: bool,
}

impl Net {
    fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0)
    }

    fn text(self) -> String {
        let prefix = if self.v4 { self.prefix - 96 } else { self.prefix };
        format!("{}/{prefix}", ip(self.bits & self.mask(), self.v4))
    }
}

fn ip(bits: u128, v4: bool) -> IpAddr {
    let mapped = Ipv6Addr::from_bits(bits);
    if v4 { Ipv4Addr::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap()).into() } else { mapped.into() }
}

const MAPPED: u128 = 0xffff_0000_0000;

/// Close together, so that one often lies in another: of the last 8 bits and of the prefix's length all occurs.
fn some_net() -> impl Strategy<Value = Net> {
    (any::<u8>(), 118..=128_u32, any::<bool>()).prop_map(|(low, prefix, v4)| {
        let base = if v4 { MAPPED | 0x0a00_0000 } else { 0x2001_0db8 << 96 };
        Net { bits: base | u128::from(low), prefix, v4 }
    })
}

fn some_list() -> impl Strategy<Value = Option<Vec<Net>>> {
    prop::option::weighted(0.9, prop::collection::vec(some_net(), 1..4))
}

fn read(nets: Option<&Vec<Net>>) -> IpAllowlist {
    let texts = nets.map(|nets| nets.iter().map(|n| n.text()).collect::<Vec<_>>());
    IpAllowlist::parse(texts.as_deref()).unwrap()
}

proptest! {
    #[test]
    fn list_admits_what_arithmetic_on_bits_says(nets in some_list(), low: u8, v4: bool, dressed: bool) {
        let bits = if v4 { MAPPED | 0x0a00_0000 } else { 0x2001_0db8 << 96 } | u128::from(low);
        let expected = nets.as_ref().is_none_or(|nets| {
            nets.iter().any(|n| n.v4 == v4 && (n.bits ^ bits) & n.mask() == 0)
        });
        prop_assert_eq!(read(nets.as_ref()).admits(ip(bits, v4 && !dressed)), expected);
    }

    #[test]
    fn list_that_covers_another_admits_whatever_that_admits(a in some_list(), b in some_list()) {
        let (a, b) = (read(a.as_ref()), read(b.as_ref()));
        if a.covers(&b) {
            for low in 0..=0x3ff_u128 {
                for address in [ip(MAPPED | 0x0a00_0000 | low, true), ip(0x2001_0db8 << 96 | low, false)] {
                    prop_assert!(!b.admits(address) || a.admits(address), "{}", address);
                }
            }
        }
    }

    #[test]
    fn covering_is_reflexive_and_transitive(a in some_list(), b in some_list(), c in some_list()) {
        let (a, b, c) = (read(a.as_ref()), read(b.as_ref()), read(c.as_ref()));
        prop_assert!(a.covers(&a));
        prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
    }

    #[test]
    fn list_reads_back_what_it_writes(nets in some_list()) {
        let list = read(nets.as_ref());
        prop_assert_eq!(IpAllowlist::parse(list.to_strings().as_deref()).unwrap(), list);
    }

    #[test]
    fn network_never_changes_when_read_again(text in "[0-9a-f:.]{2,20}(/[0-9]{1,3})?") {
        if let Ok(net) = network(&text) {
            prop_assert_eq!(network(&net.to_string()), Ok(net));
        }
    }

    #[test]
    fn client_cannot_change_its_address_by_what_it_writes(
        written in prop::collection::vec(prop_oneof!["[ -~]{0,20}", "10\\.0\\.0\\.[1-9]", "203\\.0\\.113\\.[1-9]"], 0..4),
        own in "203\\.0\\.113\\.[1-9]",
        proxies in prop::collection::vec("10\\.0\\.0\\.[1-9]", 0..3),
    ) {
        let trusted = [network("10.0.0.0/8").unwrap()];
        let hops: Vec<&str> = written.iter().chain([&own]).chain(&proxies).map(String::as_str).collect();
        prop_assert_eq!(client(address("10.0.0.1"), &hops, &trusted), address(&own));
    }
}
