-- Create the data set, or take its lease.
-- KEYS: dataset. ARGV: slots, instance, run, for how long a lease holds (s).
-- Returns {"OK"}, {"SLOTS", the stored number} or {"LEASED", instance, its age in s}.
-- The clock is the server's: those of two clusters need not agree. A stamp in the future (that clock was set back, or an older build
-- stamped it by a clock that was fast) is brought back to now: it holds as long as any other, and no longer.

local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local slots, instance, renewed_at = unpack(redis.call('HMGET', KEYS[1], 'slots', 'instance', 'renewed_at'))
if slots then
  if slots ~= ARGV[1] then
    return {'SLOTS', slots}
  end
  local age_s = now - tonumber(renewed_at)
  if instance ~= ARGV[2] and age_s < tonumber(ARGV[4]) then
    if age_s < 0 then
      redis.call('HSET', KEYS[1], 'renewed_at', string.format('%.3f', now))
      age_s = 0
    end
    return {'LEASED', instance, tostring(age_s)}
  end
end
redis.call('HSET', KEYS[1], 'slots', ARGV[1], 'instance', ARGV[2], 'run', ARGV[3], 'renewed_at', string.format('%.3f', now))
return {'OK'}
