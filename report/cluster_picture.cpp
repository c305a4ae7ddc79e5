#include "report/cluster_picture.h"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "core/unit_text.h"
#include "report/page.h"

namespace kvhaul::report {
namespace {

// Pixels of the picture's own grid.
constexpr int column_width = 92, margin = 12, box_height = 30, host_height = 34;
constexpr int layer_gap = 34;
constexpr int bar_height = 18, bar_gap = 30;

struct Box {
  int x = 0, y = 0, width = 0, height = 0;
  int middle() const { return x + width / 2; }
};

class Picture {
 public:
  Picture(const Cluster& cluster, std::span<const NodeId> nodes, const Route* route)
      : cluster_(cluster), nodes_(nodes) {
    on_.assign(cluster.links.size(), false);
    if (route != nullptr) {
      for (const LinkId hop : route->hops) on_[hop] = true;
      ends_ = {route->source, route->target};
    }
    dimmed_ = route != nullptr;
    // Of a node's layers, from the outside in: host, switch where there is any, devices.
    node_height_ = host_height + layer_gap + box_height;
    for (const NodeId n : nodes) {
      const Node& node = cluster.nodes[n];
      if (!node.pcie_switches.empty()) node_height_ = host_height + 2 * layer_gap + 2 * box_height;
      columns_ = std::max({columns_, node.gpus.size(), node.nics.size(), node.hosts.size()});
    }
    width_ = static_cast<int>(columns_) * column_width + 2 * margin;
  }

  /// Nodes stand in pairs that face each other, with NVLink and the fabric between.
  std::string draw() {
    int y = 18;
    for (std::size_t i = 0; i < nodes_.size(); i += 2) {
      const bool two = i + 1 < nodes_.size();
      add_node(nodes_[i], y, false);
      y += node_height_;
      const bool joined = two && cluster_.nodes[nodes_[i]].nvlink_domain ==
                                     cluster_.nodes[nodes_[i + 1]].nvlink_domain;
      y = add_between(i, two, joined, y);
      if (two) {
        add_node(nodes_[i + 1], y, true);
        y += node_height_ + 18;
      }
      y += 26;
    }
    height_ = y - 26;
    return lines_ + bar_boxes_ + over_bars_ + boxes_;
  }
  int width() const { return width_; }
  int height() const { return height_; }

 private:
  std::string at(const Box& box) const {
    return "x=\"" + std::to_string(box.x) + "\" y=\"" + std::to_string(box.y) + "\" width=\"" +
           std::to_string(box.width) + "\" height=\"" + std::to_string(box.height) + "\"";
  }
  std::string rect_text(const Box& box, const std::string& title, LinkId link) const {
    return "<title>" + html_text(title) + "</title><rect " + at(box) + " rx=\"3\"" +
           link_attributes(link) + "/>";
  }
  static std::string label_text(const Box& box, const std::string& label) {
    return "<text x=\"" + std::to_string(box.middle()) + "\" y=\"" +
           std::to_string(box.y + box.height / 2 + 4) + "\">" + html_text(label) + "</text>";
  }
  void add_box(const Box& box, const std::string& label, bool end, const std::string& title,
               LinkId link = no_id) {
    boxes_ += std::string("<g class=\"box") + (end ? " end" : "") + "\">" +
              rect_text(box, title, link) + label_text(box, label) + "</g>\n";
  }
  std::string link_attributes(LinkId link) const {
    if (link == no_id) return "";
    return " class=\"link" +
           std::string(on_[link] ? " on"
                       : dimmed_ ? " off"
                                 : "") +
           "\" data-link=\"" + html_text(cluster_.links[link].name) + "\"";
  }
  void add_line(std::string& layer, LinkId link, int x1, int y1, int x2, int y2) {
    if (link == no_id) return;
    const Link& what = cluster_.links[link];
    const auto line = [&](const std::string& attributes) {
      return "<line" + attributes + " x1=\"" + std::to_string(x1) + "\" y1=\"" +
             std::to_string(y1) + "\" x2=\"" + std::to_string(x2) + "\" y2=\"" +
             std::to_string(y2) + "\"";
    };
    layer += line(link_attributes(link)) + "><title>" + html_text(what.name) + ", " +
             rate_text(what.bytes_per_s) + "</title></line>\n";
  }
  /// Two directions side by side between two heights.
  void add_pair(std::string& layer, LinkId out, LinkId in, int x, int y1, int y2) {
    add_line(layer, out, x - 4, y1, x - 4, y2);
    add_line(layer, in, x + 4, y1, x + 4, y2);
  }

  void add_node(NodeId id, int top, bool mirrored) {
    const Node& node = cluster_.nodes[id];
    const auto place = [&](int from_outside, int height) {
      return mirrored ? top + node_height_ - from_outside - height : top + from_outside;
    };
    // A line ends at the side of a box that faces inwards or outwards.
    const auto inner = [&](const Box& b) { return mirrored ? b.y : b.y + b.height; };
    const auto outer = [&](const Box& b) { return mirrored ? b.y + b.height : b.y; };
    const auto is_end = [&](PlaceId p) { return p == ends_[0] || p == ends_[1]; };

    boxes_ += "<text class=\"node\" x=\"" + std::to_string(margin) + "\" y=\"" +
              std::to_string(mirrored ? top + node_height_ + 14 : top - 6) + "\">" +
              html_text(node.name + (node.type.empty() ? "" : ", " + node.type)) + "</text>\n";

    const std::size_t gpus = std::max<std::size_t>(node.gpus.size(), 1);
    const auto column_of_gpu = [&](std::size_t i) { return i * columns_ / gpus; };
    const auto column_of_nic = [&](std::size_t i) { return i * columns_ / node.nics.size(); };
    // A host spans the columns of its devices; hosts without any share the width.
    std::vector<Box> hosts(node.hosts.size());
    for (std::size_t h = 0; h < hosts.size(); ++h) {
      const int width = (width_ - 2 * margin) / static_cast<int>(hosts.size());
      hosts[h] = {margin + static_cast<int>(h) * width + 4, place(0, host_height), width - 8,
                  host_height};
    }
    std::map<std::uint32_t, std::pair<std::size_t, std::size_t>> span_of_switch;
    const auto span = [&](std::uint32_t s, std::size_t column) {
      const auto [it, is_new] = span_of_switch.try_emplace(s, column, column);
      it->second.first = std::min(it->second.first, column);
      it->second.second = std::max(it->second.second, column);
    };
    for (std::size_t i = 0; i < node.gpus.size(); ++i)
      if (node.gpus[i].pcie_switch) span(*node.gpus[i].pcie_switch, column_of_gpu(i));
    for (std::size_t i = 0; i < node.nics.size(); ++i)
      if (const auto s = cluster_.nics[node.nics[i]].pcie_switch) span(*s, column_of_nic(i));
    std::map<std::uint32_t, Box> switches;
    for (const auto& [s, columns] : span_of_switch) {
      const int from = margin + static_cast<int>(columns.first) * column_width;
      const int to = margin + static_cast<int>(columns.second + 1) * column_width;
      switches[s] = {from + 10, place(host_height + layer_gap, box_height), to - from - 20,
                     box_height};
    }
    const int devices = place(node_height_ - box_height, box_height);
    const auto host_x = [&](std::uint32_t h, int x) {
      return std::clamp(x, hosts[h].x + 10, hosts[h].x + hosts[h].width - 10);
    };

    for (std::size_t h = 0; h < hosts.size(); ++h) {
      const std::string name = cluster_.places[node.hosts[h]].name;
      add_box(hosts[h], "CPU " + std::to_string(h) + " and memory", is_end(node.hosts[h]),
              name + ", memory " + rate_text(cluster_.links[node.dram[h]].bytes_per_s),
              node.dram[h]);
      if (h + 1 < hosts.size()) {
        const int y = hosts[h].y + host_height / 2;
        add_line(lines_, node.socket[h][h + 1], hosts[h].x + hosts[h].width, y - 4, hosts[h + 1].x,
                 y - 4);
        add_line(lines_, node.socket[h + 1][h], hosts[h].x + hosts[h].width, y + 4, hosts[h + 1].x,
                 y + 4);
      }
    }
    for (const auto& [s, box] : switches) {
      const PcieSwitch& what = node.pcie_switches[s];
      add_box(box, "PCIe", false, what.name);
      const int x = host_x(what.host, box.middle());
      add_pair(lines_, what.out, what.in, x, outer(box), inner(hosts[what.host]));
    }
    const auto road_up = [&](const Box& box, std::optional<std::uint32_t> pcie_switch,
                             std::uint32_t host, LinkId out, LinkId in) {
      if (pcie_switch)
        add_pair(lines_, out, in, box.middle(), outer(box), inner(switches[*pcie_switch]));
      else
        add_pair(lines_, out, in, host_x(host, box.middle()), outer(box), inner(hosts[host]));
    };
    for (std::size_t i = 0; i < node.gpus.size(); ++i) {
      const Gpu& gpu = node.gpus[i];
      const int x = margin + static_cast<int>(column_of_gpu(i)) * column_width;
      const Box box{x + 4, devices, 40, box_height};
      add_box(box, std::string("G").append(std::to_string(i)), is_end(gpu.place),
              cluster_.places[gpu.place].name);
      road_up(box, gpu.pcie_switch, gpu.host, gpu.host_out, gpu.host_in);
      down_.push_back({id, box.middle(), inner(box), gpu.nvlink_out, gpu.nvlink_in, true});
    }
    for (std::size_t i = 0; i < node.nics.size(); ++i) {
      const Nic& nic = cluster_.nics[node.nics[i]];
      const int x = margin + static_cast<int>(column_of_nic(i)) * column_width;
      const Box box{x + 48, devices, 40, box_height};
      add_box(box, std::string("N").append(std::to_string(i)), false, nic.name);
      road_up(box, nic.pcie_switch, nic.host, nic.pcie_out, nic.pcie_in);
      down_.push_back({id, box.middle(), inner(box), nic.tx, nic.rx, false});
    }
    connect(id);
  }

  /// What joins the devices of the pair of nodes that begins at `first`: below one, above the
  /// other.
  int add_between(std::size_t first, bool two, bool joined, int y) {
    const Node& node = cluster_.nodes[nodes_[first]];
    const auto has_nvlink = [](const Node& n) {
      return !n.gpus.empty() && n.gpus[0].nvlink_out != no_id;
    };
    const auto bar = [&](const std::string& label) {
      y += bar_gap;
      const Box box{margin, y, width_ - 2 * margin, bar_height};
      bar_boxes_ += "<g class=\"box\">" + rect_text(box, label, no_id) + "</g>\n";
      boxes_ += "<g class=\"box\">" + label_text(box, label) + "</g>\n";
      y += bar_height;
      return box;
    };
    bars_.clear();
    if (has_nvlink(node)) {
      const Box box = bar(joined ? "NVLink switches" : "NVLink of " + node.name);
      bars_[{nodes_[first], true}] = box;
      if (joined) bars_[{nodes_[first + 1], true}] = box;
    }
    if (!node.nics.empty()) {
      const std::string leaves = std::to_string(cluster_.leaves.size()) +
                                 (cluster_.leaves.size() == 1 ? " leaf switch" : " leaf switches");
      const Box box =
          bar("fabric: " + leaves +
              (cluster_.spines > 0 ? std::string(", ").append(std::to_string(cluster_.spines)) +
                                         (cluster_.spines == 1 ? " spine" : " spines")
                                   : ""));
      bars_[{nodes_[first], false}] = box;
      if (two) bars_[{nodes_[first + 1], false}] = box;
    }
    if (two && !joined && has_nvlink(cluster_.nodes[nodes_[first + 1]]))
      bars_[{nodes_[first + 1], true}] = bar("NVLink of " + cluster_.nodes[nodes_[first + 1]].name);
    y += bar_gap;
    connect(nodes_[first]);
    return y;
  }

  /// From the devices of a node to the bars, once both are there.
  void connect(NodeId id) {
    for (Down& d : down_) {
      if (d.node != id || d.drawn) continue;
      const auto bar = bars_.find({id, d.nvlink});
      if (bar == bars_.end()) continue;
      d.drawn = true;
      const Box& b = bar->second;
      add_pair(over_bars_, d.out, d.in, d.x, d.y, d.y < b.y ? b.y : b.y + b.height);
    }
  }

  struct Down {
    NodeId node = 0;
    int x = 0, y = 0;
    LinkId out = no_id, in = no_id;
    bool nvlink = false;
    bool drawn = false;
  };

  const Cluster& cluster_;
  std::span<const NodeId> nodes_;
  std::vector<bool> on_;
  std::array<PlaceId, 2> ends_ = {no_id, no_id};
  bool dimmed_ = false;
  std::size_t columns_ = 1;
  int width_ = 0, height_ = 0, node_height_ = 0;
  std::vector<Down> down_;
  std::map<std::pair<NodeId, bool>, Box> bars_;  // by node and whether it is NVLink
  // Layers, from the bottom up: what crosses a bar without ending there lies over it.
  std::string lines_, bar_boxes_, over_bars_, boxes_;
};

std::string opened(int width, int height, const std::string& label) {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"picture\" role=\"img\" "
         "style=\"--width:" +
         std::to_string(width) + "\" viewBox=\"0 0 " + std::to_string(width) + " " +
         std::to_string(height) + "\" aria-label=\"" + html_text(label) + "\">\n";
}

constexpr const char* file_style =
    "<style>\n"
    "svg{--paper:#fff;--ink:#1b2430;--soft:#5b6776;--box:#eef1f5;--edge:#b9c2ce;--on:#c2410c}\n"
    "@media (prefers-color-scheme:dark){svg{--paper:#14181f;--ink:#e6eaf0;--soft:#9aa6b5;"
    "--box:#232a35;--edge:#465264;--on:#fb923c}}\n"
    ".paper{fill:var(--paper)}text{font:12px system-ui,sans-serif;fill:var(--ink)}\n"
    ".box text{text-anchor:middle;paint-order:stroke;stroke:var(--box);stroke-width:5px}.box "
    "rect{fill:var(--box);stroke:var(--edge)}\n"
    ".node,.title{font-weight:600}.title{font-size:15px}.lines{fill:var(--soft)}\n"
    "line{stroke:var(--edge);stroke-width:2}line.off{stroke-opacity:.45}\n"
    "line.on{stroke:var(--on);stroke-width:5}rect.on,.end rect{stroke:var(--on);stroke-width:3}\n"
    "</style>\n";

}  // namespace

std::string cluster_picture(const Cluster& cluster, std::span<const NodeId> nodes,
                            const Route* route) {
  Picture picture(cluster, nodes, route);
  const std::string body = picture.draw();
  return opened(picture.width(), picture.height(), "the cluster, its devices and links") + body +
         "</svg>\n";
}

std::string route_picture(const Cluster& cluster, const Route& route, const std::string& title,
                          std::span<const std::string> lines) {
  std::vector<NodeId> nodes = {cluster.places[route.source].node};
  if (cluster.places[route.target].node != nodes[0])
    nodes.push_back(cluster.places[route.target].node);
  Picture picture(cluster, nodes, &route);
  const std::string body = picture.draw();
  constexpr int line_height = 18, title_height = 34;
  const int width = std::max(picture.width(), 760);
  const int height =
      title_height + picture.height() + 16 + line_height * static_cast<int>(lines.size());
  std::string out = opened(width, height, title) + file_style +
                    "<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n" +
                    "<text class=\"title\" x=\"12\" y=\"22\">" + html_text(title) +
                    "</text>\n<g transform=\"translate(0 " + std::to_string(title_height) +
                    ")\">\n" + body + "</g>\n";
  int y = title_height + picture.height() + 14;
  for (const std::string& line : lines) {
    out += "<text class=\"lines\" x=\"12\" y=\"" + std::to_string(y) + "\">" + html_text(line) +
           "</text>\n";
    y += line_height;
  }
  return out + "</svg>\n";
}

}  // namespace kvhaul::report
