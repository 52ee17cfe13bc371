-- ARGV: channels, session, id.
if not owns(ARGV[3]) then return { -1, {} } end
return look(ARGV[3])
