//! Keys of organizations that share nothing, managed by their owners and admins: what software sold as a service needs.

use keyrack_testkit::{Database, Http, Keyrack, Upstream};
use serde_json::{Value, json};

use crate::support::{
    Caller, Key, Person, each, expect_refusal, expect_unknown, in_seconds, seen_headers, start, text,
};

const DOOR: &str = "/svc/jobs";
/// Takes sessions as well.
const BOTH: &str = "/svc/jobs/:id";

keyrack_testkit::both_databases! {
    async fn an_organization_manages_its_own_keys_and_sees_no_others(database: Database) {
        let walk = Walk::begin(database).await;
        let key = walk.an_admin_makes_a_key().await;
        walk.members_and_strangers_do_not().await;
        walk.an_expiry_is_given_or_expressly_not().await;
        walk.keys_of_others_are_not_there(&key).await;
        walk.a_key_is_a_session_without_a_person(&key).await;
        walk.a_session_wins_over_a_key().await;
        walk.a_door_that_takes_both_prefers_the_session(&key).await;
        walk.a_door_may_ask_for_a_role(&key).await;
        walk.a_key_is_refused_at_doors_for_people(&key).await;
        walk.a_switch_works_from_the_next_request_on(&key).await;
        walk.a_deleted_key_is_gone(&key).await;
    }
}

struct Walk {
    keyrack: Keyrack,
    http: Http,
    /// The management key of organization A.
    management: Http,
    /// Of A.
    owner: Person,
    admin: Person,
    member: Person,
    /// The owner of organization B.
    bea: Person,
    upstream: Upstream,
}

impl Walk {
    /// Two organizations, their people, and the format of the keys.
    async fn begin(database: Database) -> Self {
        let keyrack = start(database);
        let upstream = Upstream::start().await;
        let http = keyrack.http();
        let owner = Person::owner(&keyrack).await.within("acme");
        let (admin, member) = (owner.add("ann", "admin").await, owner.add("mel", "member").await);
        let b = owner.make("/api/organizations", json!({"slug": "b", "name": "B", "tier": "pro"})).await;
        let bea = owner.within(&text(&b["id"])).add("bea", "owner").await;
        let groups = admin.show("/api/groups").await;
        let default = each(&groups, "name").iter().position(|name| name == "default").unwrap();
        let format = json!({"key_format": {"prefix": "sk_", "body": "hex"}});
        admin.change(&format!("/api/groups/{}", each(&groups, "id")[default]), format).await;
        admin.make_route(DOOR, json!({"scope": "jobs:read"}), &upstream.url()).await;
        admin.make_route(BOTH, json!({"resource": "jobs", "sessions": true}), &upstream.url()).await;
        Self { management: keyrack.owner(), http, owner, admin, member, bea, upstream, keyrack }
    }

    /// The text looks as the group says, and the expiry is the one that was given.
    async fn an_admin_makes_a_key(&self) -> Key {
        let wanted = json!({
            "name": "webhook-integration",
            "description": "Webhook Integration Key",
            "never_expires": false,
            "expires_at": "2099-12-31T00:00:00Z",
            "scopes": ["jobs:read"],
        });
        let created = self.admin.make("/api/keys", wanted).await;
        let secret = text(&created["secret"]);
        let body = secret.strip_prefix("sk_").unwrap();
        assert!(body.len() == 64 && body.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{secret}");
        let key = &created["key"];
        assert_eq!((&key["enabled"], &key["expires_at"]), (&json!(true), &json!("2099-12-31T00:00:00Z")));
        assert_eq!(key["created_by"], self.admin.id().await);
        self.http.get(DOOR).bearer(&secret).send().await.expect_status(200);
        Key::of(&created)
    }

    /// Nobody but owners and admins, and keys of an access group.
    async fn members_and_strangers_do_not(&self) {
        let wanted = json!({"name": "Refused"});
        let before = each(&self.owner.show("/api/keys").await, "id");
        let simple = self.owner.make_key(json!({"name": "Simple", "scopes": ["*:admin", "keyrack.*:admin"]})).await;
        for path in ["/api/keys", "/api/members", "/api/audit", "/api/groups"] {
            expect_refusal(self.member.ask("GET", path).send().await, 403, "insufficient_scope");
            expect_unknown(self.http.get(path).send().await);
            expect_unknown(self.http.get(path).bearer(&simple.secret).send().await);
        }
        expect_refusal(self.member.ask("POST", "/api/keys").json(&wanted).send().await, 403, "insufficient_scope");
        expect_unknown(self.http.post("/api/keys").json(&wanted).send().await);
        expect_unknown(self.http.post("/api/keys").bearer(&simple.secret).json(&wanted).send().await);
        let dead = self.http.post("/api/keys").header("cookie", "__Host-keyrack_session=guessed");
        expect_unknown(dead.json(&wanted).send().await);
        self.owner.delete(&simple.path()).await;
        assert_eq!(each(&self.owner.show("/api/keys").await, "id"), before, "nothing was made");
    }

    /// Never is said, not assumed; and a key may be made in advance, switched off.
    async fn an_expiry_is_given_or_expressly_not(&self) {
        let ends = in_seconds(3600);
        let made = self.admin.make("/api/keys", json!({"name": "Hour", "expires_at": ends})).await;
        assert_eq!(made["key"]["expires_at"], json!(ends));
        let made = self.admin.make("/api/keys", json!({"name": "Ever", "never_expires": true})).await;
        assert_eq!(made["key"]["expires_at"], Value::Null);
        for wanted in [
            json!({"name": "Which", "never_expires": false}),
            json!({"name": "Which", "never_expires": true, "expires_at": ends}),
            json!({"name": "Which", "expires_at": "2001-01-01T00:00:00Z"}),
        ] {
            expect_refusal(self.admin.ask("POST", "/api/keys").json(&wanted).send().await, 400, "invalid_request");
        }
        let off = json!({"description": "Made in advance", "enabled": false, "scopes": ["jobs:read"]});
        let made = self.admin.make("/api/keys", off).await;
        let key = &made["key"];
        assert_eq!((&key["name"], &key["status"]), (&json!("Made in advance"), &json!("disabled")));
        expect_unknown(self.http.get(DOOR).bearer(Key::of(&made).secret).send().await);
    }

    /// One's own keys are listed without their text; those of others do not exist, whatever is tried with them.
    async fn keys_of_others_are_not_there(&self, key: &Key) {
        let list = self.admin.show("/api/keys").await;
        assert!(each(&list, "id").contains(&key.id));
        assert!(!list.to_string().contains(&key.secret));

        let theirs = self.bea.make_key(json!({"name": "Of B", "scopes": ["jobs:read"]})).await;
        let before = self.bea.show(&theirs.path()).await;
        assert!(!each(&self.admin.show("/api/keys?limit=200").await, "id").contains(&theirs.id));
        assert!(!self.admin.show("/api/audit?limit=200").await.to_string().contains(&theirs.id));
        for (method, rest, body) in [
            ("GET", "", None),
            ("PATCH", "", Some(json!({"enabled": false}))),
            ("DELETE", "", None),
            ("POST", "/rotate", None),
            ("POST", "/revoke", None),
            ("GET", "/secrets", None),
            ("DELETE", "/secrets/1", None),
        ] {
            for caller in [&self.management as &dyn Asking, &self.admin] {
                let request = caller.request_of(method, &format!("{}{rest}", theirs.path()));
                let request = if let Some(body) = &body { request.json(body) } else { request };
                expect_refusal(request.send().await, 404, "not_found");
            }
        }
        let asked = self.management.post("/api/verify").json(&json!({"key": theirs.secret})).send().await;
        // The first organization's management key is the instance's too, so it may ask about every key.
        assert_eq!(asked.expect_status(200).json()["valid"], true);
        let narrow = json!({"name": "Verifier", "scopes": ["keyrack.verification:read"]});
        let verifier = self.admin.make_key(narrow).await;
        let asked = self.http.post("/api/verify").bearer(&verifier.secret).json(&json!({"key": theirs.secret}));
        let told = asked.send().await.expect_status(200).json();
        assert_eq!((&told["code"], told.get("key")), (&json!("NOT_FOUND"), None));
        // Their key is unknown at our door, and nothing happened to it.
        expect_unknown(self.http.get(DOOR).bearer(&theirs.secret).send().await);
        assert_eq!(self.bea.show(&theirs.path()).await, before);
    }

    /// With its organization, and what that may use.
    async fn a_key_is_a_session_without_a_person(&self, key: &Key) {
        let session = self.http.get("/api/session").bearer(&key.secret).send().await.expect_status(200).json();
        assert_eq!(session.get("user"), Some(&Value::Null));
        let organization = &session["organization"];
        assert_eq!(organization["id"], self.keyrack.organization_id.as_str());
        assert_eq!((&organization["slug"], &organization["name"]), (&json!("acme"), &json!("acme")));
        assert_eq!(
            (&organization["billing"]["tier"], &organization["billing"]["used"]),
            (&json!("enterprise"), &json!(1)),
            "the one call that it has made"
        );
        assert_eq!((&session["key"]["id"], &session["role"]), (&json!(key.id), &json!("member")));

        let session = self.bea.show("/api/session").await;
        assert_eq!((&session["user"]["email"], &session["role"]), (&json!("bea@acme.test"), &json!("owner")));
        assert_eq!(session.get("key"), Some(&Value::Null));
        let organization = &session["organization"];
        assert_eq!((&organization["slug"], &organization["billing"]["tier"]), (&json!("b"), &json!("pro")));
    }

    /// For reading and for changing; and a dead session is none.
    async fn a_session_wins_over_a_key(&self) {
        let key = &self.keyrack.management_key;
        let session = self.bea.ask("GET", "/api/session").bearer(key).send().await.expect_status(200).json();
        assert_eq!((&session["organization"]["slug"], &session["key"]), (&json!("b"), &Value::Null));
        let made = self.bea.ask("POST", "/api/keys").header("x-api-key", key).json(&json!({"name": "Whose"}));
        let made = Key::of(&made.send().await.expect_status(201).json());
        self.bea.show(&made.path()).await;
        expect_refusal(self.management.get(&made.path()).send().await, 404, "not_found");
        // A member's session is not lifted by an admin's key.
        expect_refusal(self.member.ask("GET", "/api/keys").bearer(key).send().await, 403, "insufficient_scope");

        let dead = self.http.get("/api/session").header("cookie", "__Host-keyrack_session=dead").bearer(key);
        assert_eq!(dead.send().await.expect_status(200).json()["organization"]["slug"], "acme");
    }

    /// A person is told from a key, and the cookie goes no further.
    async fn a_door_that_takes_both_prefers_the_session(&self, key: &Key) {
        let member = self.member.id().await;
        for request in [self.member.ask("GET", "/svc/jobs/7"), self.member.ask("GET", "/svc/jobs/7").bearer("wrong")] {
            let seen = request.send().await.expect_status(200).json();
            assert_eq!(seen_headers(&seen, "x-consumer-username"), ["acme"]);
            assert_eq!(seen_headers(&seen, "x-credential-identifier"), [member.as_str()]);
            assert_eq!(seen_headers(&seen, "x-keyrack-role"), ["member"]);
            assert_eq!(seen_headers(&seen, "x-keyrack-key-name"), ["-"]);
            assert!(!seen.to_string().contains(self.member.cookie.split('=').nth(1).unwrap()), "{seen}");
        }
        self.member.ask("POST", "/svc/jobs/7").send().await.expect_status(200);

        let reached = self.upstream.count();
        // Whose session is of no use here is not saved by a key; nor does another site's page make use of a session.
        expect_unknown(self.bea.ask("GET", "/svc/jobs/7").bearer(&key.secret).send().await);
        for (name, value) in [("origin", "https://evil.test"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
            let request = self.member.ask("POST", "/svc/jobs/7").header(name, value);
            expect_refusal(request.send().await, 403, "cross_site");
        }
        // Where sessions are not taken, there is none.
        expect_unknown(self.member.ask("GET", DOOR).send().await);
        assert_eq!(self.upstream.count(), reached);
        let dead = self.http.get("/svc/jobs/7").header("cookie", "__Host-keyrack_session=dead").bearer(&key.secret);
        let seen = dead.send().await.expect_status(200).json();
        assert_eq!(seen_headers(&seen, "x-credential-identifier"), [key.id.as_str()]);
        self.member.ask("GET", DOOR).bearer(&key.secret).send().await.expect_status(200);
    }

    /// A key counts as an admin if its group may manage, as a member otherwise, and never as an owner.
    async fn a_door_may_ask_for_a_role(&self, key: &Key) {
        let key_of_admins = &self.keyrack.management_key;
        for (role, strong, simple) in [("member", 403, 200), ("admin", 200, 403), ("owner", 403, 403)] {
            let path = format!("/svc/roles/{role}");
            self.admin.make_route(&path, json!({"roles": [role]}), &self.upstream.url()).await;
            for (secret, status) in [(key_of_admins, strong), (&key.secret, simple)] {
                let answer = self.http.get(&path).bearer(secret).send().await.expect_status(status);
                assert!(status == 200 || answer.json()["error"] == "insufficient_role", "{}", answer.text());
            }
        }
    }

    /// A door for people, and the owners of an organization, take no key, however strong.
    async fn a_key_is_refused_at_doors_for_people(&self, key: &Key) {
        for secret in [&key.secret, &self.keyrack.management_key] {
            let sign_out = self.http.request("DELETE", "/api/session").bearer(secret);
            expect_refusal(sign_out.send().await, 403, "key_not_accepted");
        }
        let (admin, owner) = (self.admin.id().await, self.owner.id().await);
        for (method, path, body) in [
            ("PATCH", format!("/api/members/{admin}"), json!({"role": "owner"})),
            ("PATCH", format!("/api/members/{owner}"), json!({"role": "admin"})),
            ("DELETE", format!("/api/members/{owner}"), json!({})),
            ("POST", "/api/members".to_owned(), json!({"email": "eve@acme.test", "role": "owner"})),
            (
                "POST",
                "/api/members".to_owned(),
                json!({"email": "eve@acme.test", "role": "owner", "password": "the password of eve"}),
            ),
        ] {
            let request = self.management.request(method, &path).json(&body);
            expect_refusal(request.send().await, 403, "key_not_accepted");
        }
        // An admin is no owner either; an owner's session is asked, and does it.
        let promote = self.admin.ask("PATCH", &format!("/api/members/{admin}")).json(&json!({"role": "owner"}));
        expect_refusal(promote.send().await, 403, "insufficient_role");
        let path = format!("/api/members/{admin}");
        assert_eq!(self.owner.change(&path, json!({"role": "owner"})).await["role"], "owner");
        assert_eq!(self.owner.change(&path, json!({"role": "admin"})).await["role"], "admin");
    }

    /// And no update chooses the text.
    async fn a_switch_works_from_the_next_request_on(&self, key: &Key) {
        let knock = || self.http.get(DOOR).bearer(&key.secret).send();
        for _ in 0..3 {
            self.admin.change(&key.path(), json!({"enabled": false})).await;
            expect_unknown(knock().await);
            self.admin.change(&key.path(), json!({"enabled": true})).await;
            knock().await.expect_status(200);
        }
        for wanted in [json!({"secret": "x"}), json!({"enabled": false, "secret": "sk_x"}), json!({"group": "other"})] {
            let request = self.admin.ask("PATCH", &key.path()).json(&wanted);
            expect_refusal(request.send().await, 400, "invalid_request");
        }
        knock().await.expect_status(200);
    }

    /// To those who manage and at every door.
    async fn a_deleted_key_is_gone(&self, key: &Key) {
        self.admin.delete(&key.path()).await;
        for method in ["DELETE", "GET"] {
            expect_refusal(self.admin.ask(method, &key.path()).send().await, 404, "not_found");
        }
        expect_unknown(self.http.get(DOOR).bearer(&key.secret).send().await);
        expect_unknown(self.http.get("/api/session").bearer(&key.secret).send().await);
        assert!(!each(&self.admin.show("/api/keys?limit=200").await, "id").contains(&key.id));
    }
}

/// Callers of both kinds in one list.
trait Asking {
    fn request_of(&self, method: &str, path: &str) -> keyrack_testkit::http::Request;
}

impl<C: Caller> Asking for C {
    fn request_of(&self, method: &str, path: &str) -> keyrack_testkit::http::Request {
        self.ask(method, path)
    }
}
