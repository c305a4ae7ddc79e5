#include "cli/route_drawing.h"

#include <algorithm>
#include <cmath>

#include "cli/terminal.h"
#include "core/unit_text.h"

namespace kvhaul::cli {
namespace {

constexpr std::size_t columns_max = 76;  // that much further in they still fit 80
constexpr std::size_t bar_columns_max = 18;

/// The device that a link leads into, where that is told by its name: "node0/nic0/pcie/in" leads
/// from the node into its NIC, "node1/nic0/rx" from the fabric.
std::string device_entered(const Link& link) {
  const std::string& name = link.name;
  if (!name.ends_with("/in") && !name.ends_with("/rx") && link.kind != LinkKind::dram) return "";
  // Into a switch from above is on the way to a device.
  if (name.find("/uplink/") != std::string::npos) return "";
  const std::size_t node = name.find('/');
  return name.substr(0, name.find('/', node + 1));
}

/// " connectx-7" behind the name of a NIC, where its part is known.
std::string part_text(const Cluster& cluster, const std::string& device) {
  const auto nic = std::find_if(cluster.nics.begin(), cluster.nics.end(),
                                [&](const Nic& n) { return n.name == device; });
  return nic == cluster.nics.end() || nic->part.empty() ? "" : " " + nic->part;
}

std::string padded(const std::string& text, std::size_t columns, bool left) {
  const std::string padding(columns > text.size() ? columns - text.size() : 0, ' ');
  return left ? text + padding : padding + text;
}

struct Row {
  std::string link, rate, time, note, device;
  double time_ns = 0;
};

}  // namespace

std::string cpu_text(const Cluster& cluster, const Route& route) {
  std::string memories;
  for (const LinkId hop : route.hops) {
    const Link& link = cluster.links[hop];
    if (link.kind != LinkKind::dram) continue;
    const std::string memory = device_entered(link);
    if (memories.find(memory) == std::string::npos)
      memories += (memories.empty() ? "" : " and ") + memory;
  }
  if (!memories.empty()) return "through the memory of " + memories;
  return route.hops.empty() ? "no bytes move" : "CPU and host memory bypassed";
}

std::vector<std::string> draw_route(const Cluster& cluster, const Route& route, Bytes bytes) {
  std::vector<Row> rows;
  double longest = 0;
  for (std::size_t h = 0; h < route.hops.size(); ++h) {
    const LinkId id = route.hops[h];
    const Link& link = cluster.links[id];
    const auto times = std::count(route.hops.begin(), route.hops.end(), id);
    if (h > 0 && route.hops[h - 1] == id) continue;  // in and out again: one line
    Row row;
    row.link = link.name;
    row.rate = rate_text(link.bytes_per_s);
    row.time_ns = static_cast<double>(bytes) * static_cast<double>(times) / link.bytes_per_s * 1e9;
    row.time = duration_text(std::llround(row.time_ns));
    if (times > 1) row.note = " x" + std::to_string(times);
    if (id == route.bottleneck) row.note += " narrowest";
    row.device = device_entered(link);
    longest = std::max(longest, row.time_ns);
    rows.push_back(std::move(row));
  }
  std::size_t link_columns = 0, rate_columns = 0, time_columns = 0, note_columns = 0;
  for (const Row& row : rows) {
    link_columns = std::max(link_columns, row.link.size());
    rate_columns = std::max(rate_columns, row.rate.size());
    time_columns = std::max(time_columns, row.time.size());
    note_columns = std::max(note_columns, row.note.size());
  }
  const std::size_t before = 5 + link_columns + 2 + rate_columns + 2 + time_columns + 2;
  const std::size_t room = columns_max - std::min(columns_max, before + note_columns);
  const std::size_t bar_columns = std::clamp<std::size_t>(room, 1, bar_columns_max);
  std::vector<std::string> lines;
  const std::string target = cluster.places[route.target].name;
  lines.push_back("[" + cluster.places[route.source].name + "]");
  for (const Row& row : rows) {
    const auto bar = static_cast<std::size_t>(
        std::lround(row.time_ns / longest * static_cast<double>(bar_columns)));
    std::string line = "  |  " + padded(row.link, link_columns, true) + "  " +
                       padded(row.rate, rate_columns, false) + "  " +
                       padded(row.time, time_columns, false) + "  " +
                       std::string(std::max<std::size_t>(1, bar), '#') + row.note;
    const bool narrowest = row.note.ends_with("narrowest");
    lines.push_back(narrowest ? toned(Tone::strong, line) : line);
    if (!row.device.empty() && row.device != target)
      lines.push_back("[" + row.device + "]" + part_text(cluster, row.device));
  }
  lines.push_back("[" + target + "]");
  return lines;
}

}  // namespace kvhaul::cli
