//! Coming in and going out: the set-up link, passwords, codes, invitations, and what a member does not see.

use futures_util::future::join_all;
use keyrack_core::totp;
use keyrack_testkit::{Browser, Http, Program};
use serde_json::json;

use crate::support::{Desk, KEYRACK, sign_in};

/// A server without an organization, as at the very first start.
struct Fresh {
    program: keyrack_testkit::process::Running,
    /// Where it serves, and the set-up link.
    url: String,
    link: String,
    _folder: tempfile::TempDir,
}

impl Fresh {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("fresh.db").display());
        let serve = Program::new(KEYRACK).args(["serve", "--listen", "127.0.0.1:0", "--database", &database]);
        let program = serve.directory(folder.path()).start();
        let link = program.wait_line(|line| line.contains("/setup?token="));
        let link = link.trim().replace("127.0.0.1", "localhost");
        let url = link.split("/setup").next().unwrap().to_owned();
        Self { program, url, link, _folder: folder }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_set_up_link_makes_the_first_owner_and_is_gone_for_good() {
    let Some(browser) = Browser::start().await else { return };
    let fresh = Fresh::start();
    browser.goto(&format!("{}/login", fresh.url)).await;
    browser.wait_for_text("The server prints a set-up link").await;
    browser.goto(&format!("{}/setup?token=AAAAAAAAAAAAAAAAAAAAAA", fresh.url)).await;
    browser.wait_for_text("There is nothing here").await;

    browser.goto(&fresh.link).await;
    browser.fill("Organization", "Acme").await;
    browser.fill("Short name", "Not A Slug").await;
    browser.fill("Your e-mail address", "ada@acme.test").await;
    browser.fill("Password", "ada's own password").await;
    browser.press("Set up").await;
    browser.wait_for_text("Must have 1 to 63 characters").await;
    browser.fill("Short name", "acme").await;
    browser.fill("Password", "ada's own password").await;
    browser.press("Set up").await;
    browser.wait_for_path("/organizations/acme").await;
    browser.wait_for_text("No API keys yet").await;

    browser.goto(&fresh.link).await;
    browser.wait_for_text("There is nothing here").await;
    // The group whose keys may manage is there, and chosen.
    browser.goto(&format!("{}/organizations/acme/settings", fresh.url)).await;
    let chosen =
        browser.run("return [...document.querySelectorAll('input[name=group]:checked')].map(e => e.value)", vec![]);
    assert_eq!(chosen.await, json!(["management"]));
    assert!(!fresh.program.stdout().contains("ada's own password"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_set_ups_at_once_one_is_made() {
    let fresh = Fresh::start();
    let http = Http::new(&fresh.url);
    let (_, asked) = fresh.link.split_once("/setup").unwrap();
    let page = http.get(&format!("/setup{asked}")).send().await.expect_status(200);
    let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let text = page.text();
    let form_token = text.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let link_token = asked.strip_prefix("?token=").unwrap();
    let post = async |number: usize| {
        let fields = [
            ("form_token", &*form_token),
            ("token", link_token),
            ("organization", &format!("acme-{number}")),
            ("owner_email", &format!("owner{number}@acme.test")),
            ("password", "a password of one's own"),
        ];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = http.post("/setup").header("cookie", &cookie).header("origin", &fresh.url);
        request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.status
    };
    let mut statuses = join_all((0..100).map(post)).await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 303, "{statuses:?}");
    // The others come too late, or find no room for their password.
    assert!(statuses[1..].iter().all(|status| matches!(status, 404 | 503)), "{statuses:?}");
    assert_eq!(http.get(&format!("/setup{asked}")).send().await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sets_up_a_second_factor_and_signs_in_with_it() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    desk.open("/profile").await;
    browser.press("Set up a second factor").await;
    browser.wait_for_text("Enter your password again").await;
    let before = session_cookie(browser).await["value"].clone();
    browser.fill("Password", &desk.keyrack.owner_password).await;
    browser.press("Go on").await;
    browser.wait_for_path("/profile").await;
    let cookie = session_cookie(browser).await;
    assert_ne!(cookie["value"], before, "another cookie");
    assert_eq!(
        (&cookie["httpOnly"], &cookie["secure"], &cookie["sameSite"]),
        (&json!(true), &json!(true), &json!("Strict"))
    );
    let secret = turn_on_second_factor(browser).await;
    let codes: Vec<String> = browser.texts("#codes").await[0].lines().map(str::to_owned).collect();
    assert_eq!(codes.len(), 10);
    browser.run("document.querySelector('[data-uncopied]').removeAttribute('data-uncopied')", vec![]).await;

    desk.open("/profile").await;
    browser.press(&browser.texts(".top .menu summary").await[0]).await;
    browser.press("Sign out").await;
    browser.wait_for_path("/login").await;
    browser.wait_for_text("You are signed out.").await;
    browser.fill("E-mail address", &desk.keyrack.owner_email).await;
    browser.fill("Password", &desk.keyrack.owner_password).await;
    browser.press("Sign in").await;
    browser.wait_for_text("Enter a code").await;
    desk.open("/profile").await;
    browser.wait_for_path("/login").await;
    sign_in_to_code(&desk).await;
    browser.fill("Code", "123").await;
    browser.press("Sign in").await;
    browser.wait_for_text("Not the code").await;
    browser.fill("Code", &shown_by_device(&secret, 1)).await;
    browser.press("Sign in").await;
    browser.wait_for_path("/organizations").await;
    assert_eq!(browser.complaints().await, [""; 0]);
}

/// The cookie of the session, as the browser has it.
#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_the_second_factor_that_is_asked_for_sets_one_up_first() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    desk.open("/organizations/acme/settings").await;
    browser.tick("People need a second factor").await;
    browser.press("Save sign-in rules").await;
    browser.wait_for_text("your own second factor first").await;
    let rule = json!({"second_factor": true});
    desk.keyrack.owner().request("PATCH", "/api/settings").json(&rule).send().await.expect_status(200);
    browser.goto(&desk.at("/organizations/acme/keys")).await;
    browser.wait_for_path("/profile").await;
    browser.wait_for_text("with a second factor only").await;
    browser.press("Set up a second factor").await;
    browser.wait_for_text("Enter your password again").await;
    browser.fill("Password", &desk.keyrack.owner_password).await;
    browser.press("Go on").await;
    browser.wait_for_path("/profile").await;
    turn_on_second_factor(browser).await;
    browser.run("document.querySelector('[data-uncopied]').removeAttribute('data-uncopied')", vec![]).await;
    browser.goto(&desk.at("/organizations/acme/settings")).await;
    browser.choose("Sign in again after", "4 hours").await;
    browser.press("Save sign-in rules").await;
    browser.wait_for_text("The settings are changed.").await;
    let rules = desk.keyrack.owner().get("/api/settings").send().await.expect_status(200).json();
    assert_eq!((&rules["second_factor"], &rules["session_hours"]), (&json!(true), &json!(4)));
}

/// On the profile page of a person who has just entered the password again. The secret that the device has.
async fn turn_on_second_factor(browser: &Browser) -> String {
    browser.press("Set up a second factor").await;
    browser.wait_for_text("Scan this").await;
    let secret = browser.texts("#secret").await.remove(0);
    browser.fill("Code", &shown_by_device(&secret, 0)).await;
    browser.press("Turn it on").await;
    browser.wait_for_text("each works once").await;
    secret
}

async fn session_cookie(browser: &Browser) -> serde_json::Value {
    let cookies = browser.cookies().await;
    cookies.into_iter().find(|cookie| cookie["name"] == "__Host-keyrack_session").unwrap()
}

async fn sign_in_to_code(desk: &Desk) {
    desk.open("/login?next=https://evil.test/").await;
    desk.browser.fill("E-mail address", &desk.keyrack.owner_email).await;
    desk.browser.fill("Password", &desk.keyrack.owner_password).await;
    desk.browser.press("Sign in").await;
    desk.browser.wait_for_text("Enter a code").await;
}

#[expect(clippy::disallowed_methods, reason = "the server under test reads the clock of this machine too")]
fn shown_by_device(secret: &str, steps: i64) -> String {
    let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    totp::code(&secret, jiff::Timestamp::now().as_second() / totp::PERIOD + steps)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_invited_joins_by_the_link_and_a_member_sees_no_keys() {
    let Some(desk) = Desk::signed_in().await else { return };
    let Some(other) = Browser::start().await else { return };
    let browser = &desk.browser;
    desk.open("/organizations/acme/members").await;
    browser.fill("E-mail address", "grace@acme.test").await;
    browser.press("Invite").await;
    browser.wait_for_text("it is shown this once").await;
    let link = browser.texts("#invitation").await.remove(0);

    other.goto(&link).await;
    other.wait_for_text("Join acme").await;
    other.fill("Choose a password", "too short").await;
    // The browser itself would not send it; somebody's own client does.
    other.fill("Choose a password", "the password of grace").await;
    other.press("Join acme").await;
    other.wait_for_path("/organizations/acme").await;
    other.wait_for_text("You are a member now.").await;
    assert!(!other.text().await.contains("API keys"), "{}", other.text().await);
    for page in [
        "keys",
        "keys/new",
        "groups",
        "workspaces",
        "members",
        "routes",
        "secrets",
        "audit",
        "usage",
        "settings",
        "notifications",
        "explain",
    ] {
        other.goto(&desk.at(&format!("/organizations/acme/{page}"))).await;
        other.wait_for_text("Only owners and admins").await;
    }
    other.goto(&link).await;
    other.wait_for_text("There is nothing here").await;

    // Removed, their session has ended: at the very next page.
    desk.open("/organizations/acme/members").await;
    browser.press("Actions for grace@acme.test").await;
    browser.press("Remove").await;
    browser.wait_for_text("The member is removed.").await;
    other.goto(&desk.at("/organizations/acme")).await;
    other.wait_for_path("/login").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_owner_with_the_password_again_makes_another_owner() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    desk.add_person("grace@acme.test", "admin", "the password of grace").await;
    let change = async || {
        desk.open("/organizations/acme/members").await;
        browser.press("Actions for grace@acme.test").await;
        let script = "const row = [...document.querySelectorAll('tr')].find(r => r.textContent.includes('grace@')); \
            const list = row.querySelector('select'); list.value = 'owner'; list.form.requestSubmit()";
        browser.run(script, vec![]).await;
    };
    change().await;
    browser.wait_for_text("Changes of owners need your password again").await;
    browser.press("Enter it").await;
    browser.fill("Password", &desk.keyrack.owner_password).await;
    browser.press("Go on").await;
    browser.wait_for_path("/organizations/acme/members").await;
    change().await;
    browser.wait_for_text("The role is changed.").await;
    let Some(other) = Browser::start().await else { return };
    sign_in(&other, &desk.at("/login?next=/organizations/acme/members"), ("grace@acme.test", "the password of grace"))
        .await;
    other.wait_for_path("/organizations/acme/members").await;
}
