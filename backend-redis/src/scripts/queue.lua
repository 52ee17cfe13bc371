-- What all scripts begin with: the keys of one lock, the server's clock, and how an entry leaves.
--
-- A record is "<kind> <weight> <limit> <session> <label>". Tickets and deadlines are microseconds, below 2^53 and so
-- exact in Lua's numbers, but only '%.0f' writes all of their digits.
local queue, records, deadlines, exclusive, token = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local channels, session = ARGV[1], ARGV[2]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function parse(record)
  local kind, weight, limit, owner = string.match(record or '', '^(%a) (%d+) (%d+) (%w+) ')
  return kind, tonumber(weight), tonumber(limit), owner
end

-- A hint: whoever gets it looks for itself. It must not undo what the script did, hence pcall.
local function wake(id)
  local _, _, _, owner = parse(redis.call('HGET', records, id))
  if owner then redis.pcall('PUBLISH', channels .. owner, id) end
end

-- Those whom the departure of an exclusive or shared entry from `place` lets in: what is behind it up to the
-- next exclusive entry, or that one, if it comes first now.
local function let_in(kind, place)
  local first = redis.call('ZRANGE', exclusive, 0, 0, 'WITHSCORES')
  if first[2] and tonumber(first[2]) < tonumber(place) then return {} end
  local ids = {}
  if kind == 'x' then
    ids = redis.call('ZRANGEBYSCORE', queue, '(' .. place, '(' .. (first[2] or '+inf'))
  end
  if first[1] and redis.call('ZRANK', queue, first[1]) == 0 then ids[#ids + 1] = first[1] end
  return ids
end

-- Those whom `freed` permits of `former` let in that were at `place`: behind it, within the limit now, beyond it before. If
-- the head has another idea of the limit than who left, whatever was seen before does not count.
local function let_in_by_permits(freed, former, place)
  local head = redis.call('ZRANGE', queue, 0, 0)[1]
  local _, _, limit = parse(head and redis.call('HGET', records, head))
  if not limit then return {} end
  if limit ~= former then freed = limit end
  local ids, sum = {}, 0
  local candidates = redis.call('ZRANGE', queue, 0, limit - 1, 'WITHSCORES')
  for i = 1, #candidates, 2 do
    local _, weight = parse(redis.call('HGET', records, candidates[i]))
    sum = sum + (weight or 0)
    if sum > limit then break end
    if tonumber(candidates[i + 1]) > tonumber(place) and sum + freed > limit then ids[#ids + 1] = candidates[i] end
  end
  return ids
end

local function remove(id)
  local kind, weight, limit = parse(redis.call('HGET', records, id))
  local place = redis.call('ZSCORE', queue, id)
  redis.call('ZREM', queue, id)
  redis.call('ZREM', exclusive, id)
  redis.call('ZREM', deadlines, id)
  redis.call('HDEL', records, id)
  if not kind then return end
  -- Somebody took it out by hand, from we do not know where: whoever is in front looks again.
  place = place or '0'
  local ids
  if kind == 'p' then ids = let_in_by_permits(weight, limit, place) else ids = let_in(kind, place) end
  for _, other in ipairs(ids) do wake(other) end
end

-- The entries whose owners did not renew them leave now; if there are very many, the rest does so next time.
local dead = redis.call('ZRANGEBYSCORE', deadlines, '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000)
for _, id in ipairs(dead) do
  wake(id)
  remove(id)
end

-- Whether this session's entry is in the queue. What is left of one that was taken out by hand goes.
local function owns(id)
  local _, _, _, owner = parse(redis.call('HGET', records, id))
  if owner ~= session then return false end
  if redis.call('ZSCORE', queue, id) then return true end
  remove(id)
  return false
end

local function renew(id, lease)
  redis.call('ZADD', deadlines, string.format('%.0f', now + lease), id)
end

-- What the rule needs to know of an entry: { milliseconds until one of these may be dead, { id, ticket, record, … } }, in
-- order, with the head of the queue first and the entry itself last. An entry that leaves `limit - weight` permits waits
-- if more than so many entries are ahead, because each takes one at least. Only exclusive ones count for a shared entry.
local function look(id)
  local record, place = redis.call('HGET', records, id), redis.call('ZSCORE', queue, id)
  local kind, weight, limit = parse(record)
  local ahead
  if kind == 's' then
    ahead = redis.call('ZREVRANGEBYSCORE', exclusive, '(' .. place, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  else
    ahead = redis.call('ZREVRANGEBYSCORE', queue, '(' .. place, '-inf', 'WITHSCORES', 'LIMIT', 0, limit - weight + 1)
  end
  local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  local seen, earliest = {}, math.huge
  if head[1] ~= id and head[1] ~= ahead[#ahead - 1] then
    seen = { head[1], head[2], redis.call('HGET', records, head[1]) }
  end
  for i = #ahead - 1, 1, -2 do
    seen[#seen + 1] = ahead[i]
    seen[#seen + 1] = ahead[i + 1]
    seen[#seen + 1] = redis.call('HGET', records, ahead[i])
    earliest = math.min(earliest, tonumber(redis.call('ZSCORE', deadlines, ahead[i])) or now)
  end
  seen[#seen + 1] = id
  seen[#seen + 1] = place
  seen[#seen + 1] = record
  local remaining = earliest == math.huge and -1 or math.ceil((earliest - now) / 1000)
  return { remaining, seen }
end
