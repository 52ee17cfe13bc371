-- ARGV: channels, session, id, kind, weight, limit, lease in ms, label.
local id, weight, limit, lease = ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

if redis.call('ZSCORE', key, '-' .. id) then return redis.error_reply('REMOVED the entry was removed before') end

local entry = own(id, 0)
if entry then
  renew(entry)
else
  if redis.call('ZSCORE', key, id) then return redis.error_reply('TAKEN another session has an entry with this id') end
  local tail = nearest('-inf', '(0', 'LIMIT', 0, 1, 'WITHSCORES')
  if tail and tail.limit ~= limit and tail.limit ~= UNBOUNDED then
    settle()
    return { 0, 0, -1, { tail.record, tail.ticket } }
  end
  last = math.max(math.max(last or 0, tail and tail.ticket or 0) + 1, micros)
  if last >= 2 ^ 53 then return redis.error_reply('EXHAUSTED there is no larger token') end
  entry = { id = id, weight = weight, limit = limit, lease = lease, session = session, ticket = last }
  local record = table.concat({ id, ARGV[4], ARGV[5], ARGV[6], ARGV[7], session, ARGV[8] }, ' ')
  redis.call('ZADD', key, -last, record, last, id, now_or_later + lease, life(entry), last, '#last')
end
keep()
settle(id)
return seen_from(entry)
