-- Keep a claim on sending a chord's body for longer.
--
-- KEYS: claim
-- ARGV: token of the claim, seconds
-- Returns: 1 if the claim is still ours, else 0: somebody else sends the body.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
