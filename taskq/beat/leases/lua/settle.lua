-- Writes down that the broker has a run, if the leader of fence ARGV[1] still leads. A run that it
-- may have twice is remembered for ARGV[5] seconds, which are 0 for others.
-- KEYS: the fence, the runs, the outbox, the memory of this run.
-- ARGV: fence, entry, run, key of the run, seconds.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('HDEL', KEYS[3], ARGV[4])
if ARGV[5] ~= '0' then
    redis.call('SET', KEYS[4], '1', 'EX', ARGV[5])
end
return 1
