//! A real browser: headless Chromium, led through chromedriver (W3C `WebDriver`).
//!
//! Each browser is a process of its own with an empty profile, so that two of them are two people. What a page is to show is awaited.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use url::Url;

/// How long a page may take to show what is awaited.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// A browser.
pub struct Browser {
    /// For whatever has no method here.
    pub client: Client,
    driver: Driver,
}

/// chromedriver, with the browser it has started; both end with it.
struct Driver {
    child: Child,
    profile: TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The browser is in the group of its driver.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A rule of the accessibility guidelines that a page breaks.
#[derive(Debug)]
pub struct Violation {
    /// The rule of axe-core.
    pub id: String,
    /// `minor`, `moderate`, `serious` or `critical`.
    pub impact: String,
    /// What it asks.
    pub help: String,
    /// Where it is broken.
    pub nodes: Vec<String>,
}

impl Browser {
    /// Starts one; `None` without Chromium on this machine, which is said, and is a panic where `KEYRACK_TEST_REQUIRE_ALL` is set.
    pub async fn start() -> Option<Self> {
        let Some((driver, port)) = Driver::start_somewhere() else {
            let must_run = std::env::var_os("KEYRACK_TEST_REQUIRE_ALL").is_some();
            assert!(!must_run, "Chromium is not there, and KEYRACK_TEST_REQUIRE_ALL asks for it; ./test installs it");
            say_skipped();
            return None;
        };
        let profile = driver.profile.path().display();
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--window-size=1280,900".to_owned(),
            "--lang=en-US".to_owned(),
            format!("--user-data-dir={profile}"),
        ];
        let mut capabilities = Map::new();
        capabilities.insert("goog:chromeOptions".to_owned(), json!({ "args": arguments }));
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" }));
        // What a page asks is left to the test to answer.
        capabilities.insert("unhandledPromptBehavior".to_owned(), json!("ignore"));
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        builder.capabilities(capabilities);
        let client = builder.connect(&format!("http://127.0.0.1:{port}")).await;
        Some(Self { client: client.expect("chromedriver starts Chromium"), driver })
    }

    /// Ends it in good order. Without this it is killed.
    pub async fn close(self) {
        let _ = self.client.close().await;
        drop(self.driver);
    }

    /// Opens a page.
    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// The address of the page.
    pub async fn address(&self) -> String {
        self.client.current_url().await.expect("the page has an address").to_string()
    }

    /// Runs JavaScript with these arguments; what it returns.
    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.client.execute(script, arguments).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Everything that can be read on the page.
    pub async fn text(&self) -> String {
        let text = self.run("return document.body ? document.body.innerText : ''", Vec::new()).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The texts of all elements that a selector finds.
    pub async fn texts(&self, css: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim())";
        let texts = self.run(script, vec![json!(css)]).await;
        texts.as_array().into_iter().flatten().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Whether a selector finds something.
    pub async fn has(&self, css: &str) -> bool {
        !self.texts(css).await.is_empty()
    }

    /// Waits until something is so.
    pub async fn wait(&self, what: &str, mut look: impl AsyncFnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !look(self).await {
            self.expect_time(until, &format!("{what} did not come")).await;
        }
    }

    /// Waits a little; fails with all that can be read once it is too late.
    async fn expect_time(&self, until: Instant, what: &str) {
        let is_late = Instant::now() >= until;
        let seen = if is_late { format!("at {}:\n{}", self.address().await, self.text().await) } else { String::new() };
        assert!(!is_late, "{what}; {seen}");
        sleep(PAUSE).await;
    }

    /// Waits until a text can be read on the page.
    pub async fn wait_for_text(&self, text: &str) {
        self.wait(text, async |browser: &Self| browser.text().await.contains(text)).await;
    }

    /// Waits until the address of the page ends like this, but for its query.
    pub async fn wait_for_path(&self, path: &str) {
        let is_there = async |browser: &Self| {
            let address = browser.address().await;
            Url::parse(&address).is_ok_and(|url| url.path() == path)
        };
        self.wait(path, is_there).await;
    }

    /// Waits for an element.
    pub async fn find(&self, css: &str) -> Element {
        self.find_by(Locator::Css(css)).await
    }

    async fn find_by(&self, locator: Locator<'_>) -> Element {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.client.find(locator).await {
                Ok(element) => return element,
                Err(error) => self.expect_time(until, &format!("{locator:?}: {error}")).await,
            }
        }
    }

    /// Presses a button, or follows a link, that has this text and can be seen, best within what the page is about. Whatever it leads
    /// to is awaited by whoever asks.
    pub async fn press(&self, text: &str) {
        let quoted = quoted(text);
        let is_it = format!("normalize-space()={quoted} or @aria-label={quoted}");
        let until = Instant::now() + PATIENCE;
        loop {
            let mut refusal = format!("nothing is called {text:?}");
            for place in ["main", "body"] {
                let path = format!("//{place}//*[self::button or self::a or self::summary][{is_it}]");
                for element in self.client.find_all(Locator::XPath(&path)).await.unwrap_or_default() {
                    if !element.is_displayed().await.unwrap_or(false) {
                        continue;
                    }
                    match element.click().await {
                        Ok(()) => return,
                        Err(error) => refusal = error.to_string(),
                    }
                }
            }
            self.expect_time(until, &format!("{text}: {refusal}")).await;
        }
    }

    /// The field whose label begins with this text.
    pub async fn field(&self, label: &str) -> Element {
        let quoted = quoted(label);
        let path = format!(
            "//*[@id=//label[starts-with(normalize-space(), {quoted})]/@for] \
             | //label[starts-with(normalize-space(), {quoted})]//*[self::input or self::select or self::textarea] \
             | //*[self::input or self::select or self::textarea][@aria-label={quoted}]"
        );
        self.find_by(Locator::XPath(&path)).await
    }

    /// Types a text into a field, in the place of what was there.
    pub async fn fill(&self, label: &str, text: &str) {
        let field = self.field(label).await;
        field.clear().await.unwrap_or_else(|error| panic!("{label}: {error}"));
        field.send_keys(text).await.unwrap_or_else(|error| panic!("{label}: {error}"));
    }

    /// Chooses a box, a circle or nothing of it.
    pub async fn tick(&self, label: &str) {
        self.field(label).await.click().await.unwrap_or_else(|error| panic!("{label}: {error}"));
    }

    /// Chooses an entry of a list by its text.
    pub async fn choose(&self, label: &str, entry: &str) {
        let field = self.field(label).await;
        field.select_by_label(entry).await.unwrap_or_else(|error| panic!("{label}, {entry}: {error}"));
    }

    /// Types on the keyboard, wherever the cursor is.
    pub async fn keys(&self, keys: &str) {
        let active = self.client.active_element().await.expect("something has the cursor");
        active.send_keys(keys).await.unwrap_or_else(|error| panic!("{keys}: {error}"));
    }

    /// Presses Tab; what has the cursor then, by its tag and text.
    pub async fn tab(&self) -> String {
        self.keys(&String::from(char::from(Key::Tab))).await;
        let script = "const e = document.activeElement; \
            return e.tagName.toLowerCase() + ' ' + (e.getAttribute('aria-label') || e.textContent || e.name || '').trim().slice(0, 60)";
        self.run(script, Vec::new()).await.as_str().unwrap_or_default().to_owned()
    }

    /// Asks Chromium by its own protocol.
    pub async fn ask(&self, command: &str, parameters: Value) -> Value {
        let asked = Ask { path: "goog/cdp/execute", body: json!({ "cmd": command, "params": parameters }) };
        self.client.issue_cmd(asked).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Prefers dark pages, or light ones.
    pub async fn set_dark(&self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.ask("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Has a screen of this size.
    pub async fn set_size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 720 });
        self.ask("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Runs scripts of pages, or not.
    pub async fn set_scripts(&self, are_run: bool) {
        self.ask("Emulation.setScriptExecutionDisabled", json!({ "value": !are_run })).await;
    }

    /// Draws the whole page into a PNG file.
    pub async fn draw(&self, file: &Path) {
        let all = json!({ "format": "png", "captureBeyondViewport": true });
        let drawn = self.ask("Page.captureScreenshot", all).await;
        let text = drawn["data"].as_str().expect("a picture");
        let bytes = data_encoding::BASE64.decode(text.as_bytes()).expect("base64");
        std::fs::write(file, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// The cookies that the browser holds for the page, as it tells of them: `name`, `value`, `httpOnly`, `secure`, `sameSite`.
    pub async fn cookies(&self) -> Vec<Value> {
        let told = self.ask("Network.getCookies", json!({})).await;
        told["cookies"].as_array().cloned().unwrap_or_default()
    }

    /// What the browser has complained of since it was last asked: forbidden scripts and styles, errors, what could not be reached. Not
    /// that a page was answered with a status such as 404: a test sees that itself.
    pub async fn complaints(&self) -> Vec<String> {
        let told = self.client.issue_cmd(Ask { path: "se/log", body: json!({ "type": "browser" }) }).await;
        let told = told.unwrap_or_else(|error| panic!("the log of the browser: {error}"));
        let is_serious = |line: &&Value| matches!(line["level"].as_str(), Some("SEVERE" | "WARNING"));
        let lines = told.as_array().into_iter().flatten().filter(is_serious);
        let lines = lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned());
        lines.filter(|line| !line.contains("the server responded with a status of")).collect()
    }

    /// What the page breaks of WCAG 2.2 AA, as far as axe-core (whose source this is) can see.
    pub async fn accessibility(&self, axe: &str) -> Vec<Violation> {
        self.client.execute(axe, Vec::new()).await.expect("axe-core is read");
        let script = "const done = arguments[arguments.length - 1]; axe.run(document, { runOnly: { type: 'tag', values: \
            ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] } }).then(r => done(r.violations), \
            e => done(String(e)))";
        let found = self.client.execute_async(script, Vec::new()).await.expect("axe-core runs");
        let found = found.as_array().unwrap_or_else(|| panic!("axe-core: {found}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let nodes =
            |one: &Value| one["nodes"].as_array().into_iter().flatten().map(|node| text(&node["html"])).collect();
        let violation = |one: &Value| Violation {
            id: text(&one["id"]),
            impact: text(&one["impact"]),
            help: text(&one["help"]),
            nodes: nodes(one),
        };
        found.iter().map(violation).collect()
    }
}

impl Driver {
    /// Starts chromedriver; on which port it listens. `None` if it is not on this machine.
    fn start_somewhere() -> Option<(Self, u16)> {
        // Of two that are started at once both may find the same port free.
        let mut tries = std::iter::repeat_with(Self::start).take(10);
        let started = tries.find(|started| !matches!(started, Some((_, None))));
        let (driver, port) = started.expect("chromedriver finds a port")?;
        Some((driver, port.expect("it was found")))
    }

    fn start() -> Option<(Self, Option<u16>)> {
        let profile = TempDir::new().expect("there is a place for temporary files");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().ok()?;
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
        });
        // It goes on to speak, and must not be stopped by a pipe that nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        let driver = Self { child, profile };
        Some((driver, port))
    }
}

/// A test that is left out is not to be taken for one that has passed.
#[expect(clippy::print_stderr, reason = "whoever runs the tests is to see it")]
fn say_skipped() {
    eprintln!("SKIPPED: chromium and chromedriver are not installed; ./test installs them");
}

/// A text as `XPath` has it.
fn quoted(text: &str) -> String {
    if text.contains('"') { format!("'{text}'") } else { format!("\"{text}\"") }
}

/// A request that the standard does not have.
#[derive(Debug)]
struct Ask {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Ask {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}
