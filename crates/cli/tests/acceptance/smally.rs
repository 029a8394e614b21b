//! Keys made on the command line and taken by one API for every organization: what an inference service needs.

use keyrack_testkit::process::{Finished, Program};
use keyrack_testkit::{Database, Http, Keyrack};
use serde_json::{Value, json};

use crate::support::{Caller as _, Key, Person, each, expect_unknown, start, text};

const EMBEDDINGS: &str = "/v1/embeddings";

keyrack_testkit::both_databases! {
    async fn a_key_made_on_the_command_line_works_at_once_and_is_revoked_there(database: Database) {
        let walk = Walk::begin(database).await;
        let (first, second) = (walk.the_command_prints_a_key_once().await, walk.create("Second"));
        walk.only_owners_and_admins_make_keys().await;
        walk.a_door_for_all_takes_keys_of_every_organization(&first).await;
        walk.the_scheme_is_read_in_any_case_and_all_else_is_one_401(&first).await;
        walk.the_command_revokes_while_the_server_runs(&first).await;
        walk.a_revoked_key_is_shown_as_revoked(&second).await;
    }
}

struct Walk {
    keyrack: Keyrack,
    http: Http,
    owner: Http,
}

impl Walk {
    /// Keys look as this service's always did, and one door takes those of everybody.
    async fn begin(database: Database) -> Self {
        let keyrack = start(database);
        let owner = keyrack.owner();
        let groups = owner.show("/api/groups").await;
        let groups = groups["data"].as_array().unwrap();
        let default = groups.iter().find(|group| group["name"] == "default").unwrap();
        let format = json!({"prefix": "sk_", "body": "hex"});
        owner.change(&format!("/api/groups/{}", text(&default["id"])), json!({"key_format": format})).await;
        let script = include_str!("../../src/demo/embeddings.js");
        let target = json!({"kind": "script", "source": script});
        let route = json!({"path": EMBEDDINGS, "guard": {"organizations": "any"}, "target": target});
        owner.make("/api/routes", route).await;
        Self { http: keyrack.http(), owner, keyrack }
    }

    fn program(&self) -> Program {
        let program = Program::new(env!("CARGO_BIN_EXE_create_api_key")).directory(self.keyrack.directory());
        program.args(["--database", &self.keyrack.database_url]).arg("--keyfile").arg(&self.keyrack.keyfile)
    }

    fn run(&self, user: &str, organization: &str, name: &str) -> Finished {
        self.program().args(["--user-id", user, "--org-id", organization, "--name", name]).run()
    }

    /// A key made by the owner on the command line.
    fn create(&self, name: &str) -> String {
        let printed = self.run(&self.keyrack.user_id, &self.keyrack.organization_id, name).success();
        printed.stdout.trim_end_matches('\n').to_owned()
    }

    /// It prints nothing else, and the key works at once.
    async fn the_command_prints_a_key_once(&self) -> String {
        let secret = self.create("Production API Key");
        let body = secret.strip_prefix("sk_").unwrap();
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        assert!(body.len() == 64 && body.bytes().all(is_hex), "nothing but the key is printed: {secret}");
        self.http.get(EMBEDDINGS).bearer(&secret).send().await.expect_status(200);
        let shown = self.key("Production API Key").await;
        assert_eq!(self.owner.show(&shown.path()).await["created_by"], self.keyrack.user_id.as_str());
        secret
    }

    /// Everybody else gets an error with a reason, and nothing is made.
    async fn only_owners_and_admins_make_keys(&self) {
        let (user, organization) = (&self.keyrack.user_id, &self.keyrack.organization_id);
        let ada = Person::owner(&self.keyrack).await;
        let [member, admin] = [("mel", "member"), ("ann", "admin")].map(async |(name, role)| {
            let person = ada.add(name, role).await;
            person.id().await
        });
        let (member, admin) = (member.await, admin.await);
        let nobody = "00000000-0000-7000-8000-000000000000";
        let before = each(&self.owner.show("/api/keys").await, "id");
        for (user, organization, reason) in [
            (user.as_str(), nobody, "organization"),
            (nobody, organization.as_str(), "no member"),
            (member.as_str(), organization.as_str(), "neither owner nor admin"),
        ] {
            let finished = self.run(user, organization, "Refused").expect_code(1);
            assert_eq!(finished.stdout, "");
            assert!(finished.stderr.contains(reason), "{}", finished.stderr);
        }
        assert_eq!(each(&self.owner.show("/api/keys").await, "id"), before, "nothing was made");
        self.run(&admin, organization, "By an admin").success();
    }

    /// Reading and writing; what is sent there is embedded.
    async fn a_door_for_all_takes_keys_of_every_organization(&self, first: &str) {
        let other = json!({"slug": "other", "owner_email": self.keyrack.owner_email});
        self.owner.make("/api/organizations", other).await;
        let there = Person::owner(&self.keyrack).await.within("other");
        let theirs = there.make_key(json!({"name": "Theirs"})).await;
        for key in [first, &theirs.secret] {
            self.http.get(EMBEDDINGS).bearer(key).send().await.expect_status(200);
            let body = json!({"input": "some text"});
            let answer = self.http.post(EMBEDDINGS).bearer(key).json(&body).send().await.expect_status(200).json();
            let numbers = answer["data"][0]["embedding"].as_array().unwrap();
            assert!(numbers.len() == 384 && numbers.iter().all(Value::is_number), "{answer}");
        }
    }

    /// RFC 9110 wants schemes read so.
    async fn the_scheme_is_read_in_any_case_and_all_else_is_one_401(&self, key: &str) {
        for scheme in ["bearer", "Bearer", "BEARER", "bEaReR"] {
            let request = self.http.get(EMBEDDINGS).header("authorization", format!("{scheme} {key}"));
            request.send().await.expect_status(200);
        }
        expect_unknown(self.http.get(EMBEDDINGS).send().await);
        // A key behind the name `user`, a key cut short, and words that mean nothing.
        let basic = data_encoding::BASE64.encode(format!("user:{key}").as_bytes());
        for value in [&format!("Basic {basic}"), "Bearer xyz", "Bearer", &format!("Bearer {}", &key[..66]), "xyz"] {
            expect_unknown(self.http.get(EMBEDDINGS).header("authorization", value).send().await);
        }
    }

    /// It answers when the server has applied it: the very next request is refused.
    async fn the_command_revokes_while_the_server_runs(&self, key: &str) {
        let Key { id, .. } = self.key("Production API Key").await;
        self.program().args(["revoke", "--key-id", &id]).run().success();
        expect_unknown(self.http.get(EMBEDDINGS).bearer(key).send().await);
        let again = self.program().args(["revoke", "--key-id", "00000000-0000-7000-8000-000000000000"]);
        again.run().expect_code(1);
    }

    /// Also when it was revoked over HTTP.
    async fn a_revoked_key_is_shown_as_revoked(&self, secret: &str) {
        let second = self.key("Second").await;
        self.http.get(EMBEDDINGS).bearer(secret).send().await.expect_status(200);
        self.owner.revoke(&second).await;
        expect_unknown(self.http.get(EMBEDDINGS).bearer(secret).send().await);
        assert_eq!(self.owner.show(&second.path()).await["status"], "revoked");
    }

    /// A key by its name, without its text.
    async fn key(&self, name: &str) -> Key {
        let found = self.owner.show(&format!("/api/keys?name={}", name.replace(' ', "%20"))).await;
        let ids = each(&found, "id");
        assert_eq!(ids.len(), 1, "{found}");
        Key { id: ids[0].clone(), secret: String::new() }
    }
}
