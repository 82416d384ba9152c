-- The alarms that are on, so that a restart does not tell them once more and `status` shows them.
CREATE TABLE alarms (
  alarm    TEXT NOT NULL,     -- its kind, from a fixed list
  subject  TEXT NOT NULL,     -- the handler, company or agent it is about; empty when it is about all
  since_ms INTEGER NOT NULL,
  told_ms  INTEGER NOT NULL,  -- when it was last said
  text     TEXT NOT NULL,
  PRIMARY KEY (alarm, subject)
) STRICT, WITHOUT ROWID;

-- How many events came in each hour, by company and agent, of the last days: what silence is compared with.
CREATE TABLE activity (
  company_id INTEGER NOT NULL,
  agent_id   TEXT NOT NULL,     -- empty: the whole company
  hour       INTEGER NOT NULL,  -- since the Unix epoch
  events     INTEGER NOT NULL,
  last_ms    INTEGER NOT NULL,  -- the latest event of the hour
  PRIMARY KEY (company_id, agent_id, hour)
) STRICT, WITHOUT ROWID;
