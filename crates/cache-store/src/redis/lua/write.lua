-- KEYS: the value, beside it. ARGV[5] on: the write.
return change(KEYS[1], KEYS[2], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9])
