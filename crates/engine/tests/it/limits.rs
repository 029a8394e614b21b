//! Rate limits of keys, groups and organizations.

use std::time::Duration;

use keyrack_core::Reason;
use keyrack_engine::{Charge, GroupPatch, KeyPatch, NewKey, OrganizationPatch, Owner, Presented, Verdict};
use keyrack_testkit::{Database, both_databases};

use crate::support::{IsGrant as _, World, code, named, presented};

type Limits<'l> = &'l [(i64, i64)];

impl World {
    async fn limited_key(&self, name: &str, limits: Limits<'_>) -> (keyrack_core::KeyId, String) {
        let (key, text) = self.key(NewKey { rate_limits: Some(limits.to_vec()), ..named(name) }).await;
        (key.key.id, text)
    }

    async fn asks_for(&self, text: &str, units: u32) -> Verdict {
        self.engine
            .verify(&self.any_key(), &Presented { charge: Charge::Units(units), ..presented(text) })
            .await
            .unwrap()
    }

    /// How many of so many requests are let in.
    async fn let_in(&self, text: &str, asked: usize) -> usize {
        let mut let_in = 0;
        for _ in 0..asked {
            let_in += usize::from(self.passes(text).await);
        }
        let_in
    }
}

/// Whose limit of how many seconds has how many units left, and more in how many milliseconds.
fn windows(verdict: &Verdict) -> Vec<(Owner, u32, u32, u128)> {
    let standing = verdict.standing.as_deref().unwrap();
    let window = |w: &keyrack_engine::WindowStanding| (w.of, w.limit.seconds(), w.remaining, w.more_in.as_millis());
    standing.windows.iter().map(window).collect()
}

both_databases! {
    async fn a_key_gets_what_each_of_its_windows_allows(database: Database) {
        let world = World::with_quota(database).await;
        world.clock.set("2027-01-15T08:00:00Z".parse().unwrap());
        let (_, text) = world.limited_key("limited", &[(10, 1), (25, 60)]).await;
        assert_eq!(world.let_in(&text, 15).await, 10);
        let verdict = world.asks_for(&text, 1).await;
        assert_eq!(verdict.reason(), Some(Reason::RateLimited));
        assert_eq!(windows(&verdict), [(Owner::Key, 1, 0, 1062), (Owner::Key, 60, 15, 63_750)]);
        assert_eq!(verdict.standing.unwrap().retry_after, Some(Duration::from_micros(1_062_500)));
        world.clock.advance(2);
        assert_eq!(world.let_in(&text, 15).await, 10);
        world.clock.advance(2);
        assert_eq!(world.let_in(&text, 15).await, 5, "the longer one is used up");
        let verdict = world.asks_for(&text, 1).await;
        assert_eq!(verdict.standing.unwrap().retry_after, Some(Duration::from_millis(59_750)));
        world.clock.advance(64);
        assert_eq!(world.let_in(&text, 15).await, 10);
    }

    async fn groups_and_organizations_limit_all_their_keys_together(database: Database) {
        let world = World::with_quota(database).await;
        let (_, one) = world.limited_key("one", &[(6, 60)]).await;
        let (_, two) = world.plain_key("two").await;
        let groups = world.engine.list_groups(&world.host()).await.unwrap();
        let group = groups.iter().find(|group| group.name == "default").unwrap();
        let limits = |limits: Limits<'_>| Some(Some(limits.to_vec()));
        let patch = GroupPatch { rate_limits: limits(&[(10, 60)]), ..GroupPatch::default() };
        world.engine.update_group(&world.host(), group.id, patch).await.unwrap();
        assert_eq!((world.let_in(&one, 8).await, world.let_in(&two, 8).await), (6, 4));

        let verdict = world.asks_for(&world.management_key, 1).await;
        assert!(verdict.is_grant() && windows(&verdict).is_empty(), "another group");
        let patch = OrganizationPatch { rate_limits: limits(&[(3, 60)]), ..OrganizationPatch::default() };
        world.engine.update_organization(&world.host(), patch).await.unwrap();
        assert_eq!(world.let_in(&world.management_key, 5).await, 3);
        let verdict = world.asks_for(&one, 1).await;
        let remaining: Vec<_> = windows(&verdict).into_iter().map(|(of, _, left, _)| (of, left)).collect();
        assert_eq!(remaining, [(Owner::Key, 0), (Owner::Group, 0), (Owner::Organization, 0)]);
    }

    async fn all_of_them_count_a_request_or_none(database: Database) {
        let world = World::with_quota(database).await;
        let (id, text) = world.limited_key("limited", &[(10, 1), (100, 60)]).await;
        let patch = |limits: Limits<'_>| KeyPatch { rate_limits: Some(Some(limits.to_vec())), ..KeyPatch::default() };
        let used = world.engine.quota_use(&world.host()).await.unwrap().used;
        assert_eq!(world.asks_for(&text, 11).await.reason(), Some(Reason::RateLimited));
        let verdict = world.asks_for(&text, 4).await;
        assert_eq!(windows(&verdict).iter().map(|w| w.2).collect::<Vec<_>>(), [6, 96]);
        assert_eq!(world.asks_for(&text, 7).await.reason(), Some(Reason::RateLimited));
        assert_eq!(windows(&world.asks_for(&text, 1).await).iter().map(|w| w.2).collect::<Vec<_>>(), [5, 95]);
        assert_eq!(world.engine.quota_use(&world.host()).await.unwrap().used, used + 5);

        // The quota refuses: no window counts it.
        let patched = OrganizationPatch { quota_used: Some(10_000), ..OrganizationPatch::default() };
        world.engine.update_organization(&world.host(), patched).await.unwrap();
        let verdict = world.asks_for(&text, 1).await;
        assert_eq!(verdict.reason(), Some(Reason::QuotaExceeded));
        assert_eq!(windows(&verdict).iter().map(|w| w.2).collect::<Vec<_>>(), [5, 95]);
        let peek = Presented { charge: Charge::Peek(1), ..presented(&text) };
        world.engine.update_organization(&world.host(), OrganizationPatch { quota_used: Some(0), ..OrganizationPatch::default() }).await.unwrap();
        for _ in 0..20 {
            assert!(world.engine.verify(&world.any_key(), &peek).await.unwrap().is_grant(), "a look costs nothing");
        }

        // Changed limits go on from what was counted; a rotated key has the same ones.
        world.engine.update_key(&world.host(), id, patch(&[(7, 1), (100, 60)])).await.unwrap();
        let rotate = keyrack_engine::RotateKey { overlap_seconds: Some(60), ..keyrack_engine::RotateKey::default() };
        let rotated = world.engine.rotate_key(&world.host(), id, rotate).await.unwrap();
        let new = rotated.secret.unwrap().expose().to_owned();
        assert_eq!((world.let_in(&new, 1).await, world.let_in(&text, 3).await, world.let_in(&new, 3).await), (1, 1, 0));
    }

    async fn no_clock_opens_a_window_twice(database: Database) {
        let world = World::with_quota(database).await;
        let (_, text) = world.limited_key("limited", &[(5, 3600)]).await;
        assert_eq!(world.let_in(&text, 9).await, 5);
        for seconds in [-7200, 3600, 60, -1] {
            world.clock.advance(seconds);
            assert_eq!(world.let_in(&text, 3).await, 0, "{seconds}");
        }
    }

    async fn numbers_that_are_no_limits_are_refused(database: Database) {
        let world = World::with_quota(database).await;
        for (limits, at) in [
            (&[][..], 0), (&[(0, 1)], 0), (&[(1, 1), (-1, 60)], 1), (&[(1, 0)], 0), (&[(1, 315_360_000)], 0),
            (&[(i64::MAX, 1)], 0),
        ] {
            let new = NewKey { rate_limits: Some(limits.to_vec()), ..named("limited") };
            assert_eq!(code(world.engine.create_key(&world.host(), new).await), format!("rate_limits[{at}]"));
        }
    }

    async fn a_limited_key_makes_no_key_that_is_less_limited(database: Database) {
        let world = World::with_quota(database).await;
        let limits = Some(vec![(10, 1)]);
        let maker = NewKey { group: Some("management".to_owned()), rate_limits: limits, ..named("maker") };
        let (_, text) = world.key(maker).await;
        let maker = world.acting(&text).await;
        for (limits, result) in [
            (None, "insufficient_authority"),
            (Some(vec![(11, 1)]), "insufficient_authority"),
            (Some(vec![(10, 1)]), "done"),
            (Some(vec![(10, 60)]), "done"),
        ] {
            let name = format!("{limits:?}");
            let new = NewKey { group: Some("management".to_owned()), rate_limits: limits, ..named(&name) };
            assert_eq!(code(world.engine.create_key(&maker, new).await), result, "{name}");
        }
    }
}
