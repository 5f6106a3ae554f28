-- Makes ARGV[1] the leader, if the lease is still held as it was seen: a leader that lives has
-- counted up meanwhile. Returns the new fence, or 0.
-- KEYS: the lease, the fence. ARGV: owner; owner, fence and count seen.
local owner = redis.call('HGET', KEYS[1], 'owner') or ''
local count = redis.call('HGET', KEYS[1], 'count') or '0'
local fence = redis.call('GET', KEYS[2]) or '0'
if owner ~= ARGV[2] or fence ~= ARGV[3] or count ~= ARGV[4] then
    return 0
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'count', 0)
return redis.call('INCR', KEYS[2])
