//! What texts may hold, for the `OpenAPI` document. On the wire, and in these types, they are plain strings; what is written
//! here is what the use cases check.
//!
//! A text that stands for something of an organization says for what, as `x-keyrack-refers-to`: wherever such a field stands,
//! tests try it with what is another organization's.

use std::borrow::Cow;

use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

macro_rules! texts {
    ($($(#[doc = $doc:literal])* $name:ident { $($build:ident($($value:expr),*)),* $(,)? })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
                let described = text.description(Some(concat!($($doc),*).trim()));
                RefOr::T(Schema::Object(described$(.$build($($value),*))*.build()))
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )*

        /// All of them by their names.
        pub fn schemas() -> impl Iterator<Item = (String, RefOr<Schema>)> {
            let all: &[(&str, fn() -> RefOr<Schema>)] = &[$((stringify!($name), $name::schema)),*];
            all.iter().map(|(name, schema)| ((*name).to_owned(), schema()))
        }
    };
}

texts! {
    /// What people call something. Spaces around it do not count; no control characters.
    Name { min_length(Some(1)), max_length(Some(100)), pattern(Some(VISIBLE)) }
    /// What something is for. Spaces around it do not count; no control characters.
    Description { max_length(Some(1000)), pattern(Some(PRINTABLE)) }
    /// Why something was done.
    Reason { max_length(Some(200)), pattern(Some(PRINTABLE)) }
    /// The short name of an organization or a workspace.
    Slug { min_length(Some(1)), max_length(Some(63)), pattern(Some("^[a-z0-9][a-z0-9-]*$")) }
    /// The name of a group.
    GroupName { min_length(Some(1)), max_length(Some(63)), pattern(Some("^[a-z0-9_-]+$")) }
    /// What keys of a group begin with.
    KeyPrefix { max_length(Some(16)), pattern(Some("^[a-z0-9_]*$")) }
    /// What a key may do, or a door asks for.
    Scope { pattern(Some(r"^(\*|keyrack\.\*|(keyrack\.)?[A-Za-z][A-Za-z0-9_-]{0,62}):(read|write|admin)$")) }
    /// A resource that scopes are about.
    Resource { pattern(Some(r"^(\*|keyrack\.\*|(keyrack\.)?[A-Za-z][A-Za-z0-9_-]{0,62})$")) }
    /// An e-mail address.
    EmailAddress { min_length(Some(3)), max_length(Some(254)), pattern(Some(r"^[^\s@]+@[^\s@]+$")) }
    /// A password: at most 1024 bytes.
    Password { min_length(Some(15)), max_length(Some(1024)) }
    /// The text of a key that was made elsewhere: printable ASCII without comma or space.
    ForeignKey { min_length(Some(16)), max_length(Some(128)), pattern(Some(r"^[!-+\--~]*$")) }
    /// A SHA-256 in hexadecimal digits.
    Sha256 { pattern(Some("^[0-9A-Fa-f]{64}$")) }
    /// An IPv4 or IPv6 address, or a network of them, such as `203.0.113.0/24`.
    Network { max_length(Some(43)), pattern(Some(r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$")) }
    /// An IPv4 or IPv6 address.
    Address { max_length(Some(45)), pattern(Some("^[0-9A-Fa-f:.]+$")) }
    /// A path with `:name` for a segment and a final `*rest`.
    PathPattern { max_length(Some(1024)), pattern(Some(PATH)) }
    /// The beginning of a path, up to a `/`.
    PathPrefix { min_length(Some(2)), max_length(Some(1024)), pattern(Some("^/[!-)+-9;-~]*[!-)+-.0-9;-~]$")) }
    /// The name of a header, in lower case.
    HeaderName { min_length(Some(1)), max_length(Some(100)), pattern(Some("^[a-z0-9-]+$")) }
    /// What a header says: printable ASCII.
    HeaderValue { max_length(Some(1024)), pattern(Some("^([!-~]([ -~]*[!-~])?)?$")) }
    /// Where a web page comes from: scheme, host, and perhaps a port. `*` for anywhere.
    Origin { max_length(Some(2048)), pattern(Some(r"^(\*|https?://[^/]+)$")) }
    /// A path in canonical form.
    RequestPath { max_length(Some(1024)), pattern(Some(PATH)) }
    /// The name of a host, without a port.
    Host { min_length(Some(1)), max_length(Some(253)), pattern(Some(r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$")) }
    /// The address of an HTTP service.
    ServiceUrl { max_length(Some(2048)), format(Some(SchemaFormat::Custom("uri".to_owned()))), pattern(Some("^https?://")) }
    /// A method that a route may take.
    Method { pattern(Some("^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$")) }
    /// What lists of keys are sorted by.
    KeyOrder { enum_values(Some(["created_at", "last_used_at"])) }
    /// Names a request, so that it can be repeated: printable ASCII.
    IdempotencyKey {
        min_length(Some(1)), max_length(Some(255)), pattern(Some("^[!-~]([ -~]*[!-~])?$")), extensions(Some(to("request"))),
    }
    /// Whose keys are taken: of the route's organization, or of all.
    Organizations { pattern(Some("^(own|any)$")) }
    /// The id of a key.
    KeyId { format(UUID), extensions(Some(to("key"))) }
    /// The text of a key.
    KeyText { extensions(Some(to("key_text"))) }
    /// The number of a secret of a key, from 1.
    SecretVersion {
        schema_type(SchemaType::new(Type::Integer)), format(INT64), extensions(Some(to("secret_version"))),
    }
    /// The id of a group.
    GroupId { format(UUID), extensions(Some(to("group"))) }
    /// The name or id of a group.
    GroupReference { extensions(Some(to("group"))) }
    /// The id of a workspace.
    WorkspaceId { format(UUID), extensions(Some(to("workspace"))) }
    /// The slug or id of a workspace.
    WorkspaceReference { extensions(Some(to("workspace"))) }
    /// The id of a route.
    RouteId { format(UUID), extensions(Some(to("route"))) }
    /// An ES module in JavaScript whose default export is a function.
    ScriptSource { min_length(Some(1)), max_length(Some(131_072)), content_media_type("text/javascript") }
    /// The number of a version of a route's script, from 1.
    ScriptVersionNumber {
        schema_type(SchemaType::new(Type::Integer)), format(INT64), extensions(Some(to("script_version"))),
    }
    /// The id of a line of a route's log.
    RouteLogId { format(UUID), extensions(Some(to("route_log"))) }
    /// The name of a secret.
    SecretName { min_length(Some(1)), max_length(Some(128)), pattern(Some("^[A-Za-z0-9_-]+$")) }
    /// The value of a secret: at most 16,384 bytes.
    SecretValue { min_length(Some(1)), max_length(Some(16384)) }
    /// The id of a secret.
    SecretId { format(UUID), extensions(Some(to("secret"))) }
    /// What a secret belongs to: the name or id of a route or a group, or the id of a key.
    SecretOwner { extensions(Some(to("secret_owner"))) }
    /// The id of a person.
    UserId { format(UUID), extensions(Some(to("user"))) }
    /// The id of a session.
    SessionId { format(UUID), extensions(Some(to("session"))) }
    /// The id of an organization.
    OrganizationId { format(UUID), extensions(Some(to("organization"))) }
    /// The slug or id of an organization.
    OrganizationReference { extensions(Some(to("organization"))) }
    /// The token of an invitation.
    InvitationToken { extensions(Some(to("invitation"))) }
    /// The id of a notification.
    NotificationId { format(UUID), extensions(Some(to("notification"))) }
    /// The id of a person or a key that did something.
    ActorId { format(UUID), extensions(Some(to("actor"))) }
    /// The id of something that was changed.
    SubjectId { format(UUID), extensions(Some(to("subject"))) }
    /// Where a part of a list ended, as the answer with that part said.
    Cursor { extensions(Some(to("cursor"))) }
}

const UUID: Option<SchemaFormat> = Some(SchemaFormat::KnownFormat(KnownFormat::Uuid));
const INT64: Option<SchemaFormat> = Some(SchemaFormat::KnownFormat(KnownFormat::Int64));

/// Says what a text stands for. No second extension beside it: several would stand in another order each time.
fn to(kind: &str) -> Extensions {
    Extensions::from_iter([("x-keyrack-refers-to", kind)])
}

const VISIBLE: &str = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$";
const PRINTABLE: &str = r"^[^\x00-\x1f\x7f]*$";
const PATH: &str = r"^/[!-~]*$";
