//! What users come for, walked through in the browser: the steps of the walks in `acceptance` that name the console.

use keyrack_testkit::Browser;
use serde_json::json;

use crate::support::{Desk, sign_in};

/// The value that a page shows once.
async fn value(browser: &Browser) -> String {
    browser.wait_for_text("will not be shown again").await;
    browser.texts("#value").await.remove(0)
}

/// Notes that nothing has to be copied.
async fn put_aside(browser: &Browser) {
    browser.run("document.querySelector('[data-uncopied]')?.removeAttribute('data-uncopied')", vec![]).await;
}

/// Waits until it is known that a key was used.
async fn until_used(desk: &Desk, name: &str) {
    let is_known = async || {
        let found = desk.keyrack.owner().get("/api/keys").send().await.expect_status(200).json();
        let key = found["data"].as_array().unwrap().iter().find(|key| key["name"] == name).cloned().unwrap();
        !key["last_used_at"].is_null()
    };
    desk.browser.wait("the use is written down", async |_: &Browser| is_known().await).await;
}

async fn status(desk: &Desk, path: &str, key: &str) -> u16 {
    desk.http().get(path).header("x-api-key", key).send().await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn schemastack_a_key_for_a_workspace_with_a_level_and_an_end() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    desk.open("/organizations/acme/workspaces").await;
    browser.fill("Name", "Sales").await;
    browser.fill("Short name", "sales").await;
    browser.press("Create workspace").await;
    browser.wait_for_text("The workspace is created.").await;
    browser.press("Create API key").await;
    browser.wait_for_path("/organizations/acme/keys/new").await;
    let chosen =
        "return [document.getElementById('workspace').value, document.querySelector('[name=level]:checked').value]";
    assert_eq!(browser.run(chosen, vec![]).await, json!(["sales", "read_only"]), "chosen before anybody does");
    browser.fill("What is it for?", "Sync").await;
    browser.tick("Read & Write").await;
    browser.tick("Never").await;
    browser.wait_for_text("A key without an end").await;
    browser.tick("30 days").await;
    browser.press("Create API key").await;
    let key = value(browser).await;
    let session = desk.http().get("/api/session").bearer(&key).send().await.expect_status(200).json();
    assert_eq!(
        (&session["workspace"]["slug"], &session["key"]["scopes"]),
        (&json!("sales"), &json!(["*:read", "*:write"]))
    );
    assert!(session["key"]["expires_at"].is_string());
    put_aside(browser).await;
    browser.client.refresh().await.unwrap();
    browser.wait_for_text("Sync").await;
    assert!(!browser.client.source().await.unwrap().contains(&key));
}

#[tokio::test(flavor = "multi_thread")]
async fn smally_from_the_sign_in_to_a_key_and_its_end() {
    let Some(desk) = Desk::start().await else { return };
    let browser = &desk.browser;
    desk.sign_in(&desk.keyrack.owner_email, &desk.keyrack.owner_password).await;
    browser.wait_for_path("/organizations").await;
    browser.press("acme").await;
    browser.press("Create API key").await;
    browser.fill("What is it for?", "Production API Key").await;
    browser.press("Create API key").await;
    let key = value(browser).await;
    put_aside(browser).await;
    browser.client.back().await.unwrap();
    browser.wait("another page", async |browser: &Browser| !browser.has("#value").await).await;
    assert!(!browser.client.source().await.unwrap().contains(&key), "never again");

    let token = desk.http().post("/api/tokens").bearer(&key).json(&json!({})).send().await.expect_status(201).json();
    let token = token["token"].as_str().unwrap().to_owned();
    for credential in [&key, &token] {
        desk.http().get("/api/session").bearer(credential).send().await.expect_status(200);
    }
    until_used(&desk, "Production API Key").await;
    desk.open("/organizations/acme/keys").await;
    browser.press("Actions for Production API Key").await;
    browser.press("Revoke").await;
    browser.wait_for_text("What will break").await;
    browser.fill("It was used", "Production API Key").await;
    browser.press("Revoke key").await;
    browser.wait_for_text("No node accepts this key since").await;
    for credential in [&key, &token] {
        desk.http().get("/api/session").bearer(credential).send().await.expect_status(401);
    }
    browser.press("Back to the keys").await;
    browser.wait_for_text("Revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn saas_boilerplate_a_key_is_made_toggled_and_deleted_and_a_member_sees_none() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    browser
        .ask("Browser.grantPermissions", json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}))
        .await;
    desk.open("/organizations/acme/settings").await;
    browser.press("API Keys").await;
    browser.wait_for_path("/organizations/acme/keys").await;
    browser.press("Create API key").await;
    browser.fill("What is it for?", "webhook-integration").await;
    browser.press("Create API key").await;
    let key = value(browser).await;
    browser.press("Copy").await;
    browser.wait_for_text("Copied.").await;
    assert_eq!(browser.run("return navigator.clipboard.readText()", vec![]).await, json!(key));
    browser.press("Done").await;
    browser.wait_for_text("Active").await;
    browser.press("Disable").await;
    browser.wait_for_text("The key is disabled.").await;
    assert_eq!(status(&desk, "/api/session", &key).await, 401);
    browser.press("Enable").await;
    browser.wait_for_text("The key is enabled again.").await;
    assert_eq!(status(&desk, "/api/session", &key).await, 200);
    until_used(&desk, "webhook-integration").await;
    browser.press("Delete").await;
    browser.wait_for_text("cannot be undone").await;
    assert_eq!(status(&desk, "/api/session", &key).await, 200, "it asks first");
    browser.fill("It was used", "another name").await;
    browser.press("Delete key").await;
    browser.wait_for_text("Type the name of the key").await;
    browser.fill("It was used", "webhook-integration").await;
    browser.press("Delete key").await;
    browser.wait_for_text("The key is deleted.").await;
    assert_eq!(status(&desk, "/api/session", &key).await, 401);

    desk.add_person("grace@acme.test", "member", "the password of grace").await;
    let Some(other) = Browser::start().await else { return };
    sign_in(&other, &desk.at("/login"), ("grace@acme.test", "the password of grace")).await;
    other.goto(&desk.at("/organizations/acme")).await;
    other.wait_for_text("You are a member here").await;
    assert!(!other.text().await.to_lowercase().contains("api key"), "{}", other.text().await);
    other.goto(&desk.at("/profile")).await;
    assert!(!other.has("a[href$='/keys']").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn crude_functions_a_key_of_management_manages_and_another_does_not() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    let make = async |group: &str| {
        desk.open(&format!("/organizations/acme/keys/new?group={group}")).await;
        browser.fill("What is it for?", &format!("of {group}")).await;
        browser.press("Create API key").await;
        let key = value(browser).await;
        put_aside(browser).await;
        key
    };
    let (management, other) = (make("management").await, make("default").await);
    let listed = desk.http().get("/api/groups").header("x-api-key", &management).send().await.expect_status(200).json();
    assert!(listed["data"].as_array().unwrap().iter().any(|group| group["name"] == "management"));
    assert_eq!(status(&desk, "/api/groups", &other).await, 401);
    desk.http().get("/api/groups").send().await.expect_status(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_twice_makes_one_key() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    desk.open("/organizations/acme/keys/new").await;
    browser.fill("What is it for?", "once").await;
    let script = "const done = arguments[arguments.length - 1]; const form = document.querySelector('main form'); \
        const send = () => fetch(form.action, {method: 'POST', body: new URLSearchParams(new FormData(form))}).then(r => r.text()); \
        send().then(first => send().then(second => done([first.includes('id=\"value\"'), second.includes('id=\"value\"'), \
        second.includes('This was done before')])))";
    let told = browser.client.execute_async(script, vec![]).await.unwrap();
    assert_eq!(told, json!([true, false, true]));
    let made = desk.keyrack.owner().get("/api/keys?name=once").send().await.expect_status(200).json();
    assert_eq!(made["data"].as_array().unwrap().len(), 1);
}
