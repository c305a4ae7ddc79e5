// The one list of backends that the conformance suite runs against. A new backend adds a line.
#pragma once

#include <array>
#include <cstdlib>
#include <functional>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "backends/emulated/emulated.h"
#include "backends/faults/faulty_backend.h"
#include "core/backend.h"
#include "core/channel_plan.h"
#include "core/exchange.h"
#include "tests/support/gpu_cluster.h"
#include "tests/support/setups.h"
#ifdef KVHAUL_HAS_SIMGRID
#include "sim/simgrid.h"
#endif
#ifdef KVHAUL_HAS_CUDA
#include "backends/cuda/cuda.h"
#endif
#ifdef KVHAUL_HAS_VERBS
#include "backends/verbs/verbs.h"
#include "tests/conformance/two_processes.h"
#include "tests/support/host_device_memory.h"
#endif

namespace kvhaul::test {

/// What a backend is opened for: two pairs of places (source and target may be one place), and the
/// routes between them. Pair 0 or pair 1 has more than one channel, or both have one.
struct Surroundings {
  Cluster cluster;
  std::array<std::pair<std::string, std::string>, 2> pairs;  // names of places
  RoutePlan plan;
};

/// Two nodes with two GPUs and two NICs each; a pair has two queues on each of two rails.
inline Surroundings two_rail_nodes() {
  RoutePlan plan;
  RouteCosts& rdma = plan.costs[static_cast<std::size_t>(RouteKind::rdma)];
  rdma.fixed_ns = 2000;
  rdma.post_ns = 100;
  rdma.half_bandwidth_bytes = 10'000;
  rdma.queues = 2;
  return {rail_cluster(2, 2),
          {{{"node0/gpu0", "node1/gpu0"}, {"node0/gpu1", "node1/gpu1"}}},
          std::move(plan)};
}

/// One node with two GPUs, two queues on each route of that kind.
inline Surroundings one_node(RouteKind kind, const char* source, const char* target,
                             bool pull = false) {
  RoutePlan plan = plan_of(kind);
  plan.pull = pull;
  plan.costs[static_cast<std::size_t>(kind)].queues = 2;
  return {two_gpu_cluster(), {{{source, target}, {target, source}}}, std::move(plan)};
}

/// Two nodes with a GPU and a NIC each; the second pair goes the other way.
inline Surroundings one_rail_nodes(bool pull) {
  Surroundings one = two_rail_nodes();
  one.cluster = rail_cluster(2, 1);
  one.pairs = {{{"node0/gpu0", "node1/gpu0"}, {"node1/gpu0", "node0/gpu0"}}};
  one.plan.pull = pull;
  return one;
}

/// The same through host memory at both ends, as the route says.
inline Surroundings one_staged_rail(bool pull) {
  Surroundings one = one_rail_nodes(pull);
  one.plan.order = {RouteKind::rdma_staged};
  one.plan.costs[static_cast<std::size_t>(RouteKind::rdma_staged)] =
      one.plan.costs[static_cast<std::size_t>(RouteKind::rdma)];
  return one;
}

/// The same where NICs reach the first node's GPU memory: at the receiver of the first pair, and at
/// the sender of the second.
inline Surroundings staged_at_one_side(bool pull) {
  Surroundings one = one_staged_rail(pull);
  ClusterSpec spec;
  spec.nodes.assign(2, {rail_node(1), 0, false});
  spec.nodes[1].spec.gpudirect = false;
  one.cluster = *build_cluster(spec);
  return one;
}

struct BackendUnderTest {
  std::string name;
  std::function<std::unique_ptr<Backend>()> make;
  std::string missing;  // what this machine lacks for it; empty: it runs
  std::function<Surroundings()> surroundings = two_rail_nodes;
  /// Where two processes make one backend: the half of one of them.
  std::function<std::unique_ptr<Backend>(Exchange*)> half = nullptr;
};

inline void PrintTo(const BackendUnderTest& backend, std::ostream* out) { *out << backend.name; }

/// Two GPUs of this machine and one kind of route; what it lacks is what open() says.
inline BackendUnderTest cuda_pair(std::string name, int one, int other, RouteKind kind) {
#ifdef KVHAUL_HAS_CUDA
  const auto make = [=] { return cuda::make_backend({.devices = {one, other}}); };
  std::string missing = "one GPU or none: two are needed";
  if (cuda::device_count() > std::max(one, other)) {
    const Cluster cluster = two_gpu_cluster();
    const auto opened =
        make()->open(cluster, channel_between(cluster, "node0/gpu0", "node0/gpu1", kind));
    missing = opened ? "" : opened.error().message;
  }
#else
  static_cast<void>(one), static_cast<void>(other);
  const auto make = [] { return std::unique_ptr<Backend>(); };
  const std::string missing = "built without CUDA";
#endif
  return {std::move(name), make, missing,
          [=] { return one_node(kind, "node0/gpu0", "node0/gpu1"); }};
}

#ifdef KVHAUL_HAS_VERBS
/// Two processes, each with one of the nodes, mostly in two machines: tests/softroce/two-machines.
inline BackendUnderTest verbs_apart(std::string name, bool two_rails, bool pull) {
  constexpr const char* where = "KVHAUL_FAR_SIDE";  // ADDRESS:PORT of the other process
  const auto half = [=](Exchange* exchange) {
    const std::vector<std::string> found = verbs::device_names();
    std::vector<std::string> nics;
    for (int node = 0; node < 2; ++node)
      nics.insert(nics.end(), found.begin(), found.begin() + (two_rails ? 2 : 1));
    return verbs::make_backend({.nics = nics, .exchange = exchange, .rank_of_node = {0, 1}});
  };
  const auto make = [=]() -> std::unique_ptr<Backend> {
    static const std::unique_ptr<FarConnection> far = connect_far_side(std::getenv(where));
    if (!far) throw std::runtime_error("nobody listens at $KVHAUL_FAR_SIDE");
    return std::make_unique<TwoProcesses>(name, *far, half(&far->exchange()));
  };
  std::string missing = verbs::missing();
  if (std::getenv(where) == nullptr) missing = "no second process: $KVHAUL_FAR_SIDE is not set";
  if (missing.empty() && two_rails && verbs::device_names().size() < 2)
    missing = "fewer than 2 RDMA devices";
  const auto surroundings = [=] {
    Surroundings around = two_rails ? two_rail_nodes() : one_rail_nodes(pull);
    around.plan.pull = pull;
    return around;
  };
  return {std::move(name), make, missing, surroundings, half};
}
#endif

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
#ifdef KVHAUL_HAS_CUDA
  // On one GPU, two places lie in its memory.
  const auto make_cuda = [] { return cuda::make_backend({.devices = {0, 0}}); };
  const std::string no_cuda = cuda::missing();
  const int gpus = cuda::device_count();
#else
  const auto make_cuda = [] { return std::unique_ptr<Backend>(); };
  const std::string no_cuda = "built without CUDA";
  const int gpus = 0;
#endif
#ifdef KVHAUL_HAS_VERBS
  // Two nodes in one process. By name the first half of the devices is those of one side; a rail
  // joins the first of each half.
  const auto one_rail_nics = [] {
    const std::vector<std::string> devices = verbs::device_names();
    return std::vector<std::string>{devices.front(), devices[devices.size() / 2]};
  };
  const auto make_verbs = [] { return verbs::make_backend({}); };
  const auto make_verbs_one_rail = [=] { return verbs::make_backend({.nics = one_rail_nics()}); };
  const std::string no_verbs = verbs::missing();
  const std::string no_two_rails = !no_verbs.empty()                  ? no_verbs
                                   : verbs::device_names().size() < 4 ? "fewer than 4 RDMA devices"
                                                                      : "";
  // Device memory that no NIC can register, and such as it can by its address.
  const auto make_verbs_devices = [=] {
    return verbs::make_backend(
        {.nics = one_rail_nics(), .devices = std::make_shared<HostDevices>()});
  };
  const auto make_verbs_peer_memory = [=] {
    return verbs::make_backend(
        {.nics = one_rail_nics(),
         .devices = std::make_shared<HostDevices>(HostDeviceOptions{.peer_memory = ""})});
  };
#else
  const auto make_verbs = [] { return std::unique_ptr<Backend>(); };
  const auto make_verbs_one_rail = make_verbs;
  const auto make_verbs_devices = make_verbs, make_verbs_peer_memory = make_verbs;
  const std::string no_verbs = "built without libibverbs", no_two_rails = no_verbs;
#endif
  const auto two_rails_pulled = [] {
    Surroundings pulled = two_rail_nodes();
    pulled.plan.pull = true;
    return pulled;
  };
  const auto between = [](RouteKind kind, const char* source, const char* target,
                          bool pull = false) {
    return [=] { return one_node(kind, source, target, pull); };
  };
  constexpr const char *a = "node0/gpu0", *b = "node0/gpu1", *host = "node0/host0";
  std::vector<BackendUnderTest> all = {
      {"CudaStaged", make_cuda, no_cuda, between(RouteKind::pcie_staged, a, b)},
      {"CudaStagedToItself", make_cuda, no_cuda, between(RouteKind::pcie_staged, a, a)},
      {"CudaHostMemory", make_cuda, no_cuda, between(RouteKind::pcie_staged, a, host)},
      {"CudaCopy", make_cuda, no_cuda, between(RouteKind::nvlink_copy, a, b)},
      {"CudaCopyPull", make_cuda, no_cuda, between(RouteKind::nvlink_copy, a, b, true)},
      {"CudaLoadStore", make_cuda, no_cuda, between(RouteKind::nvlink_load_store, a, b)},
      {"CudaLoadStorePull", make_cuda, no_cuda, between(RouteKind::nvlink_load_store, a, b, true)},
      {"EmulatedVirtual", with_options({}), ""},
      {"EmulatedVirtualNoPayload", with_options({.payload = false}), ""},
      {"EmulatedReal", with_options({.real_time = true, .workers = 2}), ""},
      {"EmulatedRealThrottled", with_options({.real_time = true, .throttle = true, .workers = 2}),
       ""},
      {"FaultsWithoutFaults", [] { return faults::make_faulty_backend(make_backend({}), {}); }, ""},
      {"Simgrid", make_simgrid, no_simgrid},
      {"VerbsOneRail", make_verbs_one_rail, no_verbs, [] { return one_rail_nodes(false); }},
      {"VerbsOneRailPull", make_verbs_one_rail, no_verbs, [] { return one_rail_nodes(true); }},
      {"VerbsStaged", make_verbs_one_rail, no_verbs, [] { return one_staged_rail(false); }},
      {"VerbsStagedPull", make_verbs_one_rail, no_verbs, [] { return one_staged_rail(true); }},
      {"VerbsStagedAtOneSide", make_verbs_one_rail, no_verbs,
       [] { return staged_at_one_side(false); }},
      {"VerbsStagedAtOneSidePull", make_verbs_one_rail, no_verbs,
       [] { return staged_at_one_side(true); }},
      {"VerbsDevices", make_verbs_devices, no_verbs, [] { return one_rail_nodes(false); }},
      {"VerbsDevicesPull", make_verbs_devices, no_verbs, [] { return one_rail_nodes(true); }},
      {"VerbsPeerMemory", make_verbs_peer_memory, no_verbs, [] { return one_rail_nodes(false); }},
      {"VerbsTwoRails", make_verbs, no_two_rails},
      {"VerbsTwoRailsPull", make_verbs, no_two_rails, two_rails_pulled},
  };
#ifdef KVHAUL_HAS_VERBS
  all.push_back(verbs_apart("VerbsApartOneRail", false, false));
  all.push_back(verbs_apart("VerbsApartOneRailPull", false, true));
  all.push_back(verbs_apart("VerbsApartTwoRails", true, false));
  all.push_back(verbs_apart("VerbsApartTwoRailsPull", true, true));
#endif
  // Every pair of GPUs over NVLink, and the first one over all that joins it.
  for (int i = 0; i < std::max(gpus, 2); ++i)
    for (int j = i + 1; j < std::max(gpus, 2); ++j) {
      const std::string pair = "CudaPair" + std::to_string(i) + "And" + std::to_string(j);
      for (const auto& [name, kind] : {std::pair("NvlinkCopy", RouteKind::nvlink_copy),
                                       {"NvlinkLoadStore", RouteKind::nvlink_load_store},
                                       {"Staged", RouteKind::pcie_staged},
                                       {"Pcie", RouteKind::pcie_p2p}})
        if (j == 1 || kind == RouteKind::nvlink_copy || kind == RouteKind::nvlink_load_store)
          all.push_back(cuda_pair(pair + name, i, j, kind));
    }
  return all;
}

}  // namespace kvhaul::test
