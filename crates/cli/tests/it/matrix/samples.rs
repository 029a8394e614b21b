//! A valid request for each operation, about something made for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::At;
use crate::support::{NOBODY, Tenant, World, text, wait_for};

/// The password of everybody who is invited here.
pub(super) const PASSWORD: &str = "the password of somebody new";

/// What a request holds but for its credential.
#[derive(Clone, Default)]
pub(super) struct Sample {
    pub(super) path: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Value,
}

impl Sample {
    /// The same with a value at a place.
    pub(super) fn with(&self, at: &At, value: &str) -> Self {
        let mut sample = self.clone();
        match at {
            At::Path(name) => put(&mut sample.path, name, value),
            At::Query(name) => put(&mut sample.query, name, value),
            At::Header(name) => put(&mut sample.headers, name, value),
            At::Body(pointer) => {
                let steps = pointer.trim_start_matches('/').split('/');
                // A list of which one is to be this has no other.
                *steps.fold(&mut sample.body, |here, step| match step {
                    "0" if !here.is_array() => {
                        *here = json!([null]);
                        &mut here[0]
                    }
                    "0" => &mut here[0],
                    name => &mut here[name],
                }) = json!(value);
            }
        }
        sample
    }
}

fn put(list: &mut Vec<(String, String)>, name: &str, value: &str) {
    list.retain(|(known, _)| known != name);
    list.push((name.to_owned(), value.to_owned()));
}

/// Where things for samples are made.
#[derive(Clone, Copy)]
pub(super) struct Site<'w> {
    pub(super) world: &'w World,
    /// In which organization.
    pub(super) tenant: &'w Tenant,
    /// The id of the workspace that keys are bound to, if to one.
    pub(super) workspace: Option<&'w str>,
}

/// A name that nothing has.
pub(super) fn fresh(kind: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{kind}-{:04}", COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Site<'_> {
    async fn make(&self, path: &str, body: Value) -> Value {
        self.tenant.manager.post(path).json(&body).send().await.expect_status(201).json()
    }

    /// The id and the text of a new key.
    pub(super) async fn key(&self) -> (String, String) {
        let made = self.make("/api/keys", json!({"name": fresh("key"), "workspace": self.workspace})).await;
        (text(&made["key"]["id"]), text(&made["secret"]))
    }

    /// The id of a new group of this name.
    async fn group(&self, name: &str) -> String {
        text(&self.make("/api/groups", json!({"name": name})).await["id"])
    }

    /// The id of a new workspace with this slug.
    pub(super) async fn new_workspace(&self, slug: &str) -> String {
        text(&self.make("/api/workspaces", json!({"slug": slug})).await["id"])
    }

    async fn route(&self) -> String {
        text(&self.make("/api/routes", door()).await["id"])
    }

    /// The id of a new route with two versions of a script, and the id of a line in its log.
    pub(super) async fn script(&self) -> (String, String) {
        let path = format!("/{}", fresh("script"));
        let script =
            |text: &str| json!({"kind": "script", "source": format!("export default () => new Response('{text}')")});
        let new = json!({"path": path, "guard": {"public": true}, "target": script("one")});
        let id = text(&self.make("/api/routes", new).await["id"]);
        let change = self.tenant.manager.request("PATCH", &format!("/api/routes/{id}"));
        change.json(&json!({"target": script("two")})).send().await.expect_status(200);
        let slug = if self.tenant.id == self.world.acme.id { "acme" } else { "beta" };
        self.world.keyrack.http().get(&format!("/o/{slug}{path}")).send().await.expect_status(200);
        let line = wait_for("the log", async || {
            let log = self.tenant.manager.get(&format!("/api/routes/{id}/logs")).send().await.expect_status(200).json();
            log["data"][0]["id"].as_str().map(str::to_owned)
        });
        let line = line.await;
        (id, line)
    }

    /// The id of a new secret of a group.
    pub(super) async fn secret(&self) -> String {
        text(&self.make("/api/secrets", secret()).await["id"])
    }

    /// The id of the newest notification.
    pub(super) async fn notification(&self) -> String {
        let told = self.tenant.manager.get("/api/notifications").send().await.expect_status(200).json();
        text(&told["data"][0]["id"])
    }

    async fn invitation(&self) -> String {
        let invite = json!({"email": format!("{}@example.test", fresh("person")), "role": "member"});
        text(&self.make("/api/members", invite).await["invitation"]["token"])
    }

    /// The id of a new member.
    pub(super) async fn member(&self) -> String {
        let yes = json!({"token": self.invitation().await, "password": PASSWORD});
        let http = self.world.keyrack.http();
        text(&http.post("/api/members/accept").json(&yes).send().await.expect_status(201).json()["user_id"])
    }

    /// A request that must succeed for whoever may make it.
    pub(super) async fn sample(&self, operation: &str) -> Sample {
        let (keyrack, tenant) = (&self.world.keyrack, self.tenant);
        let about = |id: String| Sample { path: vec![("id".to_owned(), id)], body: json!({}), ..Sample::default() };
        let saying = |body: Value| Sample { body, ..Sample::default() };
        match operation {
            "live" | "ready" | "getTokenKeys" | "createSigningKey" | "whoAmI" | "signOut" | "listKeys"
            | "listGroups" | "listWorkspaces" | "listNodes" | "listOrganizations" | "getTiers" | "listMembers"
            | "listRoutes" | "getSettings" | "listAudit" | "getUsage" | "listNotifications" | "getProfile"
            | "listSessions" => Sample::default(),
            // Whose password, and which session, whoever asks fills in.
            "stepUp" => saying(json!({"password": PASSWORD})),
            "changePassword" => saying(json!({"current_password": PASSWORD, "new_password": PASSWORD})),
            "endSession" => Sample { path: vec![("session_id".to_owned(), NOBODY.to_owned())], ..Sample::default() },
            "updateProfile" => saying(json!({"name": fresh("name")})),
            "signIn" => saying(json!({"email": keyrack.owner_email, "password": keyrack.owner_password})),
            "verifyKey" => saying(json!({"key": tenant.secret})),
            "verifyKeys" => saying(json!({"keys": [{"key": tenant.secret}]})),
            "createToken" => saying(json!({"expires_in": 60})),
            "giveUpKey" => saying(json!({"token": self.key().await.1})),
            "introspect" => saying(json!({"token": tenant.secret})),
            "createKey" => saying(json!({"name": fresh("key"), "workspace": self.workspace})),
            "importKeys" => {
                let key =
                    json!({"name": fresh("key"), "key": fresh("imported-elsewhere"), "workspace": self.workspace});
                saying(json!({"keys": [key]}))
            }
            "getKey" | "deleteKey" | "rotateKey" | "revokeKey" | "listKeySecrets" | "getKeyUsage" => {
                about(self.key().await.0)
            }
            "revealKey" => {
                let kept = fresh("kept");
                self.make("/api/groups", json!({"name": kept, "recoverable": true})).await;
                let made = self.make("/api/keys", json!({"name": fresh("key"), "group": kept})).await;
                about(text(&made["key"]["id"]))
            }
            "updateKey" => Sample { body: json!({"enabled": false}), ..about(self.key().await.0) },
            "endOverlap" => {
                let key = self.key().await.0;
                let rotate = tenant.manager.post(&format!("/api/keys/{key}/rotate")).json(&json!({}));
                rotate.send().await.expect_status(200);
                about(key).with(&At::Path("version".to_owned()), "1")
            }
            "createGroup" => saying(json!({"name": fresh("group")})),
            "getGroup" | "deleteGroup" => about(self.group(&fresh("group")).await),
            "updateGroup" => {
                Sample { body: json!({"description": fresh("text")}), ..about(self.group(&fresh("group")).await) }
            }
            "createWorkspace" => saying(json!({"slug": fresh("workspace")})),
            "getWorkspace" | "updateWorkspace" | "deleteWorkspace" => {
                let id = match self.workspace {
                    Some(id) => id.to_owned(),
                    None => self.new_workspace(&fresh("workspace")).await,
                };
                Sample { body: json!({"name": fresh("name")}), ..about(id) }
            }
            "createOrganization" => saying(json!({"slug": fresh("organization"), "owner_email": keyrack.owner_email})),
            "getOrganization" | "getQuota" => about(tenant.id.clone()),
            "updateOrganization" => Sample { body: json!({"name": fresh("name")}), ..about(tenant.id.clone()) },
            "addMember" => saying(json!({"email": format!("{}@example.test", fresh("person")), "role": "member"})),
            "updateMember" | "removeMember" => {
                let user = ("user_id".to_owned(), self.member().await);
                Sample { path: vec![user], body: json!({"role": "admin"}), ..Sample::default() }
            }
            "acceptInvitation" => saying(json!({"token": self.invitation().await, "password": PASSWORD})),
            "createRoute" => saying(door()),
            "getRoute" | "deleteRoute" | "listRouteLogs" | "getRouteMetrics" => about(self.route().await),
            "listScriptVersions" => about(self.script().await.0),
            "getScriptVersion" => about(self.script().await.0).with(&At::Path("version".to_owned()), "1"),
            "updateRoute" => Sample { body: json!({"enabled": false}), ..about(self.route().await) },
            "listSecrets" => Sample::default().with(&At::Query("scope".to_owned()), "group"),
            "createSecret" => saying(secret()),
            "getSecret" | "deleteSecret" => about(self.secret().await),
            "updateSecret" => Sample { body: json!({"value": fresh("value")}), ..about(self.secret().await) },
            "readNotification" => about(self.notification().await),
            "updateTiers" => saying(json!({"free": {"monthly_limit": 20_000}})),
            "updateSettings" => saying(json!({"access_groups": ["management"]})),
            other => panic!("{other} has no sample request; write one here"),
        }
    }
}

fn secret() -> Value {
    json!({"name": fresh("secret"), "value": "kept", "scope": "group", "owner": "management"})
}

fn door() -> Value {
    let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
    json!({"path": format!("/{}", fresh("door")), "guard": {"scope": "contacts:read"}, "target": target})
}
