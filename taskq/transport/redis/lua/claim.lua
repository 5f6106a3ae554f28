-- Acknowledge, then move messages from the queue lists into `unacked`: one call does both.
--
-- Invariant: a message is in a list or in `unacked`, never only on its way to a client.
-- Tags are made of the owner's name and a number the owner counts up, so each claim has a tag of
-- its own, and a late acknowledgement can't hit a later delivery of the same message.
--
-- KEYS: unacked, unacked_index, the owner's fence, then the lists in the order of preference.
-- ARGV: owner, current time (score of the index, unix seconds), number of messages wanted,
--       number of the first claim, number of acknowledged tags, these tags, then for each list
--       the end of its entries in `unacked` (empty: do not keep, the consumer won't acknowledge).
-- Returns: {counts, lost, payload, ...}
--   counts: "<lists found empty> <messages from list 1> <from list 2> ...", or "fenced" when the
--           owner was declared dead: nothing is claimed, its messages were given to others;
--   lost:   the acknowledged tags that were not ours any more, joined by spaces.
local unacked, index = KEYS[1], KEYS[2]
local owner, now, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
local number, acks = tonumber(ARGV[4]), tonumber(ARGV[5])
local reply = {'', ''}

if acks > 0 then
    if redis.call('HDEL', unacked, unpack(ARGV, 6, 5 + acks)) == acks then
        redis.call('ZREM', index, unpack(ARGV, 6, 5 + acks))
    else
        local lost = {}
        for i = 6, 5 + acks do
            if redis.call('ZREM', index, ARGV[i]) == 0 then lost[#lost + 1] = ARGV[i] end
        end
        reply[2] = table.concat(lost, ' ')
    end
end
if wanted == 0 then return reply end
if owner ~= '' and redis.call('EXISTS', KEYS[3]) == 1 then
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
for i = 4, #KEYS do
    local popped = pop(KEYS[i], wanted)
    if popped.err then
        -- Raise it only when no messages would get lost with it; the next call meets it again.
        if #reply == 2 and acks == 0 then return popped end
        break
    end
    local found, suffix = #popped, ARGV[5 + acks + i - 3]
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
if dry > 0 then redis.call('EXISTS', unpack(KEYS, 4, 3 + dry)) end
reply[1] = table.concat(counts, ' ')
return reply
