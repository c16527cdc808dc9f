-- wrk: pay for a new booking in each request, for many users, because attempts of one user are limited.
local number, right, wrong = 0, 0, 0
local run = os.getenv("RUN")
local headers = { ["Content-Type"] = "application/json" }

function request()
  number = number + 1
  local body = string.format(
    '{"user_id":"user_%d","booking_id":"%s-%d","amount":25.5,"payment_method":"credit_card","user_email":"jane.doe@example.com"}',
    number % 1000, run, number)
  return wrk.format("POST", "/payment/process", headers, body)
end

local threads = {}
function setup(thread) table.insert(threads, thread) end

function init() answers_right, answers_wrong = 0, 0 end

function response(status)
  if status == 200 then answers_right = answers_right + 1 else answers_wrong = answers_wrong + 1 end
end

function done(summary, latency)
  for _, thread in ipairs(threads) do
    right = right + thread:get("answers_right")
    wrong = wrong + thread:get("answers_wrong")
  end
  io.write(string.format('\n{"all":%d,"right":%d,"wrong":%d,"seconds":%f,"p50":%f,"p99":%f}\n',
    summary.requests, right, wrong + summary.errors.timeout + summary.errors.read,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
