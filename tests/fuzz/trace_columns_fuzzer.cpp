// Feeds bytes to the reader of named columns: the first line is --columns, a second word of it
// --block-tokens, the rest the file.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>

#include "core/result.h"
#include "tests/fuzz/input_errors.h"
#include "traces/trace.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvhaul;
  const std::string all(reinterpret_cast<const char*>(data), size);
  const std::size_t line = all.find('\n');
  TraceReading reading{.columns = all.substr(0, line)};
  if (const std::size_t block = reading.columns.find("@"); block != std::string::npos) {
    reading.block_tokens = static_cast<std::uint32_t>(1 + (reading.columns.size() - block) * 8);
    reading.columns.resize(block);
  }
  const std::string file = line == std::string::npos ? "" : all.substr(line + 1);
  auto reader = read_trace(std::make_unique<std::istringstream>(file), "t", reading);
  if (!reader) {
    check_error(reader.error());
    return 0;
  }
  TraceRequest request;
  TimeNs before_ns = 0;
  for (;;) {
    const Result<bool> more = (*reader)->next(request);
    if (!more) check_error(more.error());
    if (!more || !*more) break;
    check(request.input_tokens > 0 && request.arrival_ns >= before_ns, "requests in order");
    before_ns = request.arrival_ns;
  }
  const TraceCounts counts = (*reader)->counts();
  check(counts.rows == counts.requests + counts.zero_input + counts.left_out, "rows add up");
  return 0;
}
