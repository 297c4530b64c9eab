-- wrk's script: real heartbeat bodies. Arguments: token, sessions, name of the id space, and for each thread where its walk goes on.
-- Every thread walks through ids of its own, one after another in a scattered order, so that how many sessions there must be is known.
-- BENCH_STREAMS: how many streams they watch.
local streams = tonumber(os.getenv("BENCH_STREAMS") or 100)
local template = '{"session_id":"%s_%06d","user_id":"user_123","device_id":"device_abc123","stream_id":"stream_%03d","channel_id":"ch_101",' ..
  '"creator_id":"creator_001","epg":{"current_program_id":"prog_002","current_program_title":"Behind the Laughs",' ..
  '"program_elapsed_seconds":930,"program_progress_percent":51.7},"playback":{"is_playing":true,"is_paused":false,' ..
  '"is_buffering":false,"quality":"1080p","volume_level":0.8,"dvr_offset_seconds":0},"performance":{"buffer_health_seconds":4.2,' ..
  '"rebuffer_count":0,"bitrate_kbps":4500,"latency_ms":2100},"engagement":{"chat_messages_sent":2,"reactions_sent":5},' ..
  '"timestamp":"%s"}'

local function path_of(session, space)
  return "POST", "/analytics/live/session/heartbeat",
    string.format(template, space, session, session % streams, os.date("!%Y-%m-%dT%H:%M:%SZ"))
end

dofile(os.getenv("BENCH_WALK"))(path_of)
