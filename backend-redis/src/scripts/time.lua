-- The clock of the server, and what it has to do with the life of a key.
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now, now_or_later = math.floor(micros / 1000), math.ceil(micros / 1000)
local HALF_DAY = 12 * 60 * 60 * 1000000

-- Gives a key a day. Tokens have to go on rising after a clock was set back.
local function keep(name, last)
  redis.call('PEXPIREAT', name, math.floor((math.max(last or 0, micros) + 2 * HALF_DAY) / 1000))
end

-- The same, unless it has half of one.
local function keep_half(name, last)
  if redis.call('PTTL', name) < HALF_DAY / 1000 then keep(name, last) end
end
