-- Acknowledge, then move messages from the queue lists into `unacked`: one call does both.
--
-- Invariant: a message is in a list or in `unacked`, never only on its way to a client.
-- Tags are made of the owner's name and a number the owner counts up, so each claim has a tag of
-- its own, and a late acknowledgement can't hit a later delivery of the same message.
--
-- KEYS: the owner's fence, then the lists in the order of preference
-- ARGV: unacked, unacked_index (both keys, but not declared, because servers before Redis 7.2 tell
--       of changes to all declared keys of a script that reads, and these two change all the time),
--       owner, current time (score of the index, unix seconds), number of messages wanted,
--       number of the first claim, number of acknowledged tags, these tags, then for each list
--       the end of its entries in `unacked` (empty: do not keep, the consumer won't acknowledge).
-- Returns: {counts, lost, payload, ...}
--   counts: "<lists found empty> <messages from list 1> <from list 2> ...", or "fenced" when the
--           owner was declared dead: nothing is claimed, its messages were given to others;
--   lost:   the acknowledged tags that were not ours any more, joined by spaces.
local unacked, index, owner, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local wanted, number, acks = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local reply = {'', ''}

if acks > 0 then
    if redis.call('HDEL', unacked, unpack(ARGV, 8, 7 + acks)) == acks then
        redis.call('ZREM', index, unpack(ARGV, 8, 7 + acks))
    else
        local lost = {}
        for i = 8, 7 + acks do
            if redis.call('ZREM', index, ARGV[i]) == 0 then lost[#lost + 1] = ARGV[i] end
        end
        reply[2] = table.concat(lost, ' ')
    end
end
if wanted == 0 then return reply end
if owner ~= '' and redis.call('EXISTS', KEYS[1]) == 1 then
    reply[1] = 'fenced'
    return reply
end

-- Before Redis 6.2 RPOP knows no count.
local function pop(list, count)
    local popped = redis.pcall('RPOP', list, count)
    if type(popped) ~= 'table' or not popped.err then return popped or {} end
    popped = {}
    while #popped < count do
        local message = redis.pcall('RPOP', list)
        if type(message) == 'table' then return message end
        if not message then break end
        popped[#popped + 1] = message
    end
    return popped
end

local dry, counts = 0, {0}
for i = 2, #KEYS do
    local popped = pop(KEYS[i], wanted)
    if popped.err then
        -- Raise it only when no messages would get lost with it; the next call meets it again.
        if #reply == 2 and acks == 0 then return popped end
        break
    end
    local found, suffix = #popped, ARGV[7 + acks + i - 1]
    counts[#counts + 1] = found
    if found > 0 then
        local entries, scores = {}, {}
        for j = 1, found do
            reply[#reply + 1] = popped[j]
            local tag = owner .. ':' .. string.format('%d', number)
            number = number + 1
            entries[2 * j - 1], entries[2 * j] = tag, '[' .. popped[j] .. suffix
            scores[2 * j - 1], scores[2 * j] = now, tag
        end
        if suffix ~= '' then
            redis.call('HSET', unacked, unpack(entries))
            redis.call('ZADD', index, unpack(scores))
        end
    end
    wanted = wanted - found
    if wanted == 0 then break end
    dry = dry + 1
end
counts[1] = dry
-- With CLIENT TRACKING on, reading the empty lists makes the server say when one is written to.
if dry > 0 then redis.call('EXISTS', unpack(KEYS, 2, 1 + dry)) end
reply[1] = table.concat(counts, ' ')
return reply
