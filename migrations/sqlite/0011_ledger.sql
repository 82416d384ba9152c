-- The ledger of invocations is a database of its own now (migrations/sqlite-ledger), so that a function's answer waits for no
-- commit of events. What it held was good for a day.
DROP TABLE invocations;
DROP TABLE invocation_signatures;
