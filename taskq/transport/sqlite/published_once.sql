-- Version 2 of the database file.

-- Ids of messages that may be published only once: a chord's body, when the worker that sent it
-- died before it could note that, and another one sends it again.
CREATE TABLE published_once (
    id         TEXT PRIMARY KEY,
    expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX published_once_expiry ON published_once (expires_at);
