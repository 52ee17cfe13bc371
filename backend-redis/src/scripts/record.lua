-- KEYS: the record. What it says, and the time of day.
return {redis.call('GET', KEYS[1]), redis.call('TIME')}
