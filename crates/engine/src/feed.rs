//! From the log of changes into memory.
//!
//! There is one way in which decisions learn of a change, whoever made it: the event is read from the log and what it is
//! about is read anew. A mutation of this process takes it too, before it answers.

use std::collections::BTreeSet;

use keyrack_core::token::MasterKey;
use keyrack_core::{GroupId, KeyId, Month, OrganizationId, Pepper};
use keyrack_store::{Event, FeedHead, INSTANCE, Reader, Store, SubjectKind, VerificationRow};
use uuid::Uuid;

use crate::calendar::Calendar;
use crate::clock::Random;
use crate::directory::Tenant;
use crate::engine::{Engine, instance_event};
use crate::organizations::QUOTA_SET;
use crate::routes::DEFAULT_ORGANIZATION;
use crate::sealing::{DATA_KEY_MADE, DATA_KEYS_MADE, DATA_KEYS_RETIRED};
use crate::secrets::RESEALED;
use crate::tiers::{TIERS_CHANGED, load_tiers};
use crate::tokens::SIGNING_KEY_MADE;
use crate::{Error, Result, master_keys, peppers, settings};

/// How many keys are read anew at once.
const BATCH: usize = 1000;
/// The event by which the host says that the clock is right.
pub(crate) const CLOCK_ACCEPTED: &str = "instance.clock_accepted";

/// Gives a new database its epoch, checks the peppers and the master keys against an old one, and notes which are in use if nothing
/// says so yet: the first.
pub(crate) async fn begin(
    store: &Store,
    calendar: &Calendar,
    random: &dyn Random,
    (peppers_known, master_keys_known): (&[Pepper], &[MasterKey]),
) -> Result<FeedHead> {
    let mut reader = store.read().await?;
    let head = reader.feed_head().await?;
    let master_key = master_keys::stored(&mut reader).await?;
    let pepper = peppers::stored(&mut reader).await?;
    peppers::check(&peppers::fingerprints(&mut reader).await?, peppers_known)?;
    drop(reader);
    master_keys::check(master_key.as_ref(), master_keys_known)?;
    if let Some(head) = head
        && (pepper.is_some() || peppers_known.is_empty())
        && (master_key.is_some() || master_keys_known.is_empty())
    {
        return Ok(head);
    }
    calendar.check()?;
    let now = calendar.now();
    // Looked at again under the lock: another process may be starting too, with another pepper.
    let mut writer = store.write(&[INSTANCE]).await?;
    let mut known = peppers::fingerprints(&mut writer).await?;
    peppers::check(&known, peppers_known)?;
    let kind = if writer.feed_head().await?.is_none() { "instance.created" } else { "key_file.noted" };
    if let Some(first) = peppers_known.first()
        && peppers::stored(&mut writer).await?.is_none()
    {
        known.extend(peppers_known.iter().map(|pepper| (pepper.id().to_string(), pepper.fingerprint().into())));
        peppers::put_fingerprints(&mut writer, known, now).await?;
        peppers::put(&mut writer, first.id(), now).await?;
    }
    if let Some(first) = master_keys_known.first()
        && master_keys::stored(&mut writer).await?.is_none()
    {
        master_keys::put(&mut writer, first, now).await?;
    }
    let random_bits: [u8; 16] = random.bytes()?;
    writer.begin_epoch(uuid::Builder::from_random_bytes(random_bits).into_uuid()).await?;
    writer.commit(instance_event(kind, now, random.bytes()?), Vec::new()).await?;
    store.read().await?.feed_head().await?.ok_or(Error::internal("the log has no head"))
}

/// Reads an organization with all that belongs to it.
pub(crate) async fn load_tenant(reader: &mut Reader, id: OrganizationId) -> Result<Option<Tenant>> {
    let Some(organization) = reader.find_organization(id).await? else { return Ok(None) };
    let groups = reader.list_groups(id).await?.into_iter().map(|g| (g.id, g)).collect();
    let workspaces = reader.list_workspaces(id).await?.into_iter().map(|w| (w.id, w)).collect();
    let access = reader.find_setting(id, settings::ACCESS_GROUPS).await?;
    let access_groups: BTreeSet<GroupId> =
        access.map(serde_json::from_value).transpose().map_err(|_| corrupt())?.unwrap_or_default();
    let sign_in = settings::sign_in_rules(reader.find_setting(id, settings::SIGN_IN).await?)?;
    Ok(Some(Tenant { sign_in, ..Tenant::new(organization, groups, workspaces, access_groups) }))
}

fn corrupt() -> Error {
    Error::internal("a setting cannot be read")
}

/// Reads every organization.
pub(crate) async fn load_tenants(engine: &Engine, reader: &mut Reader) -> Result<()> {
    let mut after = None;
    loop {
        let page = reader.list_organizations(after, 1000).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id);
        let mut tenants = Vec::with_capacity(page.len());
        for organization in &page {
            tenants.extend(load_tenant(reader, organization.id).await?);
        }
        engine.directory.put(tenants);
    }
}

/// Parts the first of some events, up to one with which they are about enough keys for one step, from the rest.
pub(crate) fn step(events: &[Event]) -> (&[Event], &[Event]) {
    let mut keys = 0;
    let is_enough = |event: &Event| {
        keys += key_ids(event).count();
        keys >= BATCH
    };
    events.split_at(events.iter().position(is_enough).map_or(events.len(), |at| at + 1))
}

/// Reads anew what these events are about.
pub(crate) async fn apply(engine: &Engine, reader: &mut Reader, events: &[Event]) -> Result<()> {
    let mut tenants = BTreeSet::new();
    let mut keys = BTreeSet::new();
    let (mut data_keys, mut secrets) = (BTreeSet::new(), Vec::new());
    let (mut is_put_into_use, mut are_retired) = (false, false);
    let (mut is_pepper_put_into_use, mut redigested) = (false, Vec::new());
    let (mut routes, mut tiers, mut signing_keys) = (false, false, false);
    for event in events {
        engine.calendar.raise(event.at);
        if event.kind == CLOCK_ACCEPTED {
            engine.calendar.accept(event.at);
        }
        tiers |= event.kind == TIERS_CHANGED;
        signing_keys |= event.kind == SIGNING_KEY_MADE;
        match &*event.kind {
            DATA_KEY_MADE => data_keys.extend(event.organization),
            DATA_KEYS_MADE => data_keys.extend(organizations_of(event)),
            master_keys::PUT_INTO_USE => is_put_into_use = true,
            DATA_KEYS_RETIRED => are_retired = true,
            master_keys::ADDED | master_keys::RETIRED => engine.master_keys.read_again(),
            peppers::ADDED | peppers::RETIRED => engine.peppers.read_again(engine.master_keys.keyfile()),
            peppers::PUT_INTO_USE => is_pepper_put_into_use = true,
            peppers::REDIGESTED => redigested.push(event.id),
            _ => {}
        }
        void_quota(engine, event);
        if let Some(owner) = event.subject_id.filter(|_| matches!(&*event.kind, "route.deleted" | "group.deleted")) {
            engine.secrets.forget(owner);
        }
        keys.extend(key_ids(event));
        match event.subject_kind {
            SubjectKind::Organization => {
                // The first organization becomes the one that owns the default host.
                routes = true;
                tenants.extend(event.organization);
            }
            SubjectKind::Workspace | SubjectKind::Group | SubjectKind::Setting => tenants.extend(event.organization),
            SubjectKind::Route => routes = true,
            SubjectKind::Secret => secrets.push(event),
            SubjectKind::Instance if event.kind == RESEALED => secrets.push(event),
            SubjectKind::Key
            | SubjectKind::Instance
            | SubjectKind::User
            | SubjectKind::Member
            | SubjectKind::Session => {}
        }
    }
    if is_pepper_put_into_use {
        engine.load_peppers(reader).await?;
    }
    // First keys, then what they open; and those that open nothing any more are given up last.
    if is_put_into_use {
        engine.master_keys.load(reader).await?;
        signing_keys = true;
    }
    if !data_keys.is_empty() {
        engine.data_keys.load_newest(reader, &engine.master_keys.known(), data_keys).await?;
    }
    for event in secrets {
        engine.secrets.apply(reader, event).await?;
    }
    if are_retired {
        engine.data_keys.load(reader, &engine.master_keys.known()).await?;
    }
    // Tenants first: a key may be in a group that is as new as itself.
    let mut loaded = Vec::new();
    for id in tenants {
        loaded.extend(load_tenant(reader, id).await?);
    }
    if !loaded.is_empty() {
        engine.directory.put(loaded);
    }
    let keys: Vec<KeyId> = keys.into_iter().collect();
    for keys in keys.chunks(BATCH) {
        reload_keys(engine, reader, keys).await?;
    }
    for event in redigested {
        engine.follow_moved(reader, event).await?;
    }
    if routes {
        load_routes(engine, reader).await?;
    }
    if signing_keys {
        engine.tokens.load(reader, &engine.master_keys.known()).await?;
    }
    if tiers {
        load_tiers(engine, reader).await?;
    }
    Ok(())
}

/// Lets nobody spend units any more that were granted before somebody set the counter.
fn void_quota(engine: &Engine, event: &Event) {
    let number = |name: &str| event.data.get(name).and_then(serde_json::Value::as_i64);
    if event.kind == QUOTA_SET
        && let Some(tenant) = event.organization.and_then(|id| engine.directory.tenant(id))
        && let (Some(month), Some(epoch)) = (number("month_number").and_then(Month::from_number), number("epoch"))
    {
        tenant.quota.void(month, epoch - 1);
    }
}

/// Reads every route, and which organization owns the default host.
pub(crate) async fn load_routes(engine: &Engine, reader: &mut Reader) -> Result<()> {
    let default = reader.find_setting(INSTANCE, DEFAULT_ORGANIZATION).await?;
    let default = default.map(serde_json::from_value).transpose().map_err(|_| corrupt())?;
    engine.routes.replace(reader.list_all_routes().await?, default);
    Ok(())
}

/// The organizations that an event lists.
fn organizations_of(event: &Event) -> impl Iterator<Item = OrganizationId> {
    let listed = event.data.get("organizations").and_then(|ids| ids.as_array()).into_iter().flatten();
    listed.filter_map(|id| id.as_str()?.parse().ok())
}

/// The keys an event is about: its subject, and those that a batch lists.
fn key_ids(event: &Event) -> impl Iterator<Item = KeyId> {
    let subject = event.subject_id.filter(|_| event.subject_kind == SubjectKind::Key).map(KeyId);
    let listed = event.data.get("key_ids").and_then(|ids| ids.as_array()).into_iter().flatten();
    let listed = listed.filter_map(|id| id.as_str().and_then(|text| Uuid::parse_str(text).ok())).map(KeyId);
    subject.into_iter().chain(listed)
}

async fn reload_keys(engine: &Engine, reader: &mut Reader, keys: &[KeyId]) -> Result<()> {
    let rows = reader.verifications_of(keys).await?;
    let live: BTreeSet<KeyId> = rows.iter().map(|row| row.key).collect();
    let dead: Vec<KeyId> = keys.iter().copied().filter(|key| !live.contains(key)).collect();
    if !dead.is_empty() {
        for (key, digest) in reader.tombstones_of(&dead).await? {
            engine.keyring.remove(key, &digest);
        }
        for key in dead {
            engine.secrets.forget(key.0);
        }
    }
    if rows.iter().any(VerificationRow::is_imported) {
        engine.directory.expect_imported();
    }
    for rows in rows.chunk_by(|one, next| one.key == next.key) {
        let Some(VerificationRow { key, organization, .. }) = rows.first() else { continue };
        let tenant = engine.directory.find(*organization).ok_or(Error::internal("a key has no organization"))?;
        if engine.keyring.put(rows, &tenant).is_err() {
            // What cannot be read lets nobody in, and does not keep later changes from being applied.
            tracing::error!(%key, "a key cannot be read from the database and lets nobody in");
            for row in rows {
                engine.keyring.remove(*key, &row.digest);
            }
        }
    }
    Ok(())
}
