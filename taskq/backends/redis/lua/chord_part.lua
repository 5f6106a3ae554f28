-- Count a header task of a chord, once however often it is delivered, and find out whose turn it
-- is to send the body.
--
-- KEYS: results (.j), number of tasks added (.t), size (.s), counted tasks (.d), saved header,
--       claim (.c)
-- ARGV: task and its position ("<id>:<position>"), its result, "1" if results are kept in order,
--       position (score), seconds to keep the keys (0: for ever), token of this call, seconds that
--       a claim lasts
-- Returns: "waiting" for other header tasks, "claimed" if the caller is to send the body, "taken"
--          if another caller has claimed that and not reported back yet, "over" if it was sent.
local results, added, size, counted, header, claim = unpack(KEYS)
local claimed = redis.call('GET', claim)
if claimed == 'done' then return 'over' end

if redis.call('SISMEMBER', counted, ARGV[1]) == 0 then
    if ARGV[3] == '1' then
        redis.call('ZADD', results, ARGV[4], ARGV[2])
    else
        redis.call('RPUSH', results, ARGV[2])
    end
    redis.call('SADD', counted, ARGV[1])
end
if ARGV[5] ~= '0' then
    for i = 1, 5 do redis.call('EXPIRE', KEYS[i], ARGV[5]) end
end

local total = redis.call('GET', size)
if not total then return 'waiting' end
local count = redis.call('SCARD', counted)
if count < tonumber(total) + tonumber(redis.call('GET', added) or 0) then return 'waiting' end
if claimed then return 'taken' end
redis.call('SET', claim, ARGV[6], 'EX', ARGV[7])
return 'claimed'
