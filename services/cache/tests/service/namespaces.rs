//! Namespaces, made and changed while they are used.

use headwater_contracts::v1::cache::namespace::Capacity;
use headwater_contracts::v1::cache::{
    CreateNamespaceRequest, Eviction, FlushNamespaceRequest, GetNamespaceRequest, GetNamespaceResponse,
    ListNamespacesRequest, Namespace, Origin, Overwrite, SetRequest, UpdateNamespaceRequest, WriteMode,
};
use headwater_contracts::v1::error::Reason;
use prost_types::FieldMask;

use crate::stage::{Client, ONCE, Stage, bytes, reason, set, until, value, wrong_field};

crate::on_every_store!(
    a_namespace_is_made_shown_listed_and_changed,
    what_a_namespace_cannot_be_is_named,
    what_is_declared_or_would_move_keys_is_fixed,
    a_capacity_lowered_below_what_is_held_holds_at_once,
    a_namespace_that_changes_while_it_is_used_loses_nothing,
    a_flush_forgets_one_namespace_only,
);

async fn shown(client: &mut Client, name: &str) -> GetNamespaceResponse {
    client.get_namespace(GetNamespaceRequest { name: name.to_owned() }).await.unwrap().into_inner()
}

async fn update(client: &mut Client, namespace: Namespace, paths: &[&str]) -> Result<Namespace, tonic::Status> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = UpdateNamespaceRequest { namespace: Some(namespace), update_mask: Some(FieldMask { paths }) };
    Ok(client.update_namespace(request).await?.into_inner().namespace.unwrap())
}

async fn a_namespace_is_made_shown_listed_and_changed(stage: Stage) {
    let client = &mut stage.client().await;
    let asked = Namespace { ttl_ms: Some(60_000), capacity: Some(Capacity::BytesMax(65_536)), ..Default::default() };
    let name = stage.namespace(asked).await;
    let made = shown(client, &name).await.namespace.unwrap();
    assert_eq!((made.origin(), made.revision), (Origin::Api, 1));
    assert_eq!((made.ttl_ms, made.capacity), (Some(60_000), Some(Capacity::BytesMax(65_536))));
    assert_eq!((made.queue_max, made.eviction()), (Some(10_000), Eviction::TinyLfu), "the rest is as in the settings");
    let prefix = String::from_utf8(made.store_prefix.to_vec()).unwrap();
    assert!(prefix.ends_with(&format!(":v:{name}:")), "{prefix}");

    let by_mask = Namespace { name: name.clone(), overwrite: Overwrite::Refused.into(), ..Default::default() };
    let changed = update(client, by_mask, &["overwrite", "ttl_ms"]).await.unwrap();
    assert_eq!((changed.revision, changed.overwrite()), (2, Overwrite::Refused));
    assert_eq!(changed.ttl_ms, Some(3_600_000), "named and unset: as in the settings");
    let by_what_is_set = Namespace { name: name.clone(), stale_if_error_ms: Some(5), ..Default::default() };
    let changed = update(client, by_what_is_set, &[]).await.unwrap();
    assert_eq!((changed.overwrite(), changed.stale_if_error_ms), (Overwrite::Refused, Some(5)));
    let late = Namespace { name: name.clone(), ttl_ms: Some(1), revision: 2, ..Default::default() };
    assert_eq!(reason(update(client, late, &[]).await), Reason::NamespaceFixed, "somebody was faster");
    let whole = Namespace { name: name.clone(), ttl_ms: Some(7), revision: 3, ..Default::default() };
    let changed = update(client, whole, &["*"]).await.unwrap();
    assert_eq!((changed.overwrite(), changed.stale_if_error_ms), (Overwrite::Allowed, Some(0)));
    assert_eq!((changed.ttl_ms, changed.capacity), (Some(7), Some(Capacity::EntriesMax(100_000))));

    let again = CreateNamespaceRequest { namespace: Some(Namespace { name: name.clone(), ..Default::default() }) };
    assert_eq!(reason(client.create_namespace(again).await), Reason::NamespaceExists);
    for _ in 0..3 {
        stage.namespace(Namespace::default()).await;
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListNamespacesRequest { page_size: 2, page_token: page_token.clone() };
        let page = client.list_namespaces(request).await.unwrap().into_inner();
        assert!((1..=2).contains(&page.namespaces.len()));
        names.extend(page.namespaces.into_iter().map(|namespace| namespace.name));
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    assert!(names.is_sorted() && names.contains(&name) && names.contains(&ONCE.to_owned()), "{names:?}");
    assert_eq!(names.len(), 6, "{names:?}");
    for page_size in [-1, 1001] {
        let request = ListNamespacesRequest { page_size, ..Default::default() };
        assert_eq!(wrong_field(client.list_namespaces(request).await), "page_size");
    }
    let request = ListNamespacesRequest { page_token: "made up".to_owned(), ..Default::default() };
    assert_eq!(reason(client.list_namespaces(request).await), Reason::InvalidPageToken);
}

async fn what_a_namespace_cannot_be_is_named(stage: Stage) {
    type Change = fn(&mut Namespace);
    let client = &mut stage.client().await;
    let with = |change: fn(&mut Namespace)| {
        let mut namespace = Namespace { name: "good".to_owned(), ..Default::default() };
        change(&mut namespace);
        CreateNamespaceRequest { namespace: Some(namespace) }
    };
    let wrong: [(&str, Change); 17] = [
        ("name", |it| it.name.clear()),
        ("name", |it| it.name = "Upper".to_owned()),
        ("name", |it| it.name = "a".repeat(65)),
        ("entries_max", |it| it.capacity = Some(Capacity::EntriesMax(0))),
        ("entries_max", |it| it.capacity = Some(Capacity::EntriesMax(-1))),
        ("bytes_max", |it| it.capacity = Some(Capacity::BytesMax(1023))),
        ("bytes_max", |it| {
            it.capacity = Some(Capacity::BytesMax(4096));
            it.eviction = Eviction::Rank.into();
        }),
        ("eviction", |it| it.eviction = 9),
        ("ttl_ms", |it| it.ttl_ms = Some(-1)),
        ("ttl_ms", |it| it.ttl_ms = Some(31 * 86_400_000)),
        ("ttl_max_ms", |it| it.ttl_max_ms = Some(0)),
        ("ttl_jitter_percent", |it| it.ttl_jitter_percent = Some(101)),
        ("stale_if_error_ms", |it| it.stale_if_error_ms = Some(86_400_001)),
        ("negative_ttl_ms", |it| it.negative_ttl_ms = Some(i64::MAX)),
        ("key_bytes_max", |it| it.key_bytes_max = Some(65_537)),
        ("value_bytes_max", |it| it.value_bytes_max = Some(0)),
        ("queue_max", |it| it.queue_max = Some(0)),
    ];
    for (field, change) in wrong {
        assert_eq!(wrong_field(client.create_namespace(with(change)).await), format!("namespace.{field}"));
    }
    assert_eq!(wrong_field(client.create_namespace(CreateNamespaceRequest { namespace: None }).await), "namespace");
    let name = stage.namespace(Namespace::default()).await;
    let named = || Namespace { name: name.clone(), ..Default::default() };
    assert_eq!(wrong_field(update(client, named(), &["ttl_msec"]).await), "update_mask");
    assert_eq!(wrong_field(update(client, named(), &["name"]).await), "update_mask");
    let negative = Namespace { revision: -1, ..named() };
    assert_eq!(wrong_field(update(client, negative, &[]).await), "namespace.revision");
    let wrong = Namespace { ttl_max_ms: Some(5), ..named() };
    assert_eq!(wrong_field(update(client, wrong, &[]).await), "namespace.ttl_ms", "it goes by what both are then");
}

async fn what_is_declared_or_would_move_keys_is_fixed(stage: Stage) {
    let client = &mut stage.client().await;
    for name in ["default", "", ONCE] {
        let change = Namespace { name: name.to_owned(), ttl_ms: Some(5), ..Default::default() };
        assert_eq!(reason(update(client, change, &[]).await), Reason::NamespaceFixed, "{name}");
    }
    let taken = CreateNamespaceRequest { namespace: Some(Namespace { name: ONCE.to_owned(), ..Default::default() }) };
    assert_eq!(reason(client.create_namespace(taken).await), Reason::NamespaceExists);
    let name = stage.namespace(Namespace::default()).await;
    let change = |eviction: Eviction, write_mode: WriteMode| Namespace {
        name: name.clone(),
        eviction: eviction.into(),
        write_mode: write_mode.into(),
        ..Default::default()
    };
    let ranked = change(Eviction::Rank, WriteMode::Unspecified);
    assert_eq!(reason(update(client, ranked, &[]).await), Reason::NamespaceFixed);
    let queued = change(Eviction::Unspecified, WriteMode::Queued);
    assert_eq!(reason(update(client, queued, &[]).await), Reason::NamespaceFixed);
    update(client, change(Eviction::Lru, WriteMode::AtOnce), &[]).await.unwrap();
}

async fn a_capacity_lowered_below_what_is_held_holds_at_once(stage: Stage) {
    let client = &mut stage.client().await;
    let ranked = |entries_max| Namespace {
        capacity: Some(Capacity::EntriesMax(entries_max)),
        eviction: Eviction::Rank.into(),
        ..Default::default()
    };
    let name = &stage.namespace(ranked(10)).await;
    for n in 0..10 {
        set(client, name, &format!("k{n}"), "v").await.unwrap();
    }
    assert_eq!(shown(client, name).await.usage.unwrap().store_entries, Some(10));
    let lower = Namespace { name: name.clone(), ..ranked(3) };
    update(client, lower, &[]).await.unwrap();
    assert_eq!(shown(client, name).await.usage.unwrap().store_entries, Some(3));
    for n in 0..10 {
        let expected = (n >= 7).then_some("v");
        assert_eq!(value(client, name, &format!("k{n}")).await.as_deref(), expected, "k{n}: the oldest of equals go");
    }
    set(client, name, "new", "v").await.unwrap();
    assert_eq!(shown(client, name).await.usage.unwrap().store_entries, Some(3));
    // Of L1 too: what a replica holds is soon no more than it may be.
    let name = &stage.namespace(Namespace { capacity: Some(Capacity::EntriesMax(50)), ..Default::default() }).await;
    for n in 0..50 {
        set(client, name, &format!("k{n}"), "v").await.unwrap();
    }
    let lower = Namespace { name: name.clone(), capacity: Some(Capacity::EntriesMax(5)), ..Default::default() };
    update(client, lower, &[]).await.unwrap();
    until("L1 holds no more than it may", async || {
        for n in 0..50 {
            assert_eq!(value(client, name, &format!("k{n}")).await.as_deref(), Some("v"), "the store has it");
        }
        let entries = shown(client, name).await.usage.unwrap().l1_entries;
        if entries <= 5 { Ok(()) } else { Err(format!("{entries} entries")) }
    })
    .await;
}

async fn a_namespace_that_changes_while_it_is_used_loses_nothing(stage: Stage) {
    let name = &stage.namespace(Namespace::default()).await;
    let mut users = Vec::new();
    for user in 0..4 {
        let (mut client, name) = (stage.client().await, name.clone());
        users.push(tokio::spawn(async move {
            for n in 0..50 {
                let (key, text) = (format!("{user} {n}"), n.to_string());
                set(&mut client, &name, &key, &text).await.unwrap();
                assert_eq!(value(&mut client, &name, &key).await, Some(text), "{key}");
            }
        }));
    }
    let client = &mut stage.client().await;
    let mut changes = 0_i64;
    while users.iter().any(|user| !user.is_finished()) {
        changes += 1;
        let change = Namespace {
            name: name.clone(),
            ttl_ms: Some(600_000 + changes),
            capacity: Some(Capacity::EntriesMax(1 + changes % 100)),
            ..Default::default()
        };
        update(client, change, &[]).await.unwrap();
    }
    for user in users {
        user.await.unwrap();
    }
    assert_eq!(shown(client, name).await.namespace.unwrap().revision, 1 + changes);
    for user in 0..4 {
        for n in 0..50 {
            assert_eq!(value(client, name, &format!("{user} {n}")).await, Some(n.to_string()));
        }
    }
    // The limits that are in force are those that count.
    let change = Namespace { name: name.clone(), value_bytes_max: Some(3), ..Default::default() };
    update(client, change, &[]).await.unwrap();
    let put = SetRequest { namespace: name.clone(), key: bytes("k"), value: bytes("four"), ..Default::default() };
    assert_eq!(wrong_field(client.set(put).await), "value");
}

async fn a_flush_forgets_one_namespace_only(stage: Stage) {
    let client = &mut stage.client().await;
    let (one, other) = (stage.namespace(Namespace::default()).await, stage.namespace(Namespace::default()).await);
    for name in [&one, &other] {
        for key in ["a", "b", "c"] {
            set(client, name, key, "v").await.unwrap();
            assert_eq!(value(client, name, key).await.as_deref(), Some("v"));
        }
    }
    let flushed = client.flush_namespace(FlushNamespaceRequest { name: one.clone() }).await.unwrap().into_inner();
    assert_eq!(flushed.keys, 3);
    for key in ["a", "b", "c"] {
        assert_eq!(value(client, &one, key).await, None, "{key}: also from L1");
        assert_eq!(value(client, &other, key).await.as_deref(), Some("v"));
    }
}
