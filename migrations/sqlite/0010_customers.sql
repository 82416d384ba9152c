-- The calls of a customer, the latest first: whoever called, or was called. The company's own number is nobody's.
CREATE INDEX calls_customers ON calls (company_id, CASE direction WHEN 'outbound' THEN to_number ELSE from_number END,
  last_event_at_ms);
DROP INDEX calls_callers;
