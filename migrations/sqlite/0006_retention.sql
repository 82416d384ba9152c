-- What leaves the store, by age or by request.

-- Deliveries of events up to this one may have been removed for their age: for them, no row says nothing. After it, an event
-- that the handler looked at (`through`) and that has no row was not wanted.
ALTER TABLE handlers ADD COLUMN purged_through INTEGER NOT NULL DEFAULT 0;

-- Bodies in files whose events are gone. Written in the transaction that removes the event, so that a crash forgets none;
-- a row goes when its bytes are gone. With `overwrite` they must not stay readable anywhere.
CREATE TABLE freed_bodies (
  file        INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  size_bytes  INTEGER NOT NULL,
  overwrite   INTEGER NOT NULL,
  freed_at_ms INTEGER NOT NULL,
  PRIMARY KEY (file, at)
) STRICT, WITHOUT ROWID;

-- Events that were erased for a person: what is left of them, which is nothing of the person's. The identity (a hash under
-- the store's own key) keeps a body that is sent or imported again from being stored again.
CREATE TABLE erased (
  seq          INTEGER PRIMARY KEY,
  id           BLOB NOT NULL,
  identity     BLOB NOT NULL,
  company_id   INTEGER NOT NULL,
  erased_at_ms INTEGER NOT NULL
) STRICT;
