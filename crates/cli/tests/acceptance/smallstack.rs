//! Keys for a website's forms, scripts and partners: each with a name and narrow scopes, replaced without a failure, and
//! no person's.
//!
//! Routes to an upstream stand where collections and hooks will.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use keyrack_testkit::{Answer, Database, Http, Keyrack, Upstream};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{
    Caller as _, KEYRACK, Key, Person, busy, each, everything_stored, expect_expiry, expect_refusal, expect_unknown,
    holds, in_seconds, text,
};

const CONTACTS: &str = "/projects/web/contacts";
const INCIDENTS: &str = "/projects/web/incidents";
const FORM: &str = "/forms/website";

keyrack_testkit::both_databases! {
    async fn an_integration_has_a_narrow_key_that_is_replaced_without_a_failure(database: Database) {
        let walk = Walk::begin(database).await;
        let k1 = walk.a_key_is_shown_once_and_kept_nowhere().await;
        walk.write_does_not_imply_read(&k1).await;
        let k2 = walk.a_reader_reads_its_own_resource_only().await;
        let form = walk.a_door_is_bound_to_its_key(&k1, &k2).await;
        let k3 = walk.a_successor_takes_over_without_a_failure(&k1, &form).await;
        let old = k3;
        let k3 = walk.a_secret_is_replaced_without_a_failure(&old).await;
        walk.a_key_outlives_the_membership_of_its_maker(&k3).await;
        walk.a_key_ends_when_it_was_said_to().await;
        walk.a_key_works_from_its_addresses_only(&k3).await;
        walk.the_audit_log_names_who_did_what(&k1, &k3).await;
        walk.no_value_is_found_anywhere(&[&k1, &k2, &old, &k3]).await;
    }
}

struct Walk {
    keyrack: Keyrack,
    upstream: Upstream,
    /// Calls without a credential of its own.
    http: Http,
    /// The management key.
    owner: Http,
    /// The first owner, signed in.
    ada: Person,
    /// A second one.
    carol: Person,
    /// The id of the project.
    workspace: String,
}

impl Walk {
    /// An organization with a project, and places to put contacts and incidents.
    async fn begin(database: Database) -> Self {
        let keyrack =
            Keyrack::setup(KEYRACK, database).args(["--egress-allow", "127.0.0.1/32", "--log-level", "trace"]);
        let keyrack = keyrack.start();
        let upstream = Upstream::answering(|request| async move {
            let status = if request.method() == "POST" { 201 } else { 200 };
            Response::builder().status(status).body(Full::new(Bytes::from_static(b"{}"))).unwrap()
        })
        .await;
        let owner = keyrack.owner();
        let workspace = text(&owner.make("/api/workspaces", json!({"slug": "web", "name": "Website"})).await["id"]);
        for resource in ["contacts", "incidents"] {
            let path = format!("/projects/:workspace/{resource}");
            owner.make_route(&path, json!({"resource": resource}), &upstream.url()).await;
        }
        let ada = Person::owner(&keyrack).await;
        let carol = ada.add("carol", "owner").await;
        Self { http: keyrack.http(), owner, ada, carol, upstream, workspace, keyrack }
    }

    async fn send(&self, method: &str, path: &str, key: &Key) -> Answer {
        self.http.request(method, path).bearer(&key.secret).body(r#"{"name":"Ada"}"#).send().await
    }

    /// The create shows the value, nothing after it does.
    async fn a_key_is_shown_once_and_kept_nowhere(&self) -> Key {
        let wanted = json!({"workspace": "web", "name": "Website form", "scopes": ["contacts:write"]});
        let k1 = self.owner.make_key(wanted).await;
        let body = k1.secret.strip_prefix("sk_live_").unwrap();
        assert!(body.len() == 49 && body.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{}", k1.secret);

        let list = self.owner.show("/api/keys").await;
        let entry = list["data"].as_array().unwrap().iter().find(|key| key["id"] == k1.id.as_str()).unwrap();
        assert_eq!(entry["display_prefix"], k1.secret[.."sk_live_".len() + 8]);
        assert_eq!(entry["last4"], k1.secret[k1.secret.len() - 4..]);
        assert_eq!(entry["workspace"], "web");
        self.no_value_is_found_anywhere(&[&k1]).await;
        k1
    }

    /// A form hands in and learns nothing.
    async fn write_does_not_imply_read(&self, k1: &Key) {
        self.send("POST", CONTACTS, k1).await.expect_status(201);
        // A project may be named by its id as well.
        self.send("POST", &format!("/projects/{}/contacts", self.workspace), k1).await.expect_status(201);
        expect_refusal(self.send("GET", CONTACTS, k1).await, 403, "insufficient_scope");
        assert_eq!(self.upstream.count(), 2);
    }

    /// Neither does read imply write, nor one resource another.
    async fn a_reader_reads_its_own_resource_only(&self) -> Key {
        let wanted = json!({"workspace": "web", "name": "Report", "scopes": ["contacts:read"]});
        let k2 = self.owner.make_key(wanted).await;
        self.send("GET", CONTACTS, &k2).await.expect_status(200);
        expect_refusal(self.send("POST", CONTACTS, &k2).await, 403, "insufficient_scope");
        expect_refusal(self.send("GET", INCIDENTS, &k2).await, 403, "insufficient_scope");
        k2
    }

    /// The binding is the grant. What it does not name is unknown there, and does not reach the target.
    async fn a_door_is_bound_to_its_key(&self, k1: &Key, k2: &Key) -> String {
        let guard = json!({"keys": [k1.id], "workspace": "web"});
        let form = self.owner.make_route(FORM, guard, &self.upstream.url()).await;
        self.send("POST", FORM, k1).await.expect_status(201);
        let reached = self.upstream.count();
        expect_unknown(self.send("POST", FORM, k2).await);
        expect_unknown(self.http.post(FORM).send().await);
        assert_eq!(self.upstream.count(), reached);
        form
    }

    /// By a second key: it is added to the door, both work, the first is deleted. Nothing fails on the way, and
    /// the first key's next request is refused.
    async fn a_successor_takes_over_without_a_failure(&self, k1: &Key, form: &str) -> Key {
        let _turn = busy().await;
        let traffic = Traffic::begin(&self.http, k1);
        traffic.has_flowed(50).await;
        let wanted = json!({"workspace": "web", "name": "Website form 2", "scopes": ["contacts:write"]});
        let k3 = self.carol.make_key(wanted).await;
        let guard = json!({"keys": [k1.id, k3.id], "workspace": "web"});
        self.owner.change(&format!("/api/routes/{form}"), json!({"guard": guard})).await;
        traffic.goes_on_with_both(&k3).await;

        self.owner.delete(&k1.path()).await;
        expect_unknown(self.send("POST", FORM, k1).await);
        expect_unknown(self.send("POST", CONTACTS, k1).await);
        self.send("POST", FORM, &k3).await.expect_status(201);
        // No session of anybody is touched by it.
        for person in [&self.ada, &self.carol] {
            person.show("/api/session").await;
        }
        k3
    }

    /// By a second secret of the same key, with both taken for a while.
    async fn a_secret_is_replaced_without_a_failure(&self, k3: &Key) -> Key {
        let _turn = busy().await;
        let traffic = Traffic::begin(&self.http, k3);
        traffic.has_flowed(50).await;
        let rotate = self.owner.post(&format!("{}/rotate", k3.path())).json(&json!({"overlap_seconds": 3600}));
        let rotated = Key::of(&rotate.send().await.expect_status(200).json());
        assert_eq!(rotated.id, k3.id);
        traffic.goes_on_with_both(&rotated).await;

        self.owner.delete(&format!("{}/secrets/1", k3.path())).await;
        expect_unknown(self.send("POST", FORM, k3).await);
        self.send("POST", FORM, &rotated).await.expect_status(201);
        rotated
    }

    /// Its maker is removed, and nothing changes for it.
    async fn a_key_outlives_the_membership_of_its_maker(&self, k3: &Key) {
        let carol = self.carol.id().await;
        assert_eq!(self.owner.show(&k3.path()).await["created_by"], carol.as_str());
        self.ada.delete(&format!("/api/members/{carol}")).await;
        assert!(!each(&self.owner.show("/api/members").await, "user_id").contains(&carol));
        self.send("POST", FORM, k3).await.expect_status(201);
        self.send("POST", CONTACTS, k3).await.expect_status(201);
        assert_eq!(self.owner.show(&k3.path()).await["created_by"], Value::Null);
        // Her session is worth nothing here any more.
        let still = self.carol.ask("GET", "/api/keys").header("keyrack-organization", "acme").send().await;
        assert!(matches!(still.status, 401 | 403), "{}", still.text());
    }

    /// From that very moment on.
    async fn a_key_ends_when_it_was_said_to(&self) {
        let ends = in_seconds(2);
        let wanted = json!({"workspace": "web", "name": "Visitor", "scopes": ["contacts:read"], "expires_at": ends});
        let visitor = self.owner.make_key(wanted).await;
        expect_expiry(ends, async || self.send("GET", CONTACTS, &visitor).await).await;
        assert_eq!(self.owner.show(&visitor.path()).await["status"], "expired");
    }

    /// What a caller says of where it comes from counts for nothing.
    async fn a_key_works_from_its_addresses_only(&self, k3: &Key) {
        self.owner.change(&k3.path(), json!({"ip_allowlist": ["203.0.113.0/24"]})).await;
        let request = || self.http.post(FORM).bearer(&k3.secret);
        let forged = request().header("x-forwarded-for", "203.0.113.7").header("x-real-ip", "203.0.113.7");
        for sent in [request(), forged.header("forwarded", "for=203.0.113.7")] {
            expect_refusal(sent.send().await, 403, "ip_not_allowed");
        }
        self.owner.change(&k3.path(), json!({"ip_allowlist": ["203.0.113.0/24", "127.0.0.1/32"]})).await;
        request().send().await.expect_status(201);
        let elsewhere = Http::from_address(self.http.base(), [127, 0, 0, 2].into());
        expect_refusal(elsewhere.post(FORM).bearer(&k3.secret).send().await, 403, "ip_not_allowed");
    }

    /// Who did what is told by name, also when either is gone.
    async fn the_audit_log_names_who_did_what(&self, k1: &Key, k3: &Key) {
        let audit = self.owner.show("/api/audit?limit=200").await;
        let find = |kind: &str, subject: &str| {
            let mut events = audit["data"].as_array().unwrap().iter();
            let found = events.find(|event| event["kind"] == kind && event["subject"]["id"] == subject);
            found.unwrap_or_else(|| panic!("no {kind} of {subject} in {audit:#}"))
        };
        let management = self.owner.show("/api/session").await["key"]["name"].clone();
        for (kind, key, name) in [
            ("key.created", k1, "Website form"),
            ("key.deleted", k1, "Website form"),
            ("key.rotated", k3, "Website form 2"),
            ("key.changed", k3, "Website form 2"),
        ] {
            let event = find(kind, &key.id);
            assert_eq!(event["subject"]["name"], name);
            assert_eq!((&event["actor"]["kind"], &event["actor"]["name"]), (&json!("api_key"), &management));
        }
        let created = find("key.created", &k3.id);
        assert_eq!((&created["actor"]["kind"], &created["actor"]["name"]), (&json!("user"), &json!("carol@acme.test")));
        let removed = find("member.removed", &text(&created["actor"]["id"]));
        assert_eq!(removed["actor"]["name"], self.keyrack.owner_email.as_str());
    }

    /// At the beginning, and after everything else again: not in an answer, the audit log, the server's log or the database.
    async fn no_value_is_found_anywhere(&self, keys: &[&Key]) {
        let mut answers = String::new();
        for path in ["/api/keys?limit=200", "/api/audit?limit=200", "/api/routes", "/api/groups", "/api/members"] {
            answers.push_str(&self.owner.show(path).await.to_string());
        }
        let log = self.keyrack.output();
        // Before the first call there is nothing to tell.
        assert!(self.upstream.count() == 0 || log.contains("TRACE"), "the log is meant to tell everything");
        let stored = everything_stored(&self.keyrack).await;
        for key in keys {
            let secret = &key.secret;
            assert!(!answers.contains(secret), "an answer has {secret}");
            assert!(!log.contains(secret), "the log has {secret}");
            assert!(!holds(&stored, secret), "the database has {secret}");
        }
        // What may be known of those that are still there is found by the same search.
        assert!(keys.iter().any(|key| holds(&stored, &key.secret[..16])), "the search finds nothing");
    }
}

/// A partner who calls without a pause and must never see a failure.
struct Traffic {
    sent: watch::Sender<usize>,
    second: watch::Sender<Option<Key>>,
    flowing: tokio::task::JoinHandle<()>,
}

impl Traffic {
    /// How many calls alternate between the old key and the new one.
    const BOTH: usize = 500;

    /// Begins to call with a key.
    fn begin(http: &Http, first: &Key) -> Self {
        let (sent, second) = (watch::Sender::new(0), watch::Sender::new(None::<Key>));
        let (count, following) = (sent.clone(), second.subscribe());
        let (http, first) = (http.clone(), first.clone());
        let flowing = tokio::spawn(async move {
            let mut with_both = 0;
            while with_both < Self::BOTH {
                let second = following.borrow().clone();
                let key = second.as_ref().filter(|_| with_both % 2 == 0).unwrap_or(&first);
                http.post(FORM).bearer(&key.secret).send().await.expect_status(201);
                with_both += usize::from(second.is_some());
                count.send_modify(|count| *count += 1);
            }
        });
        Self { sent, second, flowing }
    }

    /// Waits until so many calls were answered.
    async fn has_flowed(&self, calls: usize) {
        self.sent.subscribe().wait_for(|sent| *sent >= calls).await.unwrap();
    }

    /// Alternates between the key and its successor from now on, and fails if any call since the beginning did.
    async fn goes_on_with_both(self, second: &Key) {
        self.second.send_replace(Some(second.clone()));
        self.flowing.await.unwrap();
    }
}
