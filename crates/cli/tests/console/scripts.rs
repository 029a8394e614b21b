//! Scripts of routes, in the browser.

use keyrack_testkit::Browser;
use serde_json::json;

use crate::support::{Desk, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_written_tried_saved_followed_and_put_back() {
    let Some(desk) = Desk::signed_in().await else { return };
    let browser = &desk.browser;
    desk.make("/api/groups", json!({"name": "analytics"})).await;
    let key = desk.make("/api/keys", json!({"name": "prod-server-1", "group": "analytics"})).await;
    let secret =
        json!({"name": "DATABASE_URL", "value": "postgres://readonly", "scope": "group", "owner": "analytics"});
    desk.make("/api/secrets", secret).await;
    desk.open("/organizations/acme/routes/new").await;
    browser.fill("Name", "Report").await;
    browser.fill("Path", "/run/report/:what").await;
    browser.tick("A script").await;
    browser.run("document.querySelector('[name=group][value=analytics]').click()", vec![]).await;
    browser.press("Create route").await;
    browser.wait_for_text("The route is created.").await;
    let at = "/run/report/daily";
    let call = async || desk.http().get(at).bearer(text(&key["secret"])).send().await;
    assert_eq!(call().await.expect_status(200).json(), json!({"hello": "prod-server-1"}));

    // What cannot be read is said with its place, and what was typed stays.
    let write = async |source: &str| {
        let set = "document.getElementById('source').value = arguments[0]";
        browser.run(set, vec![json!(source)]).await;
    };
    write("export default () => {\n  return new Response('one' ;\n};").await;
    browser.press("Save").await;
    browser.wait_for_text("Line 2, column").await;
    assert_eq!(call().await.expect_status(200).json()["hello"], "prod-server-1", "nothing has changed");

    // A test call runs what stands there, and saves nothing.
    write("export default async (request, ctx) => {\n  console.warn('asks', ctx.params.what, await ctx.getSecret('DATABASE_URL'));\n  return new Response(`<b>${request.method}</b>`, { status: 202 });\n};").await;
    browser.fill("Path and query", "/run/report/weekly?x=1").await;
    browser.choose("Called by", "A key of analytics").await;
    browser.press("Run it").await;
    browser.wait_for_text("answered in").await;
    assert_eq!(browser.texts("#result pre").await, ["<b>GET</b>"]);
    browser.wait_for_text("asks weekly [secret DATABASE_URL]").await;
    browser.fill("Path and query", "/elsewhere").await;
    browser.press("Run it").await;
    browser.wait_for_text("Must be a path that the route takes").await;
    assert_eq!(call().await.expect_status(200).json()["hello"], "prod-server-1");

    browser.press("Save").await;
    browser.wait_for_text("The script is saved.").await;
    assert_eq!(call().await.expect_status(202).text(), "<b>GET</b>");
    // The log comes by itself.
    let shows = async |browser: &Browser| browser.text().await.contains("asks daily [secret DATABASE_URL]");
    browser.wait("the log of the call", shows).await;

    // Back to the first.
    browser.press("1").await;
    browser.wait_for_text("This is version 1, which is not in use.").await;
    browser.press("Save").await;
    browser.wait_for_text("The script is saved.").await;
    assert_eq!(call().await.expect_status(200).json()["hello"], "prod-server-1");

    // Its page leads there, and changing whom it lets in leaves the script alone.
    desk.open("/organizations/acme/routes").await;
    browser.press("Report").await;
    browser.press("Save changes").await;
    browser.wait_for_text("The route is changed.").await;
    assert_eq!(call().await.expect_status(200).json()["hello"], "prod-server-1");
    browser.press("Script and logs").await;
    browser.wait_for_text("Test call").await;
}
