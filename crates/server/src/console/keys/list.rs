//! `/organizations/{organization}/keys`

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::SignedDuration;
use keyrack_core::KeyStatus;
use keyrack_engine::{KeyQuery, KeySort, KeyView};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::console::charts::Sparkline;
use crate::console::frame::{Frame, Visit, shown};
use crate::console::show::{self, Moment, Scopes, Status};
use crate::error::ApiError;
use crate::json::Query;

/// How many keys are on a page.
const LIMIT: i64 = 25;
/// For how many days a key is unused that counts as such.
const UNUSED_DAYS: i64 = 90;

/// Which keys to show, as the address says.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Wanted {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::console) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    workspace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    unused: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sort: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cursor: String,
    /// Names what was done; the frame reads it.
    #[serde(skip_serializing)]
    done: String,
}

impl Wanted {
    /// The address that shows the same with some of it changed.
    fn with(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut changed = Self { cursor: String::new(), ..self.clone() };
        change(&mut changed);
        format!("?{}", serde_urlencoded::to_string(&changed).unwrap_or_default())
    }

    fn query(&self) -> Result<KeyQuery, ApiError> {
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let status = given(&self.status).map(|text| KeyStatus::parse(&text).ok_or_else(ApiError::not_found));
        Ok(KeyQuery {
            group: given(&self.group),
            workspace: given(&self.workspace),
            status: status.transpose()?,
            name: given(&self.name),
            unused_for: given(&self.unused).map(|_| SignedDuration::from_hours(24 * UNUSED_DAYS)),
            sort: if self.sort == "last_used_at" { KeySort::LastUsedAt } else { KeySort::CreatedAt },
            cursor: given(&self.cursor),
            limit: LIMIT,
        })
    }

    /// What keeps keys from being shown: in words, and where it is dropped.
    fn filters(&self) -> Vec<Filter> {
        let mut filters = Vec::new();
        let mut add = |text: &str, words: String, without: String| {
            if !text.is_empty() {
                filters.push(Filter { words, without });
            }
        };
        add(&self.name, format!("Name contains “{}”", self.name), self.with(|w| w.name.clear()));
        add(&self.group, format!("Group {}", self.group), self.with(|w| w.group.clear()));
        add(&self.workspace, format!("Workspace {}", self.workspace), self.with(|w| w.workspace.clear()));
        add(&self.status, format!("Status {}", self.status), self.with(|w| w.status.clear()));
        add(&self.unused, format!("Not used for {UNUSED_DAYS} days"), self.with(|w| w.unused.clear()));
        filters
    }
}

struct Filter {
    words: String,
    without: String,
}

/// A key in a table.
pub(in crate::console) struct Row {
    pub(in crate::console) id: String,
    pub(in crate::console) name: String,
    description: String,
    display_prefix: String,
    last4: String,
    group: String,
    workspace: Option<String>,
    scopes: Scopes,
    last_used: Option<Moment>,
    /// Whether it is old enough to have been used, and was not for long.
    is_idle: bool,
    expiry: Option<(Moment, bool)>,
    sparkline: Sparkline,
    status: Status,
    is_final: bool,
}

impl Row {
    pub(in crate::console) fn new(view: KeyView, frame: &Frame, sparkline: Sparkline) -> Self {
        let now = frame.now;
        let since = view.key.last_used_at.unwrap_or(view.key.created_at);
        let is_live = matches!(view.status, KeyStatus::Active | KeyStatus::Disabled);
        Self {
            expiry: show::expiry(&view, now),
            is_idle: is_live && now.duration_since(since) > SignedDuration::from_hours(24 * UNUSED_DAYS),
            is_final: !is_live,
            scopes: Scopes::new(&view.key.scopes),
            last_used: view.key.last_used_at.map(|at| Moment::new(at, now)),
            status: Status::of(view.status),
            id: view.key.id.to_string(),
            name: view.key.name,
            description: view.key.description,
            display_prefix: view.key.display_prefix,
            last4: view.key.last4,
            group: view.group,
            workspace: view.workspace,
            sparkline,
        }
    }
}

#[derive(Template)]
#[template(path = "console/keys/list.html")]
struct ListPage {
    frame: Frame,
    wanted: Wanted,
    filters: Vec<Filter>,
    groups: Vec<String>,
    workspaces: Vec<String>,
    rows: Vec<Row>,
    by_use: String,
    by_creation: String,
    is_by_use: bool,
    next: Option<String>,
    first: Option<String>,
}

/// The page.
pub(in crate::console) async fn show(
    State(app): State<App>,
    visit: Visit,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    let tenant = visit.tenant(&app)?;
    let page = app.engine.list_keys(&visit.context, wanted.query()?).await?;
    let ids: Vec<_> = page.data.iter().map(|view| view.key.id).collect();
    let mut sparklines = app.engine.usage_of_keys(&visit.context, &ids).await?;
    let frame = visit.frame;
    let rows = page.data.into_iter().map(|view| {
        let days = sparklines.remove(&view.key.id).unwrap_or_default();
        Row::new(view, &frame, Sparkline::new(&days))
    });
    let rows = rows.collect();
    let mut groups: Vec<String> = tenant.groups.values().map(|group| group.name.clone()).collect();
    let mut workspaces: Vec<String> = tenant.workspaces.values().map(|workspace| workspace.slug.clone()).collect();
    groups.sort();
    workspaces.sort();
    shown(&ListPage {
        filters: wanted.filters(),
        by_use: wanted.with(|w| "last_used_at".clone_into(&mut w.sort)),
        by_creation: wanted.with(|w| w.sort.clear()),
        is_by_use: wanted.sort == "last_used_at",
        next: page.next_cursor.map(|cursor| wanted.with(|w| w.cursor = cursor)),
        first: (!wanted.cursor.is_empty()).then(|| wanted.with(|_| {})),
        frame,
        wanted,
        groups,
        workspaces,
        rows,
    })
}
