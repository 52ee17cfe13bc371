-- ARGV: channels, session, id, its ticket or 0, life of the tombstone in ms or 0. A tombstone keeps away a request to make the entry that is still
-- on its way.
local entry, stays = own(ARGV[3], ARGV[4]), tonumber(ARGV[5])
if entry then take_out(entry) end
settle()
if stays > 0 then
  redis.call('ZADD', key, now_or_later + stays, '-' .. ARGV[3])
  keep()
end
return entry and 1 or 0
