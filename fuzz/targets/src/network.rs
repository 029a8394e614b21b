//! Networks and lists of them.

use std::net::{IpAddr, Ipv4Addr};

use keyrack_core::IpAllowlist;
use keyrack_core::address::{MAX_NETWORKS, canonical, network as read};

/// Lines as networks. They are read back as they were written, without host bits and with IPv4 as IPv4; and a list that
/// covers another admits whatever that admits.
pub fn network(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    for line in &lines {
        let Ok(net) = read(line) else { continue };
        assert_eq!(read(&net.to_string()), Ok(net));
        assert_eq!(net.addr(), net.network());
        assert!(net.prefix_len() < 96 || canonical(net.addr()) == net.addr(), "{net}");
    }
    if let Ok(list) = IpAllowlist::parse(Some(&lines)) {
        assert!(lines.len() <= MAX_NETWORKS && !list.is_unrestricted());
        assert_eq!(IpAllowlist::parse(list.to_strings().as_deref()), Ok(list));
    }
    let good: Vec<&str> = lines.into_iter().filter(|line| read(line).is_ok()).take(16).collect();
    let (some, others) = good.split_at(good.len() / 2);
    if let (Ok(a), Ok(b)) = (IpAllowlist::parse(Some(some)), IpAllowlist::parse(Some(others))) {
        assert!(a.covers(&a) && IpAllowlist::default().covers(&a) && !a.covers(&IpAllowlist::default()));
        assert_covering(&a, &b);
        assert_covering(&b, &a);
    }
}

fn assert_covering(a: &IpAllowlist, b: &IpAllowlist) {
    for net in b.to_strings().unwrap_or_default().iter().filter_map(|text| read(text).ok()) {
        // Mapped addresses that end an IPv6 network are IPv4's, and none of that network.
        let ends = [net.network(), net.broadcast()].into_iter().filter(|end| canonical(*end) == *end);
        for address in ends.flat_map(dresses) {
            assert!(b.admits(address), "{address}");
            assert!(!a.covers(b) || a.admits(address), "{address}");
            assert_eq!(a.admits(address), a.admits(canonical(address)), "{address}");
        }
    }
}

/// An IPv4 address is the same in the dress of IPv6.
fn dresses(address: IpAddr) -> Vec<IpAddr> {
    match address {
        IpAddr::V4(v4) => vec![address, Ipv4Addr::to_ipv6_mapped(&v4).into()],
        IpAddr::V6(_) => vec![address],
    }
}
