#include "cli/backends.h"

#include <algorithm>
#include <charconv>

#include "backends/emulated/emulated.h"
#include "cli/command.h"
#ifdef KVHAUL_HAS_SIMGRID
#include "sim/simgrid.h"
#endif
#ifdef KVHAUL_HAS_CUDA
#include "backends/cuda/cuda.h"
#endif
#ifdef KVHAUL_HAS_VERBS
#include "backends/verbs/verbs.h"
#endif

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

using Text = std::string;

std::string nothing_missing() { return ""; }

std::unique_ptr<Backend> make_emulated(const BackendOptions& options) {
  return emulated::make_backend({options.real_time, options.payload, options.throttle, 0});
}

#ifdef KVHAUL_HAS_SIMGRID
constexpr auto simgrid_missing = nothing_missing;
std::unique_ptr<Backend> make_simgrid(const BackendOptions& options) {
  return sim::make_simgrid_backend(options.payload);
}
#else
std::string simgrid_missing() {
  return "built without SimGrid; install libsimgrid-dev and build again";
}
constexpr std::unique_ptr<Backend> (*make_simgrid)(const BackendOptions&) = nullptr;
#endif

#ifdef KVHAUL_HAS_CUDA
constexpr auto cuda_missing = cuda::missing;
/// For a backend that moves GPU memory and knows nothing of CUDA; null: it stays in host memory.
[[maybe_unused]] std::shared_ptr<DeviceMemorySource> gpu_memory(const BackendOptions& options) {
  return options.devices.empty() ? nullptr : cuda::make_memory_source(options.devices);
}
std::unique_ptr<Backend> make_cuda(const BackendOptions& options) {
  return cuda::make_backend(
      {.devices = options.devices, .held_by = options.held_by, .busy = options.busy_prefill});
}
#else
[[maybe_unused]] std::shared_ptr<DeviceMemorySource> gpu_memory(const BackendOptions&) {
  return nullptr;
}
std::string cuda_missing() {
  return "built without CUDA; install the CUDA Toolkit (nvcc) and build again";
}
constexpr std::unique_ptr<Backend> (*make_cuda)(const BackendOptions&) = nullptr;
#endif

#ifdef KVHAUL_HAS_VERBS
constexpr auto verbs_missing = verbs::missing;
std::unique_ptr<Backend> make_verbs(const BackendOptions& options) {
  return verbs::make_backend({.nics = options.nics,
                              .exchange = options.exchange,
                              .rank_of_node = options.rank_of_node,
                              .patience_ns = options.lost_after_ns,
                              .devices = gpu_memory(options),
                              .service_level = static_cast<std::uint8_t>(options.service_level),
                              .traffic_class = static_cast<std::uint8_t>(options.traffic_class)});
}
#else
std::string verbs_missing() {
  return "built without libibverbs; install libibverbs-dev and build again";
}
constexpr std::unique_ptr<Backend> (*make_verbs)(const BackendOptions&) = nullptr;
#endif

// The one list. A backend adds a line, and its folder, and its line in README.md.
constexpr BackendEntry all[] = {
    {"emulated", "host memory as GPUs: real bytes or only time, in virtual or real time",
     BackendTime::both, nothing_missing, make_emulated},
    {"simgrid", "SimGrid models of the links: contention, in virtual time",
     BackendTime::only_virtual, simgrid_missing, make_simgrid},
    {"cuda", "GPUs of this machine through CUDA, in real time", BackendTime::only_real,
     cuda_missing, make_cuda},
    {"verbs", "RDMA over InfiniBand and RoCE through libibverbs, in real time",
     BackendTime::only_real, verbs_missing, make_verbs, true},
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
  std::string missing = (*entry)->missing();
  if (missing.empty() && !options.devices.empty()) missing = cuda_missing();
  if (missing.empty()) return (*entry)->make(options);
  return Error::missing("--backend " + name + ": " + missing +
                        "; 'kvhaul list backends' shows what is available here");
}

void declare_device_options(Options& options) {
  options.group("Backend cuda, in real time");
  options.add()  //
      ("devices", po::value<Text>(),
       "cuda, verbs: the device of each GPU of the scenario, in order: 0,0 puts two GPUs into one; "
       "without it verbs keeps GPU places in host memory")  //
      ("held", po::value<std::vector<Text>>()->composing(),
       "cuda: PLACE=SOCKET, its memory is held by a 'kvhaul hold SOCKET'; may be repeated");
  options.group("Backend verbs, in real time");
  options.add()  //
      ("nics", po::value<Text>(),
       "verbs: the port of each NIC of the scenario, in order: mlx5_0,mlx5_1:1, or with GID index "
       "mlx5_0:1:3")  //
      ("service-level", po::value<Text>()->default_value("0"),
       "verbs: InfiniBand's service level of what is sent")  //
      ("traffic-class", po::value<Text>()->default_value("0"),
       "verbs: over RoCE, the traffic class of what is sent; its upper six bits are the DSCP")  //
      ("lost-after", po::value<Text>()->default_value("5"),
       "verbs: seconds of silence after which another process counts as gone");
}

Result<void> read_device_options(const Options& options, BackendOptions& read) {
  if (const auto list = options.maybe_text("devices")) {
    const Error wrong = Error::bad_input(
        "--devices: expected device numbers with commas between, like 0,1; found '" + *list + "'");
    const char* at = list->data();
    const char* const end = at + list->size();
    while (true) {
      int device = 0;
      const auto [after, error] = std::from_chars(at, end, device);
      if (error != std::errc() || device < 0) return wrong;
      read.devices.push_back(device);
      if (after == end) break;
      if (*after != ',') return wrong;
      at = after + 1;
    }
  }
  if (const auto list = options.maybe_text("nics")) {
    for (std::size_t at = 0; at <= list->size();) {
      const std::size_t end = std::min(list->find(',', at), list->size());
      if (end == at)
        return Error::bad_input(
            "--nics: expected ports with commas between, like mlx5_0,mlx5_1; found '" + *list +
            "'");
      read.nics.push_back(list->substr(at, end - at));
      at = end + 1;
    }
  }
  const auto service_level = options.count("service-level", 0, 15);
  if (!service_level) return service_level.error();
  const auto traffic_class = options.count("traffic-class", 0, 255);
  if (!traffic_class) return traffic_class.error();
  const auto lost_after = options.number("lost-after", 2, 86400);
  if (!lost_after) return lost_after.error();
  read.service_level = static_cast<int>(*service_level);
  read.traffic_class = static_cast<int>(*traffic_class);
  read.lost_after_ns = static_cast<TimeNs>(*lost_after * s_ns);
  for (const char* name : {"nics", "service-level", "traffic-class", "lost-after"})
    if (options.has(name)) read.verbs_option = true;
  for (const std::string& held : options.texts("held")) {
    const std::size_t equals = held.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == held.size())
      return Error::bad_input(
          "--held: expected PLACE=SOCKET, like node0/gpu1=/run/kv.sock; found '" + held + "'");
    read.held_by[held.substr(0, equals)] = held.substr(equals + 1);
  }
  return {};
}

Result<void> check_device_options(const std::string& backend, const BackendOptions& options) {
  if (!options.devices.empty() && backend != "cuda" && backend != "verbs")
    return Error::bad_input("--devices is for the backends cuda and verbs");
  if ((!options.held_by.empty() || options.busy_prefill) && backend != "cuda")
    return Error::bad_input("--held and --busy-prefill are for the cuda backend");
  if (options.verbs_option && backend != "verbs")
    return Error::bad_input(
        "--nics, --service-level, --traffic-class and --lost-after are for the verbs backend");
  return {};
}

}  // namespace kvhaul::cli
