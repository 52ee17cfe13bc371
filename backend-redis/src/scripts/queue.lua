-- What all scripts begin with: the lock, which is one sorted set, and how entries leave it and are let in.
--
-- What stands in the set is told apart by its score:
--
--   -ticket          <id> <kind> <weight> <limit> <lease> <session> <label>   the record of an entry: these are the queue
--   ticket           <id>                                                     finds the record; without it the entry is gone
--   deadline, in ms  <id> <ticket> <weight> <lease> <session>                 until when the entry lives
--   deadline, in ms  -<id>                                                    a tombstone
--                    #last, #held, #used                                      the last ticket, that of the last holder, the
--                                                                             weight of all holders
--
-- Tickets are microseconds below 2^53. Numbers that are passed to a command are exact, in strings only with '%.0f'.
local key, channels, session = KEYS[1], ARGV[1], ARGV[2]
-- No script works on more than a batch of entries: the server does nothing else meanwhile.
local UNBOUNDED, DAY, BATCH = 2 ^ 32 - 1, 24 * 60 * 60 * 1000, 256
-- All deadlines lie between these, no weight and no ticket does.
local FIRST, LAST = 2 ^ 33, 10 ^ 14

local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now, now_or_later = math.floor(micros / 1000), math.ceil(micros / 1000)

-- Everything about the holders follows from the records: lost, it is counted again from the head of the queue.
local numbers = redis.call('ZMSCORE', key, '#last', '#held', '#used')
local last, held, used = tonumber(numbers[1]), tonumber(numbers[2]), tonumber(numbers[3])
if not (held and used) then held, used = 0, 0 end
local was_held, was_used = held, used

local function beyond(score) return string.format('(%.0f', score) end

local function parse(record, ticket)
  local id, weight, limit, lease, owner = string.match(record, '^(%w+) [%w-]+ (%d+) (%d+) (%d+) (%w+) ')
  return id and {
    id = id, weight = tonumber(weight), limit = tonumber(limit), lease = tonumber(lease), session = owner, ticket = ticket,
  }
end

local function life(entry)
  return string.format('%s %.0f %.0f %.0f %s', entry.id, entry.ticket, entry.weight, entry.lease, entry.session)
end

local gone, news = {}, {}

local function take_out(entry)
  gone[#gone + 1] = entry.id
  gone[#gone + 1] = life(entry)
  if redis.call('ZREMRANGEBYSCORE', key, -entry.ticket, -entry.ticket) == 0 then
    held, used = 0, 0
  elseif entry.ticket <= held then
    used = used - entry.weight
  end
end

local function bury()
  if gone[1] then redis.call('ZREM', key, unpack(gone)) end
  gone = {}
end

local function tell(entry)
  local ids = news[entry.session] or {}
  ids[#ids + 1] = entry.id
  news[entry.session] = ids
end

-- The entries whose owners did not renew them leave; if there are very many, the rest does so next time.
local function sweep()
  local dead = 0
  for _, member in ipairs(redis.call('ZRANGE', key, FIRST, now, 'BYSCORE', 'LIMIT', 0, BATCH)) do
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

local function earliest()
  local first = redis.call('ZRANGE', key, FIRST, LAST, 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  return tonumber(first[2])
end

local due, dead = earliest(), 0
if due and due <= now then dead = sweep() end

-- Those who wait, from the first on. What has no id any more was removed by hand; what is no record was never an entry.
local function waiting(count)
  local found = redis.call('ZRANGE', key, beyond(-held), '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, count, 'WITHSCORES')
  local entries, ids = {}, {}
  for i = 1, #found, 2 do
    local entry = parse(found[i], -tonumber(found[i + 1]))
    if entry then
      entries[#entries + 1] = entry
      ids[#ids + 1] = entry.id
    else
      redis.call('ZREM', key, found[i])
    end
  end
  local tickets = ids[1] and redis.call('ZMSCORE', key, unpack(ids)) or {}
  return entries, tickets, #found == 2 * count
end

-- Lets in whoever fits now, in order, and all of them only if they are not too many: the next script goes on. This and the core's
-- rule have to agree.
local function let_in(own)
  local count, left = 1, BATCH
  while left > 0 do
    local entries, tickets, more = waiting(count)
    for i, entry in ipairs(entries) do
      if tonumber(tickets[i]) ~= entry.ticket then
        take_out(entry)
        tell(entry)
      elseif used + entry.weight > entry.limit then
        return
      else
        held, used = entry.ticket, used + entry.weight
        if entry.id ~= own then tell(entry) end
        if used == entry.limit then return end
      end
    end
    if not more then return end
    left = left - count
    count = math.min(count * 8, left)
  end
end

-- What every script does when it knows who has left and who has come. To tell is only a hint: whoever gets it looks for itself; and
-- it must not undo the rest, hence pcall.
local function settle(own)
  let_in(own)
  bury()
  if held ~= was_held or used ~= was_used then redis.call('ZADD', key, held, '#held', used, '#used') end
  was_held, was_used = held, used
  for owner, ids in pairs(news) do redis.pcall('PUBLISH', channels .. owner, table.concat(ids, ' ')) end
  news = {}
end

-- Tokens have to go on rising after a clock was set back.
local function keep()
  redis.call('PEXPIREAT', key, math.floor(math.max(last or 0, micros) / 1000) + DAY)
end

-- The entry of this session, if it is in the queue. `known` is its ticket where that is known: then what is left of one that was
-- removed by hand can go.
local function own(id, known)
  local place = tonumber(redis.call('ZSCORE', key, id))
  local ticket = place or tonumber(known)
  local record = redis.call('ZRANGE', key, -ticket, -ticket, 'BYSCORE')[1]
  if place and not record then
    gone[#gone + 1] = id
    held, used = 0, 0
  end
  local entry = record and parse(record, ticket)
  if not entry or entry.id ~= id or entry.session ~= session then return nil end
  if place then return entry end
  take_out(entry)
  return nil
end

local function renew(entry) redis.call('ZADD', key, now_or_later + entry.lease, life(entry)) end

-- Until when somebody else's entry lives. Later than a lease from now it can only be because the clock was set back.
local function deadline(entry)
  local score = tonumber(redis.call('ZSCORE', key, life(entry)))
  if score and score <= now_or_later + entry.lease then return score end
  renew(entry)
  return now_or_later + entry.lease
end

-- The same for all whom the first waiter waits for: those that are too late, and, if anybody lacks a deadline, those in front.
local function mend_deadlines(lease)
  local late = redis.call('ZRANGE', key, beyond(now_or_later + lease), LAST, 'BYSCORE', 'LIMIT', 0, BATCH, 'WITHSCORES')
  for i = 1, #late, 2 do
    local its = tonumber(string.match(late[i], '^%w+ %d+ %d+ (%d+) %w+$'))
    if its and tonumber(late[i + 1]) > now_or_later + its then redis.call('ZADD', key, now_or_later + its, late[i]) end
  end
  if redis.call('ZCOUNT', key, '-inf', '(0') > redis.call('ZCOUNT', key, FIRST, LAST) then
    local front = redis.call('ZRANGE', key, '(0', '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, BATCH, 'WITHSCORES')
    for i = 1, #front, 2 do
      local entry = parse(front[i], -tonumber(front[i + 1]))
      if entry then deadline(entry) end
    end
  end
end

-- The nearest entry in a direction; what is no record is removed.
local function nearest(from, to, ...)
  while true do
    local found = redis.call('ZRANGE', key, from, to, 'BYSCORE', ...)
    if not found[1] then return nil end
    local entry = parse(found[1], -tonumber(found[2]))
    if entry then
      entry.record = found[1]
      return entry
    end
    redis.call('ZREM', key, found[1])
  end
end

-- What the rule needs to know of an entry that waits: the first waiter, who does not fit behind the holders, and the entry directly ahead. If
-- it is the first waiter itself, then somebody who holds is directly ahead.
local function seen_by_waiter(entry, ahead)
  local front = nearest(beyond(-held), '-inf', 'REV', 'LIMIT', 0, 1, 'WITHSCORES')
  if front.ticket == entry.ticket then
    mend_deadlines(entry.lease)
    return { entry.ticket, used - ahead.weight, math.max(0, earliest() - now), { ahead.record, ahead.ticket } }
  end
  local rows = { front.record, front.ticket }
  if ahead.ticket ~= front.ticket then
    rows[3] = ahead.record
    rows[4] = ahead.ticket
  end
  return { entry.ticket, used, math.max(0, deadline(ahead) - now), rows }
end

-- What is shown of an entry: { its ticket, the weight of the holders that are not shown, milliseconds until somebody ahead may be dead or -1,
-- { record, ticket, … } of those ahead }.
local function seen_from(entry)
  local ahead = entry.ticket > held and nearest(beyond(-entry.ticket), '(0', 'LIMIT', 0, 1, 'WITHSCORES')
  if ahead then return seen_by_waiter(entry, ahead) end
  if entry.ticket > held then
    -- All holders were removed by hand, with everything that tells of them.
    held, used = 0, 0
    settle(entry.id)
  end
  return { entry.ticket, used - entry.weight, -1, {} }
end
