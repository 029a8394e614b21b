//! `/organizations/{organization}/groups`

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use keyrack_core::{Body, GroupId};
use keyrack_engine::{GroupPatch, HashProfile, KeyGroup, NewGroup, Tenant};
use uuid::Uuid;

use super::entry::redirect;
use super::form::{Errors, Form};
use super::frame::{Frame, Visit, refused, shown};
use super::keys::create::limits;
use super::show;
use crate::app::App;
use crate::error::ApiError;
use crate::json::Path;

const FIELDS: [&str; 6] = ["name", "description", "key_format", "hash_profile", "default_scopes", "rate_limits"];

/// A group in the list.
struct Row {
    id: String,
    name: String,
    description: String,
    example: String,
    profile: &'static str,
    scopes: Vec<String>,
    limits: Vec<String>,
    manages: bool,
}

impl Row {
    fn new(group: &KeyGroup, tenant: &Tenant) -> Self {
        let format = &group.key_format;
        let prefix = format.prefix().map_or_else(|| "sk_live_".to_owned(), str::to_owned);
        Self {
            id: group.id.to_string(),
            name: group.name.clone(),
            description: group.description.clone(),
            example: format!("{prefix}… ({} characters of {})", format.body().length(), format.body().as_str()),
            profile: group.hash_profile.as_str(),
            scopes: group.default_scopes.to_strings(),
            limits: show::limits(&group.rate_limits),
            manages: tenant.access_groups.contains(&group.id),
        }
    }
}

#[derive(Template)]
#[template(path = "console/groups.html")]
struct ListPage {
    frame: Frame,
    rows: Vec<Row>,
}

/// `GET`
pub(super) async fn list(State(app): State<App>, visit: Visit) -> Result<Response, ApiError> {
    let tenant = visit.tenant(&app)?;
    let groups = app.engine.list_groups(&visit.context).await?;
    shown(&ListPage { rows: groups.iter().map(|group| Row::new(group, &tenant)).collect(), frame: visit.frame })
}

/// What was typed, or what the group has.
#[derive(Default)]
struct Typed {
    name: String,
    description: String,
    prefix: String,
    /// Its keys have no prefix at all, which is not the same as none that was said.
    has_no_prefix: bool,
    body: String,
    profile: String,
    scopes: String,
    limits: [(String, String); 2],
    recoverable: bool,
}

impl Typed {
    fn of_form(form: &Form) -> Self {
        let raw = |name: &str| form.raw(name).to_owned();
        let limit = |at: usize| (raw(&format!("limit{at}")), raw(&format!("window{at}")));
        Self {
            name: raw("name"),
            description: raw("description"),
            prefix: raw("prefix"),
            has_no_prefix: form.has("no_prefix"),
            body: raw("body"),
            profile: raw("profile"),
            scopes: raw("scopes"),
            limits: [limit(0), limit(1)],
            recoverable: form.has("recoverable"),
        }
    }

    fn of_group(group: &KeyGroup) -> Self {
        let mut limits = group.rate_limits.iter().map(|limit| (limit.limit().to_string(), limit.seconds().to_string()));
        let mut limit = |usual: &str| limits.next().unwrap_or((String::new(), usual.to_owned()));
        Self {
            name: group.name.clone(),
            description: group.description.clone(),
            prefix: group.key_format.prefix().unwrap_or_default().to_owned(),
            has_no_prefix: group.key_format.prefix() == Some(""),
            body: group.key_format.body().as_str().to_owned(),
            profile: group.hash_profile.as_str().to_owned(),
            scopes: group.default_scopes.to_strings().join(" "),
            limits: [limit("60"), limit("3600")],
            recoverable: group.recoverable,
        }
    }
}

#[derive(Template)]
#[template(path = "console/group.html")]
struct GroupPage {
    frame: Frame,
    errors: Errors,
    typed: Typed,
    /// The group, unless it is to be made.
    row: Option<Row>,
}

/// `GET .../groups/new`
pub(super) async fn show_new(visit: Visit) -> Result<Response, ApiError> {
    let limits = [(String::new(), "60".to_owned()), (String::new(), "3600".to_owned())];
    let typed = Typed { body: "base62".to_owned(), profile: "hmac_sha256".to_owned(), limits, ..Typed::default() };
    shown(&GroupPage { frame: visit.frame, errors: Errors::default(), typed, row: None })
}

/// `POST .../groups/new`
pub(super) async fn create(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    let created = match new_group(&form) {
        Ok(new) => app.engine.create_group(&visit.context, new).await.map_err(ApiError::from),
        Err(error) => Err(error),
    };
    match created {
        Ok(group) => Ok(redirect(&format!("{}/groups/{}?done=group-created", visit.frame.base(), group.id))),
        Err(error) => {
            let (errors, typed) = (Errors::of(error, &FIELDS)?, Typed::of_form(&form));
            shown(&GroupPage { frame: visit.frame, errors, typed, row: None }).map(refused)
        }
    }
}

fn key_format(form: &Form) -> Result<(Option<String>, Body), ApiError> {
    let body =
        Body::parse(form.raw("body")).ok_or_else(|| ApiError::field("key_format", "choose how keys are written"))?;
    // The usual prefix tells the environment; none at all has to be asked for.
    let prefix = if form.has("no_prefix") { Some(String::new()) } else { form.text("prefix") };
    Ok((prefix, body))
}

fn new_group(form: &Form) -> Result<NewGroup, ApiError> {
    Ok(NewGroup {
        name: form.raw("name").to_owned(),
        description: form.text("description"),
        key_format: Some(key_format(form)?),
        hash_profile: HashProfile::parse(form.raw("profile")),
        default_scopes: Some(form.words("scopes")),
        rate_limits: limits(form)?,
        recoverable: form.has("recoverable"),
    })
}

/// `GET .../groups/{id}`
pub(super) async fn show(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<Response, ApiError> {
    let (group, tenant) = (app.engine.get_group(&visit.context, GroupId(id)).await?, visit.tenant(&app)?);
    let typed = Typed::of_group(&group);
    let row = Some(Row::new(&group, &tenant));
    shown(&GroupPage { frame: visit.frame, errors: Errors::default(), typed, row })
}

/// `POST .../groups/{id}`
pub(super) async fn change(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let changed = match patch(&form) {
        Ok(patch) => app.engine.update_group(&visit.context, GroupId(id), patch).await.map_err(ApiError::from),
        Err(error) => Err(error),
    };
    let Err(error) = changed else {
        return Ok(redirect(&format!("{}/groups/{id}?done=group-changed", visit.frame.base())));
    };
    let (errors, typed) = (Errors::of(error, &FIELDS)?, Typed::of_form(&form));
    let (group, tenant) = (app.engine.get_group(&visit.context, GroupId(id)).await?, visit.tenant(&app)?);
    let row = Some(Row::new(&group, &tenant));
    shown(&GroupPage { frame: visit.frame, errors, typed, row }).map(refused)
}

fn patch(form: &Form) -> Result<GroupPatch, ApiError> {
    Ok(GroupPatch {
        name: Some(form.raw("name").to_owned()),
        description: Some(form.raw("description").to_owned()),
        key_format: Some(key_format(form)?),
        default_scopes: Some(form.words("scopes")),
        rate_limits: Some(limits(form)?),
        recoverable: Some(form.has("recoverable")),
    })
}

/// `POST .../groups/{id}/delete`
pub(super) async fn delete(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let deleted = app.engine.delete_group(&visit.context, GroupId(id), form.has("revoke_keys")).await;
    let Err(error) = deleted.map_err(ApiError::from) else {
        return Ok(redirect(&format!("{}/groups?done=group-deleted", visit.frame.base())));
    };
    let details: Vec<String> = error.details.iter().map(|detail| detail.message.clone()).collect();
    let mut errors = Errors::of(ApiError { details: Vec::new(), ..error }, &FIELDS)?;
    if let Some(general) = errors.general.as_mut().filter(|_| !details.is_empty()) {
        general.push(' ');
        general.push_str(&details.join(", "));
    }
    let (group, tenant) = (app.engine.get_group(&visit.context, GroupId(id)).await?, visit.tenant(&app)?);
    let typed = Typed::of_group(&group);
    let row = Some(Row::new(&group, &tenant));
    shown(&GroupPage { frame: visit.frame, errors, typed, row }).map(refused)
}
