-- Appointments that callers book. Names and numbers are personal data.
CREATE TABLE appointments (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  company_id   INTEGER NOT NULL,
  confirmation TEXT NOT NULL,     -- said aloud; not to be guessed
  state        TEXT NOT NULL CHECK (state IN ('booked', 'cancelled')),
  name         TEXT NOT NULL,
  name_key     TEXT NOT NULL,     -- small letters and digits only, by which a name is compared
  from_number  TEXT,              -- of the call in which it was booked
  to_number    TEXT,
  call_id      TEXT,
  service      TEXT,
  start_ms     INTEGER NOT NULL,
  end_ms       INTEGER NOT NULL,
  time_zone    TEXT NOT NULL,
  revision     INTEGER NOT NULL,  -- how often it was changed or cancelled
  booked_at_ms INTEGER NOT NULL,
  changed_at_ms INTEGER NOT NULL,
  UNIQUE (company_id, confirmation)
) STRICT;
CREATE INDEX appointments_start ON appointments (start_ms);
-- Finds those of a caller who has no confirmation number.
CREATE INDEX appointments_name ON appointments (company_id, name_key, start_ms);

-- What keeps two callers from the same time: a row for every five minutes of an appointment, in one of as many places as
-- there may be appointments at once. Five minutes, so that it holds when the length of slots is changed.
CREATE TABLE appointment_slots (
  company_id     INTEGER NOT NULL,
  start_ms       INTEGER NOT NULL CHECK (start_ms % 300000 = 0),
  place          INTEGER NOT NULL CHECK (place >= 0),
  appointment_id INTEGER NOT NULL,
  PRIMARY KEY (company_id, start_ms, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX appointment_slots_of ON appointment_slots (appointment_id);

-- What an invocation of a function came to: sent again, also after a crash, it is told the same.
CREATE TABLE appointment_invocations (
  company_id     INTEGER NOT NULL,
  invocation     TEXT NOT NULL,
  deed           TEXT NOT NULL CHECK (deed IN ('booked', 'changed', 'cancelled')),
  appointment_id INTEGER NOT NULL,
  service        TEXT,            -- as they were then
  start_ms       INTEGER NOT NULL,
  end_ms         INTEGER NOT NULL,
  at_ms          INTEGER NOT NULL,
  PRIMARY KEY (company_id, invocation)
) STRICT, WITHOUT ROWID;
CREATE INDEX appointment_invocations_of ON appointment_invocations (appointment_id);
-- They are forgotten after thirty days.
CREATE INDEX appointment_invocations_at ON appointment_invocations (at_ms);
