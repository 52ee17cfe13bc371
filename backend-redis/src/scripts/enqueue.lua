local scores = turn_to(KEYS[1], id, '-' .. id)
local place = scores[4]
if scores[5] then return redis.error_reply('REMOVED the entry was removed before') end

local entry = place and own(id, 0, place)
if entry then
  renew(entry)
  settle(id)
  return seen_from(entry)
end
if place then return redis.error_reply('TAKEN another session has an entry with this id') end

local weight, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
local tail = lowest[1] and tonumber(lowest[2]) < 0 and parse(lowest[1], -lowest[2])
  or nearest('ZRANGEBYSCORE', '-inf', '(0')
local function disagrees() return tail and tail.limit ~= limit and tail.limit ~= UNBOUNDED end
if disagrees() and sweep() > 0 then tail = nearest('ZRANGEBYSCORE', '-inf', '(0') end
if disagrees() then
  settle()
  return { 0, 0, -1, { tail.record, tail.ticket } }
end
local before = last or 0
last = math.max(math.max(before, tail and tail.ticket or 0) + 1, micros)
if last >= 2 ^ 53 then return redis.error_reply('EXHAUSTED there is no larger token') end
append(string.format('%.0f', last))
if last > micros or math.floor(before / HALF_DAY) ~= math.floor(micros / HALF_DAY) then keep(key, last) end

entry = { id = id, weight = weight, limit = limit, lease = lease, session = session, ticket = last }
if not tail then
  -- What was counted is of others.
  held, used = 0, 0
else
  -- One who holds alone is the first; whoever needs all that there is need not know.
  if not (was_held and was_used) and weight < limit then
    local head = nearest('ZREVRANGEBYSCORE', '(0', '-inf')
    held, used = head.ticket, head.weight
  end
  -- Whoever has to wait changes nothing, unless somebody ahead is dead.
  if weight == limit or tail.ticket > held or not fits(entry) then
    local seen, stale = seen_by_waiter(entry, tail)
    if not stale then return seen end
  end
end
sweep()
settle(id)
return seen_from(entry)
