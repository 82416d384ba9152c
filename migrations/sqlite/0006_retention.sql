-- Retention and erasure.

-- Deliveries of events up to this one may have been removed by retention, so a missing row means nothing for them.
-- After it, an event up to `through` without a row was filtered by the handler.
ALTER TABLE handlers ADD COLUMN purged_through INTEGER NOT NULL DEFAULT 0;

-- Bodies in body files whose events were removed. Inserted in the transaction that removes the event, so that a crash
-- loses none; deleted after the bytes are reclaimed. With `overwrite` the bytes are overwritten before.
CREATE TABLE freed_bodies (
  file        INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  size_bytes  INTEGER NOT NULL,
  overwrite   INTEGER NOT NULL,
  freed_at_ms INTEGER NOT NULL,
  PRIMARY KEY (file, at)
) STRICT, WITHOUT ROWID;

-- Events that were erased at a person's request: what is left of them, without personal data. The identity (a hash
-- under the key of the store) prevents the same body from being stored again when it is sent or imported again.
CREATE TABLE erased (
  seq          INTEGER PRIMARY KEY,
  id           BLOB NOT NULL,
  identity     BLOB NOT NULL,
  company_id   INTEGER NOT NULL,
  erased_at_ms INTEGER NOT NULL
) STRICT;
