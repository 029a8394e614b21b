//! `POST /organizations/{organization}/keys/{id}/reveal`: the text of a key whose group keeps it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use keyrack_core::KeyId;
use uuid::Uuid;

use crate::app::App;
use crate::console::entry::redirect;
use crate::console::form::Form;
use crate::console::frame::{Frame, Visit, shown};
use crate::error::ApiError;
use crate::json::Path;

#[derive(Template)]
#[template(path = "console/keys/revealed.html")]
struct RevealedPage {
    frame: Frame,
    id: Uuid,
    name: String,
    text: String,
}

/// The page; or where to enter the password again first.
pub(in crate::console) async fn reveal(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    _: Form,
) -> Result<Response, ApiError> {
    let page = format!("{}/keys/{id}", visit.frame.base());
    match app.engine.reveal_key(&visit.context, KeyId(id)).await.map_err(ApiError::from) {
        Ok(text) => {
            let name = app.engine.get_key(&visit.context, KeyId(id)).await?.key.name;
            shown(&RevealedPage { frame: visit.frame, id, name, text: text.expose().to_owned() })
        }
        Err(error) if error.code == "step_up_required" => Ok(redirect(&format!("/profile/step-up?next={page}"))),
        Err(error) if error.code == "not_recoverable" => Ok(redirect(&format!("{page}?done=key-not-kept"))),
        Err(error) => Err(error),
    }
}
