#include "machine/nic_choice.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "core/unit_text.h"

namespace kvhaul {
namespace {

/// How far a NIC is from a GPU; smaller is nearer. Behind one switch, more bridges in common are
/// nearer: switches can be stacked.
using Distance = std::pair<Nearness, int>;

Distance distance(const Machine& machine, const RdmaNic& nic, const nvml::Gpu& gpu) {
  const Nearness near = nearness(machine, nic.bus_id, gpu.bus_id);
  if (near != Nearness::same_switch) return {near, 0};
  const auto& a = machine.device(nic.bus_id).bridges;
  const auto& b = machine.device(gpu.bus_id).bridges;
  const auto differ = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return {near, -static_cast<int>(differ.first - a.begin())};
}

using Kind = std::tuple<std::string, std::string, double, unsigned>;
Kind kind_of(const RdmaNic& nic) { return {nic.part, nic.link_layer, nic.gbits_per_s, nic.ports}; }

/// Why a NIC cannot be a rail; empty: it can.
std::string unusable(const Machine& machine, const RdmaNic& nic) {
  if (!nic.excluded.empty()) return nic.excluded;
  if (!nic.state.empty() && nic.state != "ACTIVE") return nic.state;
  if (nic.bus_id.empty()) return "no PCI device";
  for (const RdmaNic& other : machine.nics)
    if (!nic.virtual_function_of.empty() && other.bus_id == nic.virtual_function_of)
      return "a virtual function of " + other.device;
  return "";
}

Result<NicChoice> choose_asked(const Machine& machine, const std::vector<std::string>& asked) {
  NicChoice choice;
  choice.left_out.assign(machine.nics.size(), "not asked for");
  std::string names;
  for (const RdmaNic& nic : machine.nics) names += (names.empty() ? "" : ", ") + nic.name();
  for (const std::string& name : asked) {
    bool found = false;
    for (std::size_t n = 0; n < machine.nics.size(); ++n) {
      const RdmaNic& nic = machine.nics[n];
      if (nic.device != name && nic.name() != name) continue;
      found = true;
      if (const std::string why = unusable(machine, nic); !why.empty())
        return Error::bad_input("--nics: " + nic.name() + " cannot be a rail: " + why);
      if (nic.gbits_per_s <= 0 && nic.state == "ACTIVE")
        return Error::bad_input("--nics: " + nic.name() + " cannot be a rail: no rate is told");
      choice.left_out[n].clear();
    }
    if (!found)
      return Error::bad_input("--nics: no RDMA NIC is called " + in_quotes(name) + "; there " +
                              (names.empty() ? "is none" : "are " + names));
  }
  for (std::size_t n = 0; n < machine.nics.size(); ++n)
    if (choice.left_out[n].empty()) choice.chosen.push_back(n);
  const RdmaNic& first = machine.nics[choice.chosen.front()];
  for (const std::size_t n : choice.chosen)
    if (machine.nics[n].gbits_per_s != first.gbits_per_s ||
        machine.nics[n].link_layer != first.link_layer)
      return Error::bad_input(
          "--nics: expected NICs of one rate and link layer, as a node type has; " + first.name() +
          " and " + machine.nics[n].name() + " differ");
  return choice;
}

}  // namespace

Result<NicChoice> choose_nics(const Machine& machine, const std::vector<std::string>& asked) {
  if (!asked.empty()) return choose_asked(machine, asked);
  const auto& gpus = machine.gpus.found;
  NicChoice choice;
  choice.left_out.resize(machine.nics.size());
  std::map<Kind, std::vector<std::size_t>> kinds;
  for (std::size_t n = 0; n < machine.nics.size(); ++n) {
    const RdmaNic& nic = machine.nics[n];
    std::string why = unusable(machine, nic);
    if (why.empty() && nic.gbits_per_s <= 0 && nic.state == "ACTIVE") why = "no rate is told";
    if (why.empty() && nic.link_layer == "Ethernet" && nic.gbits_per_s > 0 &&
        nic.gbits_per_s < rail_ethernet_gbits_per_s)
      why = "too slow for KV; --nics " + nic.device + " takes it all the same";
    choice.left_out[n] = why;
    if (why.empty()) kinds[kind_of(nic)].push_back(n);
  }
  if (kinds.empty()) return choice;

  const auto total = [&](const std::vector<std::size_t>& members) {
    double gbits = 0;
    for (const std::size_t n : members) gbits += machine.nics[n].gbits_per_s;
    return gbits;
  };
  double most = 0;
  for (const auto& [kind, members] : kinds) most = std::max(most, total(members));
  const auto nearest_of = [&](const std::vector<std::size_t>& members, const nvml::Gpu& gpu) {
    Distance best{Nearness::unknown, 1};
    for (const std::size_t n : members)
      best = std::min(best, distance(machine, machine.nics[n], gpu));
    return best;
  };
  const auto candidate = [&](const std::vector<std::size_t>& members) {
    return 4 * total(members) >= most;
  };
  const auto serves = [&](const std::vector<std::size_t>& members) {
    std::size_t count = 0;
    for (const nvml::Gpu& gpu : gpus) {
      const Distance mine = nearest_of(members, gpu);
      count += std::all_of(kinds.begin(), kinds.end(), [&](const auto& other) {
        return !candidate(other.second) || mine <= nearest_of(other.second, gpu);
      });
    }
    return count;
  };
  const std::vector<std::size_t>* best = nullptr;
  std::tuple<std::size_t, double, bool, std::size_t> best_worth;
  for (const auto& [kind, members] : kinds) {
    if (!candidate(members)) continue;
    const std::tuple worth{serves(members), total(members), std::get<1>(kind) == "InfiniBand",
                           members.size()};
    if (best == nullptr || worth > best_worth) {
      best = &members;
      best_worth = worth;
    }
  }

  // Each that is the nearest to some GPU. A GPU whose own socket has none takes what the others do.
  std::vector<bool> wanted(machine.nics.size(), false);
  const auto want_nearest = [&](bool across) {
    for (const nvml::Gpu& gpu : gpus) {
      const Distance nearest = nearest_of(*best, gpu);
      if ((nearest.first >= Nearness::across_sockets) != across) continue;
      for (const std::size_t n : *best)
        if (distance(machine, machine.nics[n], gpu) == nearest) wanted[n] = true;
    }
  };
  want_nearest(false);
  if (std::find(wanted.begin(), wanted.end(), true) == wanted.end()) want_nearest(true);
  if (std::find(wanted.begin(), wanted.end(), true) == wanted.end())  // no GPU
    for (const std::size_t n : *best) wanted[n] = true;
  for (const auto& [kind, members] : kinds)
    for (const std::size_t n : members)
      if (wanted[n])
        continue;
      else if (&members != best)
        choice.left_out[n] = "of another kind than those nearest to most GPUs";
      else
        choice.left_out[n] = "farther from every GPU than others of its kind";
  for (std::size_t n = 0; n < machine.nics.size(); ++n)
    if (wanted[n]) choice.chosen.push_back(n);
  for (const nvml::Gpu& gpu : gpus)
    if (nearest_of(*best, gpu).first == Nearness::unknown) {
      choice.notes.push_back(
          "which NICs are near to which GPUs: no place is told of all of them, so nearness did not "
          "choose");
      break;
    }
  return choice;
}

}  // namespace kvhaul
