//! The life of a key, in the browser.

use keyrack_testkit::Browser;
use serde_json::json;

use crate::support::{Desk, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_in_four_clicks_shown_once_and_gone_after_a_reload() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    browser
        .ask("Browser.grantPermissions", json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}))
        .await;
    desk.open("/organizations").await;
    // One: the organization. Two: a key. Three: this one. Four: copied.
    let organization = browser.texts("main th a").await;
    browser.press(&organization[0]).await;
    browser.press("Create API key").await;
    browser.wait_for_path("/organizations/acme/keys/new").await;
    browser.fill("What is it for?", "Website form").await;
    browser.press("Create API key").await;
    browser.wait_for_text("will not be shown again").await;
    let value = browser.texts("#value").await.remove(0);
    assert!(value.starts_with("sk_live_") && value.len() == 57, "{value}");
    browser.press("Copy").await;
    browser.wait_for_text("Copied.").await;
    assert_eq!(browser.run("return navigator.clipboard.readText()", Vec::new()).await, json!(value));
    desk.http().get("/api/session").bearer(&value).send().await.expect_status(200);

    browser.client.refresh().await.unwrap();
    browser.wait("the page of the key", async |browser: &Browser| browser.text().await.contains("Website form")).await;
    assert!(!browser.client.source().await.unwrap().contains(&value), "the value is gone");
    let keys = desk.keyrack.owner().get("/api/keys?name=website").send().await.expect_status(200).json();
    assert_eq!(keys["data"].as_array().unwrap().len(), 1, "a reload makes no other");
    assert_eq!(keys["data"][0]["scopes"], json!(["*:read"]), "Read Only, if nothing else is chosen");
    assert_eq!(browser.complaints().await, [""; 0]);
}

/// A client that uses a key all the while.
async fn use_it(desk: &Desk, text: &str) -> u16 {
    desk.http().get("/api/session").bearer(text).send().await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_with_an_overlap_and_the_old_value_is_ended_when_nobody_uses_it() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    let made = desk.make("/api/keys", json!({"name": "Dashboard"})).await;
    let old = text(&made["secret"]);
    assert_eq!(use_it(&desk, &old).await, 200);
    // Two clicks from the list: the menu's entry, and the button.
    desk.open("/organizations/acme/keys").await;
    browser.press("Actions for Dashboard").await;
    browser.press("Rotate").await;
    browser.press("Rotate key").await;
    browser.wait_for_text("will not be shown again").await;
    let new = browser.texts("#value").await.remove(0);
    assert_ne!(new, old);
    assert_eq!((use_it(&desk, &old).await, use_it(&desk, &new).await), (200, 200));
    browser.wait_for_text("still in use").await;
    browser.run("document.querySelector('[data-uncopied]').removeAttribute('data-uncopied')", vec![]).await;
    browser.press("End the old value now").await;
    browser.wait_for_text("The old secret is ended.").await;
    assert_eq!((use_it(&desk, &old).await, use_it(&desk, &new).await), (401, 200));
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_in_use_is_revoked_by_its_name_and_the_next_request_fails() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    let made = desk.make("/api/keys", json!({"name": "Production API Key"})).await;
    let key = text(&made["secret"]);
    for _ in 0..3 {
        assert_eq!(use_it(&desk, &key).await, 200);
    }
    let id = text(&made["key"]["id"]);
    let used = async || {
        let shown = desk.keyrack.owner().get(&format!("/api/keys/{id}")).send().await.expect_status(200).json();
        !shown["last_used_at"].is_null()
    };
    browser.wait("the use is written down", async |_: &Browser| used().await).await;
    desk.open("/organizations/acme/keys").await;
    browser.press("Actions for Production API Key").await;
    browser.press("Revoke").await;
    browser.wait_for_text("What will break").await;
    browser.wait_for_text("from 127.0.0.1").await;
    browser.fill("It was used in the last 24 hours", "Production").await;
    browser.press("Revoke key").await;
    browser.wait_for_text("Type the name of the key").await;
    assert_eq!(use_it(&desk, &key).await, 200, "nothing was done");
    browser.fill("It was used in the last 24 hours", "Production API Key").await;
    browser.press("Revoke key").await;
    browser.wait_for_text("No node accepts this key since").await;
    assert_eq!(use_it(&desk, &key).await, 401);
    desk.open("/organizations/acme/keys?name=production").await;
    assert!(browser.texts("td .chip").await.contains(&"Revoked".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_key_is_said_beside_its_field_and_what_was_typed_stays() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    desk.make("/api/keys", json!({"name": "taken"})).await;
    desk.open("/organizations/acme/keys/new").await;
    browser.fill("What is it for?", "taken").await;
    browser.press("Addresses, limits and more").await;
    browser.fill("From where?", "10.0.0.0/8\nnowhere").await;
    browser.press("Create API key").await;
    browser.wait_for_text("Some of this cannot be taken").await;
    assert!(browser.has("#ip_allowlist[aria-invalid=true]").await);
    browser.fill("From where?", "10.0.0.0/8").await;
    browser.press("Create API key").await;
    browser.wait("a conflict", async |browser: &Browser| browser.has(".alert.bad").await).await;
    let name = browser.run("return document.getElementById('name').value", vec![]).await;
    assert_eq!(name, json!("taken"));
    browser.fill("What is it for?", "free").await;
    browser.press("Create API key").await;
    browser.wait_for_text("will not be shown again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_edit_a_key_the_second_is_told() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    let made = desk.make("/api/keys", json!({"name": "shared", "scopes": ["a:read"]})).await;
    let id = text(&made["key"]["id"]);
    desk.open(&format!("/organizations/acme/keys/{id}/edit")).await;
    let patch = desk.keyrack.owner().request("PATCH", &format!("/api/keys/{id}"));
    patch.json(&json!({"description": "changed by somebody else"})).send().await.expect_status(200);
    browser.fill("Name", "mine").await;
    browser.press("Save changes").await;
    browser.wait_for_text("Somebody else has changed the key").await;
    let shown = desk.keyrack.owner().get(&format!("/api/keys/{id}")).send().await.expect_status(200).json();
    assert_eq!((&shown["name"], &shown["description"]), (&json!("shared"), &json!("changed by somebody else")));
    desk.open(&format!("/organizations/acme/keys/{id}/edit")).await;
    browser.fill("Name", "mine").await;
    browser.press("Save changes").await;
    browser.wait_for_text("The key is changed.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_a_key_is_made_disabled_and_deleted() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    browser.set_scripts(false).await;
    desk.open("/organizations/acme/keys/new").await;
    browser.fill("What is it for?", "plain").await;
    browser.press("Create API key").await;
    browser
        .wait("the value", async |browser: &Browser| browser.client.source().await.unwrap().contains("sk_live_"))
        .await;
    browser.press("Done").await;
    let says = async |words: &str| {
        let is_said = async |browser: &Browser| browser.client.source().await.unwrap().contains(words);
        browser.wait(words, is_said).await;
    };
    browser.press("Disable").await;
    says("Nothing accepts it").await;
    browser.press("Undo").await;
    says("enabled again").await;
    browser.press("Undo").await;
    says("Nothing accepts it").await;
    browser.press("Delete").await;
    browser.press("Delete key").await;
    browser
        .wait("the end", async |browser: &Browser| {
            browser.client.source().await.unwrap().contains("The key is deleted.")
        })
        .await;
    let left = desk.keyrack.owner().get("/api/keys?name=plain").send().await.expect_status(200).json();
    assert_eq!(left["data"], json!([]));
}
