// Feeds bytes to the reader of scenario files.
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/channel_plan.h"
#include "scenarios/scenario.h"
#include "tests/fuzz/input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvhaul;
  const auto scenario =
      parse_scenario(std::string(reinterpret_cast<const char*>(data), size), "t.yaml");
  if (!scenario) {
    check_error(scenario.error());
    return 0;
  }
  // What was taken can be run: both sides have GPUs, and every pair of them has a channel.
  check(!scenario->serving.prefill.instances.empty(), "prefill has instances");
  check(!scenario->serving.decode.instances.empty(), "decode has instances");
  const auto plan =
      plan_channels(scenario->cluster, place_pairs(scenario->serving), scenario->routes);
  check(plan && !plan->requests.empty(), "the scenario's own plan holds");
  return 0;
}
