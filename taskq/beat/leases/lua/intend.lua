-- Writes down that a run is about to be sent, if the leader of fence ARGV[1] still leads.
-- KEYS: the fence, the outbox. ARGV: fence, key of the run, the intent.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
