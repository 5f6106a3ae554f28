-- Who consumes, and giving back what the dead held. Lease times are of the monotonic clock.

-- name: create
-- ?1 expires at, ?2 lease, ?3 pid, ?4 started, ?5 scope, ?6 host
INSERT INTO owner (expires_at, lease, pid, started, scope, host) VALUES (?1, ?2, ?3, ?4, ?5, ?6);

-- name: renew
UPDATE owner SET expires_at = ?2 WHERE id = ?1;

-- name: exists
SELECT 1 FROM owner WHERE id = ?1;

-- name: all
SELECT id, expires_at, lease, pid, started, scope, host FROM owner;

-- name: remove
-- Only if it gave no sign of life since ?2 was read.
DELETE FROM owner WHERE id = ?1 AND expires_at = ?2;

-- name: forget
DELETE FROM owner WHERE id = ?1;

-- name: release
-- What an owner held goes back to its queue. ?1 first claim of the owner, ?2 first of the next.
UPDATE message
SET claim = NULL, redelivered = max(redelivered, 1), deliveries = deliveries + ?3
WHERE claim IS NOT NULL AND claim >= ?1 AND claim < ?2;

-- name: orphans
-- Owners of claims that have no row: nobody else would ever give their messages back.
SELECT DISTINCT claim >> 32 AS owner FROM message
WHERE claim IS NOT NULL AND NOT EXISTS (SELECT 1 FROM owner WHERE owner.id = message.claim >> 32);

-- name: add_consumer
INSERT OR IGNORE INTO consumer (queue, owner, tag) VALUES (?1, ?2, ?3);

-- name: remove_consumer
DELETE FROM consumer WHERE queue = ?1 AND owner = ?2 AND tag = ?3;

-- name: consumed_queues
SELECT DISTINCT queue FROM consumer WHERE owner = ?1;

-- name: remove_consumers
DELETE FROM consumer WHERE owner = ?1;
