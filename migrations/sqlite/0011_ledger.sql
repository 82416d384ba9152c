-- The invocation ledger moves to a separate database (migrations/sqlite-ledger), so that the answer of a function
-- does not wait for a commit of events. Its rows are not moved, because they are kept for a day only.
DROP TABLE invocations;
DROP TABLE invocation_signatures;
