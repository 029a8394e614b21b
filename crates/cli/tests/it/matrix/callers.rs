//! Every endpoint with every kind of caller. What must come of it follows from what the endpoint needs.

use keyrack_testkit::{Answer, Database, Http};
use serde_json::{Value, json};

use super::samples::{PASSWORD, Sample, Site, fresh};
use super::{Keys, Operation, Sessions, WorkspaceKeys, operations};
use crate::support::{INVALID_API_KEY, NOBODY, Person, World, expect_refusal, text};

/// What admins and owners may do, and management keys.
pub(super) const MANAGE: [&str; 2] = ["*:admin", "keyrack.*:admin"];
const INSTANCE: &str = "keyrack.instance:admin";

/// Somebody who calls, and what is known of them.
pub(super) struct Caller {
    pub(super) name: &'static str,
    pub(super) who: Who,
    credential: Credential,
}

/// What a caller is.
pub(super) enum Who {
    /// Nobody that is known.
    Nobody,
    /// Somebody who is signed in.
    Person { scopes: Vec<String>, is_instance_admin: bool, is_owner: bool, is_stranger: bool, is_on_another_site: bool },
    /// A key.
    Key { scopes: Vec<String>, is_in_access_group: bool, is_bound: bool, is_token: bool },
}

/// How a caller says who they are.
enum Credential {
    Nothing,
    Bearer(String),
    ApiKey(String),
    /// A session of a person in an organization, from a page of this site or of another one.
    Session {
        email: String,
        password: String,
        organization: String,
        site: &'static str,
        cookie: String,
    },
}

/// What must come of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    Success,
    Unauthorized,
    Forbidden(&'static str),
    NotFound,
}

/// What an operation is to answer to a caller who asks for something that is there.
pub(super) fn expected(operation: &Operation, who: &Who) -> Expected {
    let needs = &operation.needs;
    let grants = |scopes: &[String]| needs.scope.as_ref().is_none_or(|needed| grants(scopes, needed));
    let too_little = Expected::Forbidden("insufficient_scope");
    match who {
        _ if needs.nothing() => Expected::Success,
        Who::Nobody => Expected::Unauthorized,
        Who::Person { .. } if needs.sessions == Sessions::None => Expected::Unauthorized,
        Who::Person { is_on_another_site: true, .. } if operation.method != "GET" => Expected::Forbidden("cross_site"),
        Who::Person { scopes, is_instance_admin, is_owner, is_stranger, .. } => match needs.sessions {
            Sessions::None => Expected::Unauthorized,
            Sessions::Members if !grants(scopes) => too_little,
            Sessions::InstanceAdmins if !is_instance_admin => too_little,
            Sessions::Owners if !is_owner => Expected::Forbidden("insufficient_role"),
            // What is a person's own they have wherever they are.
            _ if *is_stranger
                && operation.names_something()
                && (needs.keys != Keys::None || needs.sessions == Sessions::Owners) =>
            {
                Expected::NotFound
            }
            _ => Expected::Success,
        },
        Who::Key { .. } if needs.keys == Keys::None => Expected::Forbidden("key_not_accepted"),
        Who::Key { is_in_access_group: false, .. } if needs.keys == Keys::Access => Expected::Unauthorized,
        Who::Key { scopes, .. } if !grants(scopes) => too_little,
        Who::Key { is_token: true, .. } if !needs.tokens => Expected::Forbidden("token_not_accepted"),
        Who::Key { is_bound: true, .. } if needs.workspace_keys == WorkspaceKeys::None => too_little,
        Who::Key { .. } => Expected::Success,
    }
}

/// Whether one of these scopes covers one of Keyrack's own.
fn grants(scopes: &[String], needed: &str) -> bool {
    let (resource, action) = needed.split_once(':').unwrap();
    let mut each = scopes.iter().map(|scope| scope.split_once(':').unwrap());
    each.any(|(held, may)| {
        let is_covered = held == resource || (held == "keyrack.*" && resource != "keyrack.instance");
        is_covered && (may == action || may == "admin")
    })
}

fn texts(scopes: &[&str]) -> Vec<String> {
    scopes.iter().map(|&scope| scope.to_owned()).collect()
}

impl Caller {
    /// A person who is signed in to an organization.
    pub(super) async fn person(
        (name, http): (&'static str, &Http),
        (email, password, organization): (&str, &str, &str),
        who: Who,
    ) -> Self {
        let site = match who {
            Who::Person { is_on_another_site: true, .. } => "cross-site",
            _ => "same-origin",
        };
        let cookie = Person::sign_in(http, email, password).await.step_up(password).await.cookie;
        let (email, password, organization) = (email.to_owned(), password.to_owned(), organization.to_owned());
        Self { name, who, credential: Credential::Session { email, password, organization, site, cookie } }
    }

    /// A key of the group `management` or `default`, bound to a workspace or not.
    pub(super) async fn key((name, site): (&'static str, Site<'_>), group: &str, scopes: &[impl AsRef<str>]) -> Self {
        let scopes: Vec<String> = scopes.iter().map(|scope| scope.as_ref().to_owned()).collect();
        let wish = json!({"name": fresh("caller"), "group": group, "scopes": scopes, "workspace": site.workspace});
        let made = site.tenant.manager.post("/api/keys").json(&wish).send().await.expect_status(201).json();
        let who = Who::Key {
            scopes,
            is_in_access_group: group == "management",
            is_bound: site.workspace.is_some(),
            is_token: false,
        };
        Self { name, who, credential: Credential::Bearer(text(&made["secret"])) }
    }

    /// The same with a token of theirs.
    async fn with_token(self, name: &'static str, http: &Http) -> Self {
        let made = http.post("/api/tokens").bearer(self.text()).json(&json!({})).send().await.expect_status(201).json();
        let Who::Key { scopes, is_in_access_group, is_bound, .. } = self.who else { panic!("{} is no key", self.name) };
        let who = Who::Key { scopes, is_in_access_group, is_bound, is_token: true };
        Self { name, who, credential: Credential::Bearer(text(&made["token"])) }
    }

    /// The text of the key, if it is one.
    pub(super) fn text(&self) -> &str {
        let Credential::Bearer(text) = &self.credential else { panic!("{} presents no key", self.name) };
        text
    }

    /// Whether it is a person.
    pub(super) fn is_person(&self) -> bool {
        matches!(self.who, Who::Person { .. })
    }

    /// Sends a request of theirs. Who has signed out by it signs in again.
    pub(super) async fn ask(&mut self, http: &Http, operation: &Operation, sample: &Sample) -> Answer {
        let sample = &self.personally(http, operation, sample).await;
        let request = operation.request(http, sample);
        let request = match &self.credential {
            Credential::Nothing => request,
            Credential::Bearer(key) => request.bearer(key),
            Credential::ApiKey(key) => request.header("x-api-key", key),
            Credential::Session { organization, site, cookie, .. } => {
                let request = request.header("cookie", cookie).header("sec-fetch-site", site);
                let says_which = sample.headers.iter().any(|(name, _)| name == "Keyrack-Organization");
                if says_which { request } else { request.header("keyrack-organization", organization) }
            }
        };
        let answer = request.send().await;
        if let Credential::Session { email, password, cookie, .. } = &mut self.credential
            && answer.status == operation.success
        {
            match operation.id.as_str() {
                "signOut" => *cookie = Person::sign_in(http, email, password).await.step_up(password).await.cookie,
                // They go on under another cookie.
                "stepUp" | "changePassword" => {
                    let set = answer.header("set-cookie").unwrap();
                    set.split(';').next().unwrap().clone_into(cookie);
                }
                _ => {}
            }
        }
        answer
    }

    /// The request as it must be of this very person, where it is about their own account.
    async fn personally(&self, http: &Http, operation: &Operation, sample: &Sample) -> Sample {
        let Credential::Session { email, password, .. } = &self.credential else { return sample.clone() };
        let mut sample = sample.clone();
        match operation.id.as_str() {
            "stepUp" => sample.body["password"] = json!(password),
            "changePassword" => sample.body = json!({"current_password": password, "new_password": password}),
            "endSession" if sample.path.iter().any(|(_, id)| *id == NOBODY) => {
                let other = Person::sign_in(http, email, password).await;
                let own = other.ask("GET", "/api/profile/sessions").send().await.expect_status(200).json();
                let own = own["data"].as_array().unwrap().iter().find(|session| session["is_current"] == true).unwrap();
                sample.path = vec![("session_id".to_owned(), text(&own["id"]))];
            }
            _ => {}
        }
        sample
    }
}

impl Operation {
    #[track_caller]
    fn check(&self, caller: &Caller, expected: Expected, answer: &Answer) {
        let what = format!("{self} as {}: {} {}", caller.name, answer.status, answer.text());
        match expected {
            Expected::Success => assert_eq!(answer.status, self.success, "{what}"),
            Expected::Unauthorized => {
                assert_eq!((answer.status, answer.text().as_str()), (401, INVALID_API_KEY), "{what}");
                assert!(answer.header("www-authenticate").is_some(), "{what}");
            }
            Expected::Forbidden(code) => {
                assert_eq!((answer.status, &answer.json()["error"]), (403, &json!(code)), "{what}");
            }
            Expected::NotFound => expect_refusal(answer, 404, "not_found", None),
        }
    }
}

/// Somebody new in the organization of a site.
async fn join(site: Site<'_>, email: &str, role: &str) {
    let keyrack = &site.world.keyrack;
    let owner = Person::sign_in(&keyrack.http(), &keyrack.owner_email, &keyrack.owner_password).await;
    let owner = owner.step_up(&keyrack.owner_password).await;
    let invite = owner.ask("POST", "/api/members").header("keyrack-organization", &site.tenant.id);
    let invited = invite.json(&json!({"email": email, "role": role})).send().await.expect_status(201).json();
    let yes = json!({"token": invited["invitation"]["token"], "password": PASSWORD});
    keyrack.http().post("/api/members/accept").json(&yes).send().await.expect_status(201);
}

/// An owner of the organization of a site who is nothing else.
pub(super) async fn owner(site: Site<'_>, name: &'static str, is_stranger: bool) -> Caller {
    let email = format!("{}@example.test", fresh("owner"));
    join(site, &email, "owner").await;
    let who = Who::Person {
        scopes: texts(&MANAGE),
        is_instance_admin: false,
        is_owner: true,
        is_stranger,
        is_on_another_site: false,
    };
    Caller::person((name, &site.world.keyrack.http()), (&email, PASSWORD, &site.tenant.id), who).await
}

/// Everybody but who depends on the operation, for an organization: `site` and, bound to a workspace, `bound`.
pub(super) async fn callers(site: Site<'_>, bound: Site<'_>) -> Vec<Caller> {
    let (world, tenant) = (site.world, site.tenant);
    let http = world.keyrack.http();
    join(site, "admin@acme.test", "admin").await;
    join(site, "second@acme.test", "owner").await;
    join(site, "third@acme.test", "owner").await;
    let session = async |name, (email, password), scopes: &[&str], is_instance_admin, is_on_another_site| {
        let is_owner = name != "a member" && name != "an admin";
        let scopes = texts(scopes);
        let who = Who::Person { scopes, is_instance_admin, is_owner, is_stranger: false, is_on_another_site };
        Caller::person((name, &http), (email, password, &tenant.id), who).await
    };
    let nobody = |name, credential| Caller { name, who: Who::Nobody, credential };
    let revoked = Caller::key(("a revoked key", site), "management", &MANAGE).await;
    let keys = tenant.manager.get("/api/keys?limit=1").send().await.expect_status(200).json();
    let revoke = format!("/api/keys/{}/revoke", text(&keys["data"][0]["id"]));
    tenant.manager.post(&revoke).json(&json!({})).send().await.expect_status(200);
    let everything = [MANAGE[0], MANAGE[1], INSTANCE];
    let instance = Caller::key(("an instance admin's key", site), "management", &everything).await;
    let acme_owner = (world.keyrack.owner_email.as_str(), world.keyrack.owner_password.as_str());
    vec![
        nobody("nobody", Credential::Nothing),
        session("a member", ("member@acme.test", "the password of the member"), &["*:read", "*:write"], false, false)
            .await,
        session("an admin", ("admin@acme.test", PASSWORD), &MANAGE, false, false).await,
        session("an owner", ("second@acme.test", PASSWORD), &MANAGE, false, false).await,
        session("an owner, on another site", ("third@acme.test", PASSWORD), &MANAGE, false, true).await,
        session("an instance admin", acme_owner, &MANAGE, true, false).await,
        owner(Site { tenant: &world.beta, ..site }, "another organization's owner", true).await,
        Caller { credential: Credential::ApiKey(instance.text().to_owned()), ..instance },
        Caller::key(("an ordinary key", site), "default", &MANAGE).await,
        Caller::key(("whoever asks for a token", site), "default", &MANAGE)
            .await
            .with_token("a token of an ordinary key", &http)
            .await,
        Caller::key(("whoever asks for a token", site), "management", &everything)
            .await
            .with_token("a token of an instance admin's key", &http)
            .await,
        Caller::key(("an ordinary key without scopes", site), "default", &[""; 0]).await,
        Caller::key(("a key bound to a workspace", bound), "management", &MANAGE).await,
        Caller::key(("a key that were an instance admin's, but for its workspace", bound), "management", &everything)
            .await,
        nobody("a revoked key", revoked.credential),
        nobody("what looks like a token", Credential::Bearer("e30".repeat(80))),
    ]
}

/// The newest change of both organizations.
pub(super) async fn newest(world: &World) -> [Value; 2] {
    let newest = async |http: &Http| http.get("/api/audit?limit=1").send().await.expect_status(200).json();
    [newest(&world.acme.manager).await, newest(&world.beta.manager).await]
}

/// Everything that is there, if the operation could change it.
pub(super) async fn state(world: &World, operation: &Operation) -> Value {
    if operation.method == "GET" { Value::Null } else { world.state().await }
}

#[tokio::test]
async fn every_endpoint_answers_every_kind_of_caller_as_its_needs_say() {
    let world = World::start(Database::Sqlite).await;
    let http = world.keyrack.http();
    let site = Site { world: &world, tenant: &world.acme, workspace: None };
    let bound = Site { workspace: Some(&world.acme.workspace), ..site };
    let operations = operations();
    let mut callers = callers(site, bound).await;
    let mut asked = 0;
    for operation in &operations {
        let scopes = operations.iter().filter_map(|other| other.needs.scope.as_ref());
        let others: Vec<&String> = scopes.filter(|scope| Some(*scope) != operation.needs.scope.as_ref()).collect();
        let others = Caller::key(("a key with every scope but this", site), "management", &distinct(others)).await;
        callers.push(others);
        let sample = site.sample(&operation.id).await;
        let (before, log) = (state(&world, operation).await, newest(&world).await);
        for caller in &mut callers {
            let expected = expected(operation, &caller.who);
            if expected != Expected::Success {
                let answer = caller.ask(&http, operation, &sample).await;
                operation.check(caller, expected, &answer);
                assert_eq!(newest(&world).await, log, "{operation} as {} changed something", caller.name);
                asked += 1;
            }
        }
        assert_eq!(state(&world, operation).await, before, "{operation} changed something without a word in the log");
        for caller in &mut callers {
            if expected(operation, &caller.who) == Expected::Success {
                let is_bound = matches!(caller.who, Who::Key { is_bound: true, .. });
                let sample = if is_bound { bound } else { site }.sample(&operation.id).await;
                let answer = caller.ask(&http, operation, &sample).await;
                operation.check(caller, Expected::Success, &answer);
                asked += 1;
            }
        }
        callers.pop();
    }
    assert_eq!(asked, operations.len() * (callers.len() + 1));
}

fn distinct(mut scopes: Vec<&String>) -> Vec<&String> {
    scopes.sort();
    scopes.dedup();
    scopes
}

#[tokio::test]
async fn only_a_key_of_the_whole_organization_may_act_for_the_instance() {
    let world = World::start(Database::Sqlite).await;
    let site = Site { world: &world, tenant: &world.acme, workspace: None };
    let bound = Site { workspace: Some(&world.acme.workspace), ..site };
    for (site, code) in [(site, "VALID"), (bound, "NOT_FOUND")] {
        let key = Caller::key(("a key with the instance's scope", site), "management", &[MANAGE[1], INSTANCE]).await;
        let asked = world.keyrack.http().post("/api/verify").bearer(key.text());
        let asked = asked.json(&json!({"key": world.beta.secret})).send().await.expect_status(200);
        assert_eq!(asked.json()["code"], code, "{}", asked.text());
    }
}

/// What a key may do beyond the door depends on what it is to do; so these requests are about nothing, and wrong.
#[tokio::test]
async fn a_key_with_just_the_scope_that_is_needed_passes_the_door() {
    let world = World::start(Database::Sqlite).await;
    let site = Site { world: &world, tenant: &world.acme, workspace: None };
    let mut asked = 0;
    for operation in operations() {
        let Some(scope) = &operation.needs.scope else { continue };
        let group = if operation.needs.keys == Keys::Any { "default" } else { "management" };
        let mut caller = Caller::key(("a key with just this scope", site), group, &[scope]).await;
        let path = ["id", "user_id"].map(|name| (name.to_owned(), NOBODY.to_owned())).into_iter();
        let path = path.chain([("version".to_owned(), "1".to_owned())]).collect();
        let sample = Sample { path, body: json!({"zebra": "1"}), ..Sample::default() };
        let answer = caller.ask(&world.keyrack.http(), &operation, &sample).await;
        assert!(!matches!(answer.status, 401 | 403), "{operation} with {scope}: {}", answer.text());
        asked += 1;
    }
    assert!(asked > 30, "{asked}");
}
