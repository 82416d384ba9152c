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
  deed           TEXT NOT NULL CHECK (deed IN ('booked', 'changed', 'cancelled')),
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
