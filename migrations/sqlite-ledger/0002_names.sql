-- Columns and values take the names that the code, the metrics and the documentation use.
ALTER TABLE invocations RENAME COLUMN cut TO truncated;
UPDATE invocations SET state = 'invalid_arguments' WHERE state = 'invalid';
