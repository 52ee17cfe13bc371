-- ARGV: channels, session, a ticket, a number. Of so many entries behind that ticket those that nobody removed: { record, ticket, … }, and
-- the ticket to go on from, 0 at the end.
settle()
local found = redis.call('ZRANGE', key, beyond(-tonumber(ARGV[3])), '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[4], 'WITHSCORES')
local rows = {}
for i = 1, #found, 2 do
  local entry = parse(found[i], -tonumber(found[i + 1]))
  if entry and tonumber(redis.call('ZSCORE', key, entry.id)) == entry.ticket then
    rows[#rows + 1] = found[i]
    rows[#rows + 1] = entry.ticket
  end
end
return { rows, #found == 2 * tonumber(ARGV[4]) and -tonumber(found[#found]) or 0 }
