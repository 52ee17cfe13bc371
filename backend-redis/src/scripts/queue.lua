-- A lock, which is one sorted set, and how entries leave it and are let in.
--
-- What stands in the set is told apart by its score:
--
--   -ticket          <id> <kind> <weight> <limit> <lease> <session> <label>   the record of an entry: these are the queue
--   ticket           <id>                                                     finds the record; without it the entry is gone
--   deadline, in ms  <id> <ticket> <weight> <lease> <session>                 until when the entry lives
--   deadline, in ms  -<id>                                                    a tombstone
--                    #last                                                    the last ticket
--                    #held, #used                                             where several hold: the ticket of the last holder,
--                                                                             and what all of them weigh
--
-- Tickets are microseconds below 2^53. Numbers that are passed to a command are exact, in strings only with '%.0f'.
local channels, session = ARGV[1], ARGV[2]
-- No script works on more than a batch of entries: the server does nothing else meanwhile.
local UNBOUNDED, BATCH = 2 ^ 32 - 1, 256

local key, last, held, used, was_held, was_used, alone, gone, departed, news

-- Turns to this lock, and returns the scores of its three numbers and of these members. Everything about the holders follows from the records:
-- what is not there, because one holds alone or because it was lost, is counted from the head of the queue.
local function turn_to(name, ...)
  local scores = redis.call('ZMSCORE', name, '#last', '#held', '#used', ...)
  last, held, used = tonumber(scores[1]), tonumber(scores[2]), tonumber(scores[3])
  was_held, was_used = held, used
  if not (held and used) then held, used = 0, 0 end
  key, alone, gone, departed, news = name, false, {}, math.huge, {}
  return scores
end

local function beyond(score) return string.format('(%.0f', score) end

local function parse(record, ticket)
  local id, weight, limit, lease, owner = string.match(record, '^(%w+) [%w-]+ (%d+) (%d+) (%d+) (%w+) ')
  return id and {
    id = id, weight = tonumber(weight), limit = tonumber(limit), lease = tonumber(lease), session = owner, ticket = ticket,
    record = record,
  }
end

local function life(entry)
  return string.format('%s %.0f %.0f %.0f %s', entry.id, entry.ticket, entry.weight, entry.lease, entry.session)
end

-- The record of the entry is not there any more, or, if it is not whole, never was.
local function uncount(entry, whole)
  departed = math.min(departed, entry.ticket)
  if whole and entry.ticket <= held then used = used - entry.weight end
  if not whole or used == 0 then held, used = 0, 0 end
end

local function take_out(entry)
  gone[#gone + 1] = entry.id
  gone[#gone + 1] = life(entry)
  uncount(entry, redis.call('ZREMRANGEBYSCORE', key, -entry.ticket, -entry.ticket) > 0)
end

local function bury()
  if gone[1] then redis.call('ZREM', key, unpack(gone)) end
  gone = {}
end

local function tell(entry)
  local entries = news[entry.session] or {}
  entries[#entries + 1] = entry
  news[entry.session] = entries
end

-- Those who wait, from the first on. What has no id any more was removed by hand; what is no record was never an entry.
local function waiting(count)
  local found = redis.call('ZREVRANGEBYSCORE', key, beyond(-held), '-inf', 'WITHSCORES', 'LIMIT', 0, count)
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

local function fits(entry) return used + entry.weight <= entry.limit end

-- Lets in whoever fits now, in order, and all of them only if they are not too many: then it returns true. This and the core's rule have to
-- agree. `head` is the first of all with the score of its id, where that is known. Whoever is first and was so before, and is only counted
-- because that is not written down, has held since it came.
local function let_in(own, head, place)
  local count, left = 1, BATCH
  while left > 0 do
    local entries, tickets, more = { head }, { place }, true
    if not head or held > 0 then entries, tickets, more = waiting(count) end
    head = nil
    for i, entry in ipairs(entries) do
      if tonumber(tickets[i]) ~= entry.ticket then
        take_out(entry)
        tell(entry)
      elseif not fits(entry) then
        return true
      else
        local knows = entry.id == own or not was_held and held == 0 and entry.ticket < departed
        alone = used == 0
        held, used = entry.ticket, used + entry.weight
        entry.holds = true
        if not knows then tell(entry) end
        if used == entry.limit then return true end
      end
    end
    if not more then return true end
    left = left - count
    count = math.min(count * 8, left)
  end
  return false
end

-- What its owner is told of an entry that holds is what a look would show of it: <id>:<ticket>:<weight of all other holders>. Whoever is told
-- an id alone has to look; so do those who were let in when others may fit as well, and their scripts go on with that.
local function word(entry, complete)
  if not (entry.holds and complete) then return entry.id end
  return string.format('%s:%.0f:%.0f', entry.id, entry.ticket, used - entry.weight)
end

-- What a script does when it knows who has left and who has come. To tell must not undo the rest, hence pcall.
local function settle(own, head, place)
  local complete = let_in(own, head, place)
  bury()
  if alone or used == 0 then
    if was_held or was_used then redis.call('ZREM', key, '#held', '#used') end
    was_held, was_used = nil, nil
  elseif held ~= was_held or used ~= was_used then
    redis.call('ZADD', key, held, '#held', used, '#used')
    was_held, was_used = held, used
  end
  for owner, entries in pairs(news) do
    local words = {}
    for i, entry in ipairs(entries) do words[i] = word(entry, complete) end
    redis.pcall('PUBLISH', channels .. owner, table.concat(words, ' '))
  end
  news = {}
end

-- The entry of this session, if it is in the queue. `place` is the score of its id; `known` is its ticket where that is known: then what is left
-- of one that was removed by hand can go.
local function own(id, known, place)
  local ticket = tonumber(place or known)
  local record = redis.call('ZRANGEBYSCORE', key, -ticket, -ticket)[1]
  if place and not record then
    gone[#gone + 1] = id
    departed, held, used = math.min(departed, ticket), 0, 0
  end
  local entry = record and parse(record, ticket)
  if not entry or entry.id ~= id or entry.session ~= session then return nil end
  if place then return entry end
  take_out(entry)
  return nil
end
