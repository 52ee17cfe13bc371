-- ARGV: channels, session, id, number of this request, life of the tombstone in ms or 0. KEYS[6]: the id's tombstone, which keeps away
-- a request to make the entry that is still on its way, and remembers which request removed it.
local id, request, life = ARGV[3], ARGV[4], tonumber(ARGV[5])
local there = owns(id)
if there then remove(id) end
if life == 0 then return there and 1 or 0 end
if not there and redis.call('GET', KEYS[6]) == request then return 1 end
redis.call('SET', KEYS[6], there and request or '', 'PX', life)
return there and 1 or 0
