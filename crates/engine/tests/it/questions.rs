//! Questions about a key for somebody else's door.

use keyrack_core::{Reason, Role};
use keyrack_engine::{Context, NewKey, NewOrganization, Question};
use keyrack_testkit::{Database, both_databases};

use crate::support::{OWNER, World, code, named, texts};

async fn answer(world: &World, ctx: &Context, question: Question<'_>) -> Option<Reason> {
    world.engine.ask(ctx, question).await.unwrap().reason()
}

both_databases! {
    async fn what_the_question_does_not_say_and_the_key_needs_is_asked_for(database: Database) {
        let world = World::new(database).await;
        for slug in ["sales", "support"] {
            world.engine.create_workspace(&world.host(), slug, None).await.unwrap();
        }
        let admin = NewKey { group: Some("management".to_owned()), ..named("asker") };
        let asker = world.acting(&world.key(admin).await.1).await;
        let (_, bound) = world.key(NewKey { workspace: Some("sales".to_owned()), ..named("bound") }).await;
        let (_, listed) = world.key(NewKey { ip_allowlist: Some(texts(&["192.0.2.0/24"])), ..named("listed") }).await;
        let (bound, listed) =
            (|| Question::about(&bound), || Question::about(&listed));
        for (question, reason) in [
            (bound(), Some(Reason::WorkspaceRequired)),
            (Question { workspace: Some("sales"), ..bound() }, None),
            (Question { workspace: Some("support"), ..bound() }, Some(Reason::WrongWorkspace)),
            (Question { workspace: Some("none"), ..bound() }, Some(Reason::WrongWorkspace)),
            (listed(), Some(Reason::IpRequired)),
            (Question { address: Some("192.0.2.9"), ..listed() }, None),
            (Question { address: Some("::ffff:192.0.2.9"), ..listed() }, None),
            (Question { address: Some("192.0.3.9"), ..listed() }, Some(Reason::IpNotAllowed)),
            (
                Question { address: Some("192.0.2.9"), workspace: Some("none"), ..listed() },
                Some(Reason::WrongWorkspace),
            ),
            (Question { address: Some("192.0.2.9"), scope: Some("a:read"), ..listed() }, None),
            (
                Question { address: Some("192.0.2.9"), scope: Some("a:write"), ..listed() },
                Some(Reason::InsufficientScope),
            ),
            (
                Question { address: Some("192.0.2.9"), roles: Some([Role::Admin].into()), ..listed() },
                Some(Reason::InsufficientRole),
            ),
            (Question::about("sk_live_junk"), Some(Reason::NotFound)),
        ] {
            let told = format!("{question:?}");
            assert_eq!(answer(&world, &asker, question).await, reason, "{told}");
        }
        for (question, field) in [
            (Question { scope: Some("x"), ..listed() }, "scope"),
            (Question { address: Some("x"), ..listed() }, "ip"),
            (Question { path: Some("/a/../b"), ..listed() }, "path"),
        ] {
            assert_eq!(code(world.engine.ask(&asker, question).await), field);
        }
    }

    async fn another_organization_s_key_is_unknown_to_all_but_instance_admins(database: Database) {
        let world = World::new(database).await;
        let new =
            NewOrganization { slug: "other".to_owned(), name: None, tier: None, owner_email: Some(OWNER.to_owned()) };
        let other = Context::host(world.engine.create_organization(&world.host(), new).await.unwrap().id);
        let theirs = world.engine.create_key(&other, named("theirs")).await.unwrap().secret.unwrap();
        let question = || Question::about(theirs.expose());
        let admin = NewKey { group: Some("management".to_owned()), ..named("asker") };
        let asker = world.acting(&world.key(admin).await.1).await;
        let verdict = world.engine.ask(&asker, question()).await.unwrap();
        assert_eq!((verdict.reason(), verdict.key().is_none()), (Some(Reason::NotFound), true));
        let instance = world.acting(&world.management_key).await;
        assert_eq!(answer(&world, &instance, question()).await, None);
    }
}
