// Feeds bytes to verify_log(): the reader of event logs, and behind it schedulers that hear of
// whatever events the bytes hold.
#include <cstddef>
#include <cstdint>

#include "core/event_log.h"
#include "tests/fuzz/input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvhaul;
  const auto report = verify_log({data, size}, "t.log");
  if (!report)
    check_error(report.error());
  else
    check(report->identical == report->first_difference.empty(), "a difference is named");
  return 0;
}
