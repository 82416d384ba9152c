//! Finds the persons of the erasure log in a store that was restored.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rusqlite::Connection;

use crate::base::id::CompanyId;
use crate::storage::backup::{ErasedNumbers, ErasureDigest, ErasureLogEntry, LoggedSubject, call_digest};
use crate::storage::sqlite::{SqliteUrl, open};
use crate::storage::{CallKey, DataSubject, StoreError};

/// The tables of the store with ids of calls.
const CALL_TABLES: [&str; 4] = ["events", "calls", "chats", "appointments"];

/// What the log says about one scope.
struct Scope {
    numbers: ErasedNumbers,
    calls: HashSet<ErasureDigest>,
}

pub(super) fn find_logged_persons(
    url: &SqliteUrl,
    entries: Vec<ErasureLogEntry>,
) -> Result<Vec<DataSubject>, StoreError> {
    let conn = open::open_reader(url)?;
    let key = open::load_identity_key(&conn)?;
    let mut scopes: BTreeMap<Option<CompanyId>, Scope> = BTreeMap::new();
    for ErasureLogEntry { company, subject, .. } in entries {
        let scope = scopes
            .entry(company)
            .or_insert_with(|| Scope { numbers: ErasedNumbers::new(key.clone()), calls: HashSet::new() });
        match subject {
            LoggedSubject::Number { digest, prefix } => scope.numbers.add(digest, prefix),
            LoggedSubject::Call { digest } => drop(scope.calls.insert(digest)),
        }
    }
    let mut persons = BTreeMap::new();
    let mut calls_by_company = BTreeMap::new();
    for (company, scope) in scopes {
        if let Some(company) = company {
            calls_by_company.insert(company, scope.calls);
        }
        persons.insert(company, DataSubject::of_erased_numbers(Arc::new(scope.numbers), company));
    }
    if calls_by_company.values().any(|calls| !calls.is_empty()) {
        let ledger = open::open_reader(&url.ledger_url())?;
        let mut add = |call: CallKey| {
            let is_erased =
                calls_by_company.get(&call.0).is_some_and(|calls| calls.contains(&call_digest(&key, &call)));
            if is_erased && let Some(person) = persons.get_mut(&Some(call.0)) {
                person.add_calls([call]);
            }
        };
        for table in CALL_TABLES {
            for_each_call(&conn, table, &mut add)?;
        }
        for_each_call(&ledger, "invocations", &mut add)?;
    }
    Ok(persons.into_values().collect())
}

fn for_each_call(conn: &Connection, table: &str, visit: &mut impl FnMut(CallKey)) -> Result<(), StoreError> {
    let mut statement = conn.prepare(&format!("SELECT company_id, call_id FROM {table} WHERE call_id IS NOT NULL"))?;
    let mut rows = statement.query([])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let call: CallKey = (row.get(0)?, row.get(1)?);
        // The events of a call are often neighbors.
        if last.as_ref() != Some(&call) {
            visit(call.clone());
            last = Some(call);
        }
    }
    Ok(())
}
