//! Where a request comes from, behind proxies.

use std::net::{IpAddr, Ipv4Addr};

use keyrack_core::address::{canonical, client, network};

/// Lines: those that start with `t` are trusted networks, the first that starts with `p` the peer, the others hops from left to
/// right. What a client writes in front of the hops, or makes up altogether, moves nothing: an address that is not trusted ends
/// the search.
pub fn forwarded(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut trusted = Vec::new();
    let mut peer = None;
    let mut hops = Vec::new();
    for line in text.split('\n') {
        match (line.strip_prefix('t').map(network), line.strip_prefix('p').map(str::parse::<IpAddr>)) {
            (Some(Ok(net)), _) => trusted.push(net),
            (_, Some(Ok(address))) if peer.is_none() => peer = Some(address),
            _ => hops.push(line),
        }
    }
    let peer = peer.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let found = client(peer, &hops, &trusted);
    assert_eq!(canonical(found), found);
    assert_eq!(client(peer, &hops, &[]), canonical(peer));

    // Everything between the client and us is trusted, and the search went on while it could.
    let passed = hops.iter().rev().map_while(|hop| hop.trim().parse().ok().map(canonical));
    let mut chain = std::iter::once(canonical(peer)).chain(passed);
    let expected = chain.find(|address| !is_trusted(*address));
    let readable = hops.iter().rev().take_while(|hop| hop.trim().parse::<IpAddr>().is_ok()).last();
    let last = readable.and_then(|hop| hop.trim().parse().ok()).map_or(canonical(peer), canonical);
    assert_eq!(found, expected.unwrap_or(last));

    for forged in ["127.0.0.1", "::1", "", "10.0.0.1"] {
        let more = [&[forged], hops.as_slice()].concat();
        assert!(is_trusted(found) || client(peer, &more, &trusted) == found, "{forged} moved {found}");
    }
}
