-- Handlers and their deliveries.
ALTER TABLE handlers RENAME TO handlers_before;
ALTER TABLE deliveries RENAME TO deliveries_before;
DROP INDEX deliveries_due;

CREATE TABLE handlers (
  id               INTEGER PRIMARY KEY,
  name             TEXT NOT NULL UNIQUE,
  since            INTEGER NOT NULL,            -- the handler gets events after this one
  through          INTEGER NOT NULL,            -- planned up to this event; one without a row was filtered
  ordered          INTEGER NOT NULL DEFAULT 1,  -- whether the events of a call are delivered in order
  hold_ms          INTEGER NOT NULL DEFAULT 600000,
  breaker          TEXT,                        -- open or half_open; null when closed
  breaker_since_ms INTEGER
) STRICT;
INSERT INTO handlers (name, since, through) SELECT name, 0, through FROM handlers_before ORDER BY name;

-- One row per event and handler whose filter accepts it, appended as the journal is read. `due_ms` is set on
-- deliveries that may be claimed, which are usually the heads of call sequences. The events of a call form a call
-- sequence (here `lane`, since 0012 `ordering_key`); an event without a call is alone in its sequence.
CREATE TABLE deliveries (
  handler_id   INTEGER NOT NULL,
  event_seq    INTEGER NOT NULL,
  state        INTEGER NOT NULL CHECK (state BETWEEN 0 AND 5),  -- src/storage/delivery.rs
  company_id   INTEGER NOT NULL,
  lane         INTEGER NOT NULL,
  due_ms       INTEGER,           -- when it may be claimed; while it runs, when its lease ends
  attempts     INTEGER NOT NULL,
  since_ms     INTEGER NOT NULL,  -- when it was made, retried or replayed
  failed_at_ms INTEGER,           -- the first failure since `since_ms`
  updated_ms   INTEGER NOT NULL,
  note         TEXT,              -- why it was skipped, or the error of its last attempt
  replay       INTEGER NOT NULL,
  PRIMARY KEY (handler_id, event_seq)
) STRICT, WITHOUT ROWID;
-- Unfinished deliveries by call sequence, and deliveries that may be claimed by company. Both are partial indexes, so
-- their size depends on the backlog and not on the number of events.
CREATE INDEX deliveries_lane ON deliveries (handler_id, lane, event_seq) WHERE state < 3;
CREATE INDEX deliveries_due ON deliveries (handler_id, company_id, due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX deliveries_dead ON deliveries (handler_id, event_seq) WHERE state = 4;

CREATE TABLE attempts (
  handler_id    INTEGER NOT NULL,
  event_seq     INTEGER NOT NULL,
  started_at_ms INTEGER NOT NULL,
  attempt       INTEGER NOT NULL,
  duration_ms   INTEGER NOT NULL,
  outcome       TEXT NOT NULL CHECK (outcome IN ('done', 'retry', 'fail')),
  status        INTEGER,
  error         TEXT,
  answer        TEXT,
  PRIMARY KEY (handler_id, event_seq, started_at_ms, attempt)
) STRICT, WITHOUT ROWID;

INSERT INTO deliveries (handler_id, event_seq, state, company_id, lane, due_ms, attempts, since_ms, failed_at_ms, updated_ms,
    note, replay)
  SELECT h.id, d.event_seq, CASE d.state WHEN 'dead' THEN 4 ELSE 2 END, e.company_id, -d.event_seq, d.next_attempt_at_ms,
    d.attempts, e.received_at_ms, e.received_at_ms, e.received_at_ms, d.last_error, 0
  FROM deliveries_before d JOIN handlers h ON h.name = d.handler JOIN events e ON e.seq = d.event_seq;
DROP TABLE deliveries_before;
DROP TABLE handlers_before;
