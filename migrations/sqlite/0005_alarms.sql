-- The raised alarms, so that `status` shows them and a restart does not send their notifications again.
CREATE TABLE alarms (
  alarm    TEXT NOT NULL,     -- kind of alarm, from a fixed list
  subject  TEXT NOT NULL,     -- handler, company or agent; empty when it is about the whole receiver
  since_ms INTEGER NOT NULL,
  told_ms  INTEGER NOT NULL,  -- when the last notification was sent
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
