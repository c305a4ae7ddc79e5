// Feeds bytes to the reader of scenario files.
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/channel_plan.h"
#include "scenarios/scenario_diff.h"
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
  // What it means, written out, is a scenario, too, and the same one.
  const auto values = scenario_values(*scenario);
  check(bool(values), "what was read can be read again");
  const auto again = parse_scenario(yaml_text(*values), "t.yaml");
  check(bool(again), "its values make a scenario");
  const auto differences = scenario_differences(*scenario, *again);
  check(differences && differences->empty(), "which is the same");
  return 0;
}
