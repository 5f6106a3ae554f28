-- Results: states of tasks, saved groups, counters. Keys are those of the key-value backends.

-- name: store_state
-- A stored SUCCESS is never replaced: one statement looks and writes, so nothing comes between.
-- ?1 key, ?2 state, ?3 expires at, ?4 value, ?5 now
INSERT OR REPLACE INTO result (key, state, expires_at, value)
SELECT ?1, ?2, ?3, ?4
WHERE NOT EXISTS (
    SELECT 1 FROM result
    WHERE key = ?1 AND state = 'SUCCESS' AND (expires_at IS NULL OR expires_at > ?5)
);

-- name: set
-- ?1 key, ?2 expires at, ?3 value
INSERT OR REPLACE INTO result (key, expires_at, value) VALUES (?1, ?2, ?3);

-- name: get
SELECT value FROM result WHERE key = ?1 AND (expires_at IS NULL OR expires_at > ?2);

-- name: get_many
-- ?1 keys as a JSON array, ?2 now
SELECT key, value FROM result
WHERE key IN (SELECT value FROM json_each(?1)) AND (expires_at IS NULL OR expires_at > ?2);

-- name: delete
DELETE FROM result WHERE key = ?1;

-- name: expire
UPDATE result SET expires_at = ?2 WHERE key = ?1;

-- name: increment
-- ?1 key, ?2 now. An expired counter starts again.
INSERT INTO result (key, value) VALUES (?1, 1)
ON CONFLICT (key) DO UPDATE SET
    value = CASE WHEN expires_at <= ?2 THEN 1 ELSE CAST(value AS INTEGER) + 1 END,
    expires_at = CASE WHEN expires_at <= ?2 THEN NULL ELSE expires_at END;

-- name: last_change
SELECT ifnull(max(id), 0) FROM result;

-- name: changes
-- What was written after the change ?1, oldest first.
SELECT id, key FROM result WHERE id > ?1 ORDER BY id;

-- name: oldest
-- The next rows after ?1 in the order they were written, for a look at their expiry.
SELECT id, expires_at FROM result WHERE id > ?1 ORDER BY id LIMIT ?2;

-- name: delete_expired
-- Among the rows ?1 < id <= ?2.
DELETE FROM result WHERE id > ?1 AND id <= ?2 AND expires_at IS NOT NULL AND expires_at <= ?3;
