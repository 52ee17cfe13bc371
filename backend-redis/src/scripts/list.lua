-- ARGV: channels, session. The whole queue: { id, ticket, record, … }.
local all = redis.call('ZRANGE', queue, 0, -1, 'WITHSCORES')
local seen = {}
for i = 1, #all, 2 do
  seen[#seen + 1] = all[i]
  seen[#seen + 1] = all[i + 1]
  seen[#seen + 1] = redis.call('HGET', records, all[i])
end
return seen
