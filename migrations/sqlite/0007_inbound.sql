-- What inbound calls and text messages were answered. The answer is sent before its row is written.
CREATE TABLE inbound_answers (
  event_seq   INTEGER PRIMARY KEY,
  rule        TEXT,              -- the rule's name, or what else made the answer; null when nothing did
  answer      TEXT NOT NULL,     -- JSON, as it was sent
  outcome     TEXT NOT NULL,     -- src/telemetry/inbound.rs
  duration_ms INTEGER NOT NULL,
  at_ms       INTEGER NOT NULL
) STRICT;
-- The calls of a caller, the latest first.
CREATE INDEX calls_callers ON calls (company_id, from_number, last_event_at_ms);
