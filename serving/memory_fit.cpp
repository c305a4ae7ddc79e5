#include "serving/memory_fit.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/unit_text.h"

namespace kvhaul {
namespace {

std::string gb_text(double bytes) { return number_text(bytes / 1e9, 4) + " GB"; }

/// One instance's part in the memory of a GPU.
struct Part {
  const char* role;
  const RoleConfig* config;
  double weight_bytes = 0;

  double bytes() const { return weight_bytes + static_cast<double>(config->kv_memory_bytes); }
};

double weights_of(const ModelShape& model, const RoleConfig& role) {
  if (role.weight_bytes) return static_cast<double>(*role.weight_bytes);
  return model.total_parameters * 2 / role.weight_gpus;
}

/// By GPU.
std::map<PlaceId, std::vector<Part>> parts_of(const ReplayConfig& config) {
  std::map<PlaceId, std::vector<Part>> parts;
  for (const auto& [name, role] :
       {std::pair{"prefill", &config.prefill}, {"decode", &config.decode}})
    for (const std::vector<PlaceId>& instance : role->instances)
      for (const PlaceId place : instance)
        parts[place].push_back({name, role, weights_of(config.model, *role)});
  return parts;
}

std::string part_text(const ModelShape& model, const Part& part) {
  const RoleConfig& role = *part.config;
  const std::string kv = "kv_memory " + gb_text(static_cast<double>(role.kv_memory_bytes));
  if (part.weight_bytes == 0) return std::string(part.role) + "'s " + kv;
  std::string out = std::string(part.role) + "'s weights " + gb_text(part.weight_bytes);
  if (!role.weight_bytes)
    out += " (estimated: " + number_text(model.total_parameters / 1e9, 4) +
           " billion parameters x 2 bytes / " + std::to_string(role.weight_gpus) +
           (role.weight_gpus == 1 ? " GPU)" : " GPUs)");
  return out + " and " + kv;
}

std::string sum_text(const ModelShape& model, const std::vector<Part>& parts) {
  std::string out;
  double sum = 0;
  for (const Part& part : parts) {
    out += (out.empty() ? "" : " and ") + part_text(model, part);
    sum += part.bytes();
  }
  return out + " are together " + gb_text(sum);
}

/// "node0/gpu0 and 7 more"
std::string places_text(const Cluster& cluster, const std::vector<PlaceId>& places) {
  std::string out = cluster.places[places.front()].name;
  if (places.size() > 1) out += " and " + std::to_string(places.size() - 1) + " more";
  return out;
}

/// Whether a GPU holds its parts.
bool fits(const Cluster& cluster, PlaceId place, const std::vector<Part>& parts) {
  double sum = 0;
  for (const Part& part : parts) sum += part.bytes();
  return sum <= static_cast<double>(cluster.places[place].memory_bytes);
}

}  // namespace

std::optional<MemoryExcess> memory_excess(const ReplayConfig& config, const Cluster& cluster) {
  auto all = parts_of(config);
  for (auto& [place, parts] : all) {
    bool stated = false, of_prefill = false;
    for (Part& part : parts) {
      if (!part.config->weight_bytes) {
        part.weight_bytes = 0;
        continue;
      }
      stated = true;
      of_prefill = of_prefill || part.config == &config.prefill;
    }
    if (stated && !fits(cluster, place, parts))
      return MemoryExcess{
          !of_prefill, cluster.places[place].name + " has " +
                           gb_text(static_cast<double>(cluster.places[place].memory_bytes)) + "; " +
                           sum_text(config.model, parts)};
  }
  return std::nullopt;
}

std::vector<std::string> memory_warnings(const ReplayConfig& config, const Cluster& cluster) {
  // What is the same on several GPUs is said once.
  std::vector<std::pair<std::string, std::vector<PlaceId>>> too_much;
  std::vector<PlaceId> shared;
  for (const auto& [place, parts] : parts_of(config)) {
    if (!fits(cluster, place, parts)) {
      const std::string text = " of " +
                               gb_text(static_cast<double>(cluster.places[place].memory_bytes)) +
                               " memory: " + sum_text(config.model, parts);
      auto found = std::find_if(too_much.begin(), too_much.end(),
                                [&](const auto& known) { return known.first == text; });
      if (found == too_much.end()) found = too_much.insert(found, {text, {}});
      found->second.push_back(place);
    }
    if (parts.size() > 1) shared.push_back(place);
  }
  std::vector<std::string> out;
  for (const auto& [text, places] : too_much)
    out.push_back("more than fits into " + places_text(cluster, places) + text);
  if (!shared.empty())
    out.push_back("prefill and decode share " + places_text(cluster, shared) +
                  ": each takes its time as if it had the GPU to itself");
  return out;
}

}  // namespace kvhaul
