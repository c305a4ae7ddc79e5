// Feeds bytes to the reader of fault files, for the cluster of a shipped scenario.
#include <cstddef>
#include <cstdint>
#include <string>

#include "scenarios/fault_file.h"
#include "scenarios/scenario.h"
#include "tests/fuzz/input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvhaul;
  static const Result<Scenario> scenario = load_scenario("dgx-h100-pair");
  const auto script = parse_fault_file(std::string(reinterpret_cast<const char*>(data), size),
                                       "t.yaml", scenario->cluster);
  if (!script) {
    check_error(script.error());
    return 0;
  }
  check(!script->faults.empty(), "a script has faults");
  for (const faults::Fault& fault : script->faults) {
    check(fault.from_ns >= 0 && fault.from_ns < fault.until_ns, "a fault begins before it ends");
    check(fault.probability >= 0 && fault.probability <= 1, "a probability is one");
    check(fault.factor > 0 && fault.factor <= 1, "a link gets no faster by a fault");
    check(fault.delay_ns >= 0, "nothing is early by a fault");
    check(fault.every_ns == never_ns || fault.every_ns > fault.until_ns - fault.from_ns,
          "a fault is over before it comes again");
    check(fault.active(fault.from_ns) && !fault.active(fault.from_ns - 1), "it begins");
    check(fault.noticed_ns >= faults::of_route && fault.reconnect_ns >= faults::of_route,
          "it is noticed after it has begun");
  }
  return 0;
}
