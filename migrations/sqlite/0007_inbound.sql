-- Answers to inbound calls and text messages. An answer is sent before its row is written.
CREATE TABLE inbound_answers (
  event_seq   INTEGER PRIMARY KEY,
  rule        TEXT,              -- name of the rule, or of what else made the answer; null when nothing did
  answer      TEXT NOT NULL,     -- JSON, as sent
  outcome     TEXT NOT NULL,     -- src/telemetry/inbound.rs
  duration_ms INTEGER NOT NULL,
  at_ms       INTEGER NOT NULL
) STRICT;
-- The calls of a caller, by time. Replaced in 0010.
CREATE INDEX calls_callers ON calls (company_id, from_number, last_event_at_ms);
