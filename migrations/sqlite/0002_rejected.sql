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
