#include "serving/replay.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/random.h"
#include "serving/replay_messages.h"

namespace kvhaul {
namespace {

/// A process stays for so long after the end: the last words of a run may be lost, too, and are
/// then said and answered again.
constexpr TimeNs stay_after_end_ns = 300 * ms_ns;

}  // namespace

std::string_view instance_role_name(InstanceRole role) {
  return role == InstanceRole::prefill ? "prefill" : "decode";
}

std::string_view request_outcome_name(RequestOutcome outcome) {
  switch (outcome) {
    case RequestOutcome::completed:
      return "completed";
    case RequestOutcome::transfer_failed:
      return "transfer_failed";
    case RequestOutcome::too_large:
      return "too_large";
    case RequestOutcome::failed_in_trace:
      return "failed_in_trace";
  }
  return "?";
}

NodeId front_node_of(const ReplayConfig& config, const Cluster& cluster) {
  NodeId first = no_id;
  for (const auto* role : {&config.prefill, &config.decode})
    for (const std::vector<PlaceId>& places : role->instances)
      for (const PlaceId place : places) first = std::min(first, cluster.places[place].node);
  return first;
}

Replay::Replay(const ReplayConfig& config, TraceReader& trace, Backend& backend,
               ReplayObserver& observer)
    : parts_(config, backend, observer), trace_(trace) {}

Result<void> Replay::prepare(Runtime& runtime, const Cluster& cluster) {
  const ReplayConfig& config = parts_.config;
  parts_.runtime = &runtime;
  parts_.cluster = &cluster;
  auto source = role_geometry(config.model, config.prefill, config.split_kv);
  if (!source) return Error{source.error().kind, "prefill: " + source.error().message};
  auto target = role_geometry(config.model, config.decode, config.split_kv);
  if (!target) return Error{target.error().kind, "decode: " + target.error().message};
  parts_.source_ranks = *source;
  parts_.target_ranks = *target;
  parts_.lanes = plan_lanes(config.model, config.prefill, config.decode);
  if (auto ok = Mover::check_limits(parts_); !ok) return ok;

  // Blocks of the trace that are no whole number of pages cannot be kept.
  const std::uint32_t block_tokens = config.prefix_cache ? trace_.info().block_tokens : 0;
  parts_.block_tokens = block_tokens % config.prefill.page_tokens == 0 ? block_tokens : 0;
  if (auto ok = register_memory(); !ok) return ok;
  count_registration();

  parts_.front_node = front_node_of(config, cluster);
  if (parts_.backend.drives(parts_.front_node)) front_ = std::make_unique<Front>(parts_, trace_);
  prefill_ = std::make_unique<PrefillSide>(parts_, front_.get());
  decode_ = std::make_unique<DecodeSide>(parts_, front_.get());
  if (config.pull) {
    mover_ = std::make_unique<Mover>(parts_, *decode_, front_.get());
    decode_->use(*mover_);
  } else {
    mover_ = std::make_unique<Mover>(parts_, *prefill_, front_.get());
    prefill_->use(*mover_);
  }
  mover_->prepare();
  not_ended_ = others_;
  if (front_) front_->start(*prefill_, *decode_);
  return {};
}

Result<void> Replay::register_memory() {
  Backend& backend = parts_.backend;
  const auto add = [&](const RoleConfig& role, const std::vector<RankGeometry>& ranks,
                       std::vector<Instance>& instances) -> Result<void> {
    for (const std::vector<PlaceId>& places : role.instances) {
      Instance instance;
      instance.places = places;
      instance.node = parts_.cluster->places[places.front()].node;
      instance.here = backend.drives(instance.node);
      if (!instance.here) others_.insert(instance.node);
      for (std::size_t r = 0; r < places.size(); ++r) {
        const Place& place = parts_.cluster->places[places[r]];
        if (backend.drives(place.node) != instance.here)
          return Error::bad_input(
              "an instance lies on " + parts_.cluster->nodes[instance.node].name + " and " +
              parts_.cluster->nodes[place.node].name +
              ", which belong to different processes; expected nodes of one process");
        auto segment = backend.register_segment(places[r], ranks[r].segment_bytes());
        if (!segment) return segment.error();
        instance.segments.push_back(*segment);
      }
      instances.push_back(std::move(instance));
    }
    return {};
  };
  if (auto ok = add(parts_.config.prefill, parts_.source_ranks, parts_.prefill); !ok) return ok;
  return add(parts_.config.decode, parts_.target_ranks, parts_.decode);
}

/// One thread of each node registers its places one after the other; nodes work side by side.
void Replay::count_registration() {
  const Cluster& cluster = *parts_.cluster;
  std::vector<Bytes> bytes(cluster.nodes.size(), 0);
  const auto add = [&](const std::vector<Instance>& instances,
                       const std::vector<RankGeometry>& ranks) {
    for (const Instance& instance : instances)
      for (std::size_t r = 0; r < instance.places.size(); ++r)
        bytes[cluster.places[instance.places[r]].node] += ranks[r].segment_bytes();
  };
  add(parts_.prefill, parts_.source_ranks);
  add(parts_.decode, parts_.target_ranks);
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    const double rate = cluster.nodes[n].registration_bytes_per_s;
    if (rate > 0)
      parts_.counters.registration_ns =
          std::max(parts_.counters.registration_ns, ByteCost::from_rate(rate).of(bytes[n]));
  }
}

TimeNs Replay::next_ns() const {
  if (prefill_->fill_due() || mover_->checks_due() || mover_->checks_running() || end_due())
    return 0;
  const TimeNs next = parts_.agenda.next_ns();
  return may_leave_ ? next : std::min(next, leave_ns_);
}

void Replay::run(TimeNs now) {
  if (now > replay_time_max_ns) {  // what is on its way ends by itself
    too_long_ = true;
    parts_.agenda.clear();
  }
  // After the actions that the last events led to.
  if (parts_.agenda.next_ns() > now) prefill_->fill_one();
  while (parts_.agenda.next_ns() <= now) {
    const Agenda::Event event = parts_.agenda.take();
    switch (event.kind) {
      case Agenda::Kind::arrival:
        front_->arrive(event.at_ns, now);
        break;
      case Agenda::Kind::prefill:
        prefill_->step(event.at_ns, now, event.index, static_cast<std::uint32_t>(event.other));
        break;
      case Agenda::Kind::decode:
        decode_->step(event.at_ns, now, event.index);
        break;
      case Agenda::Kind::engine:
        mover_->engine_done(now, event.index, event.other);
        break;
      case Agenda::Kind::failover:
        front_->wake(event.at_ns, now);
        break;
      case Agenda::Kind::look:
        mover_->look(now, event.index);
        break;
    }
  }
  mover_->check_one(now);
  if (end_due()) say_end();
  if (leave_ns_ <= now) may_leave_ = true;
}

void Replay::message(TimeNs now, const ControlMessage& message) {
  switch (static_cast<ReplayMessage>(message.kind)) {
    case ReplayMessage::reserve:
    case ReplayMessage::readable:
    case ReplayMessage::landed:
    case ReplayMessage::cancel:
      return decode_->message(now, message);
    case ReplayMessage::table:
    case ReplayMessage::release:
    case ReplayMessage::withdraw:
      return prefill_->message(now, message);
    case ReplayMessage::assign: {
      BodyReader body(message.body);
      const RequestResult request = read_request(body);
      if (!body.whole() || request.prefill_instance >= parts_.prefill.size() ||
          request.decode_instance >= parts_.decode.size() ||
          !parts_.prefill[request.prefill_instance].here)
        return;
      std::vector<std::uint64_t> blocks(body.rest().begin(), body.rest().end());
      return prefill_->assign(now, now, message.place, request, blocks);
    }
    case ReplayMessage::prefilled:
    case ReplayMessage::returned:
    case ReplayMessage::source_free:
    case ReplayMessage::finished:
    case ReplayMessage::node_lost:
    case ReplayMessage::way:
      if (front_) front_->message(now, message);
      return;
    case ReplayMessage::peer_lost: {
      BodyReader body(message.body);
      const RequestResult request = read_request(body);
      if (!body.whole() || request.prefill_instance >= parts_.prefill.size() ||
          request.decode_instance >= parts_.decode.size())
        return;
      if (parts_.prefill[request.prefill_instance].here)
        prefill_->peer_lost(now, message.place, request.attempt());
      if (parts_.decode[request.decode_instance].here)
        decode_->peer_lost(now, message.place, request);
      return;
    }
    case ReplayMessage::compare:
      return mover_->compare(message);
    case ReplayMessage::compared:
      return mover_->compared(now, message);
    case ReplayMessage::end:
      leave_ns_ = now + stay_after_end_ns;
      return send(parts_, message.to, message.from, ReplayMessage::ended, 0, 0);
    case ReplayMessage::ended:
      not_ended_.erase(message.from);
      return;
  }
}

// ---- The end of a run of several processes ----------------------------------------------------

bool Replay::end_due() const {
  return !end_said_ && !others_.empty() && front_ && front_->all_over();
}

void Replay::say_end() {
  end_said_ = true;
  for (const NodeId node : not_ended_)
    send(parts_, parts_.front_node, node, ReplayMessage::end, 0, 0);
}

void Replay::node_lost(TimeNs now, NodeId node) {
  lost_nodes_.insert(node);
  not_ended_.erase(node);
  if (front_) return front_->node_lost(now, node);
  // The front may still reach both, and must hear that they do not reach each other.
  std::set<NodeId> own;
  for (const auto* instances : {&parts_.prefill, &parts_.decode})
    for (const Instance& instance : *instances)
      if (instance.here) own.insert(instance.node);
  for (const NodeId from : own)
    send(parts_, from, parts_.front_node, ReplayMessage::node_lost, 0, 0, {node});
}

bool Replay::done() const {
  if (too_long_) return true;
  if (front_) return front_->all_over() && (others_.empty() || (end_said_ && not_ended_.empty()));
  return may_leave_ || lost_nodes_.count(parts_.front_node) != 0;
}

std::optional<Error> Replay::error() const {
  if (too_long_)
    return Error::failed(
        "the replay has passed 91 years and is given up; are the scenario's timing constants or "
        "the trace's token counts right?");
  if (front_) return front_->trace_error();
  if (lost_nodes_.count(parts_.front_node) != 0 && leave_ns_ == never_ns)
    return Error::failed("the process that leads the run is gone");
  return std::nullopt;
}

}  // namespace kvhaul
