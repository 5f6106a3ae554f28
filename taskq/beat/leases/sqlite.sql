-- owner: '' while nobody leads; fence: grows with each new leader; count: grows while it lives.
-- name: create_lease
CREATE TABLE IF NOT EXISTS beat_lease (
    name  TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    fence INTEGER NOT NULL,
    count INTEGER NOT NULL
) WITHOUT ROWID;

-- name: create_run
CREATE TABLE IF NOT EXISTS beat_run (
    name  TEXT NOT NULL,
    entry TEXT NOT NULL,
    run   TEXT NOT NULL,
    PRIMARY KEY (name, entry)
) WITHOUT ROWID;

-- name: create_outbox
-- is_open: the broker may not have it yet. Others may have been sent twice.
CREATE TABLE IF NOT EXISTS beat_outbox (
    key     TEXT PRIMARY KEY,
    name    TEXT NOT NULL,
    intent  TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    written REAL NOT NULL
) WITHOUT ROWID;

-- name: create_first
-- The copy of a message that may be run.
CREATE TABLE IF NOT EXISTS beat_first (
    task_id TEXT PRIMARY KEY,
    copy    TEXT NOT NULL,
    written REAL NOT NULL
) WITHOUT ROWID;

-- name: begin
INSERT OR IGNORE INTO beat_lease (name, owner, fence, count) VALUES (?1, '', 0, 0);

-- name: look
SELECT owner, fence, count FROM beat_lease WHERE name = ?1;

-- name: take
-- A leader that lives has counted up since it was seen.
UPDATE beat_lease SET owner = ?2, fence = fence + 1, count = 0
 WHERE name = ?1 AND owner = ?3 AND fence = ?4 AND count = ?5;

-- name: renew
UPDATE beat_lease SET count = count + 1 WHERE name = ?1 AND fence = ?2;

-- name: release
UPDATE beat_lease SET owner = '' WHERE name = ?1 AND fence = ?2;

-- name: runs
SELECT entry, run FROM beat_run WHERE name = ?1;

-- name: run
SELECT run FROM beat_run WHERE name = ?1 AND entry = ?2;

-- name: seed
INSERT OR IGNORE INTO beat_run (name, entry, run) VALUES (?1, ?2, ?3);

-- name: record
INSERT OR REPLACE INTO beat_run (name, entry, run) VALUES (?1, ?2, ?3);

-- name: intend
INSERT OR REPLACE INTO beat_outbox (key, name, intent, is_open, written) VALUES (?1, ?2, ?3, 1, ?4);

-- name: close_twice
UPDATE beat_outbox SET is_open = 0, intent = '' WHERE key = ?1;

-- name: close_once
DELETE FROM beat_outbox WHERE key = ?1;

-- name: intents
SELECT intent FROM beat_outbox WHERE name = ?1 AND is_open ORDER BY written;

-- name: is_in_outbox
SELECT 1 FROM beat_outbox WHERE key = ?1;

-- name: come
INSERT OR IGNORE INTO beat_first (task_id, copy, written) VALUES (?1, ?2, ?3);

-- name: first
SELECT copy FROM beat_first WHERE task_id = ?1;

-- name: forget_outbox
DELETE FROM beat_outbox WHERE NOT is_open AND written < ?1;

-- name: forget_first
DELETE FROM beat_first WHERE written < ?1;
