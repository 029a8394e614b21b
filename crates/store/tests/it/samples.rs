//! Records to be stored, each with an id of its own.

use std::sync::atomic::{AtomicU64, Ordering};

use keyrack_core::id::uuid_v7;
use keyrack_core::status::Switch;
use keyrack_core::{
    Body, Environment, EventId, GroupId, InvitationId, IpAllowlist, KeyFormat, KeyId, NodeId, OrganizationId,
    OrganizationState, RateLimits, Role, RouteId, ScopeSet, SessionId, Tier, Timestamp, UserId, WorkspaceId,
};
use keyrack_store::{
    ActorKind, ApiKey, HashProfile, Invitation, KeyGroup, NewEvent, NewSecret, Organization, Route, SecretUse, Session,
    Store, SubjectKind, UsagePlace, UsageStep, UserAccount, Workspace,
};
use uuid::Uuid;

use crate::support::{at, commit};

fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An id that no other record of this process has; a later one is greater.
pub(crate) fn id() -> Uuid {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number().to_be_bytes());
    uuid_v7(at(0), random)
}

/// A digest that no other secret of this process has.
pub(crate) fn digest() -> [u8; 32] {
    // Multiplied by an odd number, different numbers begin differently.
    let start = number().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let mut digest = [7; 32];
    digest[..8].copy_from_slice(&start);
    digest
}

pub(crate) fn scopes(texts: &[&str]) -> ScopeSet {
    ScopeSet::parse(texts).unwrap()
}

pub(crate) fn addresses(texts: &[&str]) -> IpAllowlist {
    IpAllowlist::parse(Some(texts)).unwrap()
}

pub(crate) fn event(kind: &'static str) -> NewEvent {
    NewEvent {
        id: EventId(id()),
        at: at(0),
        organization: None,
        kind,
        actor_kind: ActorKind::System,
        actor_id: None,
        actor_name: "host".to_owned(),
        subject_kind: SubjectKind::Instance,
        subject_id: None,
        subject_name: "instance".to_owned(),
        data: serde_json::json!({}),
        request_id: None,
    }
}

pub(crate) fn organization(slug: &str) -> Organization {
    Organization {
        id: OrganizationId(id()),
        slug: slug.to_owned(),
        name: format!("{slug} & Söhne"),
        tier: Tier::Free,
        state: OrganizationState::Active,
        rate_limits: RateLimits::parse("500/1").unwrap(),
        created_at: at(1),
        updated_at: at(2),
    }
}

pub(crate) fn workspace(organization: OrganizationId, slug: &str) -> Workspace {
    Workspace {
        id: WorkspaceId(id()),
        organization,
        slug: slug.to_owned(),
        name: slug.to_owned(),
        created_at: at(1),
        updated_at: at(2),
    }
}

pub(crate) fn user(email: &str) -> UserAccount {
    UserAccount {
        id: UserId(id()),
        email: email.to_owned(),
        name: email.to_owned(),
        password_hash: None,
        is_instance_admin: false,
        created_at: at(1),
        updated_at: at(2),
    }
}

pub(crate) fn invitation(organization: OrganizationId, email: &str) -> Invitation {
    Invitation {
        id: InvitationId(id()),
        organization,
        email: email.to_owned(),
        role: Role::Admin,
        created_at: at(1),
        expires_at: at(100),
    }
}

pub(crate) fn session(user: UserId) -> Session {
    Session {
        id: SessionId(id()),
        user,
        created_at: at(1),
        expires_at: at(100),
        address: None,
        user_agent: None,
        awaits_second_factor: false,
        stepped_up_at: None,
    }
}

pub(crate) fn group(organization: OrganizationId, name: &str) -> KeyGroup {
    KeyGroup {
        id: GroupId(id()),
        organization,
        name: name.to_owned(),
        description: String::new(),
        key_format: KeyFormat::default(),
        former_formats: Vec::new(),
        hash_profile: HashProfile::HmacSha256,
        default_scopes: scopes(&["*:read"]),
        rate_limits: RateLimits::parse("100/1 5000/3600").unwrap(),
        recoverable: false,
        created_at: at(1),
        updated_at: at(2),
    }
}

pub(crate) fn format(prefix: Option<&str>, body: Body) -> KeyFormat {
    KeyFormat::new(prefix.map(str::to_owned), body).unwrap()
}

/// A key with nothing set that may be unset.
pub(crate) fn key(group: &KeyGroup, name: &str) -> ApiKey {
    ApiKey {
        id: KeyId(id()),
        organization: group.organization,
        group: group.id,
        workspace: None,
        name: name.to_owned(),
        description: String::new(),
        environment: Environment::Live,
        scopes: ScopeSet::default(),
        switch: Switch::Active,
        expires_at: None,
        ip_allowlist: IpAllowlist::default(),
        rate_limits: RateLimits::default(),
        metadata: None,
        imported: false,
        created_at: at(1),
        created_by: None,
        updated_at: at(2),
        revoked_at: None,
        revoke_reason: None,
        last_used_at: None,
        display_prefix: "sk_live_01234567".to_owned(),
        last4: "wxyz".to_owned(),
    }
}

pub(crate) fn secret(version: i64) -> NewSecret {
    NewSecret {
        version,
        pepper_id: 1,
        digest: digest().to_vec(),
        slow_hash: None,
        display_prefix: "sk_live_01234567".to_owned(),
        last4: "wxyz".to_owned(),
        created_at: at(1),
    }
}

pub(crate) fn route(organization: OrganizationId, name: &str) -> Route {
    Route {
        id: RouteId(id()),
        organization,
        name: name.to_owned(),
        host: None,
        path: "/v1/:id".to_owned(),
        methods: vec!["GET".to_owned(), "HEAD".to_owned()],
        enabled: true,
        guard: serde_json::json!({ "public": true }),
        target: serde_json::json!({ "kind": "upstream", "url": "http://localhost:9" }),
        cors: None,
        created_at: at(1),
        updated_at: at(2),
    }
}

/// An organization with one of each of what keys belong to.
pub(crate) struct Tenancy {
    pub organization: Organization,
    pub workspace: Workspace,
    pub user: UserAccount,
    pub group: KeyGroup,
}

/// Stores an organization of this slug with one of each.
pub(crate) async fn tenancy(store: &Store, slug: &str) -> Tenancy {
    let organization = organization(slug);
    let id = organization.id;
    let workspace = workspace(id, "sales");
    let user = user(&format!("ada@{slug}.example"));
    let group = group(id, "default");
    let mut writer = store.write(&[id]).await.unwrap();
    writer.insert_organization(&organization).await.unwrap();
    writer.insert_workspace(&workspace).await.unwrap();
    writer.insert_user(&user).await.unwrap();
    writer.insert_group(&group).await.unwrap();
    commit(writer).await;
    Tenancy { organization, workspace, user, group }
}

/// Writes down when secrets were last used.
pub(crate) async fn note_uses(store: &Store, uses: &[(KeyId, i64, Timestamp)]) {
    let uses = uses.iter().map(|&(key, version, at)| SecretUse {
        key,
        version,
        at,
        address: None,
        user_agent: None,
        old_from: Vec::new(),
    });
    let step = UsageStep { uses: uses.collect(), ..UsageStep::default() };
    let from = UsagePlace { writer: NodeId(id()), generation: 1, place: Vec::new() };
    store.write(&[]).await.unwrap().commit_usage_writer(&from).await.unwrap();
    assert!(store.write(&[]).await.unwrap().commit_usage(&from, &from.next_generation(), &step).await.unwrap());
}
