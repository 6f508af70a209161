-- Requests of ten thousand clients behind one proxy, so many a second and connection as a pause between them allows.
local pause = tonumber(os.getenv("FLOOD_PAUSE") or "3")
math.randomseed(17)
function request()
  local number = math.random(0, 9999)
  wrk.headers["X-Forwarded-For"] = string.format("10.9.%d.%d", math.floor(number / 256), number % 256)
  return wrk.format("GET", "/?2")
end
function delay()
  return pause
end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'COUNTED {"requests": %d, "microseconds": %d, "bytes": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d, "p50": %d, "p99": %d, "max": %d}\n',
    summary.requests, summary.duration, summary.bytes, errors.connect, errors.read, errors.write, errors.timeout,
    errors.status, latency:percentile(50), latency:percentile(99), latency.max))
end
