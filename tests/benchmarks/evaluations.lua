-- How is the same evaluation sent again and again? A script of wrk. Argument: the bearer token.

function init(arguments)
  local body = '{"subject":{"type":"organization","id":"northgate","properties":{"person_class":"us_person"}},'
    .. '"action":{"name":"use"},"resource":{"type":"release","id":"atlas-4","properties":{"tier":"standard"}}}'
  text = "POST /access/v1/evaluation HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " .. arguments[1]
    .. "\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

function request()
  return text
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answers": %d, "refused": %d, "broken": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
