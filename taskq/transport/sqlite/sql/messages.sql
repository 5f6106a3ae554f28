-- Publishing, claiming and settling messages. Parameters are numbered.

-- name: publish
-- To one queue, by the default exchange. Dropped if the queue was temporary and is gone.
-- ?1 queue, ?2 priority, ?3 due, ?4 expires at, ?5 envelope, ?6 body, ?7 now
INSERT INTO message (queue, priority, due, expires_at, envelope, body)
SELECT ?1, ?2, ?3,
       nullif(min(ifnull(?4, 9e999), ifnull(?7 + queue.message_ttl, 9e999)), 9e999),
       ?5, ?6
FROM (SELECT 1) LEFT JOIN queue ON queue.name = ?1
WHERE queue.gone_at IS NULL;

-- name: publish_direct
-- To every queue bound to the exchange ?8 with exactly the routing key ?1.
INSERT INTO message (queue, priority, due, expires_at, envelope, body)
SELECT queue.name, ?2, ?3,
       nullif(min(ifnull(?4, 9e999), ifnull(?7 + queue.message_ttl, 9e999)), 9e999),
       ?5, ?6
FROM binding JOIN queue ON queue.name = binding.queue
WHERE binding.exchange = ?8 AND binding.routing_key = ?1 AND queue.gone_at IS NULL;

-- name: publish_topic
-- To every queue with a binding to the exchange ?8 whose pattern the routing key ?1 matches.
INSERT INTO message (queue, priority, due, expires_at, envelope, body)
SELECT queue.name, ?2, ?3,
       nullif(min(ifnull(?4, 9e999), ifnull(?7 + queue.message_ttl, 9e999)), 9e999),
       ?5, ?6
FROM queue
WHERE queue.gone_at IS NULL AND queue.name IN (
    SELECT queue FROM binding WHERE exchange = ?8 AND topic_matches(routing_key, ?1)
);

-- name: publish_fanout
-- A copy to every queue bound to the exchange ?8. (?1, the routing key, does not matter.)
INSERT INTO message (queue, priority, due, expires_at, envelope, body)
SELECT queue.name, ?2, ?3,
       nullif(min(ifnull(?4, 9e999), ifnull(?7 + queue.message_ttl, 9e999)), 9e999),
       ?5, ?6
FROM queue
WHERE queue.gone_at IS NULL AND ?1 IS ?1 AND queue.name IN (
    SELECT queue FROM binding WHERE exchange = ?8
);

-- name: first_time
-- Remember until ?2 that the message with the id ?1 was published; changes no row if it was before.
INSERT INTO published_once (id, expires_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING;

-- name: forget_published
DELETE FROM published_once WHERE expires_at <= ?1;

-- name: ready
-- The next messages of one queue. Walks the index message_ready, reads nothing else.
SELECT priority, id FROM message
WHERE queue = ?1 AND claim IS NULL AND due IS NULL
ORDER BY priority, id
LIMIT ?2;

-- name: due
-- Is a delayed message of the queue due? Looks at one entry of the index message_due.
SELECT 1 FROM message WHERE queue = ?1 AND due IS NOT NULL AND due <= ?2 LIMIT 1;

-- name: next_due
-- When the first delayed message of the queue is due: the first entry of the index message_due.
SELECT min(due) FROM message WHERE queue = ?1 AND due IS NOT NULL;

-- name: promote
-- Delayed messages of the queue that are due become ready, the earliest first.
UPDATE message SET due = NULL
WHERE id IN (
    SELECT id FROM message
    WHERE queue = ?1 AND due IS NOT NULL AND due <= ?2
    ORDER BY due
    LIMIT ?3
);

-- name: claim
-- The invariant of delivery: a message is handed out only after this has been committed, and as
-- long as it is claimed nobody else can claim it.
UPDATE message SET claim = ?1
WHERE id IN (SELECT value FROM json_each(?2))
RETURNING id, queue, priority, redelivered, deliveries, expires_at, envelope, body;

-- name: take
-- For a consumer that does not acknowledge: delivered is done.
DELETE FROM message WHERE id IN (SELECT value FROM json_each(?1))
RETURNING id, queue, priority, redelivered, deliveries, expires_at, envelope, body;

-- name: drop
-- A message that expired before it was delivered.
DELETE FROM message WHERE id = ?1;

-- name: claim_of
SELECT claim FROM message WHERE id = ?1;

-- name: acknowledge
-- Only under the claim it was delivered with: after the message went to somebody else, or was
-- done and its id given to another message, this changes nothing.
DELETE FROM message WHERE id = ?1 AND claim = ?2;

-- name: rewrite
-- What is delivered if the consumer dies that holds the message.
UPDATE message SET envelope = ?3 WHERE id = ?1 AND claim = ?2;

-- name: requeue
UPDATE message SET claim = NULL, redelivered = max(redelivered, 1), deliveries = deliveries + 1
WHERE id = ?1 AND claim = ?2;

-- name: count_start
-- A message that came back before is about to be worked on again.
UPDATE message SET redelivered = redelivered + 1 WHERE id = ?1 AND claim = ?2;

-- name: put_back
-- A message that was claimed but never shown to anybody: it is as good as new.
UPDATE message SET claim = NULL WHERE id = ?1 AND claim = ?2;

-- name: defer
UPDATE message SET claim = NULL, due = ?3 WHERE id = ?1 AND claim = ?2;

-- name: has_expired
SELECT 1 FROM message
WHERE expires_at IS NOT NULL AND expires_at <= ?1 AND claim IS NULL LIMIT 1;

-- name: expire
-- Messages that outlived their time to live and that nobody holds.
DELETE FROM message
WHERE id IN (
    SELECT id FROM message
    WHERE expires_at IS NOT NULL AND expires_at <= ?1 AND claim IS NULL
    LIMIT ?2
);

-- name: count_ready
SELECT count(*) FROM message WHERE queue = ?1 AND claim IS NULL AND due IS NULL;

-- name: count_delayed
SELECT count(*) FROM message WHERE queue = ?1 AND due IS NOT NULL;

-- name: delayed
-- The next of the delayed messages of the queue. Walks the index message_due.
SELECT due, redelivered, deliveries, envelope, body FROM message
WHERE queue = ?1 AND due IS NOT NULL
ORDER BY due
LIMIT ?2;

-- name: purge_ready
DELETE FROM message WHERE queue = ?1 AND claim IS NULL AND due IS NULL;

-- name: purge_delayed
DELETE FROM message WHERE queue = ?1 AND due IS NOT NULL;

-- name: purge_claimed
-- Walks the index message_claim, which is as short as the prefetch of all consumers.
DELETE FROM message WHERE queue = ?1 AND claim IS NOT NULL;
