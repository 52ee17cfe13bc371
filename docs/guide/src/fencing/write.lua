-- KEYS: the largest token under this lock, what is written. ARGV: the token, the value. Both keys lie in one slot.
-- 0: a later holder has been here. Tokens are compared as text, because numbers of Lua have 53 bits.
local seen, token = redis.call('GET', KEYS[1]) or '0', ARGV[1]
if #seen > #token or #seen == #token and seen > token then
    return 0
end
redis.call('SET', KEYS[1], token)
redis.call('SET', KEYS[2], ARGV[2])
return 1
