-- The calls of a customer by time: the caller of an inbound call, the callee of an outbound one. The company's own
-- number is therefore not a customer.
CREATE INDEX calls_customers ON calls (company_id, CASE direction WHEN 'outbound' THEN to_number ELSE from_number END,
  last_event_at_ms);
DROP INDEX calls_callers;
