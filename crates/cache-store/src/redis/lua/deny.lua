-- KEYS: beside a value. ARGV: the token, why, for how long.
if redis.call('GET', KEYS[1]) == 'l' .. ARGV[1] then redis.call('SET', KEYS[1], 'n' .. ARGV[2], 'PX', ARGV[3]) end
return 1
