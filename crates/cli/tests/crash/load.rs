//! Clients that change things without pause, and somebody who tries keys that were taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use keyrack_testkit::Http;
use serde_json::Value;

use crate::change::{Change, DEFAULT_GROUP, End, Known, Status, World};
use crate::journal::{Fault, Journal, Outcome};
use crate::question::{Question, ask, knock};
use crate::{now, wait_for};

/// From this many keys on a client rather takes some away.
const MANY_KEYS: usize = 10;
/// How many groups a client has at most, and workspaces, and routes.
const MANY: usize = 2;
/// The overlap of a rotation: none, one that ends while we look on, and one that does not.
const OVERLAPS: [u32; 3] = [0, 1, 3600];

/// Who changes things of their own, one after the other.
pub(crate) struct Client {
    number: usize,
    random: Rng,
    journal: Arc<Journal>,
    upstream: String,
    /// How many things were named.
    named: usize,
    /// What has been acknowledged.
    pub(crate) world: World,
    pub(crate) known: Known,
    /// The change whose outcome is not known.
    pub(crate) pending: Option<Pending>,
    /// When keys were let in: name, before it was asked, after it was answered.
    pub(crate) uses: Vec<(String, Timestamp, Timestamp)>,
    /// The last that may be repeated, and was acknowledged.
    repeatable: Option<Change>,
}

/// A change whose outcome is not known.
pub(crate) struct Pending {
    pub(crate) change: Change,
    /// Its place in the journal.
    pub(crate) place: usize,
    /// The world if it was done.
    pub(crate) after: World,
}

impl Client {
    pub(crate) fn new(number: usize, random: Rng, journal: Arc<Journal>, upstream: String) -> Self {
        Self {
            number,
            random,
            journal,
            upstream,
            named: 0,
            world: World::default(),
            known: Known::default(),
            pending: None,
            uses: Vec::new(),
            repeatable: None,
        }
    }

    /// Changes things until there is no answer.
    pub(crate) async fn work(mut self, owner: Http) -> Self {
        while self.step(&owner).await.is_some() {}
        self
    }

    async fn step(&mut self, owner: &Http) -> Option<()> {
        let change = self.choose();
        let is_allowed = change.is_allowed(&self.world);
        self.send(owner, change.clone()).await?;
        if is_allowed && change.is_repeatable() {
            self.repeatable = Some(change);
        }
        if self.random.u8(..4) == 0
            && let Some(change) = self.repeatable.take()
        {
            self.repeat(owner, &change).await?;
        }
        Some(())
    }

    /// Sends a change, and sees that it holds once it is acknowledged.
    pub(crate) async fn send(&mut self, owner: &Http, change: Change) -> Option<()> {
        let mut after = self.world.clone();
        change.apply(&mut after);
        let place = self.journal.intend(format!("{change:?}"), change.events(&self.world));
        let answer = change.request(owner, &self.known, &self.upstream).try_send().await;
        let Some(answer) = self.journal.answer(answer) else {
            self.pending = Some(Pending { change, place, after });
            return None;
        };
        let is_granted = (200..300).contains(&answer.status);
        let id = answer.header("x-request-id").expect("every answer has one").to_owned();
        let outcome = if is_granted { Outcome::Acknowledged(id) } else { Outcome::Refused(id) };
        self.journal.conclude(place, outcome);
        if is_granted != change.is_allowed(&self.world) {
            self.journal.fault(Fault::Lost, format!("{change:?} got {}: {}", answer.status, answer.text()));
            return Some(());
        }
        if !is_granted {
            return Some(());
        }
        let body = if answer.body.is_empty() { Value::Null } else { answer.json() };
        change.learn(&body, &mut after, &mut self.known);
        let touched = change.touches(&self.world);
        self.world = after;
        self.look(owner, &change, &touched).await
    }

    /// Sees that what has just been acknowledged holds.
    async fn look(&mut self, owner: &Http, change: &Change, touched: &[String]) -> Option<()> {
        if let Change::MakeRoute(path) | Change::DropRoute(path) = change {
            let status = self.journal.answer(owner.get(path).try_send().await)?.status;
            let wanted = if self.world.routes.contains(path) { 200 } else { 404 };
            if status != wanted {
                self.journal.fault(Fault::Lost, format!("{path} answers {status} after {change:?}"));
            }
        }
        let over = self.over(touched);
        self.journal.settle(over.iter().cloned());
        let keys = &self.world.keys;
        let live = touched.iter().filter_map(|name| Some(keys.get(name)?.questions(name, &self.known))).flatten();
        let questions: Vec<_> = over.into_iter().chain(live).collect();
        if questions.is_empty() {
            return Some(());
        }
        let sent = now();
        ask(owner, &questions, &self.journal).await?;
        let is_let_in = |name: &&String| self.world.keys.get(*name).is_some_and(|key| key.status == Status::Active);
        let is_told =
            |name: &&String| self.known.texts.contains_key(&((*name).clone(), self.world.keys[*name].ends.len()));
        let used = touched.iter().filter(is_let_in).filter(is_told);
        self.uses.extend(used.map(|name| (name.clone(), sent, now())));
        let question = self.random.choice(&questions).filter(|question| question.is_for_the_door());
        match question {
            Some(question) if self.random.u8(..3) == 0 => knock(owner, question, &self.journal).await,
            _ => Some(()),
        }
    }

    /// The secrets of these keys that will never again let anybody in, or soon will not.
    fn over(&self, names: &[String]) -> Vec<Question> {
        let mut over = Vec::new();
        for ((name, version), text) in self.known.texts.iter().filter(|((name, _), _)| names.contains(name)) {
            let question = Question::about(name, *version, text, None);
            match self.world.keys.get(name) {
                None => over.push(question),
                Some(key) if key.status == Status::Revoked => over.push(question),
                Some(key) => match key.ends[version - 1] {
                    End::Untold => over.push(question),
                    End::At(end) if end.duration_since(now()).as_secs() < 10 => over.push(question.refused_from(end)),
                    End::Never | End::At(_) => {}
                },
            }
        }
        over
    }

    /// Repeats what was done before: the answer must be the same, but for the secret, and nothing is done again.
    pub(crate) async fn repeat(&mut self, owner: &Http, change: &Change) -> Option<()> {
        let (Change::Create { name, .. } | Change::Rotate { name, .. }) = change else { return Some(()) };
        if !self.world.keys.contains_key(name) {
            return Some(());
        }
        let place = self.journal.intend(format!("{change:?}, repeated"), Vec::new());
        let answer = change.request(owner, &self.known, &self.upstream).try_send().await;
        let answer = self.journal.answer(answer)?;
        let id = answer.header("x-request-id").expect("every answer has one").to_owned();
        self.journal.conclude(place, Outcome::Acknowledged(id));
        let body = answer.json();
        let is_replay = answer.header("idempotency-replayed") == Some("true") && body["secret"].is_null();
        if !is_replay || body["key"]["id"].as_str() != self.known.ids.get(name).map(String::as_str) {
            self.journal.fault(Fault::Lost, format!("{change:?}, repeated, got {}: {body}", answer.status));
        }
        Some(())
    }

    /// Takes the world as it was found, sees that decisions agree with it, and sends once more what had no answer and may be
    /// repeated.
    pub(crate) async fn go_on(&mut self, owner: &Http, found: World, resolved: Option<(Change, bool)>) {
        let mut questions = Vec::new();
        let before = std::mem::replace(&mut self.world, found);
        if let Some((change, _)) = &resolved {
            change.learn(&Value::Null, &mut self.world, &mut self.known);
            questions = self.over(&change.touches(&before));
            self.journal.settle(questions.iter().cloned());
        }
        questions.extend(self.world.questions(&self.known));
        wait_for("decisions", async || ask(owner, &questions, &self.journal).await).await;
        match resolved {
            Some((change, true)) if change.is_repeatable() => _ = self.repeat(owner, &change).await,
            Some((change, false)) if change.is_repeatable() => _ = self.send(owner, change).await,
            _ => {}
        }
    }

    /// Repeats the last that was acknowledged and may be repeated.
    pub(crate) async fn repeat_the_last(&mut self, owner: &Http) -> Option<()> {
        let change = self.repeatable.take()?;
        self.repeat(owner, &change).await
    }

    /// Puts away what is not to be changed any more.
    pub(crate) fn put_away(&mut self) {
        self.uses.clear();
        let mut surplus = self.world.keys.len().saturating_sub(MANY_KEYS / 2);
        self.world.keys.retain(|name, key| {
            let is_free = key.group == DEFAULT_GROUP && key.workspace.is_none();
            let is_over = is_free && (key.status == Status::Revoked || (surplus > 0 && key.ends.len() == 1));
            if is_over {
                surplus = surplus.saturating_sub(1);
                self.journal.settle(key.questions(name, &self.known));
            }
            !is_over
        });
        let world = &self.world;
        self.known.texts.retain(|(name, _), _| world.keys.contains_key(name));
        self.known.ids.retain(|name, _| {
            let others = [&world.groups, &world.workspaces, &world.routes];
            world.keys.contains_key(name) || others.iter().any(|names| names.contains(name))
        });
    }

    fn name(&mut self, kind: &str) -> String {
        self.named += 1;
        format!("c{}-{kind}{}", self.number, self.named)
    }

    fn choose(&mut self) -> Change {
        let is_full = self.world.keys.len() >= MANY_KEYS;
        let Some(name) = self.random.choice(self.world.keys.keys().cloned().collect::<Vec<_>>()) else {
            return self.create();
        };
        let key = self.world.keys[&name].clone();
        match self.random.u8(..100) {
            0..30 if is_full && self.random.bool() => Change::Delete(name),
            0..30 if is_full => Change::Revoke(name),
            0..22 => self.create(),
            22..30 => Change::Import((0..self.random.usize(1..4)).map(|_| self.name("i")).collect()),
            30..40 if key.status != Status::Revoked => Change::Revoke(name),
            40..50 => Change::Delete(name),
            50..65 => Change::Switch { name, on: key.status == Status::Disabled },
            65..72 => Change::SetLevel { name, writes: !key.writes },
            72..85 => self.rotate(name, &key.ends),
            85..90 => self.make_or_drop(Change::MakeGroup, Change::DropGroup, "g"),
            90..95 => self.make_or_drop(Change::MakeWorkspace, Change::DropWorkspace, "w"),
            95..98 => self.make_or_drop(Change::MakeRoute, Change::DropRoute, "r"),
            // To be refused: the name is taken.
            _ if key.status != Status::Revoked => {
                let Change::Create { writes, .. } = self.create() else { unreachable!() };
                Change::Create { name, writes, group: key.group, workspace: None, is_repeatable: false }
            }
            _ => self.create(),
        }
    }

    fn create(&mut self) -> Change {
        let groups: Vec<_> = self.world.groups.iter().cloned().collect();
        let workspaces: Vec<_> = self.world.workspaces.iter().cloned().collect();
        let group = self.random.choice(groups).filter(|_| self.random.bool());
        Change::Create {
            name: self.name("k"),
            writes: self.random.bool(),
            group: group.unwrap_or_else(|| DEFAULT_GROUP.to_owned()),
            workspace: self.random.choice(workspaces).filter(|_| self.random.bool()),
            is_repeatable: self.random.bool(),
        }
    }

    fn rotate(&mut self, name: String, ends: &[End]) -> Change {
        let version = ends.len() + 1;
        let overlap_seconds = OVERLAPS[self.random.usize(..OVERLAPS.len())];
        let previous = ends.len().checked_sub(2).map(|at| ends[at]);
        match previous {
            Some(End::At(end)) if end > now() => {
                // One that ends by itself while we ask would be ended twice.
                if end.duration_since(now()).as_secs() > 60 {
                    return Change::EndOverlap { name, version: ends.len() - 1 };
                }
                Change::Revoke(name)
            }
            _ => Change::Rotate { name, version, overlap_seconds, is_repeatable: self.random.bool() },
        }
    }

    fn make_or_drop(&mut self, make: fn(String) -> Change, drop: fn(String) -> Change, kind: &str) -> Change {
        let there = match kind {
            "g" => &self.world.groups,
            "w" => &self.world.workspaces,
            _ => &self.world.routes,
        };
        if there.len() >= MANY
            && let Some(name) = self.random.choice(there.iter().cloned().collect::<Vec<_>>())
        {
            return drop(name);
        }
        let name = self.name(kind);
        make(if kind == "r" { format!("/{name}") } else { name })
    }
}

/// Tries keys that were taken away, and others that were not, until told to stop.
pub(crate) async fn watch(owner: Http, journal: Arc<Journal>, mut random: Rng, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let questions = journal.some_settled(10, &mut random);
        let asked = if questions.is_empty() { None } else { ask(&owner, &questions, &journal).await };
        if asked.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        } else if let Some(question) = random.choice(&questions).filter(|question| question.is_for_the_door()) {
            knock(&owner, question, &journal).await;
        }
    }
}
