-- wrk: send one token after the other (BENCH_TOKENS, one a line) behind the same head (BENCH_HEAD), and print JSON.
local head, requests, turn = "", {}, 0

function init()
   local file = assert(io.open(os.getenv("BENCH_HEAD"), "rb"))
   head = file:read("*a")
   file:close()
   for token in io.lines(os.getenv("BENCH_TOKENS")) do
      requests[#requests + 1] = head .. token .. "\r\n\r\n"
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

function done(summary, latency)
   local errors = summary.errors
   local broken = errors.connect + errors.read + errors.write + errors.timeout
   local line = '{"requests": %d, "seconds": %.6f, "not_2xx": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n'
   local p50, p99 = latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
   io.write(string.format(line, summary.requests, summary.duration / 1e6, errors.status, broken, p50, p99))
end
