-- Shows that the leader of fence ARGV[1] lives. Returns 0 if another one leads.
-- KEYS: the lease, the fence.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return 0
end
redis.call('HINCRBY', KEYS[1], 'count', 1)
return 1
