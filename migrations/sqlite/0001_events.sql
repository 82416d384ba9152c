-- The company (tenant) of an event. Events on the plain webhook route belong to the default company.
CREATE TABLE companies (
  id     INTEGER PRIMARY KEY,
  slug   TEXT NOT NULL UNIQUE,
  origin TEXT NOT NULL CHECK (origin IN ('config', 'admin'))
) STRICT;
INSERT INTO companies (id, slug, origin) VALUES (1, 'default', 'config');

-- The journal: one row per accepted event, appended in the order of commit. A large body is in a body file next to
-- the database (src/storage/sqlite/bodies.rs), at the place that its row names. AUTOINCREMENT, so that a number is
-- never reused after an event was removed: a handler that has passed it would miss the new event.
CREATE TABLE events (
  seq             INTEGER PRIMARY KEY AUTOINCREMENT,
  id              BLOB NOT NULL,    -- 16 bytes, UUIDv7
  identity        BLOB NOT NULL,    -- 16 bytes, see src/storage/identity.rs
  company_id      INTEGER NOT NULL,
  event           TEXT,             -- event kind; null when unparsed or without one
  call_id         TEXT,             -- the chat's id for a chat
  agent_id        TEXT,
  received_at_ms  INTEGER NOT NULL,
  source          TEXT,
  content_type    TEXT,
  query           TEXT,
  signature       TEXT,
  key_fingerprint TEXT,
  state           TEXT NOT NULL CHECK (state IN ('stored', 'unparsed')),
  revision_of     INTEGER,          -- seq of the first event with the same company, kind and call id
  size_bytes      INTEGER NOT NULL,
  body_file       INTEGER,          -- number of the file; null when the body is in the row
  body_at         INTEGER,
  body            BLOB,
  CHECK ((body IS NULL) = (body_file IS NOT NULL))
) STRICT;
-- The bodies of a file, in order. Grows at its end only.
CREATE INDEX events_bodies ON events (body_file, body_at) WHERE body_file IS NOT NULL;
-- Ids ascend with seq, so this index only grows at its end.
CREATE UNIQUE INDEX events_id ON events (id);

-- The secret under which identities and call ids are hashed. Has one row.
CREATE TABLE identity_key (
  id  INTEGER PRIMARY KEY CHECK (id = 1),
  key BLOB NOT NULL CHECK (length(key) = 32)
) STRICT;
INSERT INTO identity_key (id, key) VALUES (1, randomblob(32));

-- How often the same body was received again. At most one row per event.
CREATE TABLE duplicates (
  event_seq  INTEGER PRIMARY KEY,
  count      INTEGER NOT NULL,
  last_at_ms INTEGER NOT NULL
) STRICT;

-- The identity index: finds events by identity and by call. Two rows per event, each with 64 bits of a hash
-- (src/storage/identity.rs), so a match has to be compared with the event itself. Small, because random keys rewrite
-- pages in all places. Written behind intake in sorted batches, so that no request waits for an insert at a random
-- key. Complete up to progress('indexed_through'); the keys of later events are in memory.
CREATE TABLE event_keys (
  key INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (key, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE progress (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO progress (name, value) VALUES ('indexed_through', 0);

-- Always empty: the readiness check inserts a row and deletes it in the same transaction.
CREATE TABLE probes (
  id     INTEGER PRIMARY KEY,
  filler BLOB NOT NULL
) STRICT;

-- The position of each handler in the journal, and its unfinished deliveries. Replaced in 0003.
CREATE TABLE handlers (
  name    TEXT PRIMARY KEY,
  through INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE deliveries (
  handler            TEXT NOT NULL,
  event_seq          INTEGER NOT NULL,
  state              TEXT NOT NULL CHECK (state IN ('scheduled', 'dead')),
  attempts           INTEGER NOT NULL,
  next_attempt_at_ms INTEGER,
  last_error         TEXT,
  PRIMARY KEY (handler, event_seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (handler, next_attempt_at_ms) WHERE state = 'scheduled';

-- One row per call, merged from its events.
CREATE TABLE calls (
  company_id           INTEGER NOT NULL,
  call_id              TEXT NOT NULL,
  stage                INTEGER NOT NULL,  -- latest stage of any event so far (src/calls/mod.rs)
  call_type            TEXT,
  direction            TEXT,
  agent_id             TEXT,
  agent_name           TEXT,
  agent_version        INTEGER,
  from_number          TEXT,
  to_number            TEXT,
  call_status          TEXT,
  started_at_ms        INTEGER,
  ended_at_ms          INTEGER,
  duration_ms          INTEGER,
  disconnection_reason TEXT,
  user_sentiment       TEXT,
  call_successful      INTEGER,
  cost_cents           TEXT,              -- decimal text, as Retell sent it
  transfers            TEXT NOT NULL,     -- JSON: transfer kind by event id; merging an event twice changes nothing
  first_event_at_ms    INTEGER NOT NULL,
  last_event_at_ms     INTEGER NOT NULL,
  PRIMARY KEY (company_id, call_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX calls_recent ON calls (last_event_at_ms);
