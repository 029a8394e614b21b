//! The log of changes: numbered without gaps in the order of commits, and never apart from what it tells of.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyrack_core::OrganizationId;
use keyrack_store::{AuditFilter, Event, FeedHead, NewEvent, Reader, SubjectKind};
use keyrack_testkit::{Database, both_databases};
use uuid::Uuid;

use crate::samples;
use crate::support::{World, at, commit};

const TASKS: usize = 8;
const CHANGES: usize = 50;

fn made(organization: OrganizationId, subject: Uuid) -> NewEvent {
    NewEvent {
        organization: Some(organization),
        subject_kind: SubjectKind::Workspace,
        subject_id: Some(subject),
        ..samples::event("workspace.created")
    }
}

/// What one snapshot shows: the head, every event, and the workspaces that are there.
async fn seen(reader: &mut Reader, organizations: &[OrganizationId]) -> (FeedHead, Vec<Event>, BTreeSet<Uuid>) {
    let head = reader.feed_head().await.unwrap().unwrap();
    let events = reader.events_after(0, i64::MAX).await.unwrap();
    let mut workspaces = BTreeSet::new();
    for organization in organizations {
        workspaces.extend(reader.list_workspaces(*organization).await.unwrap().into_iter().map(|w| w.id.0));
    }
    (head, events, workspaces)
}

both_databases! {
    async fn numbers_are_dense_and_whoever_sees_one_sees_all_up_to_it(database: Database) {
        let world = Arc::new(World::new(database).await);
        // Tasks of the same organization wait for each other; those of different ones meet only at the head of the log.
        let mut organizations = Vec::new();
        for slug in ["a", "b", "c", "d"] {
            organizations.push(samples::tenancy(&world.store, slug).await.organization.id);
        }
        let start = world.head().await.seq;
        let (_, _, there_before) = seen(&mut world.read().await, &organizations).await;

        let changes = |task: usize| {
            let (world, organization) = (Arc::clone(&world), organizations[task % organizations.len()]);
            async move {
                let mut numbers = Vec::new();
                for change in 0..CHANGES {
                    let mut writer = world.store.write(&[organization]).await.unwrap();
                    let workspace = samples::workspace(organization, &format!("w{task}-{change}"));
                    writer.insert_workspace(&workspace).await.unwrap();
                    numbers.push(writer.commit(made(organization, workspace.id.0), vec![]).await.unwrap());
                }
                numbers
            }
        };
        let writers: Vec<_> = (0..TASKS).map(|task| tokio::spawn(changes(task))).collect();

        let last = start + i64::try_from(TASKS * CHANGES).unwrap();
        let mut looks = 0;
        loop {
            let (head, events, workspaces) = seen(&mut world.read().await, &organizations).await;
            assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), (1..=head.seq).collect::<Vec<_>>());
            let told = events.iter().filter(|e| e.kind == "workspace.created").map(|e| e.subject_id.unwrap());
            let told: BTreeSet<Uuid> = told.chain(there_before.iter().copied()).collect();
            assert_eq!(workspaces, told, "at {} of {last}", head.seq);
            looks += 1;
            if head.seq == last {
                break;
            }
        }
        assert!(looks > 1, "some looks were taken while others wrote");

        let mut all = Vec::new();
        for writer in writers {
            let numbers = writer.await.unwrap();
            assert!(numbers.is_sorted(), "{numbers:?}");
            all.extend(numbers);
        }
        all.sort_unstable();
        assert_eq!(all, (start + 1..=last).collect::<Vec<_>>());
    }

    async fn a_dropped_writer_leaves_nothing(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let before = world.look().await.contents().await;

        let mut writer = world.write().await;
        writer.insert_organization(&samples::organization("other")).await.unwrap();
        writer.insert_key(&samples::key(&t.group, "billing"), &samples::secret(1)).await.unwrap();
        writer.delete_workspace(t.organization.id, t.workspace.id).await.unwrap();
        assert!(writer.find_organization_by_slug("other").await.unwrap().is_some(), "the writer sees what it did");
        drop(writer);

        assert_eq!(world.look().await.contents().await, before);
        // Its number was not used up either.
        assert_eq!(commit(world.write().await).await, 3);
    }

    async fn several_events_of_one_change_follow_each_other(database: Database) {
        let world = World::new(database).await;
        let more = vec![samples::event("second"), samples::event("third")];
        let last = world.write().await.commit(samples::event("first"), more).await.unwrap();
        let events = world.read().await.events_after(1, 10).await.unwrap();
        let told: Vec<_> = events.iter().map(|e| (e.seq, &*e.kind)).collect();
        assert_eq!(told, [(2, "first"), (3, "second"), (4, "third")]);
        assert_eq!(last, 4);
    }

    async fn an_event_comes_back_as_it_was(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let full = NewEvent {
            at: at(77),
            organization: Some(t.organization.id),
            actor_kind: keyrack_store::ActorKind::ApiKey,
            actor_id: Some(samples::id()),
            actor_name: "Zähler \u{1F511}".to_owned(),
            subject_kind: SubjectKind::Key,
            subject_id: Some(samples::id()),
            subject_name: "it's \"quoted\"".to_owned(),
            data: serde_json::json!({ "list": [1, null, { "deep": "ü" }], "empty": {} }),
            request_id: Some("req-1".to_owned()),
            ..samples::event("key.created")
        };
        let bare = samples::event("instance.touched");
        let seq = world.write().await.commit(full.clone(), vec![bare.clone()]).await.unwrap();
        let events = world.read().await.events_after(seq - 2, 10).await.unwrap();
        assert_eq!(events.len(), 2);
        for (event, new) in events.iter().zip([full, bare]) {
            let again = NewEvent {
                id: event.id,
                at: event.at,
                organization: event.organization,
                kind: new.kind,
                actor_kind: event.actor_kind,
                actor_id: event.actor_id,
                actor_name: event.actor_name.clone(),
                subject_kind: event.subject_kind,
                subject_id: event.subject_id,
                subject_name: event.subject_name.clone(),
                data: event.data.clone(),
                request_id: event.request_id.clone(),
            };
            assert_eq!(event.kind, new.kind);
            assert_eq!(format!("{again:?}"), format!("{new:?}"));
        }
        assert_eq!(world.read().await.latest_time().await.unwrap(), Some(at(77)));
    }

    async fn the_audit_is_an_organization_s_own_and_narrowed_by_each_member_of_the_filter(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let (actor, subject) = (samples::id(), samples::id());
        let own =
            |kind, seconds| NewEvent { at: at(seconds), organization: Some(t.organization.id), ..samples::event(kind) };
        let events = [
            NewEvent { actor_id: Some(actor), ..own("a", 10) },
            NewEvent { subject_id: Some(subject), ..own("b", 20) },
            NewEvent { actor_id: Some(actor), subject_id: Some(subject), ..own("a", 30) },
            NewEvent { organization: Some(OrganizationId(samples::id())), ..own("foreign", 30) },
            own("b", 40),
        ];
        let [first, rest @ ..] = events;
        let last = world.write().await.commit(first, rest.to_vec()).await.unwrap();

        let cases = [
            (AuditFilter::default(), vec![40, 30, 20, 10]),
            (AuditFilter { kind: Some("a".to_owned()), ..AuditFilter::default() }, vec![30, 10]),
            (AuditFilter { actor: Some(actor), ..AuditFilter::default() }, vec![30, 10]),
            (AuditFilter { subject: Some(subject), ..AuditFilter::default() }, vec![30, 20]),
            (AuditFilter { before: Some(last - 2), ..AuditFilter::default() }, vec![20, 10]),
            (AuditFilter { from: Some(at(20)), ..AuditFilter::default() }, vec![40, 30, 20]),
            (AuditFilter { until: Some(at(20)), ..AuditFilter::default() }, vec![10]),
            (AuditFilter { actor: Some(actor), subject: Some(subject), ..AuditFilter::default() }, vec![30]),
            (AuditFilter { kind: Some("no\0such".to_owned()), ..AuditFilter::default() }, vec![]),
        ];
        let mut reader = world.read().await;
        for (filter, wanted) in cases {
            let found = reader.list_audit(t.organization.id, &filter, 100).await.unwrap();
            let wanted: Vec<_> = wanted.into_iter().map(at).collect();
            assert_eq!(found.iter().map(|e| e.at).collect::<Vec<_>>(), wanted, "{filter:?}");
        }
        assert_eq!(reader.list_audit(t.organization.id, &AuditFilter::default(), 2).await.unwrap().len(), 2);
    }

    async fn an_epoch_is_given_once(database: Database) {
        let world = World::new(database).await;
        let before = world.head().await;
        let mut writer = world.write().await;
        writer.begin_epoch(samples::id()).await.unwrap();
        commit(writer).await;
        assert_eq!(world.head().await.epoch, before.epoch);
    }

    async fn a_database_without_an_epoch_takes_no_change(database: Database) {
        let directory = tempfile::tempdir().unwrap();
        let url = database.fresh(directory.path()).unwrap();
        let store = keyrack_store::Store::open(&url, at(0)).await.unwrap();
        assert_eq!(store.read().await.unwrap().feed_head().await.unwrap(), None);
        let mut writer = store.write(&[]).await.unwrap();
        writer.insert_organization(&samples::organization("acme")).await.unwrap();
        writer.commit(samples::event("x"), vec![]).await.unwrap_err();
        assert!(store.read().await.unwrap().list_organizations(None, 9).await.unwrap().is_empty());
    }
}
