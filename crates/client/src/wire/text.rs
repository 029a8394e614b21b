//! What texts may hold, for the `OpenAPI` document. On the wire, and in these types, they are plain strings; what is written
//! here is what the use cases check.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
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
    )*};
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
    IdempotencyKey { min_length(Some(1)), max_length(Some(255)), pattern(Some("^[!-~]([ -~]*[!-~])?$")) }
    /// Whose keys are taken: of the route's organization, or of all.
    Organizations { pattern(Some("^(own|any)$")) }
}

const VISIBLE: &str = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$";
const PRINTABLE: &str = r"^[^\x00-\x1f\x7f]*$";
const PATH: &str = r"^/[!-~]*$";
