-- ARGV: channels, session, id, weight, limit, lease in ms, record.
local id, lease = ARGV[3], tonumber(ARGV[6])
local lowest = redis.call('ZRANGE', KEYS[1], 0, 1, 'WITHSCORES')

-- `ticket` is text: to write a number of sixteen digits is not cheap.
local function append(ticket)
  local life = id .. ' ' .. ticket .. ' ' .. ARGV[4] .. ' ' .. ARGV[6] .. ' ' .. ARGV[2]
  redis.call('ZADD', KEYS[1], '-' .. ticket, ARGV[7], ticket, id, now_or_later + lease, life, ticket, '#last')
end

-- A lock that is free: nothing stands in it but the last ticket, and that is of the same half of a day, in which the key got its life. Nobody
-- else is there is what a ticket alone says.
if lowest[1] == '#last' and not lowest[3] then
  local last = tonumber(lowest[2])
  if last < micros and math.floor(last / HALF_DAY) == math.floor(micros / HALF_DAY) then
    append(time[1] .. string.format('%06d', time[2]))
    return micros
  end
end
