//! What there is, and what changes it: the rules by which the journal tells how things must stand.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use keyrack_testkit::Http;
use keyrack_testkit::http::Request;
use serde_json::{Value, json};

use crate::question::Question;

/// The group of keys that are made in no other.
pub(crate) const DEFAULT_GROUP: &str = "default";

/// All that one client has made and not deleted. Nobody else touches it, so its state is known but for one change at most.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct World {
    pub(crate) keys: BTreeMap<String, Key>,
    pub(crate) groups: BTreeSet<String>,
    pub(crate) workspaces: BTreeSet<String>,
    pub(crate) routes: BTreeSet<String>,
}

/// A key.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Key {
    pub(crate) status: Status,
    pub(crate) writes: bool,
    pub(crate) group: String,
    pub(crate) workspace: Option<String>,
    /// When each of its secrets ends, the oldest first.
    pub(crate) ends: Vec<End>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Status {
    Active,
    Disabled,
    Revoked,
}

/// When a secret ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Never,
    At(Timestamp),
    /// It has one, but no answer has told it.
    Untold,
}

/// What was not told agrees with whatever is found.
impl PartialEq for End {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::At(one), Self::At(other)) => one == other,
            (Self::Never, end) | (end, Self::Never) => matches!(end, Self::Never),
            (Self::Untold, _) | (_, Self::Untold) => true,
        }
    }
}

/// What the client has learnt from answers.
#[derive(Default)]
pub(crate) struct Known {
    /// The ids of things by name.
    pub(crate) ids: HashMap<String, String>,
    /// The texts of secrets by key and version, from 1.
    pub(crate) texts: HashMap<(String, usize), String>,
}

/// A request that changes something.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Change {
    Create {
        name: String,
        writes: bool,
        group: String,
        workspace: Option<String>,
        /// Whether it bears an `Idempotency-Key`.
        is_repeatable: bool,
    },
    /// Keys whose texts are made of their names.
    Import(Vec<String>),
    Switch {
        name: String,
        on: bool,
    },
    SetLevel {
        name: String,
        writes: bool,
    },
    Revoke(String),
    Delete(String),
    Rotate {
        name: String,
        /// Of the new secret.
        version: usize,
        overlap_seconds: u32,
        is_repeatable: bool,
    },
    /// Ends the secret before the newest.
    EndOverlap {
        name: String,
        version: usize,
    },
    MakeGroup(String),
    DropGroup(String),
    MakeWorkspace(String),
    DropWorkspace(String),
    MakeRoute(String),
    DropRoute(String),
}

/// The kind of an event and the name of what it is about.
pub(crate) type Told = (String, String);

impl World {
    /// What must be answered about every secret whose text is known.
    pub(crate) fn questions(&self, known: &Known) -> Vec<Question> {
        self.keys.iter().flat_map(|(name, key)| key.questions(name, known)).collect()
    }

    fn without_keys(&mut self, is_in: impl Fn(&Key) -> bool) {
        self.keys.retain(|_, key| !is_in(key));
    }
}

impl Key {
    fn new(writes: bool, group: &str, workspace: Option<String>) -> Self {
        Self { status: Status::Active, writes, group: group.to_owned(), workspace, ends: vec![End::Never] }
    }

    pub(crate) fn questions(&self, name: &str, known: &Known) -> Vec<Question> {
        let mut questions = Vec::new();
        for (version, end) in (1..).zip(&self.ends) {
            let Some(text) = known.texts.get(&(name.to_owned(), version)) else { continue };
            let question = Question::about(name, version, text, self.workspace.as_deref());
            let alive = match (self.status, end) {
                (Status::Active, End::Never) => question.passing(),
                (Status::Active, End::At(end)) => question.passing_until(*end),
                (Status::Active, End::Untold) => continue,
                (Status::Disabled | Status::Revoked, _) => question,
            };
            let writing = if self.writes { alive.clone() } else { alive.clone().refused() };
            questions.extend([writing.writing(), alive]);
        }
        questions
    }
}

fn imported_text(name: &str) -> String {
    format!("brought-along-{name}")
}

fn told(kind: &str, subject: &str) -> Told {
    (kind.to_owned(), subject.to_owned())
}

fn level(writes: bool) -> &'static str {
    if writes { "read_write" } else { "read_only" }
}

impl Change {
    /// The keys whose decisions it may turn.
    pub(crate) fn touches(&self, world: &World) -> Vec<String> {
        let of = |is_in: &dyn Fn(&Key) -> bool| {
            world.keys.iter().filter(|(_, key)| is_in(key)).map(|(name, _)| name.clone()).collect()
        };
        match self {
            Self::Create { name, .. }
            | Self::Switch { name, .. }
            | Self::SetLevel { name, .. }
            | Self::Revoke(name)
            | Self::Delete(name)
            | Self::Rotate { name, .. }
            | Self::EndOverlap { name, .. } => vec![name.clone()],
            Self::Import(names) => names.clone(),
            Self::DropGroup(group) => of(&|key| key.group == *group),
            Self::DropWorkspace(slug) => of(&|key| key.workspace.as_ref() == Some(slug)),
            Self::MakeGroup(_) | Self::MakeWorkspace(_) | Self::MakeRoute(_) | Self::DropRoute(_) => Vec::new(),
        }
    }

    /// Whether it is to be granted: the others are sent to be refused.
    pub(crate) fn is_allowed(&self, world: &World) -> bool {
        match self {
            Self::Create { name, .. } => !world.keys.contains_key(name),
            Self::Switch { name, .. } | Self::SetLevel { name, .. } | Self::Rotate { name, .. } => {
                world.keys[name].status != Status::Revoked
            }
            Self::MakeGroup(name) => !world.groups.contains(name),
            _ => true,
        }
    }

    /// What becomes of things when it is done.
    pub(crate) fn apply(&self, world: &mut World) {
        if !self.is_allowed(world) {
            return;
        }
        let key = |world: &mut World, name: &str, change: &dyn Fn(&mut Key)| {
            change(world.keys.get_mut(name).expect("a key of the client's"));
        };
        match self {
            Self::Create { name, writes, group, workspace, .. } => {
                world.keys.insert(name.clone(), Key::new(*writes, group, workspace.clone()));
            }
            Self::Import(names) => {
                world.keys.extend(names.iter().map(|name| (name.clone(), Key::new(true, DEFAULT_GROUP, None))));
            }
            Self::Switch { name, on } => {
                key(world, name, &|key| key.status = if *on { Status::Active } else { Status::Disabled });
            }
            Self::SetLevel { name, writes } => key(world, name, &|key| key.writes = *writes),
            Self::Revoke(name) => key(world, name, &|key| key.status = Status::Revoked),
            Self::Delete(name) => drop(world.keys.remove(name)),
            Self::Rotate { name, .. } => key(world, name, &|key| {
                *key.ends.last_mut().expect("a secret") = End::Untold;
                key.ends.push(End::Never);
            }),
            Self::EndOverlap { name, version } => key(world, name, &|key| key.ends[version - 1] = End::Untold),
            Self::MakeGroup(name) => drop(world.groups.insert(name.clone())),
            Self::DropGroup(name) => {
                world.groups.remove(name);
                world.without_keys(|key| key.group == *name);
            }
            Self::MakeWorkspace(slug) => drop(world.workspaces.insert(slug.clone())),
            Self::DropWorkspace(slug) => {
                world.workspaces.remove(slug);
                world.without_keys(|key| key.workspace.as_ref() == Some(slug));
            }
            Self::MakeRoute(path) => drop(world.routes.insert(path.clone())),
            Self::DropRoute(path) => drop(world.routes.remove(path)),
        }
    }

    /// The events that tell of it when it is done, in order.
    pub(crate) fn events(&self, world: &World) -> Vec<Told> {
        if !self.is_allowed(world) {
            return Vec::new();
        }
        let along = (!self.touches(world).is_empty()).then_some("key.deleted_along");
        let dropped = |kind: &str, name: &str| along.into_iter().chain([kind]).map(|kind| told(kind, name)).collect();
        match self {
            Self::Create { name, .. } => vec![told("key.created", name)],
            Self::Import(names) => vec![told("key.imported", &names[0])],
            Self::Switch { name, .. } | Self::SetLevel { name, .. } => vec![told("key.changed", name)],
            // Once more changes nothing.
            Self::Revoke(name) if world.keys[name].status == Status::Revoked => Vec::new(),
            Self::Revoke(name) => vec![told("key.revoked", name)],
            Self::Delete(name) => vec![told("key.deleted", name)],
            Self::Rotate { name, .. } => vec![told("key.rotated", name)],
            Self::EndOverlap { name, .. } => vec![told("key.overlap_ended", name)],
            Self::MakeGroup(name) => vec![told("group.created", name)],
            Self::DropGroup(name) => dropped("group.deleted", name),
            Self::MakeWorkspace(slug) => vec![told("workspace.created", slug)],
            Self::DropWorkspace(slug) => dropped("workspace.deleted", slug),
            Self::MakeRoute(path) => vec![told("route.created", path)],
            Self::DropRoute(path) => vec![told("route.deleted", path)],
        }
    }

    /// Whether a repetition of it is recognised.
    pub(crate) fn is_repeatable(&self) -> bool {
        matches!(self, Self::Create { is_repeatable: true, .. } | Self::Rotate { is_repeatable: true, .. })
    }

    /// How it is asked for.
    pub(crate) fn request(&self, http: &Http, known: &Known, upstream: &str) -> Request {
        let id = |name: &str| known.ids.get(name).map_or("unknown", String::as_str);
        let at = |kind: &str, name: &str| format!("/api/{kind}/{}", id(name));
        let amend = |name: &str, body: Value| http.request("PATCH", &at("keys", name)).json(&body);
        let once = |request: Request, is_repeatable: bool, key: String| {
            if is_repeatable { request.header("idempotency-key", key) } else { request }
        };
        match self {
            Self::Create { name, writes, group, workspace, is_repeatable } => {
                let wanted = json!({"name": name, "level": level(*writes), "group": group, "workspace": workspace});
                once(http.post("/api/keys").json(&wanted), *is_repeatable, name.clone())
            }
            Self::Import(names) => {
                let imported = |name: &String| json!({"name": name, "key": imported_text(name), "level": "read_write"});
                let keys: Vec<_> = names.iter().map(imported).collect();
                http.post("/api/keys/import").json(&json!({"keys": keys}))
            }
            Self::Switch { name, on } => amend(name, json!({"enabled": on})),
            Self::SetLevel { name, writes } => amend(name, json!({"level": level(*writes)})),
            Self::Revoke(name) => http.post(&format!("{}/revoke", at("keys", name))),
            Self::Delete(name) => http.request("DELETE", &at("keys", name)),
            Self::Rotate { name, version, overlap_seconds, is_repeatable } => {
                let rotate = http.post(&format!("{}/rotate", at("keys", name)));
                let rotate = rotate.json(&json!({"overlap_seconds": overlap_seconds}));
                once(rotate, *is_repeatable, format!("{name} {version}"))
            }
            Self::EndOverlap { name, version } => {
                http.request("DELETE", &format!("{}/secrets/{version}", at("keys", name)))
            }
            Self::MakeGroup(name) => http.post("/api/groups").json(&json!({"name": name})),
            Self::DropGroup(name) => http.request("DELETE", &format!("{}?revoke_keys=true", at("groups", name))),
            Self::MakeWorkspace(slug) => http.post("/api/workspaces").json(&json!({"slug": slug})),
            Self::DropWorkspace(slug) => {
                http.request("DELETE", &format!("{}?revoke_keys=true", at("workspaces", slug)))
            }
            Self::MakeRoute(path) => http.post("/api/routes").json(&route(path, upstream)),
            Self::DropRoute(path) => http.request("DELETE", &at("routes", path)),
        }
    }

    /// Takes from an answer what only it tells, if there was one.
    pub(crate) fn learn(&self, answer: &Value, world: &mut World, known: &mut Known) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut learn_secret = |name: &str, version, secret: &Value| {
            known.texts.extend(text(secret).map(|secret| ((name.to_owned(), version), secret)));
        };
        match self {
            Self::Create { name, .. } => {
                learn_secret(name, 1, &answer["secret"]);
                known.ids.extend(text(&answer["key"]["id"]).map(|id| (name.clone(), id)));
            }
            Self::Import(names) => {
                for name in names {
                    learn_secret(name, 1, &json!(imported_text(name)));
                }
                let keys = answer["data"].as_array().into_iter().flatten();
                let ids = names.iter().zip(keys).filter_map(|(name, key)| Some((name.clone(), text(&key["id"])?)));
                known.ids.extend(ids);
            }
            Self::Rotate { name, version, .. } => {
                learn_secret(name, *version, &answer["secret"]);
                let end = answer["previous_secret_expires_at"].as_str().and_then(|end| end.parse().ok());
                if let (Some(key), Some(end)) = (world.keys.get_mut(name), end) {
                    key.ends[version - 2] = End::At(end);
                }
            }
            Self::MakeGroup(name) | Self::MakeWorkspace(name) | Self::MakeRoute(name) => {
                known.ids.extend(text(&answer["id"]).map(|id| (name.clone(), id)));
            }
            _ => {}
        }
    }
}

/// A route that lets in who may read or write contacts.
pub(crate) fn route(path: &str, upstream: &str) -> Value {
    json!({"path": path, "guard": {"resource": "contacts"}, "target": {"kind": "upstream", "url": upstream}})
}
