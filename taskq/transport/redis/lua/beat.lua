-- The heartbeat of an owner, and the housekeeping that every living owner does for all:
-- declare silent owners dead, and put parked messages that are due back to their lists.
--
-- KEYS: owners (set of names by last heartbeat), dead owners (set by time of the last attempt to
--       recover their messages), the owner's fence, unacked_index, parked, parked messages
-- ARGV: owner, seconds of silence after which an owner is dead (0: judge nobody now),
--       current time of the client (score of the index), seconds an attempt to recover may take,
--       prefix of fences, seconds a fence is kept, most messages to unpark,
--       then the tags whose index score is to be renewed.
-- Returns: {alive, milliseconds until the next parked message is due or -1,
--           milliseconds until an owner that is known now can be dead or -1 if there is none,
--           dead owner whose messages the caller is to recover, ...}
-- Heartbeats and due times are on the server's clock.
redis.call('ZREM', KEYS[1], '')  -- a first write that is allowed when the memory is full
local owner, silence, index = ARGV[1], tonumber(ARGV[2]), KEYS[4]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local reply = {1, -1, -1}

if redis.call('EXISTS', KEYS[3]) == 1 then
    reply[1] = 0
else
    redis.call('ZADD', KEYS[1], string.format('%.6f', now), owner)
    for i = 8, #ARGV do redis.call('ZADD', index, 'XX', ARGV[3], ARGV[i]) end
end

if silence > 0 then
    local silent = redis.call(
        'ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now - silence), 'LIMIT', 0, 100)
    for _, dead in ipairs(silent) do
        redis.call('ZREM', KEYS[1], dead)
        redis.call('SET', ARGV[5] .. dead, '1', 'EX', ARGV[6])
        redis.call('ZADD', KEYS[2], 0, dead)
    end
    local unfinished = redis.call(
        'ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.6f', now - ARGV[4]), 'LIMIT', 0, 10)
    for _, dead in ipairs(unfinished) do
        redis.call('ZADD', KEYS[2], string.format('%.6f', now), dead)
        reply[#reply + 1] = dead
    end
    for _, other in ipairs(redis.call('ZRANGE', KEYS[1], 0, 1)) do
        if other ~= owner then
            local silent_at = redis.call('ZSCORE', KEYS[1], other) + silence
            reply[3] = math.max(0, math.ceil((silent_at - now) * 1000))
            break
        end
    end
end

local due = redis.call(
    'ZRANGEBYSCORE', KEYS[5], '-inf', string.format('%.6f', now), 'LIMIT', 0, ARGV[7])
for i = #due, 1, -1 do  -- the one due first is pushed last: it is delivered next
    local tag = due[i]
    local entry = redis.call('HGET', KEYS[6], tag)
    redis.call('ZREM', KEYS[5], tag)
    redis.call('HDEL', KEYS[6], tag)
    if entry then
        local colon = string.find(entry, ':', 1, true)
        local length = tonumber(string.sub(entry, 1, colon - 1))
        redis.call('RPUSH', string.sub(entry, colon + 1, colon + length),
            string.sub(entry, colon + length + 1))
    end
end
local following = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
if following[2] then reply[2] = math.max(0, math.ceil((following[2] - now) * 1000)) end
return reply
