-- What both scripts share: whose turn it is, and the result as one line of JSON.
local SCATTER = 7919 -- prime, so that steps of it reach every id of a space that is no multiple of it
local threads = {}

return function(request_of)
  local mine, of, sessions, space, walked = 0, 1, 1, "bench", 0
  local headers = {["Content-Type"] = "application/json"}

  function setup(thread)
    thread:set("number", #threads)
    table.insert(threads, thread)
  end

  function init(args)
    headers["Authorization"] = "Bearer " .. args[1]
    sessions, space = tonumber(args[2]), args[3]
    of, mine, walked, sent = #args - 3, number, tonumber(args[4 + number]), 0
  end

  function request()
    local step = mine + of * (walked % (sessions / of))
    walked, sent = walked + 1, sent + 1
    local method, path, body = request_of(step * SCATTER % sessions, space)
    return wrk.format(method, path, headers, body)
  end

  function done(summary, latency, requests)
    local counts = {}
    for index, thread in ipairs(threads) do counts[index] = thread:get("sent") end
    io.write(string.format(
      'RESULT {"requests": %d, "seconds": %.3f, "p50_ms": %.2f, "p99_ms": %.2f, "p999_ms": %.2f, "max_ms": %.2f, ' ..
      '"refused": %d, "timeouts": %d, "broken": %d, "sent": [%s]}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3,
      latency.max / 1e3, summary.errors.status, summary.errors.timeout,
      summary.errors.connect + summary.errors.read + summary.errors.write, table.concat(counts, ", ")))
  end
end
