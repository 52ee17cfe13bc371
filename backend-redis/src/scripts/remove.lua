local head = first[1] and parse(first[1], -tonumber(first[2]))
local scores = turn_to(KEYS[1], ARGV[3], head and head.id or '')
local there = parts == 3
if parts then
  -- Part of one is what is left when it was removed by hand.
  if parts > 0 then uncount(parse(ARGV[6], tonumber(ARGV[4])), there) end
  settle(nil, head, scores[5])
else
  local entry = own(ARGV[3], ARGV[4], scores[4])
  if entry then take_out(entry) end
  there = entry
  settle()
end
return there and 1 or 0
