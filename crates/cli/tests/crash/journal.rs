//! The journal, which is kept outside the server: every change is in it before it is sent, and every answer once it came.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keyrack_testkit::Answer;

use crate::change::Told;
use crate::question::Question;

/// What must not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Something acknowledged is not there, or not as it was acknowledged.
    Lost,
    /// Somebody is let in whose key was taken away.
    Resurrected,
    /// A change without its event, or an event without its change.
    Event,
}

/// How a request ended.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Outcome {
    /// Nothing was answered yet, or never, or that it is not known.
    Unknown,
    /// It was done, under this request id.
    Acknowledged(String),
    /// It was not done.
    Refused(String),
}

/// A change that was asked for.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) what: String,
    /// The events that must tell of it if it was done.
    pub(crate) events: Vec<Told>,
    pub(crate) outcome: Outcome,
}

/// What all clients write down.
#[derive(Default)]
pub(crate) struct Journal {
    entries: Mutex<Vec<Entry>>,
    settled: Mutex<Vec<Question>>,
    faults: Mutex<Vec<(Fault, String)>>,
    notes: Mutex<BTreeMap<String, usize>>,
}

impl Journal {
    /// Writes down what is about to be asked; returns its place.
    pub(crate) fn intend(&self, what: String, events: Vec<Told>) -> usize {
        let mut entries = locked(&self.entries);
        entries.push(Entry { what, events, outcome: Outcome::Unknown });
        entries.len() - 1
    }

    /// Writes down what was answered.
    pub(crate) fn conclude(&self, place: usize, outcome: Outcome) {
        locked(&self.entries)[place].outcome = outcome;
    }

    /// The entries from a place on.
    pub(crate) fn with_entries<T>(&self, from: usize, read: impl FnOnce(&[Entry]) -> T) -> T {
        read(&locked(&self.entries)[from..])
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        locked(&self.entries).len()
    }

    /// Writes down what will be so for good.
    pub(crate) fn settle(&self, questions: impl IntoIterator<Item = Question>) {
        locked(&self.settled).extend(questions);
    }

    /// All that is so for good.
    pub(crate) fn settled(&self) -> Vec<Question> {
        locked(&self.settled).clone()
    }

    /// Some of it.
    pub(crate) fn some_settled(&self, count: usize, random: &mut fastrand::Rng) -> Vec<Question> {
        let settled = locked(&self.settled);
        random.choose_multiple(settled.iter(), count).into_iter().cloned().collect()
    }

    /// Notes what must not be.
    pub(crate) fn fault(&self, fault: Fault, what: String) {
        locked(&self.faults).push((fault, what));
    }

    /// What must not be, but is.
    pub(crate) fn faults(&self) -> Vec<(Fault, String)> {
        locked(&self.faults).clone()
    }

    /// What was answered; `None`, with a note, if nothing was, or 503: then there is no decision, and nobody knows what has
    /// become of a change.
    pub(crate) fn answer(&self, answer: Result<Answer, String>) -> Option<Answer> {
        let why = match answer {
            Ok(answer) if answer.status < 500 => return Some(answer),
            Ok(answer) if answer.status == 503 => format!("503 {}", answer.json()["error"]),
            Ok(answer) => {
                self.fault(Fault::Lost, format!("{}: {}", answer.status, answer.text()));
                return None;
            }
            // Nothing was sent.
            Err(why) if why.contains("Connection refused") => return None,
            // Without what was asked.
            Err(why) => why.split_once(": ").map_or(why.clone(), |(_, why)| why.to_owned()),
        };
        self.note(why);
        None
    }

    /// Notes something that may happen, to be counted.
    pub(crate) fn note(&self, what: String) {
        *locked(&self.notes).entry(what).or_default() += 1;
    }

    /// What may happen, and how often it did.
    pub(crate) fn notes(&self) -> BTreeMap<String, usize> {
        locked(&self.notes).clone()
    }

    /// How many changes were acknowledged that changed something.
    pub(crate) fn acknowledged(&self) -> usize {
        let is_done = |entry: &&Entry| matches!(entry.outcome, Outcome::Acknowledged(_)) && !entry.events.is_empty();
        locked(&self.entries).iter().filter(is_done).count()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
