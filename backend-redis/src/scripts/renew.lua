-- KEYS: locks. ARGV: channels, session, and for each lock a number, the ids of so many entries, and their tickets or 0. Of each lock: how many
-- dead entries were removed, and the ids that are not there (any more), for a renewal makes nothing anew. What goes wrong with one of several
-- locks is no reason not to renew the others; it answers nothing.
local function renew_lock(name, from, count)
  local scores = turn_to(name, unpack(ARGV, from, from + count - 1))
  local dead = sweep()
  local absent, lives = {}, {}
  for i = 1, count do
    local id = ARGV[from + i - 1]
    local entry = own(id, ARGV[from + count + i - 1], scores[3 + i])
    if entry then
      lives[#lives + 1] = now_or_later + entry.lease
      lives[#lives + 1] = life(entry)
    else
      absent[#absent + 1] = id
    end
  end
  if lives[1] then
    redis.call('ZADD', key, unpack(lives))
    keep_half(key, last)
  end
  if dead > 0 or gone[1] then settle() end
  return { dead, absent }
end

local answers, from = {}, 4
for i, name in ipairs(KEYS) do
  local count = tonumber(ARGV[from - 1])
  if KEYS[2] then
    local fine, answer = pcall(renew_lock, name, from, count)
    answers[i] = fine and answer
  else
    answers[i] = renew_lock(name, from, count)
  end
  from = from + 2 * count + 1
end
return answers
