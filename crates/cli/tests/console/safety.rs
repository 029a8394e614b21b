//! What other sites and stored texts can do here: nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use keyrack_testkit::{Browser, Upstream};
use serde_json::json;

use crate::screens::Furnished;
use crate::support::Desk;

/// Texts that would be scripts, were they not written as texts: in elements, attributes, addresses, comments and templates.
const PAYLOADS: [&str; 50] = [
    "<script>alert(1)</script>",
    r#""><img src=x onerror=alert(1)>"#,
    "' onmouseover='alert(1)' x='",
    "</textarea><svg onload=alert(1)>",
    "{{7*7}}{% raw %}${alert(1)}",
    "javascript:alert(1)//",
    "</title><script>alert(1)</script>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'>",
    "<ScRiPt>alert(1)</sCrIpT>",
    "<script src=//evil.test/alert(1).js></script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    r#""><script>alert(1)</script>"#,
    "'><script>alert(1)</script>",
    "--><script>alert(1)</script><!--",
    "]]><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</option></select><img src=x onerror=alert(1)>",
    "</code></pre><img src=x onerror=alert(1)>",
    "</noscript><img src=x onerror=alert(1)>",
    r#"<noscript><p title="</noscript><img src=x onerror=alert(1)>">"#,
    "<img src=x onerror=alert(1)//",
    "<img/src=x/onerror=alert(1)>",
    r#"<img src="x` `<script>alert(1)</script>"` `>"#,
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<svg/onload=alert(1)>",
    r#"<svg><a xlink:href="javascript:alert(1)"><text y=9>x</text></a></svg>"#,
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    r#"<math href="javascript:alert(1)">x</math>"#,
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    r#"" autofocus onfocus=alert(1) x=""#,
    r#"" style="animation-name:x" onanimationstart="alert(1)"#,
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    r#"<object data="javascript:alert(1)"></object>"#,
    r#"<embed src="javascript:alert(1)">"#,
    r#"<a href="javascript:alert(1)">click</a>"#,
    r#"<a href="data:text/html,<script>alert(1)</script>">x</a>"#,
    r#"<form action="javascript:alert(1)"><button>x</button></form>"#,
    r#"<button form=x formaction="javascript:alert(1)">x</button>"#,
    r#"<base href="javascript:alert(1)//">"#,
    r#"<meta http-equiv=refresh content="0;url=javascript:alert(1)">"#,
    r#"<link rel=stylesheet href="data:text/css,*{x:expression(alert(1))}">"#,
    "<template><script>alert(1)</script></template>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    r"\u003cscript\u003ealert(1)\u003c/script\u003e",
];

#[tokio::test(flavor = "multi_thread")]
async fn stored_texts_are_shown_as_texts_on_every_page() {
    let Some(desk) = Desk::signed_in().await else { return };
    let owner = desk.keyrack.owner();
    let furnished = Furnished::new(desk).await;
    let desk = &furnished.desk;
    let mut live = String::new();
    for (number, payload) in PAYLOADS.into_iter().enumerate() {
        desk.make("/api/workspaces", json!({"slug": format!("w{number}"), "name": payload})).await;
        let key = json!({"name": payload, "description": payload, "metadata": {payload: payload}});
        let made = desk.make("/api/keys", key).await;
        let id = made["key"]["id"].as_str().unwrap().to_owned();
        let revoke = format!("/api/keys/{id}/revoke");
        let secret = made["secret"].as_str().unwrap();
        desk.http().get("/contacts").bearer(secret).header("user-agent", payload).send().await;
        let group = json!({"name": format!("g{number}"), "description": payload});
        desk.make("/api/groups", group).await;
        let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
        let route =
            json!({"name": payload, "path": format!("/r{number}"), "guard": {"public": true}, "target": target});
        desk.make("/api/routes", route).await;
        let secret =
            json!({"name": format!("S{number}"), "value": "v", "scope": "key", "owner": id, "comment": payload});
        desk.make("/api/secrets", secret).await;
        if number == 0 {
            live = id;
        } else {
            owner.post(&revoke).json(&json!({"reason": payload})).send().await.expect_status(200);
        }
    }
    let rename = format!("/api/organizations/{}", desk.keyrack.organization_id);
    owner.request("PATCH", &rename).json(&json!({"name": PAYLOADS[1]})).send().await.expect_status(200);
    desk.open("/profile").await;
    desk.browser.fill("Name", PAYLOADS[6]).await;
    desk.browser.press("Save name").await;
    desk.browser.wait_for_text("Your profile is changed.").await;
    let mut seen = 0;
    let of_live =
        ["", "/edit", "/rotate", "/revoke"].map(|page| ("of it", format!("/organizations/acme/keys/{live}{page}")));
    let mut pages: VecDeque<_> = furnished.pages().into_iter().chain(of_live).collect();
    while let Some((name, path)) = pages.pop_front() {
        desk.open(&path).await;
        // Lists go on for some pages.
        let next = desk.browser.run("return document.querySelector('a[rel=next]')?.href ?? null", vec![]).await;
        if let Some(next) = next.as_str().and_then(|next| next.strip_prefix(&desk.at(""))) {
            pages.push_back((name, next.to_owned()));
        }
        let dialog = desk.browser.client.get_alert_text().await;
        assert!(dialog.is_err(), "{name}: {dialog:?}");
        assert_eq!(desk.browser.complaints().await, [""; 0], "{name}");
        seen += usize::from(desk.browser.text().await.contains("alert(1)"));
    }
    assert!(seen > 20, "they stand on {seen} pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_s_form_fetch_frame_and_link_do_nothing() {
    let Some(desk) = Desk::signed_in().await else { return };
    let target = Arc::new(desk.at("/organizations/acme/workspaces"));
    let keys = desk.at("/organizations/acme/keys");
    let page = {
        let (target, keys) = (target.clone(), keys.clone());
        move || {
            format!(
                "<!doctype html><title>evil</title><form id=f method=post action='{target}'><input name=slug value=evil>\
                 <button>go</button></form><a id=l href='{keys}'>link</a><iframe id=i src='{keys}'></iframe>"
            )
        }
    };
    let evil = Upstream::answering(move |_: Request<Bytes>| {
        let body = page();
        async move { Response::builder().header("content-type", "text/html").body(body.into()).unwrap() }
    })
    .await;
    let browser = &desk.browser;
    // Another port of this machine is the same site to a browser, another name of it is not.
    for evil in [evil.url(), evil.url().replace("127.0.0.1", "localhost")] {
        browser.goto(&evil).await;
        browser.run("document.getElementById('f').submit()", vec![]).await;
        browser
            .wait("a refusal", async |browser: &Browser| {
                let text = browser.text().await;
                text.contains("This came from another site") || text.contains("Sign in")
            })
            .await;
        browser.goto(&evil).await;
        let fetched = browser
            .client
            .execute_async(
                "const done = arguments[arguments.length - 1]; fetch(arguments[0], {method: 'POST', credentials: 'include', \
                 body: new URLSearchParams({slug: 'evil'})}).then(r => r.text()).then(done, () => done('refused'))",
                vec![json!(*target)],
            )
            .await
            .unwrap();
        assert_eq!(fetched, "refused");
        let framed = browser.run("try { return document.getElementById('i').contentDocument?.body?.innerText ?? null } catch { return null }", vec![]);
        assert!(!framed.await.as_str().unwrap_or_default().contains("API keys"));
    }
    browser.goto(&evil.url()).await;
    browser.run("document.getElementById('l').click()", vec![]).await;
    browser.wait_for_text("You came from another site").await;
    browser.press("Go on to this page").await;
    browser.wait_for_text("API keys").await;
    let made = desk.keyrack.owner().get("/api/workspaces").send().await.expect_status(200).json();
    assert_eq!(made["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_without_its_token_or_with_anothers_does_nothing() {
    let Some(desk) = Desk::signed_in().await else { return };
    let cookie =
        desk.browser.cookies().await.iter().find(|c| c["name"] == "__Host-keyrack_session").unwrap()["value"].clone();
    let cookie = format!("__Host-keyrack_session={}", cookie.as_str().unwrap());
    let post = |body: &str| {
        let request = desk.http().post("/organizations/acme/workspaces").header("cookie", &cookie);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.header("sec-fetch-site", "same-origin").body(body.to_owned()).send()
    };
    for body in
        ["slug=evil", "slug=evil&form_token=", "slug=evil&form_token=AAAA", "form_token=x&form_token=y&slug=evil"]
    {
        let answer = post(body).await;
        assert_eq!(answer.status, 403, "{body}: {}", answer.text());
        assert!(answer.text().contains("out of date"), "{}", answer.text());
    }
    let made = desk.keyrack.owner().get("/api/workspaces").send().await.expect_status(200).json();
    assert_eq!(made["data"], json!([]));
    // A key is nobody here, and another content type no form.
    let keyed = desk.keyrack.owner().get("/organizations/acme/keys").send().await;
    assert_eq!((keyed.status, keyed.header("location")), (303, Some("/login?next=%2Forganizations%2Facme%2Fkeys")));
    for page in [
        "/organizations/other/keys",
        "/organizations/acme/keys/01890a5d-ac96-774b-bcce-b302099a8057",
        "/organizations/acme/keys/nothing",
    ] {
        let answer = desk.http().get(page).header("cookie", &cookie).send().await;
        assert!(matches!(answer.status, 400 | 404), "{page}: {}", answer.status);
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{page}");
        }
        let policy = answer.header("content-security-policy").unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
