-- ARGV: channels, session, id, its ticket or 0, the life of a tombstone; and where the ticket is known the record and what carries the deadline.
local parts = ARGV[6] and redis.call('ZREM', KEYS[1], ARGV[3], ARGV[6], ARGV[7])

-- Who is first now. If that is nobody, it was the only one.
local first = redis.call('ZRANGE', KEYS[1], '(0', '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, 1, 'WITHSCORES')
if parts == 3 and not first[1] then return 1 end
