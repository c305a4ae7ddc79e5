#include "tests/validation/flows.h"

#include <algorithm>
#include <set>

#include "core/runtime.h"
#include "sim/simgrid.h"

namespace kvhaul::test {
namespace {

/// Submits everything at once and notes the ends.
class AllAtOnce final : public RuntimeClient {
 public:
  AllAtOnce(const std::vector<Flow>& flows, Runtime& runtime,
            const std::vector<SegmentId>& segments)
      : flows_(flows), runtime_(runtime), segments_(segments), ends_(flows.size(), never_ns) {}

  TimeNs next_ns() const override { return submitted_ ? never_ns : 0; }
  void run(TimeNs now) override {
    submitted_ = true;
    std::vector<Bytes> used(segments_.size(), 0);
    for (std::size_t f = 0; f < flows_.size(); ++f) {
      const Flow& flow = flows_[f];
      const Bytes piece = flow.bytes / flow.pieces;
      // Twice the room, so that pieces do not touch.
      std::vector<Descriptor> descriptors;
      for (std::uint32_t p = 0; p < flow.pieces; ++p)
        descriptors.push_back(
            {used[flow.from] + 2 * p * piece, used[flow.to] + 2 * p * piece, piece});
      used[flow.from] += 2 * flow.bytes;
      used[flow.to] += 2 * flow.bytes;
      TransferRequest request;
      request.source_segment = segments_[flow.from];
      request.target_segment = segments_[flow.to];
      request.tag = f;
      request.descriptors = descriptors;
      runtime_.submit(now, *runtime_.find_pair(flow.from, flow.to), request);
    }
  }
  void transfer_ended(TimeNs, const TransferEnd& end) override {
    if (end.outcome == TransferOutcome::delivered) ends_[end.tag] = end.reported_ns;
  }
  void message(TimeNs, const ControlMessage&) override {}
  bool done() const override { return submitted_; }

  const std::vector<TimeNs>& ends() const { return ends_; }

 private:
  const std::vector<Flow>& flows_;
  Runtime& runtime_;
  const std::vector<SegmentId>& segments_;
  std::vector<TimeNs> ends_;
  bool submitted_ = false;
};

}  // namespace

std::vector<TimeNs> run_flows(const Scenario& scenario, const std::vector<Flow>& flows,
                              FlowOptions options) {
  RoutePlan plan = scenario.routes;
  plan.order = {options.kind};
  plan.pull = options.pull;
  if (options.rails != 0) plan.rails = options.rails;
  for (RouteCosts& costs : plan.costs) costs.gather = {};
  std::set<std::pair<PlaceId, PlaceId>> pairs;
  for (const Flow& flow : flows) pairs.insert({flow.from, flow.to});
  const std::vector<std::pair<PlaceId, PlaceId>> ordered(pairs.begin(), pairs.end());
  const auto channels = plan_channels(scenario.cluster, ordered, plan);
  if (!channels) return {};
  const auto backend = sim::make_simgrid_backend();
  const auto numbers = backend->open(scenario.cluster, channels->requests);
  if (!numbers) return {};
  std::vector<SegmentId> segments;
  for (PlaceId place = 0; place < scenario.cluster.places.size(); ++place) {
    Bytes bytes = 1;
    for (const Flow& flow : flows)
      if (flow.from == place || flow.to == place) bytes += 2 * flow.bytes;
    const auto segment = backend->register_segment(place, bytes);
    if (!segment) return {};
    segments.push_back(*segment);
  }
  SchedulerConfig config = scenario.scheduler;
  config.link_window_ns = 10 * s_ns;
  Runtime runtime(
      *backend,
      make_setups(scenario.cluster, channels->requests, channels->tiers, *numbers, config),
      nullptr);
  AllAtOnce client(flows, runtime, segments);
  if (!runtime.run(client)) return {};
  const bool whole =
      std::find(client.ends().begin(), client.ends().end(), never_ns) == client.ends().end();
  return whole ? client.ends() : std::vector<TimeNs>{};
}

}  // namespace kvhaul::test
