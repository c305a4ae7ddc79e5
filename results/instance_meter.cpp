#include "results/instance_meter.h"

#include <algorithm>
#include <utility>

namespace kvhaul {

namespace {

std::string nodes_of(const Cluster& cluster, const std::vector<PlaceId>& places) {
  std::string names;
  NodeId last = no_id;
  for (const PlaceId place : places) {
    const NodeId node = cluster.places[place].node;
    if (node != last) names += (names.empty() ? "" : "|") + cluster.nodes[node].name;
    last = node;
  }
  return names;
}

}  // namespace

InstanceMeter::Amounts& InstanceMeter::Amounts::operator+=(const Amounts& more) {
  computing += more.computing;
  sequences += more.sequences;
  pages += more.pages;
  waiting += more.waiting;
  tokens += more.tokens;
  return *this;
}

InstanceMeter::Amounts InstanceMeter::Amounts::operator*(double factor) const {
  return {computing * factor, sequences * factor, pages * factor, waiting * factor,
          tokens * factor};
}

InstanceMeter::InstanceMeter(const Cluster& cluster, const ReplayConfig& config) {
  for (const auto& [name, role_config] : {std::pair{InstanceRole::prefill, &config.prefill},
                                          {InstanceRole::decode, &config.decode}}) {
    Role& of = role(name);
    of.instances.resize(role_config->instances.size());
    for (std::size_t i = 0; i < of.instances.size(); ++i)
      of.instances[i].nodes = nodes_of(cluster, role_config->instances[i]);
    of.gpus = role_config->instances.size() * role_config->weight_gpus;
    const auto ranks = role_geometry(config.model, *role_config, config.split_kv);
    if (ranks) of.pages = ranks->front().pages;  // a scenario without has been refused
  }
  role(InstanceRole::prefill).stages = config.prefill.pp;
}

void InstanceMeter::prefill_step(const PrefillStep& step) {
  Role& prefill = role(InstanceRole::prefill);
  if (step.instance >= prefill.instances.size()) return;
  const auto length = static_cast<double>(std::max<TimeNs>(1, step.ended_ns - step.began_ns));
  prefill.instances[step.instance].bins.add(
      step.began_ns, step.ended_ns,
      {.computing = 1, .tokens = static_cast<double>(step.tokens) / length});
  last_ns_ = std::max(last_ns_, step.ended_ns);
}

void InstanceMeter::decode_step(const DecodeStep& step) {
  Role& decode = role(InstanceRole::decode);
  if (step.instance >= decode.instances.size()) return;
  Instance& instance = decode.instances[step.instance];
  const auto sequences = static_cast<double>(step.sequences);
  const auto length = static_cast<double>(std::max<TimeNs>(1, step.ended_ns - step.began_ns));
  instance.bins.add(step.began_ns, step.ended_ns,
                    {.computing = 1, .sequences = sequences, .tokens = sequences / length});
  instance.batch_max = std::max(instance.batch_max, step.sequences);
  last_ns_ = std::max(last_ns_, step.ended_ns);
}

void InstanceMeter::changed(const InstanceState& state) {
  Role& of = role(state.role);
  if (state.instance >= of.instances.size()) return;
  Instance& instance = of.instances[state.instance];
  count_state(instance, state.at_ns);
  const TimeNs at_ns = std::max(instance.state.at_ns, state.at_ns);
  instance.state = state;
  instance.state.at_ns = at_ns;
  last_ns_ = std::max(last_ns_, at_ns);
}

void InstanceMeter::completed(const RequestResult& request) {
  for (const auto& [name, index] : {std::pair{InstanceRole::prefill, request.prefill_instance},
                                    {InstanceRole::decode, request.decode_instance}})
    if (index < role(name).instances.size()) ++role(name).instances[index].requests;
}

/// What it had since its last change. Of changes at one time only the last one has lasted.
void InstanceMeter::count_state(Instance& instance, TimeNs until_ns) {
  const InstanceState& state = instance.state;
  if (until_ns <= state.at_ns) return;
  instance.queue_max = std::max(instance.queue_max, state.waiting);
  instance.pages_max = std::max(instance.pages_max, state.pages);
  if (state.pages == 0 && state.waiting == 0) return;
  instance.bins.add(
      state.at_ns, until_ns,
      {.pages = static_cast<double>(state.pages), .waiting = static_cast<double>(state.waiting)});
}

InstanceLoad InstanceMeter::load(const Role& role, const Amounts& sum, double time_ns) const {
  return {.utilisation = sum.computing / (time_ns * role.stages),
          .batch = sum.computing > 0 ? sum.sequences / sum.computing : 0,
          .kv_fill = sum.pages / (time_ns * role.pages),
          .queue = sum.waiting / time_ns,
          .tokens_per_s = sum.tokens / (time_ns * 1e-9)};
}

InstanceMeter::Uses InstanceMeter::uses(TimeNs end_ns) {
  Uses uses;
  uses.bin_ns = ms_ns;
  uses.end_ns = end_ns;
  for (Role& role : roles_)
    for (Instance& instance : role.instances) {
      count_state(instance, end_ns);
      uses.bin_ns = std::max(uses.bin_ns, instance.bins.bin_ns());
    }
  while ((end_ns - 1) / uses.bin_ns >= static_cast<TimeNs>(bins_max)) uses.bin_ns *= 2;
  const auto bins = static_cast<std::size_t>((end_ns - 1) / uses.bin_ns) + 1;
  const auto all_ns = static_cast<double>(end_ns);
  for (const InstanceRole name : {InstanceRole::prefill, InstanceRole::decode}) {
    Role& of = role(name);
    Amounts sum_of_role;
    for (std::uint32_t i = 0; i < of.instances.size(); ++i) {
      Instance& instance = of.instances[i];
      while (instance.bins.bin_ns() < uses.bin_ns) instance.bins.widen();
      InstanceUse& use = uses.instances.emplace_back();
      use.role = name;
      use.instance = i;
      use.nodes = instance.nodes;
      use.requests = instance.requests;
      Amounts sum;
      for (std::size_t bin = 0; bin < bins; ++bin) {
        const TimeNs from = static_cast<TimeNs>(bin) * uses.bin_ns;
        const auto width = static_cast<double>(std::min(end_ns - from, uses.bin_ns));
        use.bins.push_back(load(of, instance.bins.sum(bin), width));
        sum += instance.bins.sum(bin);
      }
      use.mean = load(of, sum, all_ns);
      use.batch_max = instance.batch_max;
      use.queue_max = instance.queue_max;
      use.kv_fill_max = static_cast<double>(instance.pages_max) / of.pages;
      sum_of_role += sum;
    }
    RoleUse& all = name == InstanceRole::prefill ? uses.prefill : uses.decode;
    const auto count = static_cast<double>(std::max<std::size_t>(1, of.instances.size()));
    all.mean = load(of, sum_of_role, all_ns);
    all.mean.utilisation /= count;
    all.mean.kv_fill /= count;
    all.gpus = of.gpus;
  }
  return uses;
}

}  // namespace kvhaul
