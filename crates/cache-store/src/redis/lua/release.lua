-- KEYS: beside a value. ARGV[1]: the token.
if redis.call('GET', KEYS[1]) == 'l' .. ARGV[1] then redis.call('UNLINK', KEYS[1]) end
return 1
