//! What an outsider is told of a denial. Every door that speaks HTTP says it in these words.

use crate::decide::{Outward, Reason};

/// A denial as an outsider sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The HTTP status: 401, 403 or 429.
    pub status: u16,
    /// A stable word.
    pub code: &'static str,
    /// The same for people.
    pub message: &'static str,
    /// Whether a body has code and message only, whatever the cause.
    pub is_bare: bool,
}

impl Refusal {
    /// The one 401, whatever the cause.
    pub const UNAUTHORIZED: Self =
        Self { status: 401, code: "invalid_api_key", message: "Invalid API key", is_bare: true };

    /// The challenge in the `WWW-Authenticate` of a 401.
    pub const CHALLENGE: &str = r#"Bearer realm="keyrack""#;

    const fn forbidden(code: &'static str, message: &'static str) -> Self {
        Self { status: 403, code, message, is_bare: false }
    }

    const fn too_many(message: &'static str, is_bare: bool) -> Self {
        Self { status: 429, code: "rate_limit_exceeded", message, is_bare }
    }
}

/// Whether whoever sends these values of `Accept` asks for RFC 9457 (`application/problem+json`).
pub fn wants_problem<'r>(accepted: impl Iterator<Item = &'r str>) -> bool {
    let mut media = accepted.flat_map(|value| value.split(',')).filter_map(|media| media.split(';').next());
    media.any(|media| media.trim().eq_ignore_ascii_case("application/problem+json"))
}

impl Reason {
    /// What an outsider is told.
    pub fn refusal(self) -> Refusal {
        match (self.outward(), self) {
            (Outward::Unauthorized, _) => Refusal::UNAUTHORIZED,
            (_, Self::QuotaExceeded) => Refusal::too_many("Monthly quota exhausted", true),
            (Outward::TooMany, _) => {
                Refusal::too_many("more was asked for than a rate limit allows; try again later", false)
            }
            (_, Self::KeyNotAccepted) => {
                Refusal::forbidden("key_not_accepted", "this is for people who are signed in, not for keys")
            }
            (_, Self::IpNotAllowed | Self::IpRequired) => {
                Refusal::forbidden("ip_not_allowed", "the key may not be used from this address")
            }
            (_, Self::InsufficientRole) => Refusal::forbidden("insufficient_role", "the caller's role is not enough"),
            _ => Refusal::forbidden("insufficient_scope", "the caller lacks the scope this needs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_that_of_what_an_outsider_may_learn() {
        for reason in Reason::ALL {
            let status = match reason.outward() {
                Outward::Unauthorized => 401,
                Outward::Forbidden => 403,
                Outward::TooMany => 429,
            };
            assert_eq!(reason.refusal().status, status, "{reason:?}");
        }
    }

    #[test]
    fn every_401_is_the_same() {
        let unauthorized = Reason::ALL.into_iter().filter(|reason| reason.outward() == Outward::Unauthorized);
        assert!(unauthorized.clone().count() > 9);
        for reason in unauthorized {
            assert_eq!(reason.refusal(), Refusal::UNAUTHORIZED, "{reason:?}");
        }
    }
}
