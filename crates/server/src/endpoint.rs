//! Endpoints with what they need.
//!
//! An endpoint can only be added together with its needs: who may call it, and with which scope. The check in front of it
//! and its part of the `OpenAPI` document both come from there, so neither can be forgotten.

use axum::Router;
use axum::middleware::from_fn_with_state;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Required, Response};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::app::App;
use crate::caller::{self, Entry};
use crate::links;
use crate::load::Lane;
use crate::needs::Needs;

/// Endpoints that are being gathered.
pub(crate) struct Endpoints {
    app: App,
    router: OpenApiRouter<App>,
}

impl Endpoints {
    /// None yet.
    pub(crate) fn new(app: App, document: OpenApi) -> Self {
        Self { app, router: OpenApiRouter::with_openapi(document) }
    }

    /// Adds the handlers of one path, all with the same needs.
    #[must_use]
    pub(crate) fn add(self, needs: Needs, routes: UtoipaMethodRouter<App>) -> Self {
        self.add_in(needs.lane(), needs, routes)
    }

    /// The same of handlers that answer however much else there is to do.
    #[must_use]
    pub(crate) fn add_vital(self, needs: Needs, routes: UtoipaMethodRouter<App>) -> Self {
        self.add_in(Lane::Vital, needs, routes)
    }

    fn add_in(self, lane: Lane, needs: Needs, (schemas, mut paths, methods): UtoipaMethodRouter<App>) -> Self {
        for item in paths.paths.values_mut() {
            let operations =
                [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten();
            for operation in operations {
                document(operation, needs);
            }
        }
        let path = paths.paths.keys().next().map_or("", |path| path.as_str());
        let entry = Entry::new(self.app.clone(), path, needs, lane);
        // Not around the answer to other methods: what a path takes is no secret, and one path has several guards.
        let methods = methods.route_layer(from_fn_with_state(entry, caller::enter));
        Self { router: self.router.routes((schemas, paths, methods)), ..self }
    }

    /// The router and the document.
    pub(crate) fn finish(self) -> (Router<App>, OpenApi) {
        let (router, mut document) = self.router.split_for_parts();
        links::add(&mut document);
        crate::openapi::close_variants(&mut document);
        (router, document)
    }
}

/// Adds to an operation what follows from its needs, and gives every error its body.
fn document(operation: &mut utoipa::openapi::path::Operation, needs: Needs) {
    let extensions = ExtensionsBuilder::new().add("x-keyrack-needs", needs.describe());
    operation.extensions.get_or_insert_default().merge(extensions.build());
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            forbid_null(&mut parameter.schema);
        }
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        for media in body.content.values_mut() {
            if let RefOr::T(media) = media {
                forbid_null(&mut media.schema);
            }
        }
    }
    if !matches!(needs, Needs::Nothing) {
        operation.parameters.get_or_insert_default().push(RefOr::T(which_organization()));
    }
    let has_body = operation.request_body.is_some();
    let responses = &mut operation.responses.responses;
    let mut add = |status: &str, meaning: &str| {
        let error = || RefOr::T(Response::builder().description(meaning).build());
        responses.entry(status.to_owned()).or_insert_with(error);
    };
    add("400", "The request cannot be read");
    add("500", "A fault of the server");
    add("503", "The database is not available, or there is too much to do; try again");
    if has_body {
        add("413", "The body is too large");
        add("415", "The body has another Content-Type");
    }
    if needs != Needs::Nothing {
        add("401", "No live credential that is accepted here");
        add("403", "The credential is good, but not for this");
    }
    if responses.contains_key("401") {
        let too_many = "Too many requests from this address were answered 401: only those that would be are refused";
        responses
            .entry("429".to_owned())
            .or_insert_with(|| RefOr::T(Response::builder().description(too_many).build()));
    }
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response
            && response.content.is_empty()
            && !status.starts_with('2')
        {
            describe_error(response);
        }
    }
    let scope = needs.scope().map(|scope| scope.to_string());
    let requirement = |name: &str| SecurityRequirement::new(name, scope.clone());
    operation.security = Some(match needs {
        Needs::Nothing => vec![SecurityRequirement::default()],
        Needs::Session | Needs::Owner => vec![requirement("session")],
        Needs::Key => ["api_key", "bearer"].map(requirement).to_vec(),
        _ => ["api_key", "bearer", "session"].map(requirement).to_vec(),
    });
}

/// What may be missing, as a parameter or a body, cannot be null instead.
fn forbid_null(schema: &mut Option<RefOr<Schema>>) {
    match schema {
        Some(RefOr::T(Schema::Object(object))) => {
            if let SchemaType::Array(types) = &object.schema_type
                && let Some(only) = types.iter().find(|kind| **kind != Type::Null)
            {
                object.schema_type = SchemaType::Type(only.clone());
            }
        }
        Some(RefOr::T(Schema::OneOf(choice))) => {
            let null = SchemaType::Type(Type::Null);
            choice.items.retain(|item| !matches!(item, RefOr::T(Schema::Object(o)) if o.schema_type == null));
            if let [only] = choice.items.as_slice() {
                *schema = Some(only.clone());
            }
        }
        _ => {}
    }
}

/// The header by which a person of several organizations says which one is meant.
fn which_organization() -> Parameter {
    Parameter::builder()
        .name("Keyrack-Organization")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The id or slug of the organization: for a session whose person belongs to several"))
        .schema(Some(Ref::from_schema_name("OrganizationReference")))
        .build()
}

/// Says that an answer is the error body, as JSON or as RFC 9457.
fn describe_error(response: &mut Response) {
    for (media, name) in [("application/json", "ErrorBody"), ("application/problem+json", "Problem")] {
        let content = Content::builder().schema(Some(RefOr::Ref(Ref::from_schema_name(name)))).build();
        response.content.insert(media.to_owned(), RefOr::T(content));
    }
}
