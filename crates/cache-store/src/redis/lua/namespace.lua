-- KEYS: the namespaces. ARGV: name, body, the revision that is expected (or nothing), how many there may be.
-- What is saved is the revision, a space and the body.
local saved = redis.call('HGET', KEYS[1], ARGV[1])
local revision = saved and string.match(saved, '^(%d+) ') or ''
if revision ~= ARGV[3] then return { 'differs', revision } end
if not saved and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return { 'many', '' } end
local new = saved and string.format('%.0f', tonumber(revision) + 1) or '1'
redis.call('HSET', KEYS[1], ARGV[1], new .. ' ' .. ARGV[2])
return { 'saved', new }
