-- ARGV[5]: for how many ms a tombstone keeps away a request to make the entry that is still on its way.
redis.call('ZADD', KEYS[1], now_or_later + ARGV[5], '-' .. ARGV[3])
keep_half(KEYS[1])
