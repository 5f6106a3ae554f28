-- Put messages back from `unacked` to their lists, each at most once whoever else tries it too:
-- only who removes the entry pushes the message.
--
-- KEYS: unacked, unacked_index
-- ARGV: push command (RPUSH: delivered next; LPUSH: delivered last),
--       then for each message: tag, number of lists, the lists, payload.
-- Returns: the number of messages put back.
local restored, i = 0, 2
while i <= #ARGV do
    local tag, lists = ARGV[i], tonumber(ARGV[i + 1])
    local payload = ARGV[i + 2 + lists]
    redis.call('ZREM', KEYS[2], tag)
    if redis.call('HDEL', KEYS[1], tag) == 1 then
        for j = i + 2, i + 1 + lists do redis.call(ARGV[1], ARGV[j], payload) end
        restored = restored + 1
    end
    i = i + 3 + lists
end
return restored
