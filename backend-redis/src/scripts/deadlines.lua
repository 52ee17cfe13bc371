-- Until when entries live, and what is shown of one that does.

-- All deadlines lie between these, no weight and no ticket does.
local FIRST, LAST = 2 ^ 33, 10 ^ 14

-- The entries whose owners did not renew them leave; if there are very many, the rest does so next time.
local function sweep()
  local dead = 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, FIRST, now, 'LIMIT', 0, BATCH)) do
    local id, ticket, weight, lease, owner = string.match(member, '^(%w+) (%d+) (%d+) (%d+) (%w+)$')
    if id then
      local entry = { id = id, ticket = tonumber(ticket), weight = tonumber(weight), lease = tonumber(lease), session = owner }
      take_out(entry)
      tell(entry)
      dead = dead + 1
    else
      gone[#gone + 1] = member
    end
  end
  bury()
  return dead
end

local function renew(entry) redis.call('ZADD', key, now_or_later + entry.lease, life(entry)) end

-- Until when somebody else's entry lives. Later than a lease from now it can only be because the clock was set back.
local function deadline(entry)
  local score = tonumber(redis.call('ZSCORE', key, life(entry)))
  if score and score <= now_or_later + entry.lease then return score end
  renew(entry)
  return now_or_later + entry.lease
end

-- The same for all whom the first waiter waits for: those that are too late, and, if anybody lacks a deadline, those in front. The earliest
-- of all.
local function earliest_deadline(lease)
  local late = redis.call('ZRANGEBYSCORE', key, beyond(now_or_later + lease), LAST, 'WITHSCORES', 'LIMIT', 0, BATCH)
  for i = 1, #late, 2 do
    local its = tonumber(string.match(late[i], '^%w+ %d+ %d+ (%d+) %w+$'))
    if its and tonumber(late[i + 1]) > now_or_later + its then redis.call('ZADD', key, now_or_later + its, late[i]) end
  end
  if redis.call('ZCOUNT', key, '-inf', '(0') > redis.call('ZCOUNT', key, FIRST, LAST) then
    local front = redis.call('ZREVRANGEBYSCORE', key, '(0', '-inf', 'WITHSCORES', 'LIMIT', 0, BATCH)
    for i = 1, #front, 2 do
      local entry = parse(front[i], -tonumber(front[i + 1]))
      if entry then deadline(entry) end
    end
  end
  return tonumber(redis.call('ZRANGEBYSCORE', key, FIRST, LAST, 'WITHSCORES', 'LIMIT', 0, 1)[2])
end

-- The nearest entry, by ZRANGEBYSCORE or ZREVRANGEBYSCORE; what is no record is removed.
local function nearest(by, from, to)
  while true do
    local found = redis.call(by, key, from, to, 'WITHSCORES', 'LIMIT', 0, 1)
    if not found[1] then return nil end
    local entry = parse(found[1], -tonumber(found[2]))
    if entry then return entry end
    redis.call('ZREM', key, found[1])
  end
end

-- What the rule needs to know of an entry that waits: the entry directly ahead, and how many others hold if that one does; and if it does
-- not, the first waiter, who does not fit behind the holders. Whoever needs all that there is waits for whoever is ahead. And whether somebody
-- may be let in, or is dead.
local function seen_by_waiter(entry, ahead)
  local rows = { ahead.record, ahead.ticket }
  local others = ahead.ticket <= held and used - ahead.weight or 0
  local left = (others > 0 and earliest_deadline(entry.lease) or deadline(ahead)) - now
  local stale = left <= 0
  if ahead.ticket > held and not (entry.weight == entry.limit and ahead.limit == entry.limit) then
    local front = nearest('ZREVRANGEBYSCORE', beyond(-held), '-inf')
    if front.ticket ~= ahead.ticket then rows = { front.record, front.ticket, ahead.record, ahead.ticket } end
    others, stale = used, stale or fits(front)
  end
  return { entry.ticket, others, math.max(0, left), rows }, stale
end

-- What is shown of an entry: { its ticket, the weight of the holders that are not shown, milliseconds until somebody ahead may be dead or -1,
-- { record, ticket, … } of those ahead }.
local function seen_from(entry)
  if entry.ticket > held then
    local ahead = nearest('ZRANGEBYSCORE', beyond(-entry.ticket), '(0')
    if ahead then return (seen_by_waiter(entry, ahead)) end
    -- All holders were removed by hand, with everything that tells of them.
    held, used = 0, 0
    settle(entry.id)
  end
  return { entry.ticket, used - entry.weight, -1, {} }
end
