-- What wrk sends, and how it reports. In the environment:
-- TOKENS (optional): a file with one token a line, sent in turn; COUNT lines of it, starting after FROM.
-- PAUSE (optional): the mean of the random pause before each request of a connection, in milliseconds.
-- Without TOKENS it sends what its command line says. The last line it prints is JSON.
local file = os.getenv("TOKENS")
if file then
  local from, count = tonumber(os.getenv("FROM")), tonumber(os.getenv("COUNT"))
  local requests, next_one = {}, 0
  init = function()
    local number = 0
    for line in io.lines(file) do
      number = number + 1
      if number > from + count then break end
      if number > from then
        requests[#requests + 1] = wrk.format("GET", nil, { ["Host"] = "127.0.0.1", ["Authorization"] = "Bearer " .. line })
      end
    end
  end
  request = function()
    next_one = next_one % #requests + 1
    return requests[next_one]
  end
end

local pause = tonumber(os.getenv("PAUSE") or "")
if pause then
  delay = function() return math.random(0, 2 * pause) end
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"refused":%d,"errors":%d,"p50":%.0f,"p99":%.0f}\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
