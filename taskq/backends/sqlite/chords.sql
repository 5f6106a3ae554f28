-- Counting the header of a chord. A header task counts once, however often it is delivered.

-- name: create
-- ?1 chord, ?2 size, ?3 expires at
INSERT OR REPLACE INTO chord (id, size, expires_at) VALUES (?1, ?2, ?3);

-- name: forget_parts
DELETE FROM chord_part WHERE chord = ?1;

-- name: set_size
UPDATE chord SET size = ?2 WHERE id = ?1;

-- name: grow
UPDATE chord SET size = size + 1 WHERE id = ?1 AND claimed_by IS NULL;

-- name: add_part
INSERT OR IGNORE INTO chord_part (chord, task_id)
SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM chord WHERE id = ?1 AND sent_at IS NULL);

-- name: count_part
UPDATE chord SET done = done + 1 WHERE id = ?1;

-- name: claim
-- To the task ?2 that completes the count, once; and again to the same task as long as the body
-- was not sent, because then it was delivered again after its worker died on the way.
UPDATE chord SET claimed_by = ?2
WHERE id = ?1 AND done >= size AND sent_at IS NULL AND ifnull(claimed_by, ?2) = ?2;

-- name: mark_sent
UPDATE chord SET sent_at = ?2 WHERE id = ?1;

-- name: status
SELECT done, size, sent_at FROM chord WHERE id = ?1;

-- name: expired
SELECT id FROM chord WHERE expires_at IS NOT NULL AND expires_at <= ?1 LIMIT 100;

-- name: delete
DELETE FROM chord WHERE id = ?1;
