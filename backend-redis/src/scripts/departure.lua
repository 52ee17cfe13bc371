-- ARGV: channels, session, id, its ticket or 0, the life of a tombstone; and where the ticket is known the record and what carries the deadline.
local parts = ARGV[6] and redis.call('ZREM', KEYS[1], ARGV[3], ARGV[6], ARGV[7])

-- Nobody else is there: nothing is left but the last ticket.
if parts == 3 and redis.call('ZCARD', KEYS[1]) == 1 then return 1 end
