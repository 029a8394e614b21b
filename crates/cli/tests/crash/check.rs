//! What is found after a restart, and whether it agrees with the journal.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use keyrack_testkit::{Answer, Http};
use serde_json::Value;

use crate::change::{End, Key, Status, Told, World};
use crate::journal::{Fault, Journal, Outcome};
use crate::load::Client;
use crate::question::Question;
use crate::wait_for;

/// The audit log as far as it has been read, and what has been accounted for.
#[derive(Default)]
pub(crate) struct Audit {
    /// The ids of events by number.
    read: BTreeMap<i64, String>,
    /// How far the journal has been compared with it.
    compared: usize,
}

/// What is there but keys: ids by name.
struct Lists {
    groups: BTreeMap<String, String>,
    workspaces: BTreeMap<String, String>,
    routes: BTreeMap<String, String>,
}

/// Compares all that the clients have touched with the journal, and adopts what turned out of the changes that had no answer.
/// Uses of keys that were answered up to the moment given must have been written down.
pub(crate) async fn check(
    owner: &Http,
    clients: &mut [Client],
    audit: &mut Audit,
    journal: &Journal,
    uses: Option<Timestamp>,
) {
    let lists = Lists::read(owner).await;
    let mut done = HashMap::new();
    for client in clients.iter_mut() {
        let found = observe(owner, client, &lists, journal, uses).await;
        let pending = client.pending.take();
        let is_after = pending.as_ref().is_some_and(|pending| pending.after == found);
        // One that was to be refused leaves things as they were.
        let is_done = is_after && client.world != found;
        let mut resolved = pending.map(|pending| (pending.place, pending.change));
        if client.world != found && !is_after {
            let asked = resolved.take().map(|(_, change)| change);
            let differences = differences(&client.world, &found);
            journal.fault(Fault::Lost, format!("neither as before nor as after {asked:?}: {differences}"));
        }
        if is_done {
            journal.note("a change was done whose answer did not arrive".to_owned());
        }
        done.extend(resolved.iter().map(|(place, _)| (*place, is_done)));
        client.go_on(owner, found, resolved.map(|(_, change)| (change, is_done))).await;
    }
    audit.compare(owner, journal, &done).await;
    for client in clients {
        client.repeat_the_last(owner).await;
        client.put_away();
    }
}

impl Lists {
    async fn read(owner: &Http) -> Self {
        let names = async |kind: &str, field: &str| -> BTreeMap<String, String> {
            let list = show(owner, &format!("/api/{kind}")).await.expect_status(200).json();
            let rows = list["data"].as_array().expect("a list").iter();
            rows.map(|row| (text(&row[field]), text(&row["id"]))).collect()
        };
        Self {
            groups: names("groups", "name").await,
            workspaces: names("workspaces", "slug").await,
            routes: names("routes", "path").await,
        }
    }
}

/// On a busy machine a node may be without its lease for a moment: then it is asked again.
async fn show(owner: &Http, path: &str) -> Answer {
    let answered = async || Some(owner.get(path).send().await).filter(|answer| answer.status != 503);
    wait_for("an answer", answered).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// What is there of all that a client has made, or may have made.
async fn observe(
    owner: &Http,
    client: &mut Client,
    lists: &Lists,
    journal: &Journal,
    uses: Option<Timestamp>,
) -> World {
    let after = client.pending.as_ref().map(|pending| pending.after.clone()).unwrap_or_default();
    let ids = &mut client.known.ids;
    let mut either = |before: &BTreeSet<String>, after: &BTreeSet<String>, there: &BTreeMap<String, String>| {
        let found: BTreeSet<_> = before.union(after).filter(|name| there.contains_key(*name)).cloned().collect();
        ids.extend(found.iter().map(|name| (name.clone(), there[name].clone())));
        found
    };
    let mut found = World {
        keys: BTreeMap::new(),
        groups: either(&client.world.groups, &after.groups, &lists.groups),
        workspaces: either(&client.world.workspaces, &after.workspaces, &lists.workspaces),
        routes: either(&client.world.routes, &after.routes, &lists.routes),
    };
    let names: BTreeSet<_> = client.world.keys.keys().chain(after.keys.keys()).cloned().collect();
    for name in names {
        let Some((id, row)) = find_key(owner, &name, client.known.ids.get(&name), journal).await else { continue };
        let secrets = show(owner, &format!("/api/keys/{id}/secrets")).await.expect_status(200).json();
        found.keys.insert(name.clone(), read_key(&row, &secrets));
        compare_use(&name, &row, client, journal, uses);
        client.known.ids.insert(name, id);
    }
    found
}

/// The row of a key, by id or, as long as no answer has told that, by name.
async fn find_key(owner: &Http, name: &str, id: Option<&String>, journal: &Journal) -> Option<(String, Value)> {
    if let Some(id) = id {
        let answer = show(owner, &format!("/api/keys/{id}")).await;
        return (answer.status != 404).then(|| (id.clone(), answer.expect_status(200).json()));
    }
    let list = show(owner, &format!("/api/keys?limit=200&name={name}")).await.expect_status(200).json();
    let mut rows: Vec<Value> = list["data"].as_array().expect("a list").clone();
    rows.retain(|row| row["name"] == name);
    if rows.len() > 1 {
        journal.fault(Fault::Lost, format!("{name} is there {} times", rows.len()));
    }
    rows.pop().map(|row| (text(&row["id"]), row))
}

fn read_key(row: &Value, secrets: &Value) -> Key {
    let status = match row["status"].as_str() {
        Some("active") => Status::Active,
        Some("disabled") => Status::Disabled,
        Some("revoked") => Status::Revoked,
        other => panic!("no status of ours: {other:?}"),
    };
    let end = |secret: &Value| match secret["expires_at"].as_str() {
        None => End::Never,
        Some(end) => End::At(end.parse().expect("a moment")),
    };
    Key {
        status,
        writes: row["scopes"].as_array().expect("a list").iter().any(|scope| scope == "*:write"),
        group: text(&row["group"]),
        workspace: row["workspace"].as_str().map(str::to_owned),
        ends: secrets["data"].as_array().expect("a list").iter().map(end).collect(),
    }
}

fn compare_use(name: &str, row: &Value, client: &Client, journal: &Journal, until: Option<Timestamp>) {
    let Some(until) = until else { return };
    let of_key = client.uses.iter().filter(|(used, _, answered)| used == name && *answered <= until);
    let Some(last) = of_key.map(|(_, sent, _)| *sent).max() else { return };
    let shown = row["last_used_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    if shown.is_none_or(|shown| shown.as_microsecond() < last.as_microsecond()) {
        journal.fault(Fault::Lost, format!("the use of {name} at {last}: the last one shown is {shown:?}"));
    }
}

fn differences(before: &World, found: &World) -> String {
    let mut lines = Vec::new();
    let names: BTreeSet<_> = before.keys.keys().chain(found.keys.keys()).collect();
    for name in names {
        let (before, found) = (before.keys.get(name), found.keys.get(name));
        if before != found {
            lines.push(format!("{name} was {before:?} and is {found:?}"));
        }
    }
    for (before, found) in
        [(&before.groups, &found.groups), (&before.workspaces, &found.workspaces), (&before.routes, &found.routes)]
    {
        lines.extend(before.symmetric_difference(found).map(|name| format!("{name} is only one time there")));
    }
    lines.join("; ")
}

impl Audit {
    /// Reads what is new in the log, and compares it with the journal: every change that was acknowledged has its events under
    /// its request id, every one that was refused has none, one that had no answer has them if it was done.
    async fn compare(&mut self, owner: &Http, journal: &Journal, done: &HashMap<usize, bool>) {
        let places = self.compared..journal.len();
        let mut by_request: HashMap<String, Vec<Told>> = HashMap::new();
        // What Keyrack says by itself, such as that a key is about to expire, is of no request.
        let of_requests = |event: &Value| !event["request_id"].is_null();
        for event in self.read_on(owner, journal).await.into_iter().filter(of_requests) {
            let told = (text(&event["kind"]), text(&event["subject"]["name"]));
            by_request.entry(text(&event["request_id"])).or_default().push(told);
        }
        let mut unknown = Vec::new();
        journal.with_entries(places.start, |entries| {
            for (place, entry) in places.clone().zip(entries) {
                let (id, wanted) = match &entry.outcome {
                    Outcome::Acknowledged(id) => (id, entry.events.clone()),
                    Outcome::Refused(id) => (id, Vec::new()),
                    Outcome::Unknown => {
                        unknown.push((place, entry.what.clone(), entry.events.clone()));
                        continue;
                    }
                };
                let found = by_request.remove(id).unwrap_or_default();
                if found != wanted {
                    journal.fault(Fault::Event, format!("{}: {found:?} instead of {wanted:?}", entry.what));
                }
            }
        });
        for (place, what, wanted) in unknown {
            let is_done = done.get(&place).copied().unwrap_or(false);
            let id = by_request.iter().find(|(_, found)| **found == wanted).map(|(id, _)| id.clone());
            if is_done != id.is_some() {
                journal.fault(Fault::Event, format!("{what}, without an answer: done {is_done}, request {id:?}"));
            }
            if let Some(id) = id {
                by_request.remove(&id);
            }
        }
        for (id, events) in by_request {
            journal.fault(Fault::Event, format!("{events:?} of request {id}, which changed nothing that we know of"));
        }
        self.compared = places.end;
    }

    /// The events since the last time, oldest first; their numbers go on without a gap.
    async fn read_on(&mut self, owner: &Http, journal: &Journal) -> Vec<Value> {
        let last = self.read.last_key_value().map_or(0, |(sequence, _)| *sequence);
        let mut events = read_log(owner, last).await;
        events.retain(|event| number(event) > last);
        events.reverse();
        // The first ones belong to the instance or were read by nobody.
        let mut expected = if last == 0 { events.first().map_or(1, number) } else { last + 1 };
        for event in &events {
            if number(event) != expected {
                journal.fault(Fault::Event, format!("number {expected} is followed by {event}"));
            }
            expected = number(event) + 1;
            self.read.insert(number(event), text(&event["id"]));
        }
        events
    }

    /// Takes what stands in the log for accounted for.
    pub(crate) async fn begin(&mut self, owner: &Http, journal: &Journal) {
        self.read_on(owner, journal).await;
    }

    /// Reads the whole log again: what was in it still is.
    pub(crate) async fn check_whole(&self, owner: &Http, journal: &Journal) {
        let events = read_log(owner, 0).await;
        let found: BTreeMap<_, _> = events.iter().map(|event| (number(event), text(&event["id"]))).collect();
        let gone = self.read.iter().filter(|(sequence, id)| found.get(sequence) != Some(id)).count();
        if gone > 0 {
            journal.fault(Fault::Event, format!("{gone} events are gone that were there"));
        }
    }
}

fn number(event: &Value) -> i64 {
    event["sequence"].as_i64().expect("a number")
}

/// The newest events, at least those after a number, newest first.
async fn read_log(owner: &Http, after: i64) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = show(owner, &format!("/api/audit?limit=200{cursor}")).await.expect_status(200).json();
        events.extend(page["data"].as_array().expect("a list").iter().cloned());
        let reaches = events.last().is_none_or(|event| number(event) <= after);
        match page["next_cursor"].as_str() {
            Some(next) if !reaches => cursor = format!("&cursor={next}"),
            _ => return events,
        }
    }
}

/// What is certain of the clients' keys now: all of them but those that a change without an answer is about.
pub(crate) fn certain(clients: &[Client]) -> Vec<Question> {
    let mut certain = Vec::new();
    for client in clients {
        let touched = client.pending.as_ref().map(|pending| pending.change.touches(&client.world)).unwrap_or_default();
        let sure = client.world.keys.iter().filter(|(name, _)| !touched.contains(name));
        certain.extend(sure.flat_map(|(name, key)| key.questions(name, &client.known)));
    }
    certain
}
