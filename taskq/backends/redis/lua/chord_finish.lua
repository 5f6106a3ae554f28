-- Note that a chord's body was sent, or failed, and forget the counting.
--
-- KEYS: claim, then the keys to delete
-- ARGV: token of the claim, seconds to remember that the chord is over
-- Returns: 1 if the claim was ours, else 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', unpack(KEYS, 2))
redis.call('SET', KEYS[1], 'done', 'EX', ARGV[2])
return 1
