-- Publish a message unless one with its id was published this way before.
--
-- KEYS: mark of the id, then the lists of the queues
-- ARGV: message, seconds to remember the id
-- Returns: 1 if it was published, 0 if it was before.
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[2]) then return 0 end
for i = 2, #KEYS do redis.call('LPUSH', KEYS[i], ARGV[1]) end
return 1
