-- ARGV: channels, session, id, its ticket or 0, the life of a tombstone; and where the ticket is known the record and what carries the deadline.
local parts = ARGV[6] and redis.call('ZREM', KEYS[1], ARGV[3], ARGV[6], ARGV[7])

-- Who is first now (an argument costs as much as a small command: ZREVRANGEBYSCORE takes two less than ZRANGE). If that is nobody, it was the only one.
local first = redis.call('ZREVRANGEBYSCORE', KEYS[1], '(0', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
if parts == 3 and not first[1] then return 1 end
