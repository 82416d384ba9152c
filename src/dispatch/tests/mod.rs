//! Tests of dispatch on the real store.

mod breaker_simulation;
mod faulty_queue;
mod leases;
mod order;
mod prefetch_budget;
mod replicas;
mod retention;
mod unstored_attempts;

use std::time::Duration;

use crate::storage::{DeliveryFilter, DeliveryRow, Store};

/// Waits until the deliveries, oldest event first, satisfy `condition`.
async fn wait_for_deliveries(store: &dyn Store, condition: impl Fn(&[DeliveryRow]) -> bool) -> Vec<DeliveryRow> {
    let poll = async {
        loop {
            let mut rows = store.list_deliveries(DeliveryFilter::default(), 10, None).await.unwrap().rows;
            rows.reverse();
            if condition(&rows) {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), poll).await.expect("the deliveries do not change as expected")
}
