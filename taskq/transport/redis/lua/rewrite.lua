-- Put other messages in the place of held ones: they are what is delivered if their owner dies.
--
-- Invariant: an entry of `unacked` that somebody has taken out is not put there again.
--
-- KEYS: unacked
-- ARGV: for each message: tag, the new entry.
-- Returns: the tags that were not ours any more, joined by spaces.
local lost = {}
for i = 1, #ARGV, 2 do
    if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    else
        lost[#lost + 1] = ARGV[i]
    end
end
return table.concat(lost, ' ')
