-- Say that the cluster is alive.
-- KEYS: dataset. ARGV: run, now. Returns {"OK"}, {"LOST"} (another run holds the lease) or {"WIPED"}.

local run = redis.call('HGET', KEYS[1], 'run')
if not run then
  return {'WIPED'}
end
if run ~= ARGV[1] then
  return {'LOST'}
end
redis.call('HSET', KEYS[1], 'renewed_at', ARGV[2])
return {'OK'}
