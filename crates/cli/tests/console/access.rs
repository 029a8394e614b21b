//! For everybody: what axe-core finds on the pages, in light and dark, and what can be done by keyboard alone.

use std::path::PathBuf;

use serde_json::json;

use crate::screens::Furnished;
use crate::support::Desk;

/// The source of axe-core, which `./test` gets from npm.
fn axe() -> Option<String> {
    let file =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/axe/node_modules/axe-core/axe.min.js");
    let source = std::fs::read_to_string(&file).ok();
    if source.is_none() {
        let must_run = std::env::var_os("KEYRACK_TEST_REQUIRE_ALL").is_some();
        assert!(!must_run, "axe-core is not there, and KEYRACK_TEST_REQUIRE_ALL asks for it; ./test installs it");
        eprintln!("SKIPPED: axe-core is not installed; ./test installs it");
    }
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_on_any_page_light_or_dark_wide_or_narrow() {
    let Some(axe) = axe() else { return };
    let Some(desk) = Desk::start().await else { return };
    let mut found = Vec::new();
    let look = async |desk: &Desk, name: &str, found: &mut Vec<String>| {
        for (is_dark, width) in [(false, 1280), (true, 1280), (false, 390)] {
            desk.browser.set_dark(is_dark).await;
            desk.browser.set_size(width, 900).await;
            for violation in desk.browser.accessibility(&axe).await {
                found.push(format!("{name}, dark {is_dark}, {width} wide: {violation:?}"));
            }
            // No page is wider than the screen.
            let wider = desk.browser.run("return document.documentElement.scrollWidth - innerWidth", vec![]).await;
            if wider.as_i64().unwrap_or(0) > 0 {
                found.push(format!("{name} is {wider} wider than a screen of {width}"));
            }
        }
        desk.browser.set_size(1280, 900).await;
    };
    desk.open("/login").await;
    look(&desk, "login", &mut found).await;
    desk.sign_in(&desk.keyrack.owner_email, &desk.keyrack.owner_password).await;
    desk.open("/organizations/acme").await;
    look(&desk, "overview of nothing", &mut found).await;
    let furnished = Furnished::new(desk).await;
    for (name, path) in furnished.pages() {
        furnished.desk.open(&path).await;
        look(&furnished.desk, name, &mut found).await;
    }
    let desk = &furnished.desk;
    desk.open("/organizations/acme/keys/new").await;
    desk.browser.fill("What is it for?", "axe").await;
    desk.browser.press("Create API key").await;
    desk.browser.wait_for_text("will not be shown again").await;
    look(desk, "the value", &mut found).await;
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_by_keyboard_alone() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    desk.open("/organizations/acme").await;
    assert_eq!(browser.tab().await, "a Skip to the page", "first of all");
    browser.keys("gk").await;
    browser.wait_for_path("/organizations/acme/keys").await;
    browser.keys("/").await;
    let focused = "return document.activeElement.name";
    assert_eq!(browser.run(focused, vec![]).await, json!("name"));
    browser.run("document.activeElement.blur()", vec![]).await;
    browser.keys("?").await;
    browser.wait("the help", async |browser: &keyrack_testkit::Browser| browser.has("dialog[open]").await).await;
    browser.keys("\u{e00c}").await;
    browser.wait("its end", async |browser: &keyrack_testkit::Browser| !browser.has("dialog").await).await;
    browser.keys("c").await;
    browser.wait_for_path("/organizations/acme/keys/new").await;
    // The cursor stands in the name; Enter twice makes a good key.
    browser
        .wait("the cursor", async |browser: &keyrack_testkit::Browser| {
            browser.run(focused, vec![]).await == json!("name")
        })
        .await;
    browser.keys("by keyboard\u{e007}").await;
    browser.wait_for_text("will not be shown again").await;
    let made = desk.keyrack.owner().get("/api/keys?name=keyboard").send().await.expect_status(200).json();
    assert_eq!(made["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_theme_is_the_system_s_or_the_one_that_was_chosen() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    let paper = async || {
        browser.run("return getComputedStyle(document.querySelector('.column')).backgroundColor", vec![]).await
    };
    browser.set_dark(false).await;
    let light = paper().await;
    browser.set_dark(true).await;
    let dark = paper().await;
    assert_ne!(light, dark);
    browser.press(&browser.texts(".top .menu.right summary").await[0]).await;
    browser.press("Light").await;
    assert_eq!(paper().await, light);
    desk.open("/profile").await;
    assert_eq!(paper().await, light, "it is remembered");
}
