-- KEYS: the mark of a session. ARGV: its life in ms, whether to make it. Whether it is there.
if ARGV[2] == '1' then redis.call('SET', KEYS[1], '', 'PX', ARGV[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
