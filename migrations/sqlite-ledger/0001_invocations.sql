-- The ledger, beside the store: see src/storage/sqlite/ledger.rs.
--
-- Invocations of custom functions: one row each, written before the function is called and completed before its answer is
-- sent. Rows go after a day, in small batches (src/storage/sqlite/invocations.rs).
CREATE TABLE invocations (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  key            BLOB NOT NULL,     -- hash of what makes two requests one invocation
  invocation     TEXT NOT NULL,     -- the idempotency key a target is given; stays the same over retries
  company_id     INTEGER NOT NULL,
  function       TEXT NOT NULL,
  call_id        TEXT,
  tool_call_id   TEXT,
  received_at_ms INTEGER NOT NULL,
  arguments      TEXT,              -- JSON, as they were called with; null when too large to keep
  state          TEXT NOT NULL,     -- running, done, invalid or failed
  runs           INTEGER NOT NULL,  -- more than one: the process died or the function failed in between
  ended_at_ms    INTEGER,
  content_type   TEXT,
  answer         BLOB,
  cut            INTEGER NOT NULL DEFAULT 0,
  reason         TEXT               -- what went wrong, without personal data
) STRICT;
CREATE UNIQUE INDEX invocations_by_key ON invocations (key);
CREATE INDEX invocations_by_call ON invocations (call_id) WHERE call_id IS NOT NULL;

-- Which request a signature was first seen on. It says nothing about the address it was sent to, so a request could be
-- sent again to another function otherwise.
CREATE TABLE invocation_signatures (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  signature  BLOB NOT NULL UNIQUE,  -- a hash
  used_for   BLOB NOT NULL,         -- hash of company, function, method, and what the signature does not cover
  seen_at_ms INTEGER NOT NULL
) STRICT;
