-- Returns whether this copy of a message may be run: of a run that may have been sent twice only
-- the first copy that comes here, however often it comes.
-- KEYS: the outbox, the memory of this run, the copy of this message that was the first.
-- ARGV: key of the run, name of the copy, seconds to remember it for.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('EXISTS', KEYS[2]) == 0 then
    return 1
end
redis.call('SET', KEYS[3], ARGV[2], 'NX', 'EX', ARGV[3])
if redis.call('GET', KEYS[3]) == ARGV[2] then
    return 1
end
return 0
