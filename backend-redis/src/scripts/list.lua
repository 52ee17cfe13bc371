-- ARGV: channels, session, a ticket, a number. Of so many entries behind that ticket those that nobody removed: { record, ticket, … }, and
-- the ticket to go on from, 0 at the end.
turn_to(KEYS[1])
sweep()
settle()
local count = tonumber(ARGV[4])
local found = redis.call('ZREVRANGEBYSCORE', key, beyond(-tonumber(ARGV[3])), '-inf', 'WITHSCORES', 'LIMIT', 0, count)
if not found[1] then return { {}, 0 } end
local ids = {}
for i = 1, #found, 2 do ids[#ids + 1] = string.match(found[i], '^%w*') end
local tickets = redis.call('ZMSCORE', key, unpack(ids))
local rows = {}
for i = 1, #ids do
  local ticket = -tonumber(found[2 * i])
  if tonumber(tickets[i]) == ticket then
    rows[#rows + 1] = found[2 * i - 1]
    rows[#rows + 1] = ticket
  end
end
return { rows, #ids == count and -tonumber(found[#found]) or 0 }
