-- Gives the lease back, if the leader of fence ARGV[1] still holds it.
-- KEYS: the lease, the fence.
if redis.call('GET', KEYS[2]) == ARGV[1] then
    redis.call('HSET', KEYS[1], 'owner', '')
end
return 1
