// The one list of backends that the conformance suite runs against. A new backend adds a line.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "backends/emulated/emulated.h"
#include "backends/faults/faulty_backend.h"
#include "core/backend.h"
#ifdef KVHAUL_HAS_SIMGRID
#include "sim/simgrid.h"
#endif

namespace kvhaul::test {

struct BackendUnderTest {
  std::string name;
  std::function<std::unique_ptr<Backend>()> make;
  std::string missing;  // what this machine lacks for it; empty: it runs
};

inline void PrintTo(const BackendUnderTest& backend, std::ostream* out) { *out << backend.name; }

inline std::vector<BackendUnderTest> backends_under_test() {
  using emulated::make_backend;
  using emulated::Options;
  const auto with_options = [](Options options) {
    return [options] { return make_backend(options); };
  };
#ifdef KVHAUL_HAS_SIMGRID
  const auto make_simgrid = [] { return sim::make_simgrid_backend(true); };
  const std::string no_simgrid;
#else
  const auto make_simgrid = [] { return std::unique_ptr<Backend>(); };
  const std::string no_simgrid = "built without SimGrid";
#endif
  return {
      {"EmulatedVirtual", with_options({}), ""},
      {"EmulatedVirtualNoPayload", with_options({.payload = false}), ""},
      {"EmulatedReal", with_options({.real_time = true, .workers = 2}), ""},
      {"EmulatedRealThrottled", with_options({.real_time = true, .throttle = true, .workers = 2}),
       ""},
      {"FaultsWithoutFaults", [] { return faults::make_faulty_backend(make_backend({}), {}); }, ""},
      {"Simgrid", make_simgrid, no_simgrid},
  };
}

}  // namespace kvhaul::test
