-- Columns and values take the names that the code, the metrics and the documentation use.
ALTER TABLE handlers RENAME COLUMN hold_ms TO ordering_timeout_ms;
ALTER TABLE alarms RENAME COLUMN told_ms TO last_notified_ms;
ALTER TABLE appointment_invocations RENAME COLUMN deed TO action;

DROP INDEX deliveries_lane;
ALTER TABLE deliveries RENAME COLUMN lane TO ordering_key;
CREATE INDEX deliveries_call_sequence ON deliveries (handler_id, ordering_key, event_seq) WHERE state < 3;

UPDATE alarms SET alarm = 'rejected_requests' WHERE alarm = 'refused';
UPDATE inbound_answers SET outcome = CASE outcome
  WHEN 'rule' THEN 'answered'
  WHEN 'rejected' THEN 'caller_rejected'
  WHEN 'fallback' THEN 'failed'
  WHEN 'invalid' THEN 'invalid_answer'
  WHEN 'late' THEN 'timed_out'
  WHEN 'repeated' THEN 'duplicate'
  ELSE outcome END;
