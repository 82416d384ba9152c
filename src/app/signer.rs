//! Signs the requests of handlers as Retell would, with the company's current key.

use crate::outbound::RetellSigner;
use crate::security::signature::Signature;
use crate::tenants::CurrentCompanyDirectory;

pub(super) struct CompanySigner(pub(super) CurrentCompanyDirectory);

impl RetellSigner for CompanySigner {
    fn sign(&self, company: &str, body: &[u8], now_ms: i64) -> Option<String> {
        let companies = self.0.get();
        let key = companies.find(Some(company))?.signing_key.as_ref()?;
        Some(Signature::sign(key, body, now_ms).to_string())
    }
}
