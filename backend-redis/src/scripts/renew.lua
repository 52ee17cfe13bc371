-- ARGV: channels, session, then for each entry its id and its ticket or 0. How many dead entries were removed, and the ids that are not there
-- (any more): a renewal makes nothing anew.
local absent, lives = {}, {}
for i = 3, #ARGV, 2 do
  local entry = own(ARGV[i], ARGV[i + 1])
  if entry then
    lives[#lives + 1] = now_or_later + entry.lease
    lives[#lives + 1] = life(entry)
  else
    absent[#absent + 1] = ARGV[i]
  end
end
if lives[1] then
  redis.call('ZADD', key, unpack(lives))
  keep()
end
settle()
return { dead, absent }
