//! Fields that need more of a caller than the endpoint they are sent to.

use keyrack_testkit::Database;
use serde_json::{Value, json};

use super::callers::{Expected, Who, callers, expected, newest, state};
use super::operations;
use super::samples::Site;
use crate::support::World;

/// Who answers for the instance, and who for an organization.
const OF_THE_INSTANCE: [&str; 2] = ["an instance admin", "an instance admin's key"];
/// The last one of his own organization, where what names nothing leads him.
const OWNERS: [&str; 3] = ["an instance admin", "an owner", "another organization's owner"];
/// Who may hand the instance's scope on. Bound to a workspace it is worth nothing, and nothing is what the new key is worth.
const HOLDERS: [&str; 3] =
    ["an instance admin", "an instance admin's key", "a key that were an instance admin's, but for its workspace"];
const INSTANCE: &str = "keyrack.instance:admin";

/// A field that only some of those may fill in who may call the operation, and how the others are refused.
struct Field {
    operation: &'static str,
    /// A JSON pointer.
    at: &'static str,
    value: Value,
    may: &'static [&'static str],
    refused: &'static [&'static str],
}

fn fields() -> Vec<Field> {
    let of_the_instance = |operation, at, value| {
        let refused = &["insufficient_scope"];
        Field { operation, at, value, may: &OF_THE_INSTANCE, refused }
    };
    let of_holders = |operation, at| {
        let refused = &["insufficient_scope"];
        Field { operation, at, value: json!([INSTANCE]), may: &HOLDERS, refused }
    };
    let of_owners = |operation, at, value| {
        let refused = &["insufficient_role", "key_not_accepted"];
        Field { operation, at, value, may: &OWNERS, refused }
    };
    vec![
        of_the_instance("updateOrganization", "/tier", json!("pro")),
        of_the_instance("updateOrganization", "/state", json!("active")),
        of_the_instance("createRoute", "/host", json!("api.acme.test")),
        of_the_instance("createRoute", "/guard", json!({"organizations": "any"})),
        of_the_instance("updateRoute", "/guard", json!({"organizations": "any"})),
        of_the_instance("addMember", "/password", json!("chosen by somebody else")),
        of_holders("createKey", "/scopes"),
        of_holders("importKeys", "/keys/0/scopes"),
        of_holders("updateKey", "/scopes"),
        of_holders("createGroup", "/default_scopes"),
        of_holders("updateGroup", "/default_scopes"),
        of_owners("addMember", "/role", json!("owner")),
        of_owners("updateMember", "/role", json!("owner")),
    ]
}

#[tokio::test]
async fn what_needs_more_than_its_endpoint_is_refused_to_all_who_have_no_more() {
    let world = World::start(Database::Sqlite).await;
    let http = world.keyrack.http();
    let site = Site { world: &world, tenant: &world.acme, workspace: None };
    let bound = Site { workspace: Some(&world.acme.workspace), ..site };
    let operations = operations();
    let mut callers = callers(site, bound).await;
    for field in fields() {
        let operation = operations.iter().find(|operation| operation.id == field.operation).unwrap();
        let what = format!("{} with {}", field.operation, field.at);
        let (mut done, mut refused) = (0, 0);
        for caller in &mut callers {
            if expected(operation, &caller.who) != Expected::Success {
                continue;
            }
            let is_bound = matches!(caller.who, Who::Key { is_bound: true, .. });
            let mut sample = if is_bound { bound } else { site }.sample(field.operation).await;
            let (within, name) = field.at.rsplit_once('/').unwrap();
            sample.body.pointer_mut(within).unwrap()[name] = field.value.clone();
            let (before, log) = (state(&world, operation).await, newest(&world).await);
            let answer = caller.ask(&http, operation, &sample).await;
            let what = format!("{what} as {}: {} {}", caller.name, answer.status, answer.text());
            if field.may.contains(&caller.name) {
                assert_eq!(answer.status, operation.success, "{what}");
                done += 1;
            } else {
                let code = answer.json()["error"].clone();
                assert!(answer.status == 403 && field.refused.iter().any(|refusal| code == *refusal), "{what}");
                assert_eq!((state(&world, operation).await, newest(&world).await), (before, log), "{what}");
                refused += 1;
            }
        }
        assert!(done > 0 && refused > 0, "{what}: {done} done, {refused} refused");
    }
}
