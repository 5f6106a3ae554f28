-- owner: '' while nobody leads; fence: grows with each new leader; count: grows while it lives.
-- name: create_lease
CREATE TABLE IF NOT EXISTS beat_lease (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    owner TEXT NOT NULL,
    fence INTEGER NOT NULL,
    count INTEGER NOT NULL
);

-- name: create_run
CREATE TABLE IF NOT EXISTS beat_run (
    entry TEXT PRIMARY KEY,
    run   TEXT NOT NULL
) WITHOUT ROWID;

-- name: begin
INSERT OR IGNORE INTO beat_lease (id, owner, fence, count) VALUES (1, '', 0, 0);

-- name: look
SELECT owner, fence, count FROM beat_lease WHERE id = 1;

-- name: take
-- A leader that lives has counted up since it was seen.
UPDATE beat_lease SET owner = ?, fence = fence + 1, count = 0
 WHERE id = 1 AND owner = ? AND fence = ? AND count = ?;

-- name: renew
UPDATE beat_lease SET count = count + 1 WHERE id = 1 AND fence = ?;

-- name: release
UPDATE beat_lease SET owner = '' WHERE id = 1 AND fence = ?;

-- name: runs
SELECT entry, run FROM beat_run;

-- name: seed
INSERT OR IGNORE INTO beat_run (entry, run) VALUES (?, ?);

-- name: record
INSERT OR REPLACE INTO beat_run (entry, run) VALUES (?, ?);
