-- wrk's script: real heartbeat bodies over many sessions. Arguments: token, number of sessions.
local sessions, thread_number = 20000, 0
local template = '{"session_id":"bench_%06d","user_id":"user_123","device_id":"device_abc123","stream_id":"stream_%03d","channel_id":"ch_101",' ..
  '"creator_id":"creator_001","epg":{"current_program_id":"prog_002","current_program_title":"Behind the Laughs",' ..
  '"program_elapsed_seconds":930,"program_progress_percent":51.7},"playback":{"is_playing":true,"is_paused":false,' ..
  '"is_buffering":false,"quality":"1080p","volume_level":0.8,"dvr_offset_seconds":0},"performance":{"buffer_health_seconds":4.2,' ..
  '"rebuffer_count":0,"bitrate_kbps":4500,"latency_ms":2100},"engagement":{"chat_messages_sent":2,"reactions_sent":5},' ..
  '"timestamp":"%s"}'
local headers = {["Content-Type"] = "application/json"}

function setup(thread)
  thread_number = thread_number + 1
  thread:set("seed", thread_number)
end

function init(args)
  headers["Authorization"] = "Bearer " .. args[1]
  sessions = tonumber(args[2])
  math.randomseed(seed)
end

function request()
  local session = math.random(0, sessions - 1)
  local body = string.format(template, session, session % 100, os.date("!%Y-%m-%dT%H:%M:%SZ"))
  return wrk.format("POST", "/analytics/live/session/heartbeat", headers, body)
end


function done(summary, latency, requests)
  io.write(string.format('RESULT {"requests": %d, "seconds": %.3f, "p50_ms": %.2f, "p99_ms": %.2f, "p999_ms": %.2f, "socket_errors": %d, "refused": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout, summary.errors.status))
end
