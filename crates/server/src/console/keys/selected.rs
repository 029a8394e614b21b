//! `/organizations/{organization}/keys/selected`: several keys at once.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use keyrack_core::KeyId;
use keyrack_engine::{KeyPatch, KeyView};

use crate::app::App;
use crate::console::entry::redirect;
use crate::console::form::Form;
use crate::console::frame::{Frame, Visit, shown};
use crate::error::ApiError;
use crate::json::Path;

#[derive(Template)]
#[template(path = "console/keys/selected.html")]
struct SelectedPage {
    frame: Frame,
    keys: Vec<(String, String, Option<String>)>,
}

/// `POST`
pub(in crate::console) async fn act(
    State(app): State<App>,
    visit: Visit,
    Path(organization): Path<String>,
    form: Form,
) -> Result<Response, ApiError> {
    let mut keys = Vec::new();
    for id in form.words("id") {
        let id: KeyId = id.parse().map_err(|_| ApiError::not_found())?;
        keys.push(app.engine.get_key(&visit.context, id).await?);
    }
    match form.raw("action") {
        _ if keys.is_empty() => {}
        "export" => return export(&keys),
        "revoke" if !form.has("sure") => {
            let row = |view: KeyView| {
                let last_used = view.key.last_used_at.map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
                (view.key.id.to_string(), view.key.name, last_used)
            };
            let keys = keys.into_iter().map(row).collect();
            return shown(&SelectedPage { frame: visit.frame, keys });
        }
        "revoke" => {
            for view in &keys {
                app.engine.revoke_key(&visit.context, view.key.id, None).await?;
            }
        }
        "disable" => {
            for view in &keys {
                let patch = KeyPatch { enabled: Some(false), ..KeyPatch::default() };
                // One that is over for good is no less shut than asked for.
                match app.engine.update_key(&visit.context, view.key.id, patch).await.map_err(ApiError::from) {
                    Err(error) if error.code != "key_final" => return Err(error),
                    _ => {}
                }
            }
        }
        _ => return Err(ApiError::bad_request("choose what to do with the keys")),
    }
    Ok(redirect(&format!("/organizations/{organization}/keys?done=keys-done")))
}

/// What is known of keys, never their values, for a spreadsheet.
fn export(keys: &[KeyView]) -> Result<Response, ApiError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head = [
        "id",
        "name",
        "display_prefix",
        "last4",
        "group",
        "workspace",
        "scopes",
        "status",
        "expires_at",
        "last_used_at",
    ];
    let written = writer.write_record(head).and_then(|()| {
        keys.iter().try_for_each(|view| {
            let key = &view.key;
            let at = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
            writer.write_record([
                &key.id.to_string(),
                &harmless(&key.name),
                &key.display_prefix,
                &key.last4,
                &view.group,
                view.workspace.as_deref().unwrap_or_default(),
                &key.scopes.to_strings().join(" "),
                view.status.as_str(),
                &at(key.expires_at),
                &at(key.last_used_at),
            ])
        })
    });
    written.map_err(|_| ApiError::internal())?;
    let text = writer.into_inner().map_err(|_| ApiError::internal())?;
    let mut response = text.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    response.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=keys.csv"));
    Ok(response)
}

/// A text that no spreadsheet takes for a formula.
pub(in crate::console) fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}
