#include "sim/simgrid_calls.h"

#include <array>
#include <cmath>
#include <simgrid/kernel/resource/Action.hpp>
#include <simgrid/kernel/resource/Model.hpp>
#include <simgrid/s4u.hpp>
#include <simgrid/version.h>
#include <stdexcept>

#include "core/result.h"

namespace kvhaul::sim {
namespace {

namespace s4u = simgrid::s4u;
namespace resource = simgrid::kernel::resource;

/// More than any flow moves: half a year at 300 GB/s. SimGrid counts them in a double.
constexpr std::uint64_t endless_bytes = std::uint64_t{1} << 62;
constexpr double never_binding = 1e15;  // bytes per second
constexpr double host_speed = 1e9;  // of hosts that only mark the ends of flows and never compute

/// The engine, with the settings that make a flow's rate nothing but its share of its links:
///
///   CM02, weight-S 0    no factors on bandwidth and latency, no preference for short routes
///   crosstraffic 0      no acknowledgements on the way back: by default they take 5%
///   TCP-gamma 1e15      no window limit; 0 would switch set_rate() off in 3.32
struct Engine {
  Engine() {
    std::array<std::string, 7> arguments = {"kvhaul",
                                            "--cfg=network/model:CM02",
                                            "--cfg=network/crosstraffic:0",
                                            "--cfg=network/TCP-gamma:1e15",
                                            "--cfg=network/weight-S:0",
                                            "--cfg=maxmin/precision:1e-9",
                                            "--log=root.thresh:critical"};
    std::array<char*, arguments.size() + 1> argv{};
    for (std::size_t i = 0; i < arguments.size(); ++i) argv[i] = arguments[i].data();
    int argc = static_cast<int>(arguments.size());
    engine = std::make_unique<s4u::Engine>(&argc, argv.data());
    root = s4u::create_full_zone("clusters");  // 4.0: the root zone is there already
  }
  std::unique_ptr<s4u::Engine> engine;
  s4u::NetZone* root = nullptr;
  int platforms = 0;
};

/// Never destroyed: SimGrid takes its own time to die, and the order of statics is not ours.
Engine& engine() {
  static auto* const the_one = new Engine;
  return *the_one;
}

/// SimGrid's exceptions end here.
template <class Call>
void guarded(Call call) {
  try {
    call();
  } catch (const std::exception& error) {
    check(false, error.what());
  }
}

}  // namespace

struct SimgridPlatform::State {
  s4u::NetZone* zone = nullptr;
  std::string prefix;
  resource::Model* network = nullptr;
  std::vector<s4u::Link*> links;  // by LinkId; null for one that no flow uses
  std::size_t side = 1;
  /// Flow f goes from sources[f / side] to sinks[f % side]: every pair of hosts is one road, so few
  /// hosts give roads to many flows.
  std::vector<s4u::Host*> sources, sinks;
  std::vector<s4u::CommPtr> comms;         // by flow; null before it first runs
  std::vector<resource::Action*> actions;  // theirs
};

SimgridPlatform::SimgridPlatform(std::size_t flows) : state_(std::make_unique<State>()) {
  Engine& engine = sim::engine();
  State& s = *state_;
  s.prefix = std::to_string(engine.platforms++) + ".";
  s.zone = s4u::create_full_zone(s.prefix + "zone");
  s.zone->set_parent(engine.root);
  s.side = std::max<std::size_t>(
      1, static_cast<std::size_t>(std::ceil(std::sqrt(static_cast<double>(flows)))));
  for (std::size_t i = 0; i < s.side; ++i) {
    s.sources.push_back(s.zone->create_host(s.prefix + "from" + std::to_string(i), host_speed));
    s.sinks.push_back(s.zone->create_host(s.prefix + "to" + std::to_string(i), host_speed));
  }
  s.comms.resize(flows);
  s.actions.resize(flows, nullptr);
}

SimgridPlatform::~SimgridPlatform() {
  for (const s4u::CommPtr& comm : state_->comms) {
    if (comm == nullptr) continue;
    try {
      comm->cancel();
    } catch (...) {  // it is going anyway
    }
  }
}

void SimgridPlatform::add_link(LinkId id, double bytes_per_s) {
  State& s = *state_;
  if (id >= s.links.size()) s.links.resize(id + 1, nullptr);
  s4u::Link* link = s.zone->create_link(s.prefix + std::to_string(id), bytes_per_s);
  link->set_latency(0);  // latency is paid behind the wire, where chunks overlap it
  s.links[id] = link;
}

void SimgridPlatform::add_flow(std::uint32_t flow, const std::vector<LinkId>& links) {
  State& s = *state_;
  // SimGrid 3.32 re-shares only what its first link leads to, and forgets the others when that link
  // has been marked by another flow of the same moment. A first link of its own is never marked.
  s4u::Link* own = s.zone->create_link(s.prefix + "flow" + std::to_string(flow), never_binding);
  own->set_latency(0);
  std::vector<s4u::LinkInRoute> road{s4u::LinkInRoute(own)};
  for (const LinkId id : links) road.emplace_back(s.links.at(id));
  s.zone->add_route(s.sources[flow / s.side]->get_netpoint(),
                    s.sinks[flow % s.side]->get_netpoint(), nullptr, nullptr, road, false);
}

void SimgridPlatform::set_link_rate(LinkId id, double bytes_per_s) {
  guarded([&] { state_->links.at(id)->set_bandwidth(bytes_per_s); });
}

void SimgridPlatform::run_flow(std::uint32_t flow) {
  guarded([&] {
    if (state_->comms[flow] != nullptr)
      state_->actions[flow]->resume();
    else
      start_flow(flow);
  });
}

void SimgridPlatform::start_flow(std::uint32_t flow) {
  State& s = *state_;
  s4u::CommPtr comm = s4u::Comm::sendto_init();
  comm->set_payload_size(endless_bytes);
  s.comms[flow] = comm;
  comm->set_source(s.sources[flow / s.side]);
  comm->set_destination(s.sinks[flow % s.side]);
  if (comm->get_state() == s4u::Activity::State::INITED) comm->start();
  // Comm::suspend() does nothing to such a flow in 3.32; its action can. The newest one is last.
  if (s.network == nullptr)
    for (resource::Model* model : engine().engine->get_all_models())
      if (!model->get_started_action_set()->empty() &&
          model->get_started_action_set()->back().get_cost() == static_cast<double>(endless_bytes))
        s.network = model;
  if (s.network == nullptr) throw std::runtime_error("SimGrid has not started the flow");
  s.actions[flow] = &s.network->get_started_action_set()->back();
  s.actions[flow]->set_sharing_penalty(1);    // without latency it would be 0 when resumed
  s.actions[flow]->set_bound(never_binding);  // or it stays below the rates its links have now
}

void SimgridPlatform::pause_flow(std::uint32_t flow) {
  guarded([&] { state_->actions[flow]->suspend(); });
}

void SimgridPlatform::share() {
  if (state_->network == nullptr) return;
  guarded([&] { state_->network->next_occurring_event(s4u::Engine::get_clock()); });
}

double SimgridPlatform::rate(std::uint32_t flow) const { return state_->actions[flow]->get_rate(); }

std::string SimgridPlatform::version() {
  int major = 0, minor = 0, patch = 0;
  sg_version_get(&major, &minor, &patch);
  return std::to_string(major) + "." + std::to_string(minor);
}

}  // namespace kvhaul::sim
