//! States of keys and organizations.

use keyrack_core::status::{KeyState, Switch};
use keyrack_core::{KeyStatus, OrganizationState, Tier, Timestamp};

const NOW: i64 = 1_000_000;

fn at(micros: i64) -> Timestamp {
    keyrack_core::from_micros(micros)
}

#[test]
fn status_follows_from_switch_expiry_and_moment() {
    let never = None;
    let later = Some(NOW + 1);
    let now = Some(NOW);
    let earlier = Some(NOW - 1);
    let table = [
        (Switch::Active, never, KeyStatus::Active),
        (Switch::Active, later, KeyStatus::Active),
        (Switch::Active, now, KeyStatus::Expired),
        (Switch::Active, earlier, KeyStatus::Expired),
        (Switch::Disabled, never, KeyStatus::Disabled),
        (Switch::Disabled, later, KeyStatus::Disabled),
        // The final states win over the one that can be undone.
        (Switch::Disabled, now, KeyStatus::Expired),
        (Switch::Disabled, earlier, KeyStatus::Expired),
        (Switch::Revoked, never, KeyStatus::Revoked),
        (Switch::Revoked, later, KeyStatus::Revoked),
        (Switch::Revoked, now, KeyStatus::Revoked),
        (Switch::Revoked, earlier, KeyStatus::Revoked),
    ];
    for (switch, expires_at, status) in table {
        let state = KeyState { switch, expires_at: expires_at.map(at) };
        assert_eq!(state.status(at(NOW)), status, "{switch:?} {expires_at:?}");
    }
}

#[test]
fn final_status_stays_as_time_goes_on() {
    for switch in Switch::ALL {
        for expires_at in [None, Some(at(NOW))] {
            let state = KeyState { switch: *switch, expires_at };
            let statuses: Vec<_> = [NOW - 1, NOW, NOW + 1].map(|m| state.status(at(m))).into();
            for pair in statuses.windows(2) {
                let is_final = matches!(pair[0], KeyStatus::Revoked | KeyStatus::Expired);
                assert!(!is_final || pair[0] == pair[1], "{state:?}");
            }
        }
    }
}

#[test]
fn words_are_read_back_and_are_the_words_of_the_json() {
    for switch in Switch::ALL {
        assert_eq!(Switch::parse(switch.as_str()), Some(*switch));
        assert_eq!(serde_json::to_value(switch).unwrap(), switch.as_str());
    }
    for status in KeyStatus::ALL {
        assert_eq!(KeyStatus::parse(status.as_str()), Some(*status));
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
    }
    for state in OrganizationState::ALL {
        assert_eq!(OrganizationState::parse(state.as_str()), Some(*state));
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
    for tier in Tier::ALL {
        assert_eq!(Tier::parse(tier.as_str()), Some(*tier));
        assert_eq!(serde_json::to_value(tier).unwrap(), tier.as_str());
    }
    assert_eq!((Switch::parse("expired"), KeyStatus::parse("Active"), Tier::parse("")), (None, None, None));
}
