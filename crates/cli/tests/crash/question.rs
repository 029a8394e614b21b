//! Questions about keys, and what may be answered when.

use jiff::Timestamp;
use keyrack_testkit::Http;
use serde_json::{Value, json};

use crate::journal::{Fault, Journal};
use crate::now;

/// The door that every key is tried at.
pub(crate) const DOOR: &str = "/door";
/// The most questions asked at once.
const BATCH: usize = 100;

/// May this text read, or write?
#[derive(Clone, Debug)]
pub(crate) struct Question {
    about: String,
    text: String,
    workspace: Option<String>,
    writes: bool,
    /// What is answered before this moment must be yes.
    passes_until: Timestamp,
    /// What is sent from this moment on must be answered with no.
    fails_from: Timestamp,
}

impl Question {
    /// A question to which the answer is no.
    pub(crate) fn about(name: &str, version: usize, text: &str, workspace: Option<&str>) -> Self {
        Self {
            about: format!("secret {version} of {name}"),
            text: text.to_owned(),
            workspace: workspace.map(str::to_owned),
            writes: false,
            passes_until: Timestamp::MIN,
            fails_from: Timestamp::MIN,
        }
    }

    /// The same, for writing.
    pub(crate) fn writing(self) -> Self {
        Self { writes: true, ..self }
    }

    /// The same, to be answered with yes.
    pub(crate) fn passing(self) -> Self {
        Self { passes_until: Timestamp::MAX, fails_from: Timestamp::MAX, ..self }
    }

    /// The same, to be answered with yes before a moment and with no from then on.
    pub(crate) fn passing_until(self, end: Timestamp) -> Self {
        Self { passes_until: end, fails_from: end, ..self }
    }

    /// The same, to be answered with no.
    pub(crate) fn refused(self) -> Self {
        Self { passes_until: Timestamp::MIN, fails_from: Timestamp::MIN, ..self }
    }

    /// The same, to be answered with no from a moment on, and before it with whatever.
    pub(crate) fn refused_from(self, end: Timestamp) -> Self {
        Self { passes_until: Timestamp::MIN, fails_from: end, ..self }
    }

    /// Whether a door that names no workspace can be asked.
    pub(crate) fn is_for_the_door(&self) -> bool {
        self.workspace.is_none()
    }

    fn body(&self) -> Value {
        let scope = if self.writes { "contacts:write" } else { "contacts:read" };
        json!({"key": self.text, "scope": scope, "workspace": self.workspace})
    }

    fn judge(&self, sent: Timestamp, is_valid: bool, said: &str, journal: &Journal) {
        let verb = if self.writes { "write" } else { "read" };
        if is_valid && sent >= self.fails_from {
            journal.fault(Fault::Resurrected, format!("{} may {verb}: {said}", self.about));
        } else if !is_valid && now() < self.passes_until {
            journal.fault(Fault::Lost, format!("{} may not {verb}: {said}", self.about));
        }
    }
}

/// Asks the verification. `None` if there is no decision: no server, or one that may not decide.
pub(crate) async fn ask(owner: &Http, questions: &[Question], journal: &Journal) -> Option<()> {
    for questions in questions.chunks(BATCH) {
        let sent = now();
        let bodies: Vec<_> = questions.iter().map(Question::body).collect();
        let answer = owner.post("/api/verify/batch").json(&json!({"keys": bodies})).try_send().await;
        let answer = journal.answer(answer)?;
        if answer.status != 200 {
            journal.fault(Fault::Lost, format!("the management key got {}: {}", answer.status, answer.text()));
            return Some(());
        }
        let answers = answer.json();
        for (question, answer) in questions.iter().zip(answers["data"].as_array().expect("answers")) {
            question.judge(sent, answer["valid"] == true, &answer.to_string(), journal);
        }
    }
    Some(())
}

/// Asks the gateway, by going through the door. `None` as above.
pub(crate) async fn knock(http: &Http, question: &Question, journal: &Journal) -> Option<()> {
    let sent = now();
    let method = if question.writes { "POST" } else { "GET" };
    let answer = journal.answer(http.request(method, DOOR).bearer(&question.text).try_send().await)?;
    let said = format!("{method} {DOOR} is answered with {}", answer.status);
    match answer.status {
        200 => question.judge(sent, true, &said, journal),
        401 | 403 => question.judge(sent, false, &said, journal),
        _ => journal.fault(Fault::Lost, format!("{said}: {}", answer.text())),
    }
    Some(())
}
