//! Groups, workspaces, routes and settings, in the browser.

use keyrack_testkit::{Browser, Upstream};
use serde_json::json;

use crate::support::{Desk, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_keeps_what_nobody_has_changed_of_it() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    let new = json!({"name": "analytics", "key_format": {"prefix": "", "body": "base64url"}, "default_scopes": ["reports:read"],
        "rate_limits": [{"limit": 600, "window_seconds": 60}, {"limit": 7, "window_seconds": 5}]});
    let made = desk.make("/api/groups", new).await;
    let page = format!("/organizations/acme/groups/{}", text(&made["id"]));
    desk.open(&page).await;
    browser.fill("Description", "Reports at night").await;
    browser.press("Save changes").await;
    browser.wait_for_text("The group is changed.").await;
    let get = async || {
        let path = format!("/api/groups/{}", text(&made["id"]));
        desk.keyrack.owner().get(&path).send().await.expect_status(200).json()
    };
    let after = get().await;
    assert_eq!(after["description"], "Reports at night");
    for field in ["name", "key_format", "default_scopes", "rate_limits", "hash_profile"] {
        assert_eq!(after[field], made[field], "{field}");
    }
    // One that something names is not deleted, and what does is said.
    let guard = json!({"groups": ["analytics"]});
    let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
    desk.make("/api/routes", json!({"name": "Reports", "path": "/reports", "guard": guard, "target": target})).await;
    desk.open(&page).await;
    browser.press("Delete group").await;
    browser.wait_for_text("Reports").await;
    assert_eq!(get().await["name"], "analytics");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_made_tried_and_closed() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    let service = Upstream::start().await;
    let reader = desk.make("/api/keys", json!({"name": "reader", "scopes": ["contacts:read"]})).await;
    let secret = text(&reader["secret"]);
    desk.open("/organizations/acme/routes").await;
    browser.press("Create route").await;
    browser.fill("Name", "Contacts").await;
    browser.fill("Path", "/contacts").await;
    browser.fill("The service behind it", &service.url()).await;
    browser.fill("Resource", "contacts").await;
    browser.press("Create route").await;
    browser.wait_for_text("The route is created.").await;
    desk.http().get("/contacts").bearer(&secret).send().await.expect_status(200);
    desk.http().post("/contacts").bearer(&secret).send().await.expect_status(403);

    // From what was refused, two clicks lead to why.
    let id = text(&reader["key"]["id"]);
    let page = format!("/organizations/acme/keys/{id}");
    let is_counted = async |browser: &Browser| {
        desk.open(&page).await;
        browser.texts("td a").await.contains(&"Explain".to_owned())
    };
    browser.wait("the refusal is counted", is_counted).await;
    browser.run("[...document.querySelectorAll('td a')].find(a => a.innerText === 'Explain').click()", vec![]).await;
    browser.wait_for_text("Explain a decision").await;
    browser.press("Explain").await;
    browser.wait_for_text("Give the key the scope contacts:write.").await;

    // A line that was refused, pasted: it says what is missing, and the page does not keep the key.
    desk.open("/organizations/acme/routes").await;
    browser.press("Contacts").await;
    browser.press("Try it").await;
    browser.wait_for_text("Explain a decision").await;
    let line = format!("curl -X POST {}/contacts -H 'Authorization: Bearer {secret}' -d '{{}}'", desk.keyrack.url());
    browser.fill("A key, its id, or a whole curl line", &line).await;
    browser.press("Explain").await;
    browser.wait_for_text("Give the key the scope contacts:write.").await;
    assert!(!browser.client.source().await.unwrap().contains(&secret));
    assert!(!desk.keyrack.output().contains(&secret));
    browser.fill("A key, its id, or a whole curl line", &id).await;
    browser.choose("Method", "GET").await;
    browser.press("Explain").await;
    browser.wait_for_text("Nothing keeps it out.").await;

    desk.open("/organizations/acme/routes").await;
    browser.press("Contacts").await;
    browser.press("Close").await;
    browser.wait_for_text("The route is changed.").await;
    desk.http().get("/contacts").bearer(&secret).send().await.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_groups_are_chosen_and_the_organization_gets_another_name() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    desk.open("/organizations/acme/settings").await;
    browser.tick("default").await;
    browser.press("Save access groups").await;
    browser.wait_for_text("The settings are changed.").await;
    let settings = desk.keyrack.owner().get("/api/settings").send().await.expect_status(200).json();
    let mut groups: Vec<_> = settings["access_groups"].as_array().unwrap().iter().map(text).collect();
    groups.sort();
    assert_eq!(groups, ["default", "management"]);
    browser.fill("Name", "Acme of old").await;
    browser.press("Save name").await;
    browser.wait_for_text("The settings are changed.").await;
    assert!(browser.texts(".switcher summary").await[0].contains("Acme of old"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_made_given_to_a_service_looked_at_and_deleted() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    let service = Upstream::start().await;
    desk.make("/api/groups", json!({"name": "analytics"})).await;
    let key = desk.make("/api/keys", json!({"name": "reader", "group": "analytics"})).await;
    desk.open("/organizations/acme/secrets").await;
    browser.press("Create secret").await;
    browser.fill("Name", "DATABASE_URL").await;
    browser.run("document.querySelector('[name=scope][value=group]').click()", vec![]).await;
    browser.choose("Group", "analytics").await;
    browser.fill("Value", "first line\nsecond line").await;
    browser.press("Create secret").await;
    browser.wait_for_text("The secret is created.").await;
    assert!(!browser.client.source().await.unwrap().contains("first line"));
    browser.press("Show the value").await;
    browser.wait_for_text("second line").await;
    assert_eq!(browser.texts("#shown").await, ["first line\nsecond line"]);
    browser.fill("A new value", "readonly").await;
    browser.press("Save changes").await;
    browser.wait_for_text("The secret is changed.").await;

    // What a form cannot be taken for is said where it stands, and the value is not sent back.
    desk.open("/organizations/acme/routes/new").await;
    browser.fill("Name", "Reports").await;
    browser.fill("Path", "/reports").await;
    browser.fill("The service behind it", &service.url()).await;
    browser.run("document.querySelector('[name=group][value=analytics]').click()", vec![]).await;
    browser.press("Secrets for the service").await;
    browser.fill("Headers with the caller\u{2019}s own secrets", "x-database: no name").await;
    browser.press("Create route").await;
    browser.wait_for_text("Must have 1 to 128 characters").await;
    browser.fill("Headers with the caller\u{2019}s own secrets", "X-Database: DATABASE_URL").await;
    browser.press("Create route").await;
    browser.wait_for_text("The route is created.").await;
    let seen = desk.http().get("/reports").bearer(text(&key["secret"])).send().await.expect_status(200).json();
    let told = seen["headers"].as_array().unwrap().iter().find(|header| header[0] == "x-database").unwrap();
    assert_eq!(told[1], "readonly");

    desk.open("/organizations/acme/secrets?name=DATABASE_URL").await;
    browser.press("DATABASE_URL").await;
    browser.press("Delete secret").await;
    browser.wait_for_text("The secret is deleted.").await;
    desk.http().get("/reports").bearer(text(&key["secret"])).send().await.expect_status(502);
    desk.open("/organizations/acme/audit").await;
    browser.wait_for_text("looked at the value of the secret").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_looks_at_a_key_again_whose_group_keeps_it() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    desk.open("/organizations/acme/groups/new").await;
    browser.fill("Name", "kept").await;
    browser.tick("Keep the texts of its keys, encrypted, for owners").await;
    browser.press("Create group").await;
    browser.wait_for_text("The group is created.").await;
    let made = desk.make("/api/keys", json!({"name": "reader", "group": "kept"})).await;
    let page = format!("/organizations/acme/keys/{}", text(&made["key"]["id"]));
    desk.open(&page).await;
    browser.press("Show the key").await;
    // The password first, and back to the key.
    browser.wait_for_path("/profile/step-up").await;
    browser.fill("Password", &desk.keyrack.owner_password).await;
    browser.press("Go on").await;
    browser.wait_for_path(&page).await;
    browser.press("Show the key").await;
    browser.wait_for_text("The audit log tells that you looked at it.").await;
    assert_eq!(browser.texts("#value").await, [text(&made["secret"])]);
    desk.open(&page).await;
    browser.wait_for_text("looked at the text of the key").await;
    let other = desk.make("/api/keys", json!({"name": "other"})).await;
    desk.open(&format!("/organizations/acme/keys/{}", text(&other["key"]["id"]))).await;
    assert!(!browser.text().await.contains("Show the key"));
}
