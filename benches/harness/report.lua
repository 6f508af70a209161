-- Prints what wrk counted as one line that a program can read.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'COUNTED {"requests": %d, "microseconds": %d, "bytes": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d, "p50": %d, "p99": %d, "max": %d}\n',
    summary.requests, summary.duration, summary.bytes, errors.connect, errors.read, errors.write, errors.timeout,
    errors.status, latency:percentile(50), latency:percentile(99), latency.max))
end
