#include "cli/backends.h"

#include <vector>

#include "backends/emulated/emulated.h"
#include "cli/command.h"

namespace kvhaul::cli {
namespace {

std::unique_ptr<Backend> make_emulated(const BackendOptions& options) {
  return emulated::make_backend({options.real_time, options.payload, options.throttle, 0});
}

constexpr std::string_view not_built = "not part of this version";

// The one list. A backend adds a line, and its folder, and its line in README.md.
constexpr BackendEntry all[] = {
    {"emulated", "host memory as GPUs: real bytes or only time, in virtual or real time", true, "",
     make_emulated},
    {"simgrid", "SimGrid models of the links", false, not_built, nullptr},
    {"cuda", "GPUs of this machine through CUDA", false, not_built, nullptr},
    {"verbs", "RDMA through libibverbs", false, not_built, nullptr},
};

}  // namespace

std::span<const BackendEntry> backends() { return all; }

Result<std::unique_ptr<Backend>> make_backend(const std::string& name,
                                              const BackendOptions& options) {
  std::vector<std::string> names;
  for (const BackendEntry& entry : all) {
    names.emplace_back(entry.name);
    if (entry.name != name) continue;
    if (entry.available) return entry.make(options);
    return Error::missing("--backend " + name + ": " + std::string(entry.missing) +
                          "; 'kvhaul list backends' shows what is available here");
  }
  return unknown_choice("--backend", name, names);
}

}  // namespace kvhaul::cli
