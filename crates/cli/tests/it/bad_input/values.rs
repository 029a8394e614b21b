//! Values of the right type that cannot be taken: too long, out of range, unknown, taken, or not what they seem.

use keyrack_testkit::Database;
use serde_json::{Value, json};

use crate::support::{NOBODY, World, expect_refusal, text};

/// Text that must not be in a name: control characters, and marks that hide or reorder what stands on a screen.
const UNSEEN: [&str; 12] = [
    "a\0b",
    "a\nb",
    "a\tb",
    "a\r\nb",
    "\u{7f}x",
    "a\u{85}b",
    "a\u{202e}b",
    "a\u{2066}b\u{2069}",
    "\u{200b}ab",
    "a\u{feff}b",
    "a\u{2028}b",
    "a\u{ad}b",
];

/// Sends each body and expects 400 about the field beside it; nothing changes.
async fn refuse(world: &World, method: &str, path: &str, cases: Vec<(Value, &str)>) {
    let before = world.state().await;
    for (body, field) in cases {
        let answer = world.acme.manager.request(method, path).json(&body).send().await;
        assert_eq!(
            (answer.status, &answer.json()["error"], &answer.json()["details"][0]["field"]),
            (400, &json!("invalid_request"), &json!(field)),
            "{method} {path} {body:.300}: {}",
            answer.text()
        );
    }
    assert_eq!(world.state().await, before, "{method} {path}");
}

/// A name or description in a field, wrong in each of the ways it can be.
fn wrong_text(body: &Value, field: &'static str, longest: usize) -> Vec<(Value, &'static str)> {
    let with = |text: &str| {
        let mut body = body.clone();
        body[field] = json!(text);
        (body, field)
    };
    let long = ["x".repeat(longest + 1), "é".repeat(longest + 1), "x".repeat(100_000)];
    let empty = ["", " ", "\u{3000}"].into_iter().filter(|_| longest == 100);
    UNSEEN.into_iter().chain(long.iter().map(String::as_str)).chain(empty).map(with).collect()
}

#[tokio::test]
async fn a_key_is_not_made_with_values_that_cannot_be_taken() {
    let world = World::start(Database::Sqlite).await;
    let name = json!({"name": "new"});
    let mut cases = wrong_text(&name, "name", 100);
    cases.extend(wrong_text(&name, "description", 1000));
    let with = |more: Value| {
        let mut body = name.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    cases.extend([
        (json!({}), "name"),
        (json!({"description": ""}), "name"),
        (with(json!({"group": "nobody"})), "group"),
        (with(json!({"group": "Readers"})), "group"),
        (with(json!({"group": ""})), "group"),
        (with(json!({"group": NOBODY})), "group"),
        (with(json!({"workspace": "nowhere"})), "workspace"),
        (with(json!({"workspace": "\0"})), "workspace"),
        (with(json!({"scopes": ["contacts"]})), "scopes[0]"),
        (with(json!({"scopes": [""]})), "scopes[0]"),
        (with(json!({"scopes": ["contacts:read", "contacts:Read"]})), "scopes[1]"),
        (with(json!({"scopes": ["contacts:read "]})), "scopes[0]"),
        (with(json!({"scopes": ["kontaktе:read"]})), "scopes[0]"),
        (with(json!({"scopes": ["a\0:read"]})), "scopes[0]"),
        (with(json!({"scopes": ["contacts:read,write"]})), "scopes[0]"),
        (with(json!({"scopes": [format!("{}:read", "x".repeat(64))]})), "scopes[0]"),
        (with(json!({"scopes": vec!["contacts:read"; 65]})), "scopes[64]"),
        (with(json!({"scopes": ["contacts:read"], "level": "read_only"})), "level"),
        (with(json!({"expires_at": "2020-01-01T00:00:00Z"})), "expires_at"),
        (with(json!({"expires_at": "-000044-03-15T00:00:00Z"})), "expires_at"),
        (with(json!({"never_expires": false})), "never_expires"),
        (with(json!({"never_expires": true, "expires_at": "2100-01-01T00:00:00Z"})), "never_expires"),
        (with(json!({"ip_allowlist": []})), "ip_allowlist[0]"),
        (with(json!({"ip_allowlist": ["10.0.0.0/8", "10.0.0.0/33"]})), "ip_allowlist[1]"),
        (with(json!({"ip_allowlist": ["10.0.0.1/8"]})), "ip_allowlist[0]"),
        (with(json!({"ip_allowlist": ["localhost"]})), "ip_allowlist[0]"),
        (with(json!({"ip_allowlist": ["010.0.0.1"]})), "ip_allowlist[0]"),
        (with(json!({"ip_allowlist": ["10.0.0.0/-1"]})), "ip_allowlist[0]"),
        (with(json!({"ip_allowlist": ["fe80::1%eth0"]})), "ip_allowlist[0]"),
        (with(json!({"ip_allowlist": vec!["10.0.0.1"; 65]})), "ip_allowlist[64]"),
        (with(json!({"metadata": {"x": "x".repeat(4096)}})), "metadata"),
        (with(json!({"metadata": {"x": "a\0b"}})), "metadata"),
        (with(json!({"metadata": {"a\0b": 1}})), "metadata"),
        (with(json!({"metadata": {"x": [{"y": ["\0"]}]}})), "metadata"),
    ]);
    refuse(&world, "POST", "/api/keys", cases).await;
}

#[tokio::test]
async fn a_key_is_not_changed_rotated_or_revoked_with_values_that_cannot_be_taken() {
    let world = World::start(Database::Sqlite).await;
    let path = format!("/api/keys/{}", world.acme.key);
    let mut cases = wrong_text(&json!({}), "name", 100);
    cases.extend(wrong_text(&json!({}), "description", 1000));
    cases.extend([
        (json!({"scopes": ["x:read"], "level": "read_write"}), "level"),
        (json!({"scopes": ["x:read", "x"]}), "scopes[1]"),
        (json!({"expires_at": "1970-01-01T00:00:00Z"}), "expires_at"),
        (json!({"ip_allowlist": []}), "ip_allowlist[0]"),
        (json!({"metadata": {"x": "é".repeat(2048)}}), "metadata"),
    ]);
    refuse(&world, "PATCH", &path, cases).await;
    let seconds = [-1, 30 * 86_400 + 1, i64::MAX, i64::MIN];
    let cases = seconds.map(|seconds| (json!({"overlap_seconds": seconds}), "overlap_seconds"));
    refuse(&world, "POST", &format!("{path}/rotate"), cases.to_vec()).await;
    refuse(&world, "POST", &format!("{path}/revoke"), wrong_text(&json!({}), "reason", 200)).await;
}

#[tokio::test]
async fn keys_are_imported_all_or_not_at_all() {
    let world = World::start(Database::Sqlite).await;
    let known = "a-key-that-is-known-here";
    let import =
        async |keys: Value| world.acme.manager.post("/api/keys/import").json(&json!({"keys": keys})).send().await;
    import(json!([{"key": known, "name": "known"}])).await.expect_status(201);
    let bcrypt = json!({"name": "slow", "hash_profile": "bcrypt"});
    world.acme.manager.post("/api/groups").json(&bcrypt).send().await.expect_status(201);
    let key = |name: &str, key: &str| json!({"name": name, "key": key});
    let good = key("good", "a-key-that-could-be-imported");
    let second = |bad: Value| json!({"keys": [good, bad]});
    let many = |count: usize, group: &str| -> Value {
        let each =
            (0..count).map(|n| json!({"name": format!("n{n}"), "key": format!("sixteen-or-more-{n}"), "group": group}));
        json!({"keys": each.collect::<Vec<_>>()})
    };
    let cases = vec![
        (json!({"keys": []}), "keys"),
        (many(1001, "default"), "keys"),
        (many(17, "slow"), "keys[0].group"),
        (second(key("x", "fifteen-letters")), "keys[1].key"),
        (second(key("x", &"x".repeat(129))), "keys[1].key"),
        (second(key("x", &"x".repeat(100_000))), "keys[1].key"),
        (second(key("x", "with a space in it")), "keys[1].key"),
        (second(key("x", "with,a,comma,in,it")), "keys[1].key"),
        (second(key("x", "with\0nul-and-more-of-it")), "keys[1].key"),
        (second(key("x", "with-a-lettér-that-is-not-ascii")), "keys[1].key"),
        (second(json!({"name": "x"})), "keys[1].key"),
        (second(json!({"name": "x", "key": known, "sha256": "0".repeat(64)})), "keys[1].key"),
        (second(json!({"name": "x", "sha256": "0".repeat(63)})), "keys[1].sha256"),
        (second(json!({"name": "x", "sha256": "g".repeat(64)})), "keys[1].sha256"),
        (second(key("x", "a-key-that-could-be-imported")), "keys[1]"),
        (second(json!({"key": "a-key-without-a-name"})), "keys[1].name"),
        (second(json!({"key": "a-key-of-nobodys-group", "name": "x", "group": "nobody"})), "keys[1].group"),
        (second(json!({"key": "a-key-of-no-workspace", "name": "x", "workspace": "none"})), "keys[1].workspace"),
        (second(json!({"key": "a-key-with-bad-scopes", "name": "x", "scopes": ["x"]})), "keys[1].scopes[0]"),
    ];
    refuse(&world, "POST", "/api/keys/import", cases).await;
    let before = world.state().await;
    for (keys, code) in [
        (json!([good, key("x", known)]), "key_known"),
        (json!([good, key("known", "another-text-altogether")]), "name_taken"),
        (json!([good, key("good", "another-text-altogether")]), "name_taken"),
    ] {
        expect_refusal(&import(keys).await, 409, code, None);
    }
    assert_eq!(world.state().await, before);
    import(json!([good])).await.expect_status(201);
}

#[tokio::test]
async fn groups_workspaces_and_organizations_are_not_made_of_values_that_cannot_be_taken() {
    let world = World::start(Database::Sqlite).await;
    let group_names =
        ["", " ", "Readers", "le\u{301}sen", "a b", "a/b", "a.b", "\0", "*", &"x".repeat(64), &"x".repeat(100_000)]
            .map(|name| (json!({"name": name}), "name"));
    let formats = ["SK_", "sk-", "sk live", "é", "\0", &"x".repeat(17), &"x".repeat(100_000)]
        .map(|prefix| (json!({"name": "new", "key_format": {"prefix": prefix}}), "key_format.prefix"));
    let mut cases = [group_names.to_vec(), formats.to_vec()].concat();
    cases.extend(wrong_text(&json!({"name": "new"}), "description", 1000));
    cases.push((json!({"name": "new", "default_scopes": ["a:read", "b"]}), "default_scopes[1]"));
    refuse(&world, "POST", "/api/groups", cases.clone()).await;
    refuse(&world, "PATCH", &format!("/api/groups/{}", world.acme.group), cases).await;

    let slugs =
        ["", " ", "Sales", "-sales", "sa_les", "sa les", "é", "\0", "a/b", "..", &"x".repeat(64), &"x".repeat(100_000)];
    let cases = slugs.map(|slug| (json!({"slug": slug}), "slug")).to_vec();
    refuse(&world, "POST", "/api/workspaces", [cases, wrong_text(&json!({"slug": "new"}), "name", 100)].concat()).await;
    let path = format!("/api/workspaces/{}", world.acme.workspace);
    refuse(&world, "PATCH", &path, wrong_text(&json!({}), "name", 100)).await;

    let owner = &world.keyrack.owner_email;
    let mut cases = slugs.map(|slug| (json!({"slug": slug, "owner_email": owner}), "slug")).to_vec();
    cases.extend(wrong_text(&json!({"slug": "new", "owner_email": owner}), "name", 100));
    for email in
        ["", "nobody", "@", "a@b@c", "nobody@acme.test", "a b@c", "\0@acme.test", &format!("{}@x", "x".repeat(100_000))]
    {
        cases.push((json!({"slug": "new", "owner_email": email}), "owner_email"));
    }
    cases.push((json!({"slug": "new"}), "owner_email"));
    refuse(&world, "POST", "/api/organizations", cases).await;
    let path = format!("/api/organizations/{}", world.acme.id);
    refuse(&world, "PATCH", &path, wrong_text(&json!({}), "name", 100)).await;
    let cases = vec![
        (json!({"access_groups": ["management", "nobody"]}), "access_groups[1]"),
        (json!({"access_groups": [""]}), "access_groups[0]"),
        (json!({"access_groups": ["Management"]}), "access_groups[0]"),
        (json!({"access_groups": [NOBODY]}), "access_groups[0]"),
        (json!({"session_hours": 0}), "session_hours"),
        (json!({"session_hours": -1, "access_groups": []}), "session_hours"),
        (json!({"session_hours": 13}), "session_hours"),
        (json!({"session_hours": "4"}), "session_hours"),
        (json!({"second_factor": "yes"}), "second_factor"),
        (json!({"second_factor": null}), "second_factor"),
    ];
    refuse(&world, "PATCH", "/api/settings", cases).await;
}

#[tokio::test]
async fn nobody_becomes_a_member_by_values_that_cannot_be_taken() {
    let world = World::start(Database::Sqlite).await;
    let mut cases = Vec::new();
    for email in
        ["", "ada", "@", "ada@", "@acme.test", "a@b@c", "a da@acme.test", "a\0@acme.test", "a\u{202e}@acme.test"]
    {
        cases.push((json!({"email": email, "role": "member"}), "email"));
    }
    let long = format!("{}@acme.test", "x".repeat(300));
    cases.push((json!({"email": long, "role": "member"}), "email"));
    for password in ["", "fourteen chars", &"é".repeat(14), &"x".repeat(1025), &"x".repeat(100_000)] {
        cases.push((json!({"email": "ada@acme.test", "role": "member", "password": password}), "password"));
    }
    let password = "fifteen letters";
    cases.extend(wrong_text(&json!({"email": "ada@acme.test", "role": "member", "password": password}), "name", 100));
    refuse(&world, "POST", "/api/members", cases).await;

    let invite = json!({"email": "grace@acme.test", "role": "member"});
    let invited = world.acme.manager.post("/api/members").json(&invite).send().await.expect_status(201).json();
    let token = text(&invited["invitation"]["token"]);
    let cases = vec![(json!({"token": token, "password": "too short"}), "password")];
    refuse(&world, "POST", "/api/members/accept", cases).await;
    let before = world.state().await;
    for unknown in ["", "x", "\0", &token.to_lowercase(), &format!("{token}="), &"x".repeat(100_000)] {
        let body = json!({"token": unknown, "password": password});
        let answer = world.keyrack.http().post("/api/members/accept").json(&body).send().await;
        expect_refusal(&answer, 404, "not_found", None);
    }
    assert_eq!(world.state().await, before);
    // What was refused did not use the invitation up.
    let body = json!({"token": token, "password": password});
    world.keyrack.http().post("/api/members/accept").json(&body).send().await.expect_status(201);
}

#[tokio::test]
async fn a_secret_is_not_made_or_changed_with_values_that_cannot_be_taken() {
    let world = World::start(Database::Sqlite).await;
    let good = json!({"name": "NEW", "value": "v", "scope": "global"});
    let with = |more: Value| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let mut cases = wrong_text(&good, "comment", 1000);
    for name in ["", " ", "a b", "a.b", "\u{e9}", "a\0", "$A", "A=B", &"x".repeat(129)] {
        cases.push((with(json!({"name": name})), "name"));
    }
    let values = [String::new(), "x".repeat(16_385), "\u{e9}".repeat(8193)];
    cases.extend(values.map(|value| (with(json!({"value": value})), "value")));
    for (scope, owner) in [
        ("global", Some("management")),
        ("global", Some("")),
        ("group", None),
        ("group", Some("")),
        ("group", Some("nobody")),
        ("group", Some(NOBODY)),
        ("group", Some(&*world.acme.route)),
        ("route", Some("nowhere")),
        ("route", Some(&*world.acme.group)),
        ("key", Some("reader")),
        ("key", Some(&*world.acme.group)),
    ] {
        let mut body = with(json!({"scope": scope}));
        if let Some(owner) = owner {
            body["owner"] = json!(owner);
        }
        cases.push((body, "owner"));
    }
    refuse(&world, "POST", "/api/secrets", cases).await;
    let mut cases = wrong_text(&json!({}), "comment", 1000);
    cases.extend([(json!({"value": ""}), "value"), (json!({"value": "x".repeat(16_385)}), "value")]);
    refuse(&world, "PATCH", &format!("/api/secrets/{}", world.acme.secret_id), cases).await;
    for (query, field) in [
        ("name=a%00b", "name"),
        ("owner=management", "owner"),
        ("scope=group&owner=nobody", "owner"),
        ("cursor=x", "cursor"),
        ("limit=201", "limit"),
    ] {
        let answer = world.acme.manager.get(&format!("/api/secrets?{query}")).send().await.expect_status(400);
        assert_eq!(answer.json()["details"][0]["field"], field, "{query}");
    }
    let taken = with(json!({"name": "DATABASE_URL"}));
    let answer = world.acme.manager.post("/api/secrets").json(&taken).send().await;
    expect_refusal(&answer, 409, "name_taken", None);
}
