//! `/api/verify` and `/api/introspect`: decisions about a key for somebody else's door.

use std::collections::BTreeMap;

use axum::extract::State;
use http::StatusCode;
use keyrack_client::wire::{
    Introspect, Introspected, Named, Verified, VerifiedKey, VerifiedKeys, VerifiedOrganization, VerifyKey, VerifyKeys,
};
use keyrack_core::secret::secret_name;
use keyrack_core::{Action, Decision, Reason, Role, Scope};
use keyrack_engine::{Charge, Engine, KnownKey, Question, Seeker, Verdict};

use crate::app::App;
use crate::caller::Caller;
use crate::convert::{self, Wire as _};
use crate::error::ApiError;
use crate::json::{Form, Json};
use crate::metrics::{Door, decided};

/// The most questions in one batch.
const MAX_BATCH: usize = 100;
/// The most secrets one question asks for.
const MAX_SECRETS: usize = 32;
/// The most units one request takes.
const MAX_COST: u32 = keyrack_core::rate::MAX_LIMIT;

/// Ask about a key
///
/// Always 200: `valid` and `code` are the answer. A key of another organization is unknown here. With `secrets`, a key that may is
/// given its own; who asks needs `keyrack.secrets:read` for that.
#[utoipa::path(post, path = "/api/verify", tag = "verification", operation_id = "verifyKey", request_body = VerifyKey,
    responses((status = 200, body = Verified)))]
pub(super) async fn verify(
    State(app): State<App>,
    caller: Caller,
    Json(question): Json<VerifyKey>,
) -> Result<Json<Verified>, ApiError> {
    Ok(Json(ask(&app, &caller, &question).await?))
}

/// Ask about several keys
///
/// Up to 100, answered in their order.
#[utoipa::path(post, path = "/api/verify/batch", tag = "verification", operation_id = "verifyKeys",
    request_body = VerifyKeys, responses((status = 200, body = VerifiedKeys)))]
pub(super) async fn verify_batch(
    State(app): State<App>,
    caller: Caller,
    Json(questions): Json<VerifyKeys>,
) -> Result<Json<VerifiedKeys>, ApiError> {
    if questions.keys.len() > MAX_BATCH {
        return Err(ApiError::field("keys", format!("must be at most {MAX_BATCH}")));
    }
    let at_its_place = |at: usize| {
        move |mut error: ApiError| {
            for field in error.details.iter_mut().filter_map(|d| d.field.as_mut()) {
                *field = format!("keys[{at}].{field}");
            }
            error
        }
    };
    // One that cannot be asked costs the others nothing.
    for (at, q) in questions.keys.iter().enumerate() {
        let checked = async {
            check_secrets(&caller, q)?;
            Ok(app.engine.check_question(&caller.context, &question(q)?).await?)
        };
        checked.await.map_err(at_its_place(at))?;
    }
    let mut data = Vec::with_capacity(questions.keys.len());
    for (at, q) in questions.keys.iter().enumerate() {
        data.push(ask(&app, &caller, q).await.map_err(at_its_place(at))?);
    }
    Ok(Json(VerifiedKeys { data }))
}

/// Introspect a key (RFC 7662)
#[utoipa::path(post, path = "/api/introspect", tag = "verification", operation_id = "introspect",
    request_body(content = Introspect, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Introspected)))]
pub(super) async fn introspect(
    State(app): State<App>,
    caller: Caller,
    Form(body): Form<Introspect>,
) -> Result<Json<Introspected>, ApiError> {
    let question = Question::about(&body.token);
    let verdict = app.engine.ask(&caller.context, question).await?;
    decided(Door::Introspect, verdict.reason());
    // A key bound to a workspace or to addresses is active: the question cannot name either.
    let is_active = match verdict.decision {
        Decision::Grant(_) => true,
        Decision::Deny(reason) => matches!(reason, Reason::WorkspaceRequired | Reason::IpRequired),
    };
    let Some(key) = verdict.into_key().filter(|_| is_active) else { return Ok(Json(Introspected::default())) };
    let id = key.record.key.to_string();
    Ok(Json(Introspected {
        active: true,
        scope: Some(key.scope_names().join(" ")),
        client_id: Some(id.clone()),
        sub: Some(id),
        aud: Some(key.tenant.organization.slug.clone()),
        token_type: Some("Bearer".to_owned()),
        exp: Engine::ends_at(&key).map(jiff::Timestamp::as_second),
    }))
}

fn question(q: &VerifyKey) -> Result<Question<'_>, ApiError> {
    let cost = u32::try_from(q.cost.unwrap_or(1)).ok().filter(|cost| (1..=MAX_COST).contains(cost));
    let cost = cost.ok_or_else(|| ApiError::field("cost", format!("must be 1 to {MAX_COST}")))?;
    Ok(Question {
        text: &q.key,
        scope: q.scope.as_deref(),
        workspace: q.workspace.as_deref(),
        groups: q.groups.as_deref(),
        roles: q.roles.as_ref().map(|roles| roles.iter().copied().map(Role::from_wire).collect()),
        method: q.method.as_deref(),
        path: q.path.as_deref(),
        address: q.ip.as_deref(),
        user_agent: q.user_agent.as_deref(),
        charge: if q.peek == Some(true) { Charge::Peek(cost) } else { Charge::Units(cost) },
    })
}

async fn ask(app: &App, caller: &Caller, q: &VerifyKey) -> Result<Verified, ApiError> {
    check_secrets(caller, q)?;
    let question = question(q)?;
    let verdict = app.engine.ask(&caller.context, question).await?;
    decided(Door::Verify, verdict.reason());
    let secrets = q.secrets.as_ref().zip(verdict.admitted());
    let secrets = secrets.map(|(names, key)| given(app, key, names)).transpose()?;
    Ok(Verified { secrets, ..answer(verdict) })
}

/// Refuses a question for secrets that cannot be asked.
fn check_secrets(caller: &Caller, q: &VerifyKey) -> Result<(), ApiError> {
    let Some(names) = &q.secrets else { return Ok(()) };
    if !caller.may(&Scope::keyrack("secrets", Action::Read)) {
        let message = "to ask for secrets needs the scope keyrack.secrets:read, for the whole organization";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "insufficient_scope", message));
    }
    if names.len() > MAX_SECRETS {
        return Err(ApiError::field("secrets", format!("must be at most {MAX_SECRETS}")));
    }
    for (at, name) in names.iter().enumerate() {
        secret_name(name).map_err(|error| ApiError::field(format!("secrets[{at}]"), error.to_string()))?;
    }
    Ok(())
}

/// The secrets of these names that a key is given where no route is known.
fn given(app: &App, key: &KnownKey, names: &[String]) -> Result<BTreeMap<String, Option<String>>, ApiError> {
    let facts = key.facts();
    let (group, key) = (Some(facts.group), Some(facts.key));
    let seeker = Seeker { organization: facts.organization, route: None, group, key };
    let one = |name: &String| {
        let value = app.engine.secret_for(&seeker, name)?;
        Ok((name.clone(), value.map(|value| value.expose().to_owned())))
    };
    names.iter().map(one).collect()
}

fn answer(verdict: Verdict) -> Verified {
    let reason = verdict.reason();
    let mut verified = Verified {
        valid: reason.is_none(),
        code: reason.map_or("VALID", Reason::code).into(),
        message: reason.map_or("The key may do this", explain).into(),
        key: None,
        organization: None,
        workspace: None,
        group: None,
        scopes: None,
        limits: verdict.standing.as_deref().and_then(convert::limits),
        secrets: None,
    };
    if let Some(key) = verdict.into_key() {
        describe(&mut verified, &key);
    }
    verified
}

fn describe(verified: &mut Verified, key: &KnownKey) {
    let facts = key.facts();
    verified.key = Some(VerifiedKey {
        id: facts.key.0,
        name: key.record.name.clone(),
        environment: key.record.profile.environment.wire(),
        role: Role::of_key(facts.in_access_group).wire(),
        expires_at: Engine::ends_at(key),
        metadata: convert::object(key.record.metadata().cloned()),
        secret_version: key.record.version,
    });
    let organization = &key.tenant.organization;
    verified.organization = Some(VerifiedOrganization {
        id: organization.id.0,
        name: (&*organization.slug).into(),
        tier: organization.tier.wire(),
    });
    let workspace = facts.workspace.and_then(|id| key.workspace_slug().map(|slug| (id, slug)));
    verified.workspace = workspace.map(|(id, slug)| Named { id: id.0, name: slug.into() });
    verified.group = Some(Named { id: facts.group.0, name: key.group_name().into() });
    verified.scopes = Some(key.scope_names());
}

fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::Missing | Reason::NotFound | Reason::WrongOrganization => "There is no such key",
        Reason::Disabled => "The key is switched off",
        Reason::Revoked => "The key is revoked",
        Reason::Expired => "The key, or this secret of it, has expired",
        Reason::OrganizationInactive => "The key's organization is not active",
        Reason::WrongWorkspace => "The key is bound to another workspace, or the workspace is unknown",
        Reason::WorkspaceRequired => "The key is bound to a workspace; say which one the request is about",
        Reason::WrongGroup => "The key is in none of these groups",
        Reason::KeyNotAccepted => "Keys are not accepted here",
        Reason::IpNotAllowed => "The key may not be used from this address",
        Reason::IpRequired => "The key is restricted to addresses; say where the request came from",
        Reason::InsufficientRole => "The key's role is not among these",
        Reason::InsufficientScope => "The key lacks this scope",
        Reason::RateLimited => "More was asked for than a rate limit allows",
        Reason::QuotaExceeded => "The organization's quota of this month is used up",
    }
}
