#include "cli/backends.h"

#include <vector>

#include "backends/emulated/emulated.h"
#include "cli/command.h"
#ifdef KVHAUL_HAS_SIMGRID
#include "sim/simgrid.h"
#endif

namespace kvhaul::cli {
namespace {

std::unique_ptr<Backend> make_emulated(const BackendOptions& options) {
  return emulated::make_backend({options.real_time, options.payload, options.throttle, 0});
}

#ifdef KVHAUL_HAS_SIMGRID
std::unique_ptr<Backend> make_simgrid(const BackendOptions& options) {
  return sim::make_simgrid_backend(options.payload);
}
constexpr BackendEntry simgrid_entry = {
    "simgrid",   "SimGrid models of the links: contention, in virtual time", true, "", true,
    make_simgrid};
#else
constexpr BackendEntry simgrid_entry = {
    "simgrid", "SimGrid models of the links: contention, in virtual time",
    false,     "built without SimGrid; install libsimgrid-dev and build again",
    true,      nullptr};
#endif

constexpr std::string_view not_built = "not part of this version";

// The one list. A backend adds a line, and its folder, and its line in README.md.
constexpr BackendEntry all[] = {
    {"emulated", "host memory as GPUs: real bytes or only time, in virtual or real time", true, "",
     false, make_emulated},
    simgrid_entry,
    {"cuda", "GPUs of this machine through CUDA", false, not_built, false, nullptr},
    {"verbs", "RDMA through libibverbs", false, not_built, false, nullptr},
};

}  // namespace

std::span<const BackendEntry> backends() { return all; }

Result<const BackendEntry*> find_backend(const std::string& name) {
  std::vector<std::string> names;
  for (const BackendEntry& entry : all) {
    if (entry.name == name) return &entry;
    names.emplace_back(entry.name);
  }
  return unknown_choice("--backend", name, names);
}

Result<std::unique_ptr<Backend>> make_backend(const std::string& name,
                                              const BackendOptions& options) {
  const auto entry = find_backend(name);
  if (!entry) return entry.error();
  if ((*entry)->available) return (*entry)->make(options);
  return Error::missing("--backend " + name + ": " + std::string((*entry)->missing) +
                        "; 'kvhaul list backends' shows what is available here");
}

}  // namespace kvhaul::cli
