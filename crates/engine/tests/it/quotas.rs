//! Monthly quotas: never one too many, never one granted twice.

use std::time::{Duration, Instant};

use keyrack_core::{KeyId, Month, Reason, Tier};
use keyrack_engine::{Charge, EngineRole, Error, NewOrganization, OrganizationPatch, Presented, Standing, Verdict};
use keyrack_testkit::{Database, both_databases};

use crate::support::{IsGrant as _, OWNER, World, code, named, presented, shown};

impl World {
    async fn set_used(&self, used: u64) {
        let patch = OrganizationPatch { quota_used: Some(used), ..OrganizationPatch::default() };
        self.engine.update_organization(&self.host(), patch).await.unwrap();
    }

    async fn used(&self) -> u64 {
        self.engine.quota_use(&self.host()).await.unwrap().used
    }

    async fn charged(&self, text: &str, charge: Charge) -> Verdict {
        self.engine.verify(&self.any_key(), &Presented { charge, ..presented(text) }).await.unwrap()
    }
}

fn remaining(verdict: &Verdict) -> Option<u64> {
    verdict.standing.as_deref().and_then(|standing: &Standing| standing.quota).map(|quota| quota.remaining)
}

both_databases! {
    async fn each_request_lowers_what_remains_by_its_cost(database: Database) {
        let world = World::with_quota(database).await;
        let (_, one) = world.plain_key("one").await;
        let (_, two) = world.plain_key("two").await;
        // Over several blocks, and for all keys of the organization together.
        for at in 1..=350 {
            let verdict = world.ask(if at % 2 == 0 { &one } else { &two }, &world.any_key()).await;
            assert_eq!((verdict.is_grant(), remaining(&verdict)), (true, Some(10_000 - at)));
        }
        let verdict = world.charged(&one, Charge::Units(250)).await;
        assert_eq!(remaining(&verdict), Some(9_400));
        assert_eq!(world.used().await, 600);
        for charge in [Charge::Nothing, Charge::Peek(1), Charge::Peek(9_400)] {
            assert!(world.charged(&one, charge).await.is_grant());
        }
        let verdict = world.charged(&one, Charge::Peek(9_401)).await;
        assert_eq!((verdict.reason(), remaining(&verdict)), (Some(Reason::QuotaExceeded), Some(9_400)));
        assert_eq!(world.used().await, 600, "a look costs nothing");
        let resets_at = verdict.standing.unwrap().quota.unwrap().resets_at;
        assert_eq!(resets_at.to_string(), "2027-02-01T00:00:00Z");
    }

    async fn who_asks_for_more_than_there_is_keeps_nobody_else_out(database: Database) {
        let world = World::with_quota(database).await;
        let (_, text) = world.plain_key("one").await;
        world.set_used(5_000).await;
        for left in [4_999, 4_998] {
            let verdict = world.charged(&text, Charge::Units(9_000)).await;
            assert_eq!((verdict.reason(), remaining(&verdict)), (Some(Reason::QuotaExceeded), Some(left + 1)));
            let verdict = world.ask(&text, &world.any_key()).await;
            assert_eq!((verdict.reason(), remaining(&verdict)), (None, Some(left)));
        }
    }

    async fn a_guest_takes_no_more_than_it_needs(database: Database) {
        let world = World::with_quota(database).await;
        let (_, text) = world.plain_key("one").await;
        let guest = world.another(EngineRole::Guest { keys: true }).await;
        for used in 1..4 {
            assert!(guest.verify(&world.any_key(), &presented(&text)).await.unwrap().is_grant());
            assert_eq!(world.used().await, used, "nobody waits for it to give anything back");
        }
    }

    async fn refusals_cost_nothing(database: Database) {
        let world = World::with_quota(database).await;
        let (_, text) = world.plain_key("one").await;
        for guard in [world.scope("contacts:write"), keyrack_core::Guard { public: true, ..world.any_key() }] {
            world.ask(&text, &guard).await;
        }
        world.ask("sk_live_junk", &world.any_key()).await;
        assert_eq!(world.used().await, 0);
    }

    async fn of_twenty_at_once_exactly_one_gets_the_last_unit(database: Database) {
        let world = World::with_quota(database).await;
        let (_, text) = world.plain_key("one").await;
        world.set_used(9_999).await;
        let any_key = world.any_key();
        let asked = (0..20).map(|_| world.ask(&text, &any_key));
        let verdicts = futures_util::future::join_all(asked).await;
        let granted = verdicts.iter().filter(|verdict| verdict.is_grant()).count();
        assert_eq!(granted, 1);
        for verdict in &verdicts {
            assert_eq!(remaining(verdict), Some(0));
            assert!(verdict.is_grant() || verdict.reason() == Some(Reason::QuotaExceeded));
        }
        assert_eq!(world.used().await, 10_000);
    }

    async fn a_counter_that_is_set_voids_what_was_held(database: Database) {
        let world = World::with_quota(database).await;
        let (_, text) = world.plain_key("one").await;
        assert!(world.passes(&text).await);
        world.set_used(10_000).await;
        assert_eq!(world.reason(&text).await, Some(Reason::QuotaExceeded), "although 99 were held");
        world.set_used(9_998).await;
        assert_eq!(world.used().await, 9_998);
        for passes in [true, true, false, false] {
            assert_eq!(world.passes(&text).await, passes);
        }
        world.set_used(1 << 40).await;
        let verdict = world.ask(&text, &world.any_key()).await;
        assert_eq!(remaining(&verdict), Some(0), "more than there are");
        world.set_used(0).await;
        assert!(world.passes(&text).await);
        assert_eq!(world.used().await, 1);
    }

    async fn what_was_spent_without_a_limit_is_not_added_to_a_counter_that_was_set_since(database: Database) {
        let world = World::with_quota(database).await;
        let (_, text) = world.plain_key("one").await;
        let patch = OrganizationPatch { tier: Some(Tier::Enterprise), ..OrganizationPatch::default() };
        world.engine.update_organization(&world.host(), patch).await.unwrap();
        let other = world.another(EngineRole::Server).await;
        assert!(other.verify(&world.any_key(), &presented(&text)).await.unwrap().is_grant());
        world.set_used(7).await;
        other.close().await;
        assert_eq!(world.used().await, 7);
    }

    async fn the_tier_counts_as_it_is_now(database: Database) {
        let world = World::with_quota(database).await;
        let (_, text) = world.plain_key("one").await;
        world.set_used(9_999).await;
        for passes in [true, false] {
            assert_eq!(world.passes(&text).await, passes);
        }
        world.set_tier_of(Tier::Pro).await;
        let verdict = world.ask(&text, &world.any_key()).await;
        assert_eq!(remaining(&verdict), Some(100_000 - 10_001));
        world.set_tier_of(Tier::Enterprise).await;
        let verdict = world.ask(&text, &world.any_key()).await;
        assert!(verdict.is_grant());
        assert_eq!(verdict.standing.as_deref().unwrap().quota, None);
        assert_eq!(world.used().await, 10_002, "what an unlimited one uses is known too");
        world.set_tier_of(Tier::Free).await;
        assert_eq!(world.reason(&text).await, Some(Reason::QuotaExceeded));

        // What a tier may use is a matter of the instance.
        world.engine.set_tiers(&world.host(), vec![(Tier::Free, Some(10_003))]).await.unwrap();
        for passes in [true, false] {
            assert_eq!(world.passes(&text).await, passes);
        }
        world.engine.set_tiers(&world.host(), vec![(Tier::Free, None)]).await.unwrap();
        assert!(world.passes(&text).await);
        world.engine.set_tiers(&world.host(), vec![(Tier::Free, Some(0))]).await.unwrap();
        assert_eq!(world.reason(&text).await, Some(Reason::QuotaExceeded));
        assert_eq!(code(world.engine.set_tiers(&world.host(), vec![(Tier::Free, Some(1 << 60))]).await), "free.monthly_limit");
    }

    async fn a_new_month_begins_at_nothing(database: Database) {
        let world = World::with_quota(database).await;
        let (_, text) = world.plain_key("one").await;
        world.set_used(9_999).await;
        for passes in [true, false] {
            assert_eq!(world.passes(&text).await, passes);
        }
        world.clock.set("2027-01-31T23:59:59.999999Z".parse().unwrap());
        assert!(!world.passes(&text).await);
        world.clock.advance(1);
        let verdict = world.ask(&text, &world.any_key()).await;
        assert_eq!(remaining(&verdict), Some(9_999));
        assert_eq!(world.used().await, 1);
        // Set back, it stays in the month that has begun: what is left of the other is not given out.
        world.clock.advance(-3600);
        let verdict = world.ask(&text, &world.any_key()).await;
        assert_eq!(remaining(&verdict), Some(9_998));
        let again = world.another(EngineRole::Server).await;
        let verdict = again.verify(&world.any_key(), &presented(&text)).await.unwrap();
        assert_eq!(verdict.standing.unwrap().quota.unwrap().resets_at.to_string(), "2027-03-01T00:00:00Z");
    }

    async fn what_is_not_spent_goes_back_at_the_end(database: Database) {
        let world = World::with_quota(database).await;
        let (_, text) = world.plain_key("one").await;
        let other = world.another(EngineRole::Server).await;
        for _ in 0..3 {
            assert!(other.verify(&world.any_key(), &presented(&text)).await.unwrap().is_grant());
        }
        assert_eq!(world.used().await, 100, "a block is held");
        other.close().await;
        assert_eq!(world.used().await, 3);
    }

    async fn several_processes_never_give_out_one_too_many(database: Database) {
        let world = World::with_quota(database).await;
        let (_, text) = world.plain_key("one").await;
        for left in [1, 2, 7, 30, 400] {
            world.set_used(10_000 - left).await;
            let mut engines = Vec::new();
            for _ in 0..3 {
                engines.push(world.another(EngineRole::Server).await);
            }
            let any_key = world.any_key();
            let asked = (0..3 * left + 60).map(|at| {
                let engine = &engines[usize::try_from(at).unwrap() % engines.len()];
                let (any_key, text) = (&any_key, &text);
                async move { engine.verify(any_key, &presented(text)).await.unwrap().is_grant() }
            });
            let granted = futures_util::future::join_all(asked).await.into_iter().filter(|granted| *granted).count();
            assert!(granted as u64 <= left, "{granted} of {left}");
            // What nobody spent is only held: it comes back.
            for engine in &engines {
                engine.close().await;
            }
            assert_eq!(world.used().await, 10_000 - left + granted as u64);
        }
    }

    async fn only_an_instance_admin_sets_counters_limits_and_tiers(database: Database) {
        let world = World::with_quota(database).await;
        let new = NewOrganization {
            slug: "other".to_owned(),
            name: None,
            tier: Some(Tier::Free),
            owner_email: Some(OWNER.to_owned()),
        };
        let other = world.engine.create_organization(&world.host(), new).await.unwrap();
        let ctx = keyrack_engine::Context::host(other.id);
        let admin = keyrack_engine::NewKey { group: Some("management".to_owned()), ..named("admin") };
        let (_, text) = shown(world.engine.create_key(&ctx, admin).await.unwrap());
        let admin = world.acting(&text).await;
        for patch in [
            OrganizationPatch { quota_used: Some(0), ..OrganizationPatch::default() },
            OrganizationPatch { rate_limits: Some(None), ..OrganizationPatch::default() },
            OrganizationPatch { tier: Some(Tier::Pro), ..OrganizationPatch::default() },
        ] {
            assert_eq!(code(world.engine.update_organization(&admin, patch).await), "insufficient_scope");
        }
        assert_eq!(code(world.engine.set_tiers(&admin, vec![(Tier::Free, None)]).await), "insufficient_scope");
        let use_of = world.engine.quota_use(&admin).await.unwrap();
        assert_eq!((use_of.used, use_of.limit), (0, Some(10_000)));
        let too_many = OrganizationPatch { quota_used: Some(u64::MAX), ..OrganizationPatch::default() };
        assert!(matches!(world.engine.update_organization(&ctx, too_many).await, Err(Error::Invalid(_))));
    }
}

/// An organization with a quota on PostgreSQL, whose counter somebody else holds; the text of a key, and who holds it.
async fn with_a_held_counter() -> Option<(World, KeyId, String, keyrack_store::Writer)> {
    if !Database::Postgres.is_available() {
        return None;
    }
    let world = World::with_quota(Database::Postgres).await;
    let (id, text) = world.plain_key("one").await;
    let mut writer = world.store().await.write(&[]).await.unwrap();
    writer.lock_quota(world.organization, Month::of(world.now())).await.unwrap();
    Some((world, id, text, writer))
}

#[tokio::test]
async fn without_the_database_nobody_is_let_in_whose_units_have_to_be_fetched() {
    let Some((world, _, text, writer)) = with_a_held_counter().await else { return };
    for waits in [true, false] {
        let begun = Instant::now();
        assert_eq!(code(world.engine.verify(&world.any_key(), &presented(&text)).await), "unavailable");
        assert_eq!(begun.elapsed() >= Duration::from_secs(2), waits, "others need not find out one after another");
    }
    drop(writer);
    world.clock.advance(2);
    assert!(world.passes(&text).await);
}

#[tokio::test]
async fn what_happens_while_a_request_waits_for_units_counts() {
    let Some((world, id, text, writer)) = with_a_held_counter().await else { return };
    let (reason, ()) = tokio::join!(world.reason(&text), async {
        // It has been asked first, and waits.
        world.engine.revoke_key(&world.host(), id, None).await.unwrap();
        drop(writer);
    });
    assert_eq!(reason, Some(Reason::Revoked));
    assert_eq!(world.used().await, 0);
}
