-- ARGV: channels, session, id, lease in µs, kind, weight, limit, label, life of the token's key in ms. KEYS[6]: the id's tombstone.
local id, lease, kind = ARGV[3], tonumber(ARGV[4]), ARGV[5]

if redis.call('EXISTS', KEYS[6]) == 1 then return redis.error_reply('REMOVED the entry was removed before') end

if not owns(id) then
  if redis.call('HEXISTS', records, id) == 1 then
    return redis.error_reply('TAKEN another session has an entry with this id')
  end
  local ticket = math.max((tonumber(redis.call('GET', token)) or 0) + 1, now)
  if ticket >= 9007199254740992 then return redis.error_reply('EXHAUSTED there is no larger token') end
  ticket = string.format('%.0f', ticket)
  redis.call('SET', token, ticket, 'PX', ARGV[9])
  redis.call('ZADD', queue, ticket, id)
  redis.call('HSET', records, id, table.concat({ kind, ARGV[6], ARGV[7], session, ARGV[8] }, ' '))
  if kind == 'x' then redis.call('ZADD', exclusive, ticket, id) end
end
renew(id, lease)
return look(id)
