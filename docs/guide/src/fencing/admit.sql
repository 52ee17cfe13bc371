-- First in the transaction that writes. No row changed: a later holder has been here, roll back.
INSERT INTO fence (lock, token) VALUES ($1, $2)
ON CONFLICT (lock) DO UPDATE SET token = excluded.token
WHERE fence.token <= excluded.token
