-- Keep with the data set what the cluster is to look like.
-- KEYS: dataset. ARGV: run, plan. Returns {"OK"}, {"LOST"} (another run holds the lease) or {"WIPED"}.

local run = redis.call('HGET', KEYS[1], 'run')
if not run then
  return {'WIPED'}
end
if run ~= ARGV[1] then
  return {'LOST'}
end
redis.call('HSET', KEYS[1], 'plan', ARGV[2])
return {'OK'}
