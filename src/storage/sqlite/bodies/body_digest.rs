//! The digest with which a body is checked whenever it is read.

use rusqlite::Row;

use crate::base::id::CompanyId;
use crate::storage::{BodyError, Identity, IdentityKey};

/// The identity of the event is the digest of its body: a keyed hash of 128 bits over company, dedupe discriminator
/// and body, all of which are in its row. So no further hash is made or stored, and a damaged company is found too.
pub(in crate::storage::sqlite) struct BodyDigest<'a> {
    pub(in crate::storage::sqlite) key: &'a IdentityKey,
    pub(in crate::storage::sqlite) company_id: CompanyId,
    pub(in crate::storage::sqlite) dedupe_discriminator: Option<&'a str>,
    pub(in crate::storage::sqlite) identity: Identity,
}

impl<'a> BodyDigest<'a> {
    /// Reads the digest from the columns `identity` and `dedupe_discriminator` at `index` and `index + 1`.
    pub(in crate::storage::sqlite) fn from_row(
        row: &'a Row,
        index: usize,
        company_id: CompanyId,
        key: &'a IdentityKey,
    ) -> Result<Self, BodyError> {
        let damaged = |_| BodyError::damaged("the digest of the body cannot be read; restore the store from a backup");
        let identity = row.get(index).map(Identity).map_err(damaged)?;
        let discriminator = row.get_ref(index + 1).map_err(damaged)?.as_str_or_null();
        let dedupe_discriminator = discriminator.map_err(|error| damaged(error.into()))?;
        Ok(Self { key, company_id, dedupe_discriminator, identity })
    }

    pub(in crate::storage::sqlite) fn matches(&self, body: &[u8]) -> bool {
        self.key.hash(self.company_id, self.dedupe_discriminator, body) == self.identity
    }

    /// Checks a body that is in the row.
    pub(in crate::storage::sqlite) fn check_row(&self, body: &[u8]) -> Result<(), BodyError> {
        if self.matches(body) {
            return Ok(());
        }
        let reason = "the body in the database does not match its digest; restore the store from a backup";
        Err(BodyError::damaged(reason))
    }
}
