//! Rejected requests, see [`RejectedStore`](crate::storage::RejectedStore).

use bytes::Bytes;

use super::TestStore;
use crate::security::rejection_reason::RejectionReason;
use crate::storage::{MAX_REJECTED_REQUESTS, RejectedFilter, RejectedRequest};

fn rejection(number: usize) -> RejectedRequest {
    RejectedRequest {
        company: None,
        received_at_ms: i64::try_from(number).unwrap(),
        source: Some("192.0.2.1".into()),
        method: "POST".into(),
        path: "/webhook".into(),
        headers: [("host".to_owned(), format!("host-{number}"))].into(),
        size_bytes: Some(2),
        reason: RejectionReason::NoKeyMatched,
        diagnosis: "no configured key".into(),
        body: number.is_multiple_of(2).then(|| Bytes::from_static(b"{}")),
    }
}

pub(in crate::storage) async fn the_latest_rejected_requests_are_kept(store: TestStore) {
    let all: Vec<_> = (1..=MAX_REJECTED_REQUESTS + 5).map(|number| store.insert_rejected(rejection(number))).collect();
    let mut ids: Vec<_> = futures_util::future::join_all(all).await.into_iter().map(Result::unwrap).collect();
    ids.sort_unstable();
    let listed = store.list_rejected(RejectedFilter::default(), usize::MAX).await.unwrap();
    assert_eq!(
        (listed.len(), listed[0].id, listed[MAX_REJECTED_REQUESTS - 1].id),
        (MAX_REJECTED_REQUESTS, ids[ids.len() - 1], ids[5])
    );
    assert_eq!(store.list_rejected(RejectedFilter::default(), 3).await.unwrap().len(), 3);
    assert!(store.get_rejected(ids[4]).await.unwrap().is_none(), "the oldest are deleted");
}

pub(in crate::storage) async fn a_rejected_request_is_read_back_with_its_body(store: TestStore) {
    let with_body = store.insert_rejected(rejection(2)).await.unwrap();
    let without_body = store.insert_rejected(rejection(3)).await.unwrap();
    let listed = store.list_rejected(RejectedFilter::default(), 10).await.unwrap();
    assert_eq!(
        listed.iter().map(|it| (it.id, it.has_body)).collect::<Vec<_>>(),
        [(without_body, false), (with_body, true)]
    );
    assert!(listed.iter().all(|rejected| rejected.request.body.is_none()), "a list reads no bodies");
    let read = store.get_rejected(with_body).await.unwrap().unwrap();
    let sent = rejection(2);
    assert!(read.has_body);
    assert_eq!((read.request.body, read.request.headers, read.request.reason), (sent.body, sent.headers, sent.reason));
    assert_eq!((read.request.source, read.request.size_bytes), (sent.source, sent.size_bytes));
    assert_eq!(store.get_rejected(without_body).await.unwrap().unwrap().request.body, None);
}
