-- ARGV: channels, session, id, its ticket or 0, number of this request, life of the tombstone in ms or 0. A tombstone keeps away a request to make
-- the entry that is still on its way, and remembers which request removed it.
local id, request, stays = ARGV[3], '-' .. ARGV[3] .. ' ' .. ARGV[5], tonumber(ARGV[6])
local entry = own(id, ARGV[4])
local there = entry ~= nil
if entry then take_out(entry) end
settle()
if stays == 0 then return there and 1 or 0 end
if not there and redis.call('ZSCORE', key, request) then return 1 end
redis.call('ZADD', key, now_or_later + stays, '-' .. id)
if there then redis.call('ZADD', key, now_or_later + stays, request) end
keep()
return there and 1 or 0
