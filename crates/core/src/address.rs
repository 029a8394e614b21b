//! Network addresses: their one canonical form, and the lists a key is restricted to.

use std::net::IpAddr;

use ipnet::IpNet;

/// The most networks one key may list.
pub const MAX_NETWORKS: usize = 64;

/// The address as it is compared everywhere: `::ffff:a.b.c.d` is a.b.c.d.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Why text is no list of networks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// Neither an address nor a network.
    #[error("must be an address or a network, such as 203.0.113.7 or 203.0.113.0/24")]
    Form,
    /// Bits set behind the prefix: most likely a slip.
    #[error("has bits set behind its prefix; write {0}")]
    HostBits(IpNet),
    /// An empty list would let nobody in; null means anybody.
    #[error("must not be empty; leave it out or give null for any address")]
    Empty,
    /// More than [`MAX_NETWORKS`].
    #[error("must have at most 64 networks")]
    TooMany,
}

/// Reads one address or network, in canonical form.
pub fn network(text: &str) -> Result<IpNet, AddressError> {
    let net: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => canonical(address).into(),
        Err(_) => text.parse().map_err(|_| AddressError::Form)?,
    };
    let net = match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.network().to_ipv4_mapped() {
            Some(_) => {
                let v4 = v6.addr().to_ipv4_mapped().ok_or(AddressError::Form)?;
                IpNet::new(v4.into(), v6.prefix_len() - 96).map_err(|_| AddressError::Form)?
            }
            None => net,
        },
        _ => net,
    };
    if net.trunc() == net { Ok(net) } else { Err(AddressError::HostBits(net.trunc())) }
}

/// The networks a key may be used from. The default restricts nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct IpAllowlist(Option<Box<[IpNet]>>);

impl IpAllowlist {
    /// Reads a list; `None` restricts nothing. The error comes with the position it speaks of.
    pub fn parse<S: AsRef<str>>(texts: Option<&[S]>) -> Result<Self, (usize, AddressError)> {
        let Some(texts) = texts else { return Ok(Self(None)) };
        if texts.is_empty() {
            return Err((0, AddressError::Empty));
        }
        if texts.len() > MAX_NETWORKS {
            return Err((MAX_NETWORKS, AddressError::TooMany));
        }
        let read = texts.iter().enumerate().map(|(i, text)| network(text.as_ref()).map_err(|e| (i, e)));
        let mut networks = read.collect::<Result<Vec<_>, _>>()?;
        networks.sort_unstable();
        networks.dedup();
        Ok(Self(Some(networks.into())))
    }

    /// Whether any address will do.
    pub fn is_unrestricted(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a request from this address passes.
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        self.0.as_ref().is_none_or(|networks| networks.iter().any(|n| n.contains(&address)))
    }

    /// Whether every address that `other` admits is admitted here too (each network of `other` lies in one of ours).
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => theirs.iter().all(|t| ours.iter().any(|o| o.contains(t))),
        }
    }

    /// The networks as text, `None` if unrestricted.
    pub fn to_strings(&self) -> Option<Vec<String>> {
        self.0.as_ref().map(|networks| networks.iter().map(ToString::to_string).collect())
    }
}

/// The address a request counts as coming from: the peer's, or, behind trusted proxies, the right-most hop that is none of
/// them. `hops` are the values of `X-Forwarded-For` from left to right; a hop that is no address ends the search, since
/// whatever is left of it cannot be trusted either.
pub fn client(peer: IpAddr, hops: &[&str], trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut address = canonical(peer);
    for hop in hops.iter().rev() {
        if !is_trusted(&address) {
            break;
        }
        match hop.trim().parse() {
            Ok(before) => address = canonical(before),
            Err(_) => break,
        }
    }
    address
}
