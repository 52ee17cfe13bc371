-- ARGV: channels, session, lease in µs, life of the token's key in ms, ids. How many dead entries were removed, and the ids that are
-- not there (any more): a renewal makes nothing anew.
local absent = {}
for i = 5, #ARGV do
  if owns(ARGV[i]) then
    renew(ARGV[i], tonumber(ARGV[3]))
  else
    absent[#absent + 1] = ARGV[i]
  end
end
redis.call('PEXPIRE', token, ARGV[4])
return { #dead, absent }
