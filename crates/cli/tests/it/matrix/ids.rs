//! What is another organization's, or another workspace's, wherever a request may name something: it is answered like
//! what nothing has, byte for byte, and nothing changes.

use keyrack_testkit::{Answer, Database, Http};
use serde_json::{Value, json};

use super::callers::{Caller, Expected, MANAGE, expected, owner, state};
use super::samples::{Site, fresh};
use super::{At, Operation, Place, WorkspaceKeys, operations};
use crate::support::{Person, World, text};

/// What others have.
struct Others<'w> {
    /// Where they have it.
    site: Site<'w>,
    /// By what it is: its id, and its name where one may stand for it.
    things: Vec<(&'static str, String)>,
    /// What its lists are to be asked for, so that they hold nothing else.
    only: &'static str,
    /// What no answer may hold.
    secrets: Vec<String>,
}

impl<'w> Others<'w> {
    /// Of another organization, `acme`.
    async fn of_organization(world: &'w World) -> Self {
        let tenant = &world.acme;
        let site = Site { world, tenant, workspace: None };
        let (key, secret) = site.key().await;
        for _ in 0..3 {
            let rotate = tenant.manager.post(&format!("/api/keys/{key}/rotate")).json(&json!({}));
            rotate.send().await.expect_status(200);
        }
        let (member, _) = (site.member().await, site.member().await);
        for _ in 0..2 {
            let new = json!({"slug": fresh("further"), "owner_email": world.keyrack.owner_email});
            tenant.manager.post("/api/organizations").json(&new).send().await.expect_status(201);
        }
        let actor = Caller::key(("another organization's key", site), "management", &MANAGE).await;
        let actor = world.keyrack.http().with_bearer(actor.text());
        let group = actor.post("/api/groups").json(&json!({"name": "of-others-only"})).send().await.expect_status(201);
        let group = text(&group.json()["id"]);
        let workspace = site.new_workspace("of-others-only").await;
        let things = vec![
            ("key", key.clone()),
            ("key_text", secret),
            ("secret_version", "4".to_owned()),
            ("group", group.clone()),
            ("group", "of-others-only".to_owned()),
            ("workspace", workspace.clone()),
            ("workspace", "of-others-only".to_owned()),
            ("route", tenant.route.clone()),
            ("route_log", site.script().await.1),
            // Of which one's own has two.
            ("script_version", "4".to_owned()),
            ("secret", site.secret().await),
            ("secret_owner", group.clone()),
            ("secret_owner", "of-others-only".to_owned()),
            ("user", member.clone()),
            ("organization", tenant.id.clone()),
            ("organization", "acme".to_owned()),
            ("notification", site.notification().await),
            ("session", session_of_the_owner(world).await),
            ("actor", member.clone()),
            ("actor", key_of(&actor).await),
            ("subject", key.clone()),
            ("subject", tenant.id.clone()),
        ];
        let secrets = vec![key, group, workspace, member, tenant.id.clone(), tenant.route.clone()];
        Self { site, things, only: "", secrets }
    }

    /// Of another workspace of the same organization, `beta`.
    async fn of_workspace(world: &'w World, workspace: &'w str) -> Self {
        let site = Site { world, tenant: &world.beta, workspace: Some(workspace) };
        let (key, _) = site.key().await;
        let (whole, _) = Site { workspace: None, ..site }.key().await;
        let things = vec![
            ("key", key.clone()),
            ("key", whole.clone()),
            ("workspace", workspace.to_owned()),
            ("workspace", "support".to_owned()),
        ];
        Self { site, things, only: "&workspace=support", secrets: vec![workspace.to_owned(), key, whole] }
    }

    /// What may stand at a place, and beside each what nothing has and no list could tell from it.
    async fn at(&self, operation: &Operation, place: &Place) -> Vec<(String, String)> {
        let manager = &self.site.tenant.manager;
        let found: Vec<String> = match &*place.refers_to {
            "cursor" => {
                // So that what stands beside it in the log is theirs too.
                for _ in 0..4 {
                    self.site.key().await;
                    if operation.id == "listSecrets" {
                        self.site.secret().await;
                    }
                }
                vec![cursor(manager, operation, &format!("limit=3{}", self.only)).await.unwrap()]
            }
            "request" => {
                let name = format!("of-others-only-{}", operation.id);
                let sample = self.site.sample(&operation.id).await.with(&place.at, &name);
                operation.request(manager, &sample).send().await.expect_status(operation.success);
                vec![name]
            }
            kind => self.things.iter().filter(|(of, _)| *of == kind).map(|(_, value)| value.clone()).collect(),
        };
        found.into_iter().map(|value| (value.clone(), neighbour(&value))).collect()
    }
}

/// The id of a session of the instance's owner.
async fn session_of_the_owner(world: &World) -> String {
    let keyrack = &world.keyrack;
    let owner = Person::sign_in(&keyrack.http(), &keyrack.owner_email, &keyrack.owner_password).await;
    let sessions = owner.ask("GET", "/api/profile/sessions").send().await.expect_status(200).json();
    text(&sessions["data"][0]["id"])
}

/// The id of a key itself.
async fn key_of(http: &Http) -> String {
    text(&http.get("/api/session").send().await.expect_status(200).json()["key"]["id"])
}

/// Where the first part of a list ends, if there is more.
async fn cursor(http: &Http, operation: &Operation, only: &str) -> Option<String> {
    let page = http.get(&format!("{}?{only}", operation.path)).send().await.expect_status(200).json();
    page["next_cursor"].as_str().map(str::to_owned)
}

/// The same text but for its last character: in the order of lists nothing stands between the two.
fn neighbour(value: &str) -> String {
    let (rest, last) = value.split_at(value.len() - 1);
    let last = match (last.chars().next().unwrap(), u8::from_str_radix(last, 16)) {
        (character, Ok(digit)) if !character.is_ascii_uppercase() => format!("{:x}", digit ^ 1),
        ('z', _) => "y".to_owned(),
        ('Z', _) => "Y".to_owned(),
        ('-', _) => "_".to_owned(),
        ('_', _) => "-".to_owned(),
        (character, _) => char::from_u32(u32::from(character) + 1).unwrap().to_string(),
    };
    format!("{rest}{last}")
}

/// Something of the caller's own that may stand at a place.
async fn own(site: Site<'_>, operation: &Operation, place: &Place) -> Option<String> {
    let tenant = site.tenant;
    Some(match &*place.refers_to {
        "key" | "subject" => tenant.key.clone(),
        "key_text" => tenant.secret.clone(),
        "group" | "secret_owner" => "management".to_owned(),
        "workspace" => tenant.workspace.clone(),
        "organization" => tenant.id.clone(),
        "notification" => site.notification().await,
        "actor" => key_of(&tenant.manager).await,
        "route_log" => site.script().await.1,
        "request" => fresh("request"),
        "cursor" => return cursor(&tenant.manager, operation, "limit=1").await,
        other => panic!("{operation}: what is an own {other}?"),
    })
}

/// An answer without what differs from request to request, and without how long ago something was used.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let id = answer.header("x-request-id").unwrap_or_default();
    let ignored = ["date", "x-request-id", "content-length", "set-cookie"];
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .filter(|(name, _)| !ignored.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    headers.sort();
    let body = answer.text().replace(id, "ID");
    let mut parts = body.split(r#""last_used_at":"#);
    let first = parts.next().unwrap_or_default().to_owned();
    let body = parts.fold(first, |body, part| body + &part[part.find([',', '}']).unwrap()..]);
    (answer.status, headers, body)
}

/// Whether an answer says that there is no such thing.
fn denies(answer: &Answer, place: &Place) -> bool {
    match (answer.status, &place.at) {
        (200, At::Query(_) | At::Body(_)) => {
            let body = answer.json();
            let says_no = |answer: &Value| answer["valid"] == false || answer["active"] == false;
            let is_nothing = body["data"].as_array().map_or(says_no(&body), |rows| rows.iter().all(says_no));
            is_nothing || place.refers_to == "cursor"
        }
        // What depends on no organization goes on; the rest is not for who is no member of one that is not there.
        (status, At::Header(_)) => matches!(status, 200 | 204 | 401 | 403),
        (status, At::Path(_)) => status == 404,
        (status, At::Query(_) | At::Body(_)) => matches!(status, 400 | 404),
    }
}

/// Asks for what is others' at each place where it may stand, as one caller; how many places there were.
async fn nothing_opens(caller: &mut Caller, site: Site<'_>, others: &Others<'_>) -> usize {
    let http = site.world.keyrack.http();
    let mut tried = 0;
    for operation in operations() {
        // Without a credential there is no organization that something could be another's of; and who may ask about every
        // key of the organization sees more than a workspace.
        let is_for_all = site.workspace.is_some() && operation.needs.workspace_keys != WorkspaceKeys::OwnRows;
        if operation.needs.nothing() || is_for_all || expected(&operation, &caller.who) != Expected::Success {
            continue;
        }
        for place in &operation.places {
            if matches!(place.at, At::Header(_)) && place.refers_to == "organization" && !caller.is_person() {
                continue;
            }
            let values = others.at(&operation, place).await;
            if values.is_empty() {
                continue;
            }
            let sample = site.sample(&operation.id).await;
            let before = state(site.world, &operation).await;
            for (theirs, nothing) in &values {
                let what = format!("{operation} {} {theirs} as {}", place.at, caller.name);
                let answer = caller.ask(&http, &operation, &sample.with(&place.at, theirs)).await;
                if place.refers_to == "request" {
                    is_done_anew(&what, &answer, &operation);
                    continue;
                }
                let unknown = caller.ask(&http, &operation, &sample.with(&place.at, nothing)).await;
                assert_eq!(told(&answer), told(&unknown), "{what}");
                assert!(denies(&answer, place), "{what}: {} {}", answer.status, answer.text());
                let shown = answer.text();
                assert!(!others.secrets.iter().any(|secret| shown.contains(secret)), "{what}: {shown}");
            }
            // One's own name is nobody else's, wherever one is.
            let is_own = place.refers_to == "request" || operation.id == "updateProfile";
            let is_unchanged = is_own || state(site.world, &operation).await == before;
            assert!(is_unchanged, "{operation} {} as {} changed something", place.at, caller.name);
            tried += 1;
            if matches!(place.at, At::Path(_)) {
                continue;
            }
            // With something of one's own at that place it is done: so it is the thing that was refused.
            if let Some(value) = own(site, &operation, place).await {
                let sample = site.sample(&operation.id).await.with(&place.at, &value);
                let answer = caller.ask(&http, &operation, &sample).await;
                assert_eq!(answer.status, operation.success, "{operation} {} {value}: {}", place.at, answer.text());
            }
        }
    }
    tried
}

/// A request that another organization has sent under the same name was another request.
#[track_caller]
fn is_done_anew(what: &str, answer: &Answer, operation: &Operation) {
    assert_eq!(answer.status, operation.success, "{what}: {}", answer.text());
    assert_eq!(answer.header("idempotency-replayed"), None, "{what}");
    assert!(answer.json()["secret"].is_string(), "{what}: {}", answer.text());
}

#[tokio::test]
async fn an_owner_gets_nothing_by_what_is_another_organization_s() {
    let world = World::start(Database::Sqlite).await;
    let site = Site { world: &world, tenant: &world.beta, workspace: None };
    let others = Others::of_organization(&world).await;
    let tried = nothing_opens(&mut owner(site, "an owner", false).await, site, &others).await;
    assert!(tried > 80, "{tried}");
}

#[tokio::test]
async fn a_management_key_gets_nothing_by_what_is_another_organization_s() {
    let world = World::start(Database::Sqlite).await;
    let site = Site { world: &world, tenant: &world.beta, workspace: None };
    let others = Others::of_organization(&world).await;
    let mut caller = Caller::key(("a management key", site), "management", &MANAGE).await;
    let tried = nothing_opens(&mut caller, site, &others).await;
    assert!(tried > 45, "{tried}");
}

#[tokio::test]
async fn a_key_bound_to_a_workspace_gets_nothing_by_what_is_in_another_one() {
    let world = World::start(Database::Sqlite).await;
    let site = Site { world: &world, tenant: &world.beta, workspace: Some(&world.beta.workspace) };
    let support = Site { workspace: None, ..site }.new_workspace("support").await;
    let others = Others::of_workspace(&world, &support).await;
    let mut caller = Caller::key(("a key bound to a workspace", site), "management", &MANAGE).await;
    let tried = nothing_opens(&mut caller, site, &others).await;
    assert!(tried > 10, "{tried}");
}
