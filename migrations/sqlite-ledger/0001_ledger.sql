-- The invocation ledger, a database next to the store: see src/storage/sqlite/ledger.
--
-- Invocations of custom functions: one row per invocation, inserted before the function is called and completed
-- before its answer is sent. Rows are deleted after a day, in small batches (src/storage/sqlite/ledger/invocations.rs).
CREATE TABLE invocations (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  key            BLOB NOT NULL,     -- hash of everything that makes two requests the same invocation
  invocation     TEXT NOT NULL,     -- the idempotency key for the target; the same in every retry
  company_id     INTEGER NOT NULL,
  function       TEXT NOT NULL,
  call_id        TEXT,
  tool_call_id   TEXT,
  received_at_ms INTEGER NOT NULL,
  arguments      TEXT,              -- JSON, as sent to the target; null when too large to keep
  state          TEXT NOT NULL,     -- running, done, invalid_arguments or failed
  runs           INTEGER NOT NULL,  -- number of calls of the function; above 1 after a crash or a failure
  owner          TEXT NOT NULL,     -- the process that runs it, or ran it last
  lease_until_ms INTEGER NOT NULL,  -- while it is running, no other process runs it before this time
  ended_at_ms    INTEGER,
  content_type   TEXT,
  answer         BLOB,
  truncated      INTEGER NOT NULL DEFAULT 0,
  reason         TEXT               -- cause of a failure, without personal data
) STRICT;
CREATE UNIQUE INDEX invocations_by_key ON invocations (key);
-- Running ones, to release their leases at the next start.
CREATE INDEX invocations_running ON invocations (id) WHERE state = 'running';
CREATE INDEX invocations_by_call ON invocations (call_id) WHERE call_id IS NOT NULL;
-- Lists: each company, function and state together is a range in the order of the id.
CREATE INDEX invocations_by_function ON invocations (company_id, function, state);
CREATE INDEX invocations_by_time ON invocations (received_at_ms);
CREATE INDEX invocations_by_name ON invocations (invocation);

-- Statistics: numbers of invocations that have ended, changed in the transaction that changes the row of an invocation
-- (src/storage/sqlite/latency_totals).
CREATE TABLE invocation_totals (
  company_id INTEGER NOT NULL,  -- 0 for all companies together
  span       INTEGER NOT NULL,  -- hours in the period: 1 or 24
  start      INTEGER NOT NULL,  -- number of the period, counted from the Unix epoch
  name       TEXT NOT NULL,     -- of the function
  outcome    TEXT NOT NULL,     -- state of the invocation
  bucket     INTEGER NOT NULL,  -- of the duration in milliseconds (src/base/histogram.rs)
  count      INTEGER NOT NULL,
  PRIMARY KEY (company_id, span, start, name, outcome, bucket)
) STRICT, WITHOUT ROWID;

-- How often `invocation_totals` were corrected, so that two commands do not correct the same difference.
CREATE TABLE progress (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The request on which a signature was first seen. A signature does not cover the URL, so a captured request could
-- otherwise be sent to another function.
CREATE TABLE invocation_signatures (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  signature  BLOB NOT NULL UNIQUE,  -- a hash
  used_for   BLOB NOT NULL,         -- hash of company, function, method, and what the signature does not cover
  seen_at_ms INTEGER NOT NULL
) STRICT;

-- Always empty: the readiness check inserts a row and deletes it in the same transaction.
CREATE TABLE probes (
  id     INTEGER PRIMARY KEY,
  filler BLOB NOT NULL
) STRICT;

-- The id of this ledger, which the database of its store names too. Has one row.
CREATE TABLE ledger_identity (
  id        INTEGER PRIMARY KEY CHECK (id = 1),
  ledger_id BLOB NOT NULL CHECK (length(ledger_id) = 16)
) STRICT;
