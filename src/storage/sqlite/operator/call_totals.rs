//! Corrects the totals of calls while a receiver is running.

use super::OperatorStore;
use crate::storage::sqlite::calls;
use crate::storage::{StoreError, TotalsCorrection, TotalsPosition};

impl OperatorStore {
    pub(in crate::storage::sqlite) fn correct_call_totals(
        &mut self,
        position: TotalsPosition,
    ) -> Result<TotalsCorrection, StoreError> {
        let estimated_calls = self.read(|conn, _| calls::estimate_calls(conn))?;
        loop {
            let check = self.read(|conn, _| calls::check_period(conn, position))?;
            // A period with more differences than one transaction should write is checked again.
            let (calls, next) =
                if check.fits_one_correction() { (check.calls, check.next) } else { (0, Some(check.position)) };
            let mut correction = TotalsCorrection { calls, corrected_totals: 0, estimated_calls, next };
            if check.differing_totals() == 0 {
                return Ok(correction);
            }
            if let Some(corrected) = self.write(|conn, _| check.correct(conn))? {
                correction.corrected_totals = corrected as u64;
                return Ok(correction);
            }
        }
    }
}
