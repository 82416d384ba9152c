-- Deliveries that were never attempted: a circuit breaker probes with them. One that an operator has retried or replayed
-- may have failed before, which its other columns no longer show.
ALTER TABLE deliveries ADD COLUMN restarted INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deliveries_untried ON deliveries (handler_id, company_id, due_ms)
  WHERE due_ms IS NOT NULL AND state = 0 AND restarted = 0;
