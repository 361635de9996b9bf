//! What callers get wrong, and what they are told: `headwater dev` over real connections.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_contracts::v1::event::PageEvent;
use headwater_contracts::v1::ingest::ingest_service_client::IngestServiceClient;
use headwater_contracts::v1::ingest::{PublishRequest, PublishStreamRequest, Record};
use headwater_contracts::v1::stats::stats_service_client::StatsServiceClient;
use headwater_contracts::v1::stats::{
    GetStatsRequest, QueryHistoryRequest, StatQuery, StatValue, SubscribeStatsRequest, VerdictFilter,
};
use headwater_domain::ConsistencyToken;
use prost::Message;
use support::calls::{
    PAGE_TYPE, PAGES, TRANSACTION_TYPE, TRANSACTIONS, accepted, all_of, click, fields, figures, get, history, now_ms,
    pages, publish, publish_all, query, reason, reason_of_record, record, rejected, retry_delay, seconds, stored_pages,
    timestamp, transaction, transactions, with_deadline,
};
use support::process::Headwater;
use support::within;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

#[tokio::test]
async fn a_batch_that_cannot_be_looked_at_is_an_error_of_the_call() {
    let headwater = Headwater::dev(&["--ingest-batch-records-max", "3"]).await;
    let mut ingest = headwater.ingest().await;

    let status = publish(&mut ingest, PAGES, vec![]).await.unwrap_err();
    assert_eq!(reason(&status), (Code::InvalidArgument, "EMPTY_BATCH".into()), "{status}");
    assert_eq!(fields(&status), ["records"]);
    assert_eq!(retry_delay(&status), None, "the same request would fail again");

    let four: Vec<PageEvent> = (0..4).map(|_| click("anna", "/")).collect();
    let status = publish(&mut ingest, PAGES, pages(&four)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::InvalidArgument, "BATCH_TOO_LARGE".into()), "{status}");
    assert_eq!(fields(&status), ["records"]);
    assert!(status.message().contains("4 records; at most 3 (ingest.batch_records_max)"), "{status}");

    let status = publish(&mut ingest, "pageevents", pages(&four[..1])).await.unwrap_err();
    assert_eq!(reason(&status), (Code::NotFound, "UNKNOWN_STREAM".into()), "{status}");
    assert!(status.message().contains("page-events, transactions"), "{status}");

    publish_all(&mut ingest, PAGES, pages(&four[..3])).await;
}

#[tokio::test]
async fn each_record_is_answered_by_itself_in_order() {
    let headwater = Headwater::dev(&[]).await;
    let mut ingest = headwater.ingest().await;
    let (first, last) = (click("anna", "/a"), click("ben", "/b"));
    let no_user = PageEvent { user_id: String::new(), ..click("x", "/") };
    let no_time = PageEvent { timestamp: None, ..click("x", "/") };
    let no_uuid = PageEvent { event_id: "17".into(), ..click("x", "/") };
    let ancient = PageEvent { timestamp: Some(timestamp(0)), ..click("x", "/") };
    let foreign = transaction("a", 1).encode_to_vec();
    let mut cut = first.encode_to_vec();
    cut.truncate(cut.len() - 3);
    let too_long = PageEvent { page_url: "x".repeat(1 << 20), ..click("x", "/") };
    let records = vec![
        record(PAGE_TYPE, first.encode_to_vec()),
        record(PAGE_TYPE, no_user.encode_to_vec()),
        record(PAGE_TYPE, no_time.encode_to_vec()),
        record(PAGE_TYPE, no_uuid.encode_to_vec()),
        record(PAGE_TYPE, ancient.encode_to_vec()),
        record("type.googleapis.com/acme.Order", vec![]),
        record(TRANSACTION_TYPE, foreign),
        record(PAGE_TYPE, cut),
        record(PAGE_TYPE, vec![0xff; 64]),
        record(PAGE_TYPE, too_long.encode_to_vec()),
        Record { event: None },
        record(PAGE_TYPE, last.encode_to_vec()),
    ];
    let answer = publish(&mut ingest, PAGES, records).await.unwrap();
    assert_eq!(accepted(&answer.results[0]).id, first.event_id);
    assert_eq!(accepted(&answer.results[11]).id, last.event_id);
    let reasons: Vec<String> = answer.results[1..11].iter().map(reason_of_record).collect();
    assert_eq!(
        reasons,
        [
            "INVALID_FIELD",
            "INVALID_FIELD",
            "INVALID_FIELD",
            "TIME_ANCIENT",
            "UNKNOWN_TYPE",
            "WRONG_TYPE",
            "MALFORMED",
            "MALFORMED",
            "RECORD_TOO_LARGE",
            "UNKNOWN_TYPE"
        ]
    );
    let violation = |at: usize| {
        let violation = &rejected(&answer.results[at]).violations[0];
        (violation.field.as_str(), violation.rule.as_str())
    };
    assert_eq!(violation(1), ("user_id", "string.min_len"));
    assert_eq!(violation(2), ("timestamp", "required"));
    assert_eq!(violation(3), ("event_id", "string.uuid"));
    assert_eq!(violation(4).0, "timestamp");
    assert!(rejected(&answer.results[6]).detail.contains("\"transactions\""), "it says which stream takes it");

    let mut stats = headwater.stats().await;
    let top = get(&mut stats, query(PAGES, "top_pages"), &answer.consistency_token).await.unwrap();
    assert_eq!(figures(&top), [("/a", 1), ("/b", 1)], "only what was accepted counts");

    let half = transactions(&[transaction("a", 150)]);
    let odd = headwater_contracts::v1::event::Transaction { amount: 0.001, ..transaction("a", 0) };
    let answer = publish(&mut ingest, TRANSACTIONS, [half, transactions(&[odd])].concat()).await.unwrap();
    assert_eq!(reason_of_record(&answer.results[1]), "NOT_IN_SCALE");
    assert_eq!(rejected(&answer.results[1]).violations[0].field, "amount");
    let total = get(&mut stats, query(TRANSACTIONS, "account_total"), &answer.consistency_token).await.unwrap();
    assert_eq!((figures(&total), total.values[0].text.as_str()), (vec![("a", 150)], "1.50"));

    let nothing = publish(&mut ingest, PAGES, vec![Record { event: None }]).await.unwrap();
    assert_eq!(nothing.consistency_token, "", "nothing was accepted");
}

#[tokio::test]
async fn a_request_is_measured_after_decompression() {
    let headwater = Headwater::dev(&[]).await;
    let mut gzipped = headwater.ingest().await.send_compressed(CompressionEncoding::Gzip);
    // 12 MB of the same byte are 12 kB on the wire.
    let large: Vec<PageEvent> =
        (0..12).map(|_| PageEvent { page_url: "x".repeat(1_000_000), ..click("x", "/") }).collect();
    let status = publish(&mut gzipped, PAGES, pages(&large)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::InvalidArgument, "BATCH_TOO_LARGE".into()), "{status}");
    assert!(status.message().contains("rpc.request_bytes_max"), "{status}");
    publish_all(&mut gzipped, PAGES, pages(&[click("anna", "/")])).await;
}

#[tokio::test]
async fn an_event_from_the_future_becomes_a_dead_letter() {
    let headwater = Headwater::dev(&[]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let in_time = PageEvent { timestamp: Some(timestamp(now_ms() + 240_000)), ..click("near", "/near") };
    let ahead = PageEvent { timestamp: Some(timestamp(now_ms() + 600_000)), ..click("far", "/far") };
    let token = publish_all(&mut ingest, PAGES, pages(&[in_time, ahead.clone()])).await;
    for (stat, window) in [("top_pages", None), ("top_pages", seconds(3600))] {
        let asked = StatQuery { window, ..query(PAGES, stat) };
        let top = get(&mut stats, asked, &token).await.unwrap();
        assert_eq!(figures(&top), [("/near", 1)]);
    }
    for window in [None, seconds(3600)] {
        let asked = StatQuery { window, ..query(PAGES, "active_users") };
        assert_eq!(figures(&get(&mut stats, asked, &token).await.unwrap()), [("", 1)]);
    }
    assert_eq!(stored_pages(&history(&mut stats, all_of(PAGES)).await.unwrap())[0].user_id, "near");
    let by_id = QueryHistoryRequest { id: ahead.event_id, ..all_of(PAGES) };
    assert_eq!(history(&mut stats, by_id).await.unwrap().events.len(), 0);
    let labels = [("reason", "TIME_AHEAD"), ("stream", PAGES)];
    assert_eq!(headwater.metric("headwater_processor_dead_letters_total", &labels).await, 1.0);
}

#[tokio::test]
async fn a_publish_stream_is_answered_in_order_and_ends_at_a_bad_batch() {
    let headwater =
        Headwater::dev(&["--ingest-stream-records-in-flight-max", "13", "--ingest-batch-records-max", "13"]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let batch = |sequence: u64, records: Vec<Record>| PublishStreamRequest { sequence, stream: PAGES.into(), records };
    // Up to as many records in a batch as may be in flight at a time.
    let mut batches: Vec<_> = (1..=100)
        .map(|n| batch(n * 7, pages(&(0..n % 13 + 1).map(|_| click("anna", "/")).collect::<Vec<_>>())))
        .collect();
    let published: usize = batches.iter().map(|batch| batch.records.len()).sum();
    batches.push(batch(9, vec![]));
    batches.push(batch(10, pages(&[click("never", "/never")])));
    let mut answers = ingest.publish_stream(tokio_stream::iter(batches)).await.unwrap().into_inner();
    let mut last_token = String::new();
    for n in 1..=100 {
        let answer = answers.next().await.unwrap().unwrap();
        assert_eq!(answer.sequence, n * 7);
        assert_eq!(answer.results.len() as u64, n % 13 + 1);
        answer.results.iter().for_each(|result| drop(accepted(result).clone()));
        last_token = answer.consistency_token;
    }
    let status = answers.next().await.unwrap().unwrap_err();
    assert_eq!(reason(&status), (Code::InvalidArgument, "EMPTY_BATCH".into()), "{status}");
    assert!(answers.next().await.is_none());
    let top = get(&mut stats, query(PAGES, "top_pages"), &last_token).await.unwrap();
    assert_eq!(figures(&top), [("/", published as i64)]);
}

#[tokio::test]
async fn a_publish_stream_whose_answers_nobody_reads_is_not_read_on() {
    let headwater = Headwater::dev(&[]).await;
    // The least window that HTTP/2 allows to start with: answers have to wait in the server soon.
    let endpoint = Endpoint::from_shared(format!("http://{}", headwater.grpc())).unwrap();
    let channel = endpoint.initial_stream_window_size(65_535).connect().await.unwrap();
    let (batches, requests) = tokio::sync::mpsc::channel(1);
    let sent = Arc::new(AtomicU64::new(0));
    let sender = tokio::spawn({
        let sent = Arc::clone(&sent);
        async move {
            for sequence in 0..100_000 {
                let records = pages(&[click("anna", &"x".repeat(1500))]);
                if batches.send(PublishStreamRequest { sequence, stream: PAGES.into(), records }).await.is_err() {
                    return;
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let answers = IngestServiceClient::new(channel).publish_stream(ReceiverStream::new(requests)).await.unwrap();
    let mut last = u64::MAX;
    let stood = within(Duration::from_secs(30), "it takes no more", || {
        let now = sent.load(Ordering::Relaxed);
        let stands = now == std::mem::replace(&mut last, now) && now > 0;
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if stands { Ok(now) } else { Err(format!("{now} batches")) }
        }
    })
    .await;
    assert!(stood < 10_000, "{stood} batches were taken whose answers nobody read");
    let mut answers = answers.into_inner();
    for sequence in 0..stood.saturating_sub(10) {
        assert_eq!(answers.next().await.unwrap().unwrap().sequence, sequence);
    }
    sender.abort();
}

#[tokio::test]
async fn a_query_that_cannot_be_read_says_which_field_and_why() {
    let headwater = Headwater::dev(&[]).await;
    let mut stats = headwater.stats().await;
    let top = || query(PAGES, "top_pages");
    let nanos = |nanos: i32| Some(prost_types::Duration { seconds: 0, nanos });
    let cases = [
        (query("pageevents", "top_pages"), Code::NotFound, "UNKNOWN_STREAM", ""),
        (query(PAGES, "top_page"), Code::NotFound, "UNKNOWN_STAT", ""),
        (StatQuery { window: seconds(0), ..top() }, Code::InvalidArgument, "INVALID_WINDOW", "queries[0].window"),
        (StatQuery { window: seconds(-5), ..top() }, Code::InvalidArgument, "INVALID_WINDOW", "queries[0].window"),
        (StatQuery { window: nanos(999), ..top() }, Code::InvalidArgument, "INVALID_WINDOW", "queries[0].window"),
        (StatQuery { window: seconds(86_401), ..top() }, Code::InvalidArgument, "INVALID_WINDOW", "queries[0].window"),
        (
            StatQuery { window: seconds(i64::MAX), ..top() },
            Code::InvalidArgument,
            "INVALID_WINDOW",
            "queries[0].window",
        ),
        (
            StatQuery { by: "anna".into(), ..query(PAGES, "active_users") },
            Code::InvalidArgument,
            "INVALID_REQUEST",
            "queries[0].by",
        ),
        (StatQuery { limit: 10_001, ..top() }, Code::InvalidArgument, "INVALID_REQUEST", "queries[0].limit"),
        (StatQuery { page_token: "x!".into(), ..top() }, Code::InvalidArgument, "INVALID_PAGE_TOKEN", "page_token"),
    ];
    for (asked, code, wanted, field) in cases {
        let status = get(&mut stats, asked.clone(), "").await.unwrap_err();
        assert_eq!(reason(&status), (code, wanted.into()), "{asked:?}: {status}");
        assert!(field.is_empty() || fields(&status) == [field], "{asked:?}: {:?}", fields(&status));
        assert_eq!(retry_delay(&status), None, "{asked:?}");
    }
    let none = GetStatsRequest { queries: vec![], at_least: String::new() };
    let status = stats.get_stats(none).await.unwrap_err();
    assert_eq!((reason(&status).1.as_str(), fields(&status)), ("INVALID_REQUEST", vec!["queries".to_owned()]));
    let status = get(&mut stats, top(), "bogus").await.unwrap_err();
    assert_eq!(reason(&status), (Code::InvalidArgument, "INVALID_TOKEN".into()));
    assert_eq!(fields(&status), ["at_least"]);
}

#[tokio::test]
async fn what_was_published_is_visible_to_its_token() {
    let headwater = Headwater::dev(&[]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    for n in 1..=30 {
        let token = publish_all(&mut ingest, PAGES, pages(&[click(&format!("user {n}"), "/")])).await;
        let top = get(&mut stats, query(PAGES, "top_pages"), &token).await.unwrap();
        assert_eq!(figures(&top), [("/", n)]);
        assert!(top.complete);
        let asked = StatQuery { window: seconds(300), ..query(PAGES, "active_users") };
        assert_eq!(figures(&get(&mut stats, asked, &token).await.unwrap()), [("", n)]);
        let users = get(&mut stats, query(PAGES, "active_users"), &token).await.unwrap();
        assert_eq!(figures(&users), [("", n)], "all time comes from the history, which is no later");
    }
    let token = publish_all(&mut ingest, PAGES, pages(&[click("anna", "/")])).await;
    let mut far = ConsistencyToken::decode(&token).unwrap();
    let (&partition, &next) = far.next.iter().next().unwrap();
    far.add(partition, next + 999);
    let request = GetStatsRequest { queries: vec![query(PAGES, "top_pages")], at_least: far.encode() };
    let began = std::time::Instant::now();
    let status = stats.get_stats(with_deadline(request, Duration::from_millis(700))).await.unwrap_err();
    assert_eq!(reason(&status), (Code::DeadlineExceeded, "NOT_YET_VISIBLE".into()), "{status}");
    assert!(status.message().contains(&format!("partition {partition} is at offset {next} of {}", next + 1000)));
    assert!(retry_delay(&status).is_some());
    assert!(began.elapsed() > Duration::from_millis(400), "it waits as long as it may");
}

#[tokio::test]
async fn history_comes_in_pages_and_by_filters() {
    let headwater = Headwater::dev(&[]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let start = now_ms() - 3_600_000;
    // Out of order, and three at each moment.
    let events: Vec<PageEvent> = (0..25_i64)
        .map(|n| PageEvent {
            timestamp: Some(timestamp(start + (n * 7 % 25) / 3 * 1000)),
            ..click(&format!("user {}", n % 4), "/")
        })
        .collect();
    let token = publish_all(&mut ingest, PAGES, pages(&events)).await;
    get(&mut stats, query(PAGES, "top_pages"), &token).await.unwrap();

    let mut found = Vec::new();
    let mut sizes = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = QueryHistoryRequest { page_size: 10, page_token, ..all_of(PAGES) };
        let page = history(&mut stats, request).await.unwrap();
        sizes.push(page.events.len());
        found.extend(stored_pages(&page));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [10, 10, 5]);
    let mut wanted = events.clone();
    let place =
        |event: &PageEvent| (event.timestamp.unwrap().seconds, event.timestamp.unwrap().nanos, event.event_id.clone());
    wanted.sort_by_key(place);
    assert_eq!(found, wanted, "whole, by time and id, none twice");

    let of_key = QueryHistoryRequest { key: "user 1".into(), ..all_of(PAGES) };
    let of_key = stored_pages(&history(&mut stats, of_key).await.unwrap());
    assert!(of_key.len() == 6 && of_key.iter().all(|event| event.user_id == "user 1"), "{of_key:?}");
    let of_id = QueryHistoryRequest { id: events[3].event_id.clone(), ..all_of(PAGES) };
    assert_eq!(stored_pages(&history(&mut stats, of_id).await.unwrap()), [events[3].clone()]);
    let between = QueryHistoryRequest {
        start_time: Some(timestamp(start + 1000)),
        end_time: Some(timestamp(start + 3000)),
        ..all_of(PAGES)
    };
    assert_eq!(history(&mut stats, between).await.unwrap().events.len(), 6, "the end is not included");

    let first = history(&mut stats, QueryHistoryRequest { page_size: 10, ..all_of(PAGES) }).await.unwrap();
    let cases = [
        (QueryHistoryRequest { stream: "x".into(), ..all_of(PAGES) }, "UNKNOWN_STREAM", ""),
        (QueryHistoryRequest { start_time: None, ..all_of(PAGES) }, "INVALID_REQUEST", "start_time"),
        (QueryHistoryRequest { end_time: Some(timestamp(-1)), ..all_of(PAGES) }, "INVALID_REQUEST", "end_time"),
        (QueryHistoryRequest { page_size: -1, ..all_of(PAGES) }, "INVALID_REQUEST", "page_size"),
        (QueryHistoryRequest { page_size: 1001, ..all_of(PAGES) }, "INVALID_REQUEST", "page_size"),
        (QueryHistoryRequest { verdict: 9, ..all_of(PAGES) }, "INVALID_REQUEST", "verdict"),
        (
            QueryHistoryRequest { key: "user 1".into(), page_token: first.next_page_token, ..all_of(PAGES) },
            "INVALID_PAGE_TOKEN",
            "page_token",
        ),
    ];
    for (request, wanted, field) in cases {
        let status = history(&mut stats, request.clone()).await.unwrap_err();
        assert_eq!(reason(&status).1, wanted, "{request:?}: {status}");
        assert!(field.is_empty() || fields(&status) == [field], "{request:?}: {:?}", fields(&status));
    }
}

#[tokio::test]
async fn a_bot_is_flagged_from_its_eleventh_page_view_in_a_second_on() {
    let headwater = Headwater::dev(&[]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let second = now_ms() / 1000 * 1000 - 5000;
    let view = |n: i64, user: &str| PageEvent {
        timestamp: Some(timestamp(second + n * 60)),
        event_type: "page_view".into(),
        ..click(user, "/shop")
    };
    let bot: Vec<PageEvent> = (0..15).map(|n| view(n, "bot")).collect();
    let person: Vec<PageEvent> = (0..10).map(|n| view(n, "person")).collect();
    publish_all(&mut ingest, PAGES, pages(&bot[..8])).await;
    // A token stands for what its own call published.
    let of_person = publish_all(&mut ingest, PAGES, pages(&person)).await;
    get(&mut stats, query(PAGES, "top_pages"), &of_person).await.unwrap();
    // Clicks are not what the rule counts, and another second begins at nothing.
    publish_all(&mut ingest, PAGES, pages(&[click("bot", "/click"), view(20, "bot")])).await;
    let token = publish_all(&mut ingest, PAGES, pages(&bot[8..])).await;
    let top = get(&mut stats, query(PAGES, "top_pages"), &token).await.unwrap();
    assert_eq!(figures(&top), [("/shop", 21), ("/click", 1)], "10 of the bot, 10 of the person, 1 of the next second");

    let of = |verdict: VerdictFilter, key: &str| QueryHistoryRequest {
        verdict: verdict.into(),
        key: key.into(),
        ..all_of(PAGES)
    };
    let flagged = history(&mut stats, of(VerdictFilter::Flagged, "")).await.unwrap();
    assert_eq!(stored_pages(&flagged), bot[10..]);
    for (stored, nth) in flagged.events.iter().zip(11..) {
        let by = stored.flagged_by.as_ref().unwrap();
        assert_eq!((by.rule.as_str(), by.version, by.count), ("bot", 1, nth));
    }
    let counted = history(&mut stats, of(VerdictFilter::Counted, "bot")).await.unwrap();
    assert_eq!(counted.events.len(), 12);
    assert!(counted.events.iter().all(|stored| stored.flagged_by.is_none()));
    assert_eq!(history(&mut stats, of(VerdictFilter::Unspecified, "bot")).await.unwrap().events.len(), 17);
}

#[tokio::test]
async fn an_event_counts_once_however_often_it_is_published() {
    let headwater = Headwater::dev(&[]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let events: Vec<PageEvent> = (0..20).map(|n| click(&format!("user {}", n % 5), "/")).collect();
    let mut amounts = vec![transaction("a", 1050), transaction("a", -50)];
    amounts.push(amounts[0].clone());
    for _ in 0..3 {
        // In one batch, and in batches of their own.
        publish_all(&mut ingest, PAGES, pages(&[events.clone(), events.clone()].concat())).await;
        publish_all(&mut ingest, TRANSACTIONS, transactions(&amounts)).await;
    }
    let paid = publish_all(&mut ingest, TRANSACTIONS, transactions(&amounts)).await;
    let token = publish_all(&mut ingest, PAGES, pages(&events)).await;
    assert_eq!(figures(&get(&mut stats, query(PAGES, "top_pages"), &token).await.unwrap()), [("/", 20)]);
    assert_eq!(figures(&get(&mut stats, query(TRANSACTIONS, "account_total"), &paid).await.unwrap()), [("a", 1000)]);
    assert_eq!(history(&mut stats, all_of(PAGES)).await.unwrap().events.len(), 20);
    // The same id at another time is another event.
    let later = PageEvent { timestamp: Some(timestamp(now_ms() - 60_000)), ..events[0].clone() };
    let token = publish_all(&mut ingest, PAGES, pages(&[later])).await;
    assert_eq!(figures(&get(&mut stats, query(PAGES, "top_pages"), &token).await.unwrap()), [("/", 21)]);
}

#[tokio::test]
async fn a_subscription_is_told_when_figures_change() {
    let headwater = Headwater::dev(&[]).await;
    let (mut ingest, mut stats) = (headwater.ingest().await, headwater.stats().await);
    let interval = |ms: i64| Some(prost_types::Duration { seconds: ms / 1000, nanos: (ms % 1000 * 1_000_000) as i32 });
    let subscribe = |min_interval| SubscribeStatsRequest {
        queries: vec![query(PAGES, "top_pages"), query(TRANSACTIONS, "account_total")],
        min_interval,
        at_least: String::new(),
    };
    for wrong in [interval(99), interval(60_001), seconds(-1)] {
        let status = stats.subscribe_stats(subscribe(wrong)).await.unwrap_err();
        assert_eq!((reason(&status).1.as_str(), fields(&status)), ("INVALID_REQUEST", vec!["min_interval".to_owned()]));
    }
    let mut answers = stats.subscribe_stats(subscribe(interval(100))).await.unwrap().into_inner();
    let mut next = async || {
        let answer = tokio::time::timeout(Duration::from_secs(3), answers.next()).await;
        answer.expect("told within 3 s").unwrap().unwrap().results
    };
    let first = next().await;
    assert!(first.len() == 2 && first.iter().all(|result| result.values.is_empty()));
    publish_all(&mut ingest, PAGES, pages(&[click("anna", "/a")])).await;
    assert_eq!(figures(&next().await[0]), [("/a", 1)]);
    publish_all(&mut ingest, TRANSACTIONS, transactions(&[transaction("a", 7)])).await;
    let both = next().await;
    assert_eq!((figures(&both[0]), figures(&both[1])), (vec![("/a", 1)], vec![("a", 7)]));
    assert!(tokio::time::timeout(Duration::from_secs(1), answers.next()).await.is_err(), "nothing changed");
}

#[tokio::test]
async fn without_the_token_nothing_is_answered() {
    let headwater = Headwater::dev(&["--auth-token", "correct-horse-battery"]).await;
    let channel = headwater.channel().await;
    let mut bare = IngestServiceClient::new(channel.clone());
    let status = publish(&mut bare, PAGES, pages(&[click("anna", "/")])).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "UNAUTHENTICATED".into()), "{status}");
    let status = get(&mut StatsServiceClient::new(channel.clone()), query(PAGES, "top_pages"), "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let one = PublishStreamRequest { sequence: 1, stream: PAGES.into(), records: pages(&[click("anna", "/")]) };
    let status = bare.publish_stream(tokio_stream::iter([one])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(headwater.health(channel.clone(), "").await.unwrap(), "SERVING", "probes need no token");

    let bearer = |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", "Bearer correct-horse-battery".parse().unwrap());
        Ok(request)
    };
    let mut ingest = IngestServiceClient::with_interceptor(channel.clone(), bearer);
    let request = PublishRequest { stream: PAGES.into(), records: pages(&[click("ben", "/b")]) };
    let answer = ingest.publish(request).await.unwrap().into_inner();
    let mut stats = StatsServiceClient::with_interceptor(channel, bearer);
    let request = GetStatsRequest { queries: vec![query(PAGES, "top_pages")], at_least: answer.consistency_token };
    let values = stats.get_stats(request).await.unwrap().into_inner().results.remove(0).values;
    assert_eq!(values, [StatValue { key: "/b".into(), value: 1, text: "1".into(), overflowed: false }]);
    assert!(!headwater.log().contains("correct-horse-battery"), "the token is not logged");
}
