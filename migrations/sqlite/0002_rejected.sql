-- The latest requests that were refused, for whoever has to find out why. A ring: the oldest row goes when there are too
-- many (src/storage/sqlite/rejected.rs). Nothing in it is believed.
CREATE TABLE rejected (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  company        TEXT,              -- slug; null when the route names none
  received_at_ms INTEGER NOT NULL,
  source         TEXT,
  method         TEXT NOT NULL,
  path           TEXT NOT NULL,     -- without the query
  headers        TEXT NOT NULL,     -- JSON object; harmless ones only, the signature's digest cut short
  size_bytes     INTEGER,           -- null when the body was not read
  reason         TEXT NOT NULL,
  diagnosis      TEXT NOT NULL,
  body           BLOB               -- only with security.keep_rejected_bodies
) STRICT;
