-- Version 1 of the database file. One file holds the broker and the results.
-- Times are seconds since 1970 where people see them (due, expires_at, ...) and seconds of the
-- machine's monotonic clock in `owner`, so that setting the clock makes no lease run out.

-- Tells this file from one that takes its place: ids of the one mean nothing in the other.
CREATE TABLE file (id TEXT NOT NULL);
INSERT INTO file (id) VALUES (lower(hex(randomblob(16))));

CREATE TABLE exchange (
    name        TEXT PRIMARY KEY,
    type        TEXT NOT NULL,
    durable     INTEGER NOT NULL DEFAULT 0,
    auto_delete INTEGER NOT NULL DEFAULT 0,
    arguments   TEXT
) WITHOUT ROWID;

INSERT INTO exchange (name, type, durable) VALUES
    ('amq.direct', 'direct', 1), ('amq.topic', 'topic', 1), ('amq.fanout', 'fanout', 1);

-- A queue that was temporary leaves its row with gone_at set: what is still sent to it, such as
-- a reply to a client that went away, is dropped instead of being kept for nobody.
CREATE TABLE queue (
    name        TEXT PRIMARY KEY,
    durable     INTEGER NOT NULL DEFAULT 0,
    exclusive   INTEGER NOT NULL DEFAULT 0,
    auto_delete INTEGER NOT NULL DEFAULT 0,
    expires     REAL,            -- seconds without use after which the queue is deleted
    message_ttl REAL,            -- seconds a message may wait
    arguments   TEXT,
    used_at     REAL NOT NULL,
    gone_at     REAL
) WITHOUT ROWID;

CREATE TABLE binding (
    exchange    TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    queue       TEXT NOT NULL,
    arguments   TEXT,
    PRIMARY KEY (exchange, routing_key, queue)
) WITHOUT ROWID;
CREATE INDEX binding_queue ON binding (queue);

-- A process that consumes. AUTOINCREMENT: an id never comes back, so a claim of a dead owner can
-- never be taken for one of a living owner.
CREATE TABLE owner (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    expires_at REAL NOT NULL,    -- monotonic clock
    lease      REAL NOT NULL,    -- seconds
    pid        INTEGER NOT NULL,
    started    TEXT NOT NULL,    -- when the process started, in the kernel's words; '' if unknown
    scope      TEXT NOT NULL,    -- boot and pid namespace that `pid` is valid in; '' if unknown
    host       TEXT NOT NULL
);

CREATE TABLE consumer (
    queue TEXT NOT NULL,
    owner INTEGER NOT NULL,
    tag   TEXT NOT NULL,
    PRIMARY KEY (queue, owner, tag)
) WITHOUT ROWID;
CREATE INDEX consumer_owner ON consumer (owner);

-- A message is in exactly one state: ready (claim and due are null), delayed (due is set), or
-- claimed (claim is set: owner id * 2^32 + number of the claim). Each state has an index that
-- holds only the messages in it, so that no state is ever scanned to find another.
CREATE TABLE message (
    id          INTEGER PRIMARY KEY,
    queue       TEXT NOT NULL,
    priority    INTEGER NOT NULL DEFAULT 0,    -- 0 is delivered first, 9 last
    due         REAL,
    expires_at  REAL,
    claim       INTEGER,
    redelivered INTEGER NOT NULL DEFAULT 0,    -- 1 once it came back, 1 more for each start since
    deliveries  INTEGER NOT NULL DEFAULT 0,    -- deliveries that were not acknowledged
    envelope    TEXT NOT NULL,                 -- JSON: headers, properties, content type, encoding
    body        BLOB NOT NULL
);
CREATE INDEX message_ready ON message (queue, priority, id) WHERE claim IS NULL AND due IS NULL;
CREATE INDEX message_due ON message (queue, due) WHERE due IS NOT NULL;
CREATE INDEX message_claim ON message (claim) WHERE claim IS NOT NULL;
CREATE INDEX message_expiry ON message (expires_at) WHERE expires_at IS NOT NULL;

-- States of tasks, saved groups and whatever else the result backend keeps. Every write gives
-- the row a new, greater id: who waits reads the rows after the last id that it has seen.
CREATE TABLE result (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT NOT NULL UNIQUE,
    state      TEXT,             -- of a task; null for anything else
    expires_at REAL,             -- before the value, which may lie on many pages
    value      BLOB NOT NULL
);

-- One row per chord with a counted header, one per header task that is done. Whoever adds the last
-- part claims the chord in that same transaction, sends the callback and then sets sent_at.
CREATE TABLE chord (
    id         TEXT PRIMARY KEY,
    size       INTEGER NOT NULL,
    done       INTEGER NOT NULL DEFAULT 0,
    claimed_by TEXT,
    sent_at    REAL,
    expires_at REAL
) WITHOUT ROWID;

CREATE TABLE chord_part (
    chord   TEXT NOT NULL,
    task_id TEXT NOT NULL,
    PRIMARY KEY (chord, task_id)
) WITHOUT ROWID;
