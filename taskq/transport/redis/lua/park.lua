-- Acknowledge messages and keep them on the server until they are due, in one step.
--
-- KEYS: unacked, unacked_index, parked (set of tags by due time), parked messages (hash)
-- ARGV: for each message: tag, seconds until it is due, the list it returns to, length of the end
--       of its entry in `unacked`.
-- The due time is counted on the server's clock, so that clocks of workers may differ.
-- Entries of the hash are "<length of list name>:<list name><payload>".
-- Returns: the tags that were not ours any more, joined by spaces.
redis.call('ZREM', KEYS[2], '')  -- a first write that is allowed when the memory is full
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local lost = {}
for i = 1, #ARGV, 4 do
    local tag, list = ARGV[i], ARGV[i + 2]
    local entry = redis.call('HGET', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
    if entry then
        redis.call('HDEL', KEYS[1], tag)
        local payload = string.sub(entry, 2, -1 - tonumber(ARGV[i + 3]))
        redis.call('HSET', KEYS[4], tag, #list .. ':' .. list .. payload)
        redis.call('ZADD', KEYS[3], string.format('%.6f', now + tonumber(ARGV[i + 1])), tag)
    else
        lost[#lost + 1] = tag
    end
end
return table.concat(lost, ' ')
