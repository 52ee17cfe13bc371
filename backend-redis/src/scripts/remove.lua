local scores = turn_to(KEYS[1], ARGV[3])
local there = parts == 3
if parts then
  -- Part of one is what is left when it was removed by hand.
  if parts > 0 then uncount(parse(ARGV[6], tonumber(ARGV[4])), there) end
else
  local entry = own(ARGV[3], ARGV[4], scores[4])
  if entry then take_out(entry) end
  there = entry
end
settle()
return there and 1 or 0
