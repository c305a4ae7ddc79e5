// Feeds bytes to a trace reader. Built once per format, with KVHAUL_FUZZ_FORMAT set to its name;
// without it the format is sniffed.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <sstream>
#include <string>

#include "core/result.h"
#include "traces/trace.h"
#include "traces/trace_filters.h"

namespace {

using namespace kvhaul;

std::optional<TraceFormat> format() {
#ifdef KVHAUL_FUZZ_FORMAT
  return find_trace_format(KVHAUL_FUZZ_FORMAT);
#else
  return std::nullopt;
#endif
}

/// One short line that a terminal can show.
void check_error(const Error& error) {
  check(!error.message.empty() && error.message.size() < 400, "an error is one short line");
  for (const char c : error.message) check(c >= ' ' && c <= '~', "an error is printable");
}

void check_request(const TraceRequest& request, const TraceInfo& info, TimeNs before_ns) {
  check(request.input_tokens > 0 && request.input_tokens <= trace_tokens_max, "input in range");
  check(request.output_tokens <= trace_tokens_max, "output in range");
  check(request.arrival_ns >= before_ns, "arrivals in order");
  check(request.prefix_blocks.size() * info.block_tokens <
            std::uint64_t{request.input_tokens} + std::max(info.block_tokens, 1u),
        "no more prefix blocks than the input has");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto bytes =
      std::make_unique<std::istringstream>(std::string(reinterpret_cast<const char*>(data), size));
  Result<TraceReaderPtr> reader = read_trace(std::move(bytes), "t", format());
  if (!reader) {
    check_error(reader.error());
    return 0;
  }
  // The wrappers see odd traces here as well.
  Result<TraceReaderPtr> clipped = clip_context(spread_batches(std::move(*reader)), 100'000);
  TraceRequest request;
  TimeNs before_ns = 0;
  for (;;) {
    const Result<bool> more = (*clipped)->next(request);
    if (!more) check_error(more.error());
    if (!more || !*more) break;
    check_request(request, (*clipped)->info(), before_ns);
    before_ns = request.arrival_ns;
  }
  const Result<bool> after = (*clipped)->next(request);
  check(after && !*after, "nothing comes after the end");
  const TraceCounts counts = (*clipped)->counts();
  check(counts.rows == counts.requests + counts.zero_input + counts.left_out, "rows add up");
  return 0;
}
