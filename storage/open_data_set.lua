-- Create the data set, or take its lease.
-- KEYS: dataset. ARGV: slots, instance, run, now, for how long a lease holds (s).
-- Returns {"OK"}, {"SLOTS", the stored number} or {"LEASED", instance, its age in s}.

local slots, instance, renewed_at = unpack(redis.call('HMGET', KEYS[1], 'slots', 'instance', 'renewed_at'))
if slots then
  if slots ~= ARGV[1] then
    return {'SLOTS', slots}
  end
  local age_s = tonumber(ARGV[4]) - tonumber(renewed_at)
  if instance ~= ARGV[2] and age_s < tonumber(ARGV[5]) then
    return {'LEASED', instance, tostring(age_s)}
  end
end
redis.call('HSET', KEYS[1], 'slots', ARGV[1], 'instance', ARGV[2], 'run', ARGV[3], 'renewed_at', ARGV[4])
return {'OK'}
