-- KEYS: the record. ARGV: the token, the record with it. 0: the record is of a later holder.
-- Tokens are compared as text, because numbers of Lua have 53 bits.
local seen, token = redis.call('GET', KEYS[1]), ARGV[1]
seen = seen and string.match(seen, '^(%d+) ') or '0'
if #seen > #token or #seen == #token and seen > token then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
