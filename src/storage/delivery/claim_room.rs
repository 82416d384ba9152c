//! How many further deliveries a claim may take.

use std::collections::BTreeMap;

use super::ClaimRequest;
use crate::base::id::CompanyId;

/// What is left of a claim for deliveries that are attempted as soon as they are planned.
#[derive(Default)]
pub(crate) struct ClaimRoom {
    deliveries: usize,
    bytes: u64,
    limit_per_company: usize,
    by_company: BTreeMap<CompanyId, usize>,
}

impl ClaimRoom {
    /// No room while a circuit breaker is not closed: it chooses its deliveries from all that are due.
    pub(crate) fn new(request: &ClaimRequest) -> Self {
        if request.prefer_untried || request.due_before_ms < request.now_ms {
            return Self::default();
        }
        Self {
            deliveries: request.limit,
            bytes: request.limit_bytes,
            limit_per_company: request.limit_per_company,
            by_company: request.prefetched_by_company.clone(),
        }
    }

    /// Takes room for one delivery of a company, if there is any.
    pub(crate) fn try_take(&mut self, company_id: CompanyId, size_bytes: u64) -> bool {
        if self.deliveries == 0 || self.bytes == 0 {
            return false;
        }
        let of_company = self.by_company.entry(company_id).or_default();
        if *of_company >= self.limit_per_company {
            return false;
        }
        self.take(company_id, size_bytes);
        true
    }

    /// Takes the room of a delivery that was claimed.
    pub(crate) fn take(&mut self, company_id: CompanyId, size_bytes: u64) {
        *self.by_company.entry(company_id).or_default() += 1;
        self.deliveries = self.deliveries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size_bytes);
    }
}
