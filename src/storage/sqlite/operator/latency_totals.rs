//! Corrects the totals of attempts and invocations while a receiver is running.

use super::OperatorStore;
use crate::storage::sqlite::latency_totals::{self, Differences, TotalsComparison, TotalsTable};
use crate::storage::sqlite::wal::MAX_WAL_BYTES_OF_READS;
use crate::storage::{StoreError, TotalsRebuildStep};

/// A comparison of totals, and the differences of the last part that are not corrected yet.
pub(in crate::storage::sqlite) struct TotalsRebuildState {
    table: TotalsTable,
    comparison: TotalsComparison,
    differences: Option<Differences>,
    estimated_rows: u64,
}

impl OperatorStore {
    pub(in crate::storage::sqlite) fn start_totals_rebuild(
        &self,
        table: TotalsTable,
    ) -> Result<TotalsRebuildState, StoreError> {
        let estimated_rows = match table {
            TotalsTable::Attempts => self.read(|conn, _| latency_totals::estimate_rows(conn, table))?,
            TotalsTable::Invocations => latency_totals::estimate_rows(self.ledger()?, table)?,
        };
        let comparison = TotalsComparison::open(self.url(), table, MAX_WAL_BYTES_OF_READS)?;
        Ok(TotalsRebuildState { table, comparison, differences: None, estimated_rows })
    }

    /// Counts the next rows, or corrects the next totals; `None` at the end.
    pub(in crate::storage::sqlite) fn continue_totals_rebuild(
        &mut self,
        rebuild: &mut TotalsRebuildState,
    ) -> Result<Option<TotalsRebuildStep>, StoreError> {
        let mut step = TotalsRebuildStep { estimated_rows: rebuild.estimated_rows, ..TotalsRebuildStep::default() };
        let Some(mut differences) = rebuild.differences.take() else {
            let Some(compared) = rebuild.comparison.step()? else { return Ok(None) };
            step.counted = compared.counted;
            rebuild.differences = compared.differences;
            return Ok(Some(step));
        };
        if differences.is_empty() {
            return Ok(Some(step));
        }
        let corrected = match rebuild.table {
            TotalsTable::Attempts => self.write(|conn, _| differences.correct_next(conn))?,
            TotalsTable::Invocations => self.write_ledger(|conn| differences.correct_next(conn))?,
        };
        match corrected {
            Some(corrected) => {
                step.corrected_totals = corrected as u64;
                rebuild.differences = Some(differences);
            }
            None => rebuild.comparison.repeat(&differences),
        }
        Ok(Some(step))
    }
}
