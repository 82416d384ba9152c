//! The ids of companies, see [`CompanyStore`](crate::storage::CompanyStore).

use super::TestStore;
use crate::storage::{DEFAULT_COMPANY_ID, Role};

pub(in crate::storage) async fn a_company_keeps_its_id(store: TestStore) {
    let ids = async |store: &TestStore, slugs: &[&str]| {
        store.get_or_create_company_ids(slugs.iter().map(|slug| (*slug).to_owned()).collect()).await.unwrap()
    };
    assert_eq!(store.find_company_id("acme").await.unwrap(), None);
    let first = ids(&store, &["default", "acme", "globex"]).await;
    assert_eq!(first[0], DEFAULT_COMPANY_ID);
    assert!(first[1] != first[2] && first[1] != first[0]);
    let store = store.restart().await;
    // `acme` has left the settings and comes back.
    assert_eq!(ids(&store, &["globex"]).await, first[2..]);
    assert_eq!(ids(&store, &["acme"]).await, first[1..2]);
    let reader = store.open_as(Role::Reader);
    assert_eq!(reader.find_company_id("acme").await.unwrap(), Some(first[1]));
    let names = ["default", "acme", "globex"].map(str::to_owned);
    assert_eq!(reader.list_companies().await.unwrap(), names.into_iter().zip(first).collect::<Vec<_>>());
    assert_eq!(reader.find_company_id("unknown").await.unwrap(), None, "a lookup creates no id");
}
