// Feeds bytes to the readers of timing profiles. Built twice: with KVHAUL_FUZZ_DISTSERVE for
// DistServe's JSON, without for splitwise-sim's CSV. What is accepted has to give sane times.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>

#include "core/result.h"
#include "serving/timing_profile.h"

namespace {

using namespace kvhaul;

void check_error(const Error& error) {
  check(!error.message.empty() && error.message.size() < 500, "an error is one short line");
  for (const char c : error.message) check(c >= ' ' && c <= '~', "an error is printable");
}

void check_timing(const Timing& timing) {
  for (const std::uint32_t tokens : {1u, 2048u, 2'000'000'000u})
    for (const std::uint32_t before : {0u, 2048u, 2'000'000'000u}) {
      check(timing.prefill_ns(tokens, before) > 0, "prefill takes time");
      check(timing.prefill_ns(tokens, before) <= 100'000'000 * s_ns, "and not for ever");
    }
  for (const std::uint32_t batch : {1u, 95u, 1'000'000u})
    check(timing.step_ns(batch, 1e12, 1e9) > 0, "a step takes time");
  check(timing.prefill_start_ns() > 0, "the start takes time");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto bytes =
      std::make_unique<std::istringstream>(std::string(reinterpret_cast<const char*>(data), size));
  const ProfileChoice choice{"m", "g", 1};
#ifdef KVHAUL_FUZZ_DISTSERVE
  const Result<TimingPolynomial> polynomial = read_distserve_profile(std::move(bytes), "t", choice);
  if (!polynomial) check_error(polynomial.error());
  if (polynomial) check_timing(*make_polynomial_timing(*polynomial));
#else
  const Result<TimingTable> table = read_splitwise_profile(std::move(bytes), "t", choice);
  if (!table) check_error(table.error());
  if (table) check_timing(*make_table_timing(*table));
#endif
  return 0;
}
