// Feeds bytes to the readers of sizes, rates and durations, and writes again what they took.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/unit_text.h"
#include "tests/fuzz/input_errors.h"

namespace {

using namespace kvhaul;

/// Texts have three digits, and units are kept.
void check_near(double written, double read, double rounding) {
  check(std::fabs(written - read) <= 0.006 * written + rounding, "a value survives its text");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto bytes = parse_bytes(text)) {
    const auto again = parse_bytes(bytes_text(*bytes));
    check(static_cast<bool>(again), "a size is written as sizes are read");
    check_near(static_cast<double>(*bytes), static_cast<double>(*again), 1);
  }
  if (const auto rate = parse_rate(text)) {
    check(*rate >= 1, "a rate is above zero");
    const auto again = parse_rate(rate_text(*rate));
    check(static_cast<bool>(again), "a rate is written as rates are read");
    check_near(*rate, *again, 0);
  }
  if (const auto duration = parse_duration(text)) {
    check(*duration >= 0, "a duration does not go backwards");
    const std::string shown = duration_text(*duration);
    check(!shown.empty() && shown.size() < 40, "a duration is short to read");
    if (*duration < 120 * s_ns) {
      const auto again = parse_duration(shown);
      check(static_cast<bool>(again),
            "a duration below two minutes is written as durations are read");
      check_near(static_cast<double>(*duration), static_cast<double>(*again), 1);
    }
  }
  return 0;
}
