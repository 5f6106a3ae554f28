-- Store the meta of a task and tell who waits for it, unless a SUCCESS is stored already.
--
-- Invariant: a stored SUCCESS is never replaced. JSON metas of taskq and Celery begin with their
-- status, so this is seen here; for metas in another form the caller decides, with what it read as
-- `expected`: they are replaced only if they are still the same.
--
-- KEYS: the task's key, which is the name of the channel as well
-- ARGV: meta, seconds to keep it (0: for ever), then optionally the meta expected to be stored
-- Returns: 1 if it was stored, 0 if a SUCCESS is there, or the stored meta if that can't be told.
local stored = redis.call('GET', KEYS[1])
if stored then
    if ARGV[3] then
        if stored ~= ARGV[3] then return stored end
    elseif string.sub(stored, 1, 12) ~= '{"status": "' then
        return stored
    elseif string.sub(stored, 13, 20) == 'SUCCESS"' then
        return 0
    end
end
if ARGV[2] == '0' then
    redis.call('SET', KEYS[1], ARGV[1])
else
    redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
