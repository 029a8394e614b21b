//! People's own accounts over HTTP: who may ask for what, what is forgotten when, and how often somebody may guess.

use keyrack_core::totp;
use keyrack_testkit::{Answer, Database, Http};
use serde_json::{Value, json};

use crate::support::{INVALID_API_KEY, Person, World, expect_refusal, start, text};

/// Wrong passwords for an account from one address, until it is told to wait.
const GUESSES: usize = 10;

/// What a device shows at some steps from now that has this secret.
#[expect(clippy::disallowed_methods, reason = "the server under test reads the clock of this machine too")]
fn shown_by_device(secret: &str, steps: i64) -> String {
    let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    totp::code(&secret, jiff::Timestamp::now().as_second() / totp::PERIOD + steps)
}

async fn sign_in(http: &Http, email: &str, password: &str, code: Option<&str>) -> Answer {
    let mut who = json!({"email": email, "password": password});
    if let Some(code) = code {
        who["code"] = code.into();
    }
    http.post("/api/session").json(&who).send().await
}

fn code_of(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json()["error"].clone())
}

async fn is_live(http: &Http, cookie: &str) -> bool {
    http.get("/api/session").header("cookie", cookie).send().await.status == 200
}

#[tokio::test]
async fn with_a_second_factor_a_code_is_asked_for_and_each_is_taken_once() {
    let world = World::start(Database::Sqlite).await;
    let (http, keyrack) = (world.keyrack.http(), &world.keyrack);
    let (email, password) = (&*keyrack.owner_email, &*keyrack.owner_password);
    let person = Person::sign_in(&http, email, password).await.step_up(password).await;
    let begun = person.ask("POST", "/api/profile/second-factor").send().await.expect_status(201).json();
    let secret = text(&begun["secret"]);
    let confirm = json!({"code": shown_by_device(&secret, 0)});
    let confirmed = person.ask("POST", "/api/profile/second-factor/confirm").json(&confirm).send().await;
    let codes = confirmed.expect_status(200).json()["codes"].clone();
    assert_eq!(codes.as_array().unwrap().len(), 10);

    assert_eq!(code_of(&sign_in(&http, email, password, None).await), (401, json!("second_factor_required")));
    // What was used to confirm, and what is none, is as wrong as a wrong password.
    for wrong in [&*text(&confirm["code"]), "000000", ""] {
        let refused = sign_in(&http, email, password, Some(wrong)).await;
        assert_eq!((refused.status, refused.text().as_str()), (401, INVALID_API_KEY), "{wrong}");
    }
    let next = shown_by_device(&secret, 1);
    for status in [201, 401] {
        assert_eq!(sign_in(&http, email, password, Some(&next)).await.status, status, "a code is good once");
    }
    let recovery = text(&codes[0]);
    for status in [201, 401] {
        assert_eq!(sign_in(&http, email, password, Some(&recovery)).await.status, status);
    }
    let shown = person.ask("GET", "/api/profile").send().await.expect_status(200).json();
    assert_eq!((&shown["has_second_factor"], &shown["recovery_codes_left"]), (&json!(true), &json!(9)));
    // The password again takes a code as well.
    let again = |body: Value| person.ask("POST", "/api/session/step-up").json(&body).send();
    assert_eq!(code_of(&again(json!({"password": password})).await), (403, json!("wrong_password")));
    let with_code = json!({"password": password, "code": codes[1]});
    again(with_code).await.expect_status(200);
}

#[tokio::test]
async fn a_cookie_is_void_after_the_password_again_another_password_and_the_sign_out() {
    let world = World::start(Database::Sqlite).await;
    let (http, keyrack) = (world.keyrack.http(), &world.keyrack);
    let (email, password) = (&*keyrack.owner_email, &*keyrack.owner_password);
    let first = Person::sign_in(&http, email, password).await;
    let second = first.clone().step_up(password).await;
    assert!(!is_live(&http, &first.cookie).await && is_live(&http, &second.cookie).await);
    let bystander = Person::sign_in(&http, email, password).await;
    let change = json!({"current_password": password, "new_password": "a new one, long enough"});
    let changed = second.ask("POST", "/api/profile/password").json(&change).send().await.expect_status(200);
    let third = changed.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    for (cookie, lives) in [(&second.cookie, false), (&bystander.cookie, false), (&third, true)] {
        assert_eq!(is_live(&http, cookie).await, lives);
    }
    http.request("DELETE", "/api/session").header("cookie", &third).send().await.expect_status(204);
    assert!(!is_live(&http, &third).await);
    for attribute in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(changed.header("set-cookie").unwrap().contains(attribute), "{attribute}");
    }
}

#[tokio::test]
async fn what_is_a_person_s_own_takes_no_key_whatever_its_scopes() {
    let world = World::start(Database::Sqlite).await;
    for (method, path) in [
        ("GET", "/api/profile"),
        ("PATCH", "/api/profile"),
        ("POST", "/api/profile/password"),
        ("GET", "/api/profile/sessions"),
        ("DELETE", "/api/profile/sessions/01890a5d-ac96-774b-bcce-b302099a8057"),
        ("POST", "/api/profile/second-factor"),
        ("DELETE", "/api/profile/second-factor"),
        ("POST", "/api/profile/second-factor/confirm"),
        ("POST", "/api/profile/recovery-codes"),
        ("POST", "/api/session/step-up"),
    ] {
        let answer = world.keyrack.owner().request(method, path).json(&json!({})).send().await;
        expect_refusal(&answer, 403, "key_not_accepted", None);
        let answer = world.keyrack.http().request(method, path).json(&json!({})).send().await;
        assert_eq!((answer.status, answer.text().as_str()), (401, INVALID_API_KEY), "{method} {path}");
    }
}

#[tokio::test]
async fn who_guesses_at_a_password_is_told_to_wait_however_the_address_is_written() {
    let world = World::start(Database::Sqlite).await;
    let (http, keyrack) = (world.keyrack.http(), &world.keyrack);
    let (email, password) = (&*keyrack.owner_email, &*keyrack.owner_password);
    for at in 0..GUESSES - 1 {
        let spelled = if at % 2 == 0 { email.to_uppercase() } else { format!(" {email}  ") };
        assert_eq!(sign_in(&http, &spelled, "a guess at the password", None).await.status, 401);
    }
    // Whoever knows it has shown who they are: the others are forgotten.
    assert_eq!(sign_in(&http, email, password, None).await.status, 201);
    for _ in 0..GUESSES {
        assert_eq!(sign_in(&http, email, "a guess at the password", None).await.status, 401);
    }
    for right_or_wrong in ["a guess at the password", password] {
        let refused = sign_in(&http, email, right_or_wrong, None).await;
        assert_eq!(code_of(&refused), (429, json!("too_many_attempts")));
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=900).contains(&seconds), "{seconds}");
    }
    // Nobody else at that address is kept out, nor are they elsewhere.
    assert_eq!(sign_in(&http, "nobody@acme.test", "a guess at the password", None).await.status, 401);
    let elsewhere = Http::from_address(keyrack.url(), "127.0.0.9".parse().unwrap());
    assert_eq!(sign_in(&elsewhere, email, password, None).await.status, 201);
    // So it is where the password is entered again.
    let change = json!({"current_password": "a guess at the password", "new_password": "a new one, long enough"});
    let person = Person::sign_in(&elsewhere, email, password).await;
    for _ in 0..GUESSES {
        let refused =
            elsewhere.post("/api/profile/password").header("cookie", &person.cookie).json(&change).send().await;
        assert_eq!(code_of(&refused), (403, json!("wrong_password")));
    }
    let refused = elsewhere.post("/api/profile/password").header("cookie", &person.cookie).json(&change).send().await;
    assert_eq!(code_of(&refused), (429, json!("too_many_attempts")));
}

#[tokio::test]
async fn the_host_lets_in_again_who_is_locked_out_beside_a_running_server() {
    let world = World::start(Database::Sqlite).await;
    let (http, keyrack) = (world.keyrack.http(), &world.keyrack);
    let person = Person::sign_in(&http, &keyrack.owner_email, &keyrack.owner_password).await;
    let new = "quite another password";
    let recover = |email: &str, password: &str| {
        keyrack.command("users").args(["recover", email]).stdin(format!("{password}\n")).run()
    };
    for (email, password, said) in
        [("nobody@acme.test", new, "user not found"), (&*keyrack.owner_email, "short", "at least 15 characters")]
    {
        let refused = recover(email, password);
        assert!(!refused.status.success() && refused.stderr.contains(said), "{}", refused.stderr);
    }
    assert!(is_live(&http, &person.cookie).await, "nothing was done");
    recover(&keyrack.owner_email, new).success();
    assert!(!is_live(&http, &person.cookie).await);
    assert_eq!(sign_in(&http, &keyrack.owner_email, &keyrack.owner_password, None).await.status, 401);
    assert_eq!(sign_in(&http, &keyrack.owner_email, new, None).await.status, 201);
    // Over a network nobody is.
    let url = keyrack.url();
    let remote = keyrack.program().args(["users", "recover", &keyrack.owner_email, "--url", &url]);
    let refused = remote.stdin(format!("{new}\n")).run();
    assert!(!refused.status.success() && refused.stderr.contains("on the database only"), "{}", refused.stderr);
}

#[tokio::test]
async fn the_console_stands_on_its_own_host_alone() {
    let setup = keyrack_testkit::Keyrack::setup(crate::support::KEYRACK, Database::Sqlite);
    let keyrack = setup.args(["--console-host", "console.acme.test"]).start();
    let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
    let door = json!({"name": "all", "path": "/*rest", "guard": {"public": true}, "target": target});
    keyrack.owner().post("/api/routes").json(&door).send().await.expect_status(201);
    let status = async |host: &str, path: &str| {
        let bytes = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = keyrack_testkit::http::raw(keyrack.serving().address(), bytes).await;
        String::from_utf8_lossy(&answer)[9..12].to_owned()
    };
    for (host, path, expected) in [
        ("console.acme.test", "/login", "200"),
        ("CONSOLE.acme.test:8000", "/login", "200"),
        ("console.acme.test", "/anything", "404"),
        ("console.acme.test", "/api/session", "401"),
        ("api.acme.test", "/login", "404"),
        ("api.acme.test", "/organizations/acme", "404"),
        // There the door is, to a service that is not.
        ("api.acme.test", "/anything", "502"),
        ("api.acme.test", "/api/session", "401"),
    ] {
        assert_eq!(status(host, path).await, expected, "{host} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_exported_whole() {
    let keyrack = start(Database::Sqlite);
    let (owner, path) = (keyrack.owner(), format!("/api/organizations/{}", keyrack.organization_id));
    // More than are read at a time.
    for number in 0..1100 {
        let name = json!({"name": format!("name {number}")});
        owner.request("PATCH", &path).json(&name).send().await.expect_status(200);
    }
    let person = Person::sign_in(&keyrack.http(), &keyrack.owner_email, &keyrack.owner_password).await;
    let file = person.ask("GET", "/organizations/acme/audit?format=csv").send().await.expect_status(200).text();
    let lines = |of: &str| file.lines().filter(|line| line.contains(of)).count();
    assert_eq!((lines("actor_kind"), lines(",organization.changed,"), lines(",organization.created,")), (1, 1100, 1));
}
