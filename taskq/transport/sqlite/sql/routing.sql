-- Exchanges, queues and the bindings between them.

-- name: exchange
SELECT type FROM exchange WHERE name = ?1;

-- name: declare_exchange
INSERT OR IGNORE INTO exchange (name, type, durable, auto_delete, arguments)
VALUES (?1, ?2, ?3, ?4, ?5);

-- name: delete_exchange
DELETE FROM exchange WHERE name = ?1;

-- name: unused_exchanges
-- Exchanges that were to go with their last binding.
DELETE FROM exchange
WHERE auto_delete AND name = ?1
  AND NOT EXISTS (SELECT 1 FROM binding WHERE binding.exchange = exchange.name);

-- name: exchange_bindings
SELECT queue, routing_key FROM binding WHERE exchange = ?1;

-- name: all_bindings
SELECT queue, exchange, routing_key FROM binding ORDER BY exchange, routing_key, queue;

-- name: has_bindings
SELECT 1 FROM binding WHERE exchange = ?1 LIMIT 1;

-- name: has_binding
SELECT 1 FROM binding WHERE exchange = ?1 AND routing_key = ?2 AND queue = ?3;

-- name: bind
INSERT OR IGNORE INTO binding (exchange, routing_key, queue, arguments) VALUES (?1, ?2, ?3, ?4);

-- name: unbind
DELETE FROM binding WHERE exchange = ?1 AND routing_key = ?2 AND queue = ?3;

-- name: unbind_exchange
DELETE FROM binding WHERE exchange = ?1;

-- name: queue_exchanges
SELECT DISTINCT exchange FROM binding WHERE queue = ?1;

-- name: unbind_queue
DELETE FROM binding WHERE queue = ?1;

-- name: queue
SELECT durable, exclusive, auto_delete, expires, message_ttl, arguments FROM queue
WHERE name = ?1 AND gone_at IS NULL;

-- name: declare_queue
-- ?1 name, ?2 durable, ?3 exclusive, ?4 auto_delete, ?5 expires, ?6 message_ttl, ?7 arguments, ?8 now
INSERT INTO queue (name, durable, exclusive, auto_delete, expires, message_ttl, arguments, used_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (name) DO UPDATE SET
    durable = ?2, exclusive = ?3, auto_delete = ?4, expires = ?5, message_ttl = ?6,
    arguments = ?7, used_at = ?8, gone_at = NULL;

-- name: touch_queue
UPDATE queue SET used_at = ?2 WHERE name = ?1 AND expires IS NOT NULL;

-- name: consumers
SELECT count(*) FROM consumer WHERE queue = ?1;

-- name: is_temporary
SELECT auto_delete OR exclusive OR expires IS NOT NULL FROM queue WHERE name = ?1;

-- name: is_to_go
-- Does the queue go when its last consumer goes? ?2: together with its connection.
SELECT auto_delete OR (exclusive AND ?2) FROM queue WHERE name = ?1 AND gone_at IS NULL;

-- name: bury_queue
-- A temporary queue leaves a row behind that says so.
UPDATE queue SET gone_at = ?2 WHERE name = ?1;

-- name: delete_queue
DELETE FROM queue WHERE name = ?1;

-- name: expired_queues
SELECT name FROM queue
WHERE expires IS NOT NULL AND gone_at IS NULL AND used_at + expires <= ?1
  AND NOT EXISTS (SELECT 1 FROM consumer WHERE consumer.queue = queue.name);

-- name: has_buried
SELECT 1 FROM queue WHERE gone_at IS NOT NULL AND gone_at <= ?1 LIMIT 1;

-- name: forget_buried
DELETE FROM queue WHERE gone_at IS NOT NULL AND gone_at <= ?1;
