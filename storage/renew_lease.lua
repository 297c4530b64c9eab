-- Say that the cluster is alive, by the server's clock.
-- KEYS: dataset. ARGV: run. Returns {"OK"}, {"LOST"} (another run holds the lease) or {"WIPED"}.

local run = redis.call('HGET', KEYS[1], 'run')
if not run then
  return {'WIPED'}
end
if run ~= ARGV[1] then
  return {'LOST'}
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'renewed_at', string.format('%.3f', time[1] + time[2] / 1e6))
return {'OK'}
