// Feeds bytes to the readers of ServeGen's two files. Built twice: with KVHAUL_FUZZ_WINDOWS for
// chunk-i-trace.csv, without for chunk-i-dataset.json.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>

#include "core/result.h"
#include "traces/servegen.h"
#include "traces/trace_filters.h"

namespace {

using namespace kvhaul;

void check_error(const Error& error) {
  check(!error.message.empty() && error.message.size() < 400, "an error is one short line");
  for (const char c : error.message) check(c >= ' ' && c <= '~', "an error is printable");
}

void generate(ServegenClient client) {
  // A fuzzer is quick to ask for a hundred million requests; their sum alone takes seconds.
  for (ServegenWindow& window : client.windows)
    window.requests_per_s = std::min(window.requests_per_s, 0.01);
  Result<TraceReaderPtr> reader = generate_servegen(std::move(client), {.to_ns = 36'000 * s_ns});
  if (!reader) return check_error(reader.error());
  const TraceReaderPtr some = limit_requests(std::move(*reader), 200);
  TraceRequest request;
  for (TimeNs before_ns = 0;; before_ns = request.arrival_ns) {
    const Result<bool> more = some->next(request);
    if (!more) check_error(more.error());
    if (!more || !*more) break;
    check(request.input_tokens > 0, "input in range");
    check(request.arrival_ns >= before_ns, "arrivals in order");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto bytes =
      std::make_unique<std::istringstream>(std::string(reinterpret_cast<const char*>(data), size));
  ServegenClient client;
#ifdef KVHAUL_FUZZ_WINDOWS
  Result<std::vector<ServegenWindow>> windows = read_servegen_windows(std::move(bytes), "t");
  if (!windows) check_error(windows.error());
  if (!windows) return 0;
  client.windows = std::move(*windows);
  const std::pair<std::uint32_t, double> weights[] = {{10, 1}, {500, 2}};
  client.lengths.push_back({0, LengthTable::from(weights), LengthTable::from(weights)});
#else
  Result<std::vector<ServegenLengths>> lengths = read_servegen_lengths(std::move(bytes), "t");
  if (!lengths) check_error(lengths.error());
  if (!lengths) return 0;
  client.lengths = std::move(*lengths);
  client.windows.push_back({.requests_per_s = 0.01});
#endif
  generate(std::move(client));
  return 0;
}
