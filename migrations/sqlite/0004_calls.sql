-- Further values of a call. Rows from before this step have none until one of their events is handled again.
ALTER TABLE calls ADD COLUMN in_voicemail INTEGER;
ALTER TABLE calls ADD COLUMN latency_p50_ms INTEGER;  -- from the end of the user's speech to the agent's
ALTER TABLE calls ADD COLUMN latency_p90_ms INTEGER;
ALTER TABLE calls ADD COLUMN latency_p99_ms INTEGER;
ALTER TABLE calls ADD COLUMN has_recording INTEGER;
-- JSON, see src/calls/sources.rs: the event from which each value came. An empty list means the latest event.
ALTER TABLE calls ADD COLUMN sources TEXT NOT NULL DEFAULT '[]';
-- Contains every column that statistics use, so that they read this index alone.
CREATE INDEX calls_begun ON calls (coalesce(started_at_ms, first_event_at_ms), agent_id, agent_name,
  disconnection_reason, user_sentiment, call_successful, duration_ms, cost_cents);

-- One row per chat: the same columns, with id, type and status of the chat in those of the call.
CREATE TABLE chats (
  company_id           INTEGER NOT NULL,
  call_id              TEXT NOT NULL,
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
  transfers            TEXT NOT NULL,
  first_event_at_ms    INTEGER NOT NULL,
  last_event_at_ms     INTEGER NOT NULL,
  in_voicemail         INTEGER,
  latency_p50_ms       INTEGER,
  latency_p90_ms       INTEGER,
  latency_p99_ms       INTEGER,
  has_recording        INTEGER,
  sources              TEXT NOT NULL DEFAULT '[]',
  PRIMARY KEY (company_id, call_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX chats_recent ON chats (last_event_at_ms);
CREATE INDEX chats_begun ON chats (coalesce(started_at_ms, first_event_at_ms), agent_id, agent_name,
  disconnection_reason, user_sentiment, call_successful, duration_ms, cost_cents);

-- Summary and extracted data of a conversation, in a separate table so that lists and statistics never read them. Not
-- WITHOUT ROWID, because long rows use less space in a table with rowids.
CREATE TABLE call_texts (
  kind                 TEXT NOT NULL CHECK (kind IN ('call', 'chat')),
  company_id           INTEGER NOT NULL,
  call_id              TEXT NOT NULL,
  summary              TEXT,
  custom_analysis_data TEXT,              -- JSON
  PRIMARY KEY (kind, company_id, call_id)
) STRICT;
