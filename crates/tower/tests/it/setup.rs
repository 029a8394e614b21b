//! What cannot be asked for is said before the first request.

use keyrack_core::{OrganizationId, Role};
use keyrack_testkit::Database;
use keyrack_tower::{Keyrack, RequireKey};

use crate::support::World;

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_when_the_layer_is_made() {
    let world = World::new(Database::Sqlite).await;
    let own = world.keyrack();
    let any = world.keyrack().any_organization();
    let nobody = Keyrack::in_process(world.engine.clone(), OrganizationId(uuid()));
    let refused = [
        (&own, RequireKey::scope("contacts"), "the scope \"contacts\""),
        (&own, RequireKey::resource("contacts:read"), "the resource \"contacts:read\""),
        (&own, RequireKey::any().groups(["strangers"]), "there is no group \"strangers\""),
        (&own, RequireKey::any().workspace("nowhere"), "there is no workspace \"nowhere\""),
        (&own, RequireKey::any().cost(0), "a request costs"),
        (&own, RequireKey::public().groups(["partners"]), "a public route asks nothing"),
        (&own, RequireKey::public().roles([Role::Admin]), "a public route asks nothing"),
        (&any, RequireKey::any().groups(["partners"]), "where keys of every organization"),
        (&any, RequireKey::any().workspace("sales"), "where keys of every organization"),
        (&nobody, RequireKey::any(), "there is no such organization"),
    ];
    for (keyrack, asked, why) in refused {
        let error = keyrack.require(asked.clone()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with(why), "{asked:?}: {error:?}");
    }
    for address in ["keys.example.com", "ftp://keys.example.com", "https://keys.example.com/deep"] {
        let error = Keyrack::remote(address, "sk_live_x").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("is not the address of a server"), "{address}: {error}");
    }
    let error = Keyrack::remote("https://keys.example.com", "line\nfeed").err().unwrap();
    assert!(!error.to_string().contains("feed"), "a key is never printed");
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::max()
}
