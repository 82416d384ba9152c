-- The company (tenant) of an event. Events on the plain webhook route belong to the default company.
CREATE TABLE companies (
  id     INTEGER PRIMARY KEY,
  slug   TEXT NOT NULL UNIQUE,
  origin TEXT NOT NULL CHECK (origin IN ('config', 'admin'))
) STRICT;
INSERT INTO companies (id, slug, origin) VALUES (1, 'default', 'config');

-- The journal: one row per accepted event, appended in the order of commit. AUTOINCREMENT, so that a number is never
-- reused after an event was removed: a handler that has passed it would miss the new event.
CREATE TABLE events (
  seq             INTEGER PRIMARY KEY AUTOINCREMENT,
  id              BLOB NOT NULL,    -- 16 bytes, UUIDv7
  identity        BLOB NOT NULL,    -- 16 bytes, see src/storage/identity.rs; also the digest of the body
  company_id      INTEGER NOT NULL,
  event           TEXT,             -- event kind; null when unparsed or without one
  call_id         TEXT,             -- the chat's id for a chat
  agent_id        TEXT,
  received_at_ms  INTEGER NOT NULL,
  source          TEXT,
  content_type    ANY,              -- this column, signature, origin and state: src/storage/sqlite/event_codes.rs
  query           TEXT,
  signature       ANY,
  key_fingerprint TEXT,             -- of the key that made the signature
  origin          INTEGER NOT NULL CHECK (origin BETWEEN 0 AND 3),
  state           INTEGER NOT NULL CHECK (state BETWEEN 0 AND 1),
  revision_of     INTEGER,          -- seq of the first event with the same company, kind and call id
  size_bytes      INTEGER NOT NULL, -- of the body
  -- Part of the identity besides company and body, so that it can be computed again; null for nearly all events.
  dedupe_discriminator TEXT,
  -- 1 when the id is more than a second later than `received_at_ms`: the clock was set back, or the event was imported.
  late            INTEGER
) STRICT;
-- Ids ascend with seq, so this index only grows at its end.
CREATE UNIQUE INDEX events_id ON events (id);
-- Lists of a company or of a kind: each pair of both is a range in the order of seq.
CREATE INDEX events_kinds ON events (company_id, event);
CREATE INDEX events_unparsed ON events (company_id, event) WHERE state = 1;
-- Events that a range of ids does not find by their time.
CREATE INDEX events_late ON events (received_at_ms) WHERE late = 1;

-- Bodies as they arrived, until they are compressed. A large one is in a body file next to the database
-- (src/storage/sqlite/bodies), at the place that its row names.
CREATE TABLE bodies (
  seq  INTEGER PRIMARY KEY,
  body BLOB,
  file INTEGER,                     -- number of the file; null when the body is in the row
  at   INTEGER,
  CHECK ((body IS NULL) = (file IS NOT NULL))
) STRICT;
-- The bodies of a file, in order. Grows at its end only.
CREATE INDEX bodies_in_files ON bodies (file, at) WHERE file IS NOT NULL;

-- Compressed bodies of several events each, which share their common text (src/storage/sqlite/blocks). Each body is
-- either in the table above or in one block.
CREATE TABLE body_blocks (
  id        INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused: readers keep blocks in memory
  bodies    INTEGER NOT NULL,       -- their number
  raw_bytes INTEGER NOT NULL,       -- before compression
  data      BLOB NOT NULL
) STRICT;
CREATE TABLE block_bodies (
  seq   INTEGER PRIMARY KEY,
  block INTEGER NOT NULL
) STRICT;
-- Blocks that have bodies of removed events, until they are written again without them.
CREATE TABLE block_removals (
  block         INTEGER PRIMARY KEY,
  bodies        INTEGER NOT NULL,
  raw_bytes     INTEGER NOT NULL,
  removed_at_ms INTEGER             -- of the first removal; null for a damaged block, which stays as it is
) STRICT;

-- The secret under which identities and call ids are hashed. Has one row. The key is there twice, to notice when it is
-- damaged: with another key every body would seem damaged, and every duplicate new.
CREATE TABLE identity_key (
  id   INTEGER PRIMARY KEY CHECK (id = 1),
  key  BLOB NOT NULL CHECK (length(key) = 32),
  copy BLOB
) STRICT;
INSERT INTO identity_key (id, key) VALUES (1, randomblob(32));
UPDATE identity_key SET copy = key;

-- The id of the invocation ledger that belongs to this store, so that a deleted or replaced one is noticed. Empty until
-- the first ledger was made.
CREATE TABLE ledger_identity (
  id        INTEGER PRIMARY KEY CHECK (id = 1),
  ledger_id BLOB NOT NULL CHECK (length(ledger_id) = 16)
) STRICT;

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

-- Handlers and their positions in the journal.
CREATE TABLE handlers (
  id                  INTEGER PRIMARY KEY,
  name                TEXT NOT NULL UNIQUE,
  since               INTEGER NOT NULL,  -- the handler gets events after this one
  through             INTEGER NOT NULL,  -- planned up to this event; one without a row was filtered
  ordered             INTEGER NOT NULL DEFAULT 1,  -- whether the events of a call are delivered in order
  ordering_timeout_ms INTEGER NOT NULL DEFAULT 600000,
  breaker             TEXT,              -- open or half_open; null when closed
  breaker_since_ms    INTEGER,
  -- Deliveries of events up to this one may have been removed by retention, so a missing row means nothing for them.
  purged_through      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- One row per event and handler whose filter accepts it, appended as the journal is read. `due_ms` is set on
-- deliveries that may be claimed, which are usually the heads of call sequences. The events of a call form a call
-- sequence with one `ordering_key`; an event without a call is alone in its sequence.
CREATE TABLE deliveries (
  handler_id   INTEGER NOT NULL,
  event_seq    INTEGER NOT NULL,
  state        INTEGER NOT NULL CHECK (state BETWEEN 0 AND 5),  -- src/storage/delivery.rs
  company_id   INTEGER NOT NULL,
  ordering_key INTEGER NOT NULL,
  due_ms       INTEGER,           -- when it may be claimed; while it runs, when its lease ends
  claim        INTEGER,           -- while it runs: the number of its claim, part of the lease token
  attempts     INTEGER NOT NULL,
  since_ms     INTEGER NOT NULL,  -- when it was made, retried or replayed
  failed_at_ms INTEGER,           -- the first failure since `since_ms`
  updated_ms   INTEGER NOT NULL,
  note         TEXT,              -- why it was skipped, or the error of its last attempt
  replay       INTEGER NOT NULL,
  -- Whether the body could not be read, at the last attempt or when the filter was to be applied to it.
  body_unread  INTEGER NOT NULL DEFAULT 0,
  -- Whether an operator has retried or replayed it. It may have failed before, which its other columns do not show.
  restarted    INTEGER NOT NULL DEFAULT 0,
  -- Its first attempt, if that succeeded without an answer to keep; every other attempt has a row in `attempts`.
  started_at_ms INTEGER,
  duration_ms   INTEGER,
  status        INTEGER,
  PRIMARY KEY (handler_id, event_seq)
) STRICT, WITHOUT ROWID;
-- Unfinished deliveries by call sequence, and deliveries that may be claimed by company. Both are partial indexes, so
-- their size depends on the backlog and not on the number of events.
CREATE INDEX deliveries_call_sequence ON deliveries (handler_id, ordering_key, event_seq) WHERE state < 3;
CREATE INDEX deliveries_due ON deliveries (handler_id, company_id, due_ms) WHERE due_ms IS NOT NULL;
-- Deliveries that were never attempted: a circuit breaker probes with them.
CREATE INDEX deliveries_untried ON deliveries (handler_id, company_id, due_ms)
  WHERE due_ms IS NOT NULL AND state = 0 AND restarted = 0;
-- Lists by state or reason. Deliveries that succeeded, which are nearly all, are in neither.
CREATE INDEX deliveries_ended ON deliveries (handler_id, state, event_seq, updated_ms) WHERE state = 4 OR state = 5;
CREATE INDEX deliveries_reasons ON deliveries (handler_id, note, event_seq) WHERE note IS NOT NULL;
-- Dead for want of the body, which is looked for again.
CREATE INDEX deliveries_body_unread ON deliveries (handler_id, event_seq) WHERE state = 4 AND body_unread = 1;

-- The attempts of each delivery, without those that are recorded in its own row. `answer` is the redacted beginning of
-- the response.
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

-- Statistics: numbers of attempts, changed in the transaction that changes the rows of attempts
-- (src/storage/sqlite/latency_totals).
CREATE TABLE attempt_totals (
  company_id INTEGER NOT NULL,  -- 0 for all companies together
  span       INTEGER NOT NULL,  -- hours in the period: 1 or 24
  start      INTEGER NOT NULL,  -- number of the period, counted from the Unix epoch
  name       TEXT NOT NULL,     -- of the handler
  outcome    TEXT NOT NULL,
  bucket     INTEGER NOT NULL,  -- of the duration in milliseconds (src/base/histogram.rs)
  count      INTEGER NOT NULL,
  PRIMARY KEY (company_id, span, start, name, outcome, bucket)
) STRICT, WITHOUT ROWID;

-- One row per call, merged from its events. New rows are appended, and the index of ids has 8 bytes per call, so a merge
-- changes few pages. A matching key has to be compared with the company and the call id.
CREATE TABLE calls (
  id                   INTEGER PRIMARY KEY,
  key                  INTEGER NOT NULL,  -- 64 bits of a keyed hash of the call id (src/storage/identity.rs)
  company_id           INTEGER NOT NULL,
  call_id              TEXT NOT NULL,
  test                 INTEGER NOT NULL CHECK (test IN (0, 1)),  -- whether it is a test call
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
  first_event_at_ms    INTEGER NOT NULL,
  last_event_at_ms     INTEGER NOT NULL,
  in_voicemail         INTEGER,
  latency_p50_ms       INTEGER,           -- from the end of the user's speech to the agent's
  latency_p90_ms       INTEGER,
  latency_p99_ms       INTEGER,
  has_recording        INTEGER,
  transfers            TEXT,              -- JSON: transfer kind by event id; merging an event twice changes nothing
  sources              TEXT,              -- JSON: the event from which each value came (src/calls/sources.rs)
  summary              TEXT,
  custom_analysis_data TEXT               -- JSON
) STRICT;
CREATE INDEX calls_key ON calls (key);
-- Lists, latest event first: of a company, with or without tests, and of an agent.
CREATE INDEX calls_latest ON calls (company_id, test, last_event_at_ms);
CREATE INDEX calls_agents ON calls (company_id, test, agent_id, last_event_at_ms) WHERE agent_id IS NOT NULL;
-- The part of an hour that a filter of statistics cuts off.
CREATE INDEX calls_start ON calls (coalesce(started_at_ms, first_event_at_ms));
-- The calls of a customer by start: the caller of an inbound call, the callee of an outbound one. The company's own
-- number is therefore not a customer.
CREATE INDEX calls_customers ON calls (company_id, CASE direction WHEN 'outbound' THEN to_number ELSE from_number END,
  coalesce(started_at_ms, first_event_at_ms))
  WHERE CASE direction WHEN 'outbound' THEN to_number ELSE from_number END IS NOT NULL;

-- One row per chat: the same columns, with id, type and status of the chat in those of the call.
CREATE TABLE chats (
  id                   INTEGER PRIMARY KEY,
  key                  INTEGER NOT NULL,
  company_id           INTEGER NOT NULL,
  call_id              TEXT NOT NULL,
  test                 INTEGER NOT NULL CHECK (test IN (0, 1)),
  stage                INTEGER NOT NULL,
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
  cost_cents           TEXT,
  first_event_at_ms    INTEGER NOT NULL,
  last_event_at_ms     INTEGER NOT NULL,
  in_voicemail         INTEGER,
  latency_p50_ms       INTEGER,
  latency_p90_ms       INTEGER,
  latency_p99_ms       INTEGER,
  has_recording        INTEGER,
  transfers            TEXT,
  sources              TEXT,
  summary              TEXT,
  custom_analysis_data TEXT
) STRICT;
CREATE INDEX chats_key ON chats (key);
CREATE INDEX chats_latest ON chats (company_id, test, last_event_at_ms);
CREATE INDEX chats_agents ON chats (company_id, test, agent_id, last_event_at_ms) WHERE agent_id IS NOT NULL;
CREATE INDEX chats_start ON chats (coalesce(started_at_ms, first_event_at_ms));

-- Statistics: sums over calls and chats per hour, day and 30 days, changed in the transaction that changes the row of a
-- call (src/storage/sqlite/calls/totals.rs). A series is a set of calls: all, those of a company, or those of a company and
-- an agent, which is null for calls without one.
CREATE TABLE call_series (
  id         INTEGER PRIMARY KEY,
  kind       TEXT NOT NULL CHECK (kind IN ('call', 'chat')),
  scope      TEXT NOT NULL CHECK (scope IN ('all', 'company', 'agent')),
  company_id INTEGER,
  agent_id   TEXT
) STRICT;
CREATE INDEX call_series_key ON call_series (kind, scope, company_id, agent_id);
-- The calls of a series that began in one period and have one value. Calls without the value have a row for `success`
-- only.
CREATE TABLE call_totals (
  span        INTEGER NOT NULL,  -- hours in the period: 1, 24 or 720
  dimension   INTEGER NOT NULL,  -- what `value` is (src/calls/totals.rs)
  start       INTEGER NOT NULL,  -- number of the period, counted from the Unix epoch
  series      INTEGER NOT NULL,
  value       TEXT NOT NULL,
  calls       INTEGER NOT NULL,
  timed       INTEGER NOT NULL,  -- calls with a known duration
  duration_ms INTEGER NOT NULL,
  cents       INTEGER NOT NULL,  -- whole cents of the cost, and the rest in millionths of a cent
  millionths  INTEGER NOT NULL,
  evaluated   INTEGER NOT NULL,  -- calls of which the success is known
  successful  INTEGER NOT NULL,
  PRIMARY KEY (span, dimension, start, series, value)
) STRICT, WITHOUT ROWID;

-- The latest rejected requests, for an operator who has to find the cause. A ring: above a fixed number the oldest
-- row is deleted (src/storage/sqlite/rejected.rs). Nothing in it is trusted.
CREATE TABLE rejected (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  company        TEXT,              -- slug; null when the route has none
  received_at_ms INTEGER NOT NULL,
  source         TEXT,
  method         TEXT NOT NULL,
  path           TEXT NOT NULL,     -- without the query
  headers        TEXT NOT NULL,     -- JSON object; without secrets, the digest of the signature shortened
  size_bytes     INTEGER,           -- null when the body was not read
  reason         TEXT NOT NULL,
  diagnosis      TEXT NOT NULL,
  body           BLOB               -- only with security.keep_rejected_bodies
) STRICT;

-- The raised alarms, so that `status` shows them and a restart does not send their notifications again.
CREATE TABLE alarms (
  alarm    TEXT NOT NULL,     -- kind of alarm, from a fixed list
  subject  TEXT NOT NULL,     -- handler, company or agent; empty when it is about the whole receiver
  since_ms INTEGER NOT NULL,
  last_notified_ms INTEGER NOT NULL,  -- when the last notification was sent
  text     TEXT NOT NULL,
  PRIMARY KEY (alarm, subject)
) STRICT, WITHOUT ROWID;

-- Numbers of events per hour, company and agent of the last days: the baseline of the alarm `silence`.
CREATE TABLE activity (
  company_id INTEGER NOT NULL,
  agent_id   TEXT NOT NULL,     -- empty for the whole company
  hour       INTEGER NOT NULL,  -- hours since the Unix epoch
  events     INTEGER NOT NULL,
  last_ms    INTEGER NOT NULL,  -- when the latest event of the hour was received
  PRIMARY KEY (company_id, agent_id, hour)
) STRICT, WITHOUT ROWID;

-- Bodies in body files that were compressed, or whose events were removed. Inserted in the same transaction, so that a
-- crash loses none; deleted after the bytes are reclaimed. With `overwrite` the bytes are overwritten before.
CREATE TABLE freed_bodies (
  file        INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  size_bytes  INTEGER NOT NULL,
  overwrite   INTEGER NOT NULL,
  freed_at_ms INTEGER NOT NULL,
  PRIMARY KEY (file, at)
) STRICT, WITHOUT ROWID;

-- The end of the last body that each body file has ever had, for bodies whose rows are gone. Bytes behind it belong to
-- another state of the database and are never cut off or reclaimed.
CREATE TABLE body_file_ends (
  file   INTEGER PRIMARY KEY,
  end_at INTEGER NOT NULL
) STRICT;

-- Events that were erased at a person's request: what is left of them, without personal data. The identity (a hash
-- under the key of the store) prevents the same body from being stored again when it is sent or imported again.
CREATE TABLE erased (
  seq          INTEGER PRIMARY KEY,
  id           BLOB NOT NULL,
  identity     BLOB NOT NULL,
  company_id   INTEGER NOT NULL,
  erased_at_ms INTEGER NOT NULL
) STRICT;

-- Answers to inbound calls and text messages. An answer is sent before its row is written.
CREATE TABLE inbound_answers (
  event_seq   INTEGER PRIMARY KEY,
  rule        TEXT,              -- name of the rule, or of what else made the answer; null when nothing did
  answer      TEXT NOT NULL,     -- JSON, as sent
  outcome     TEXT NOT NULL,     -- src/telemetry/inbound.rs
  duration_ms INTEGER NOT NULL,
  at_ms       INTEGER NOT NULL
) STRICT;

-- Appointments that callers book. Names and numbers are personal data.
CREATE TABLE appointments (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  company_id   INTEGER NOT NULL,
  confirmation TEXT NOT NULL,     -- spoken by the agent; hard to guess
  state        TEXT NOT NULL CHECK (state IN ('booked', 'cancelled')),
  name         TEXT NOT NULL,
  name_key     TEXT NOT NULL,     -- lower-case letters and digits only, for comparing names
  from_number  TEXT,              -- from the call that booked it
  to_number    TEXT,
  call_id      TEXT,
  service      TEXT,
  start_ms     INTEGER NOT NULL,
  end_ms       INTEGER NOT NULL,
  time_zone    TEXT NOT NULL,
  revision     INTEGER NOT NULL,  -- number of changes, cancellation included
  booked_at_ms INTEGER NOT NULL,
  changed_at_ms INTEGER NOT NULL,
  UNIQUE (company_id, confirmation)
) STRICT;
CREATE INDEX appointments_start ON appointments (start_ms);
CREATE INDEX appointments_company ON appointments (company_id, start_ms);
-- Finds the appointments of a caller who does not know the confirmation number.
CREATE INDEX appointments_name ON appointments (company_id, name_key, start_ms);

-- Prevents double booking: one row per five minutes of an appointment, with a place number below the number of
-- appointments that may take place at once. Five minutes, so that it still works after the length of slots is changed
-- in the settings.
CREATE TABLE appointment_slots (
  company_id     INTEGER NOT NULL,
  start_ms       INTEGER NOT NULL CHECK (start_ms % 300000 = 0),
  place          INTEGER NOT NULL CHECK (place >= 0),
  appointment_id INTEGER NOT NULL,
  PRIMARY KEY (company_id, start_ms, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX appointment_slots_of ON appointment_slots (appointment_id);

-- The outcome of an invocation: a repeated invocation, also after a crash, gets the same outcome.
CREATE TABLE appointment_invocations (
  company_id     INTEGER NOT NULL,
  invocation     TEXT NOT NULL,
  action         TEXT NOT NULL CHECK (action IN ('booked', 'changed', 'cancelled')),
  appointment_id INTEGER NOT NULL,
  service        TEXT,            -- service and times as they were then
  start_ms       INTEGER NOT NULL,
  end_ms         INTEGER NOT NULL,
  at_ms          INTEGER NOT NULL,
  PRIMARY KEY (company_id, invocation)
) STRICT, WITHOUT ROWID;
CREATE INDEX appointment_invocations_of ON appointment_invocations (appointment_id);
-- For deleting outcomes after 30 days.
CREATE INDEX appointment_invocations_at ON appointment_invocations (at_ms);

-- The backups that were made of this store, so that an erasure can name those that still contain the person.
CREATE TABLE backups (
  folder      TEXT PRIMARY KEY,  -- absolute path
  taken_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which receiver removes old data and checks the alarms. With SQLite there is one receiver, which always leads.
CREATE TABLE leadership (
  duty     TEXT PRIMARY KEY,
  holder   TEXT NOT NULL,     -- id of the receiver, new after each start
  until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
