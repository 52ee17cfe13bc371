-- ARGV: channels, session, id, its ticket or 0. A ticket of 0 says that the entry is not there, one of -1 that nothing of the lock is.
local scores = turn_to(KEYS[1], ARGV[3])
sweep()
local entry = own(ARGV[3], ARGV[4], scores[4])
settle(entry and entry.id)
if not entry then return { last and 0 or -1, 0, -1, {} } end
return seen_from(entry)
