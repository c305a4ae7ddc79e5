#include "machine/topo_scenario.h"

#include <algorithm>
#include <array>

#include "core/unit_text.h"
#include "machine/gpu_models.h"
#include "serving/timing.h"

namespace kvhaul {
namespace {

constexpr double GB = 1e9;

/// GB/s of one PCIe lane, one way, in theory, by generation: 31.5 and 63.0 for 16 lanes of 4 and 5.
constexpr std::array lane_gbytes_per_s = {0.0,       0.25,      0.5,       15.75 / 16,
                                          31.5 / 16, 63.0 / 16, 121.0 / 16};

double pcie_theory(const nvml::Gpu& gpu) {
  const std::size_t last = lane_gbytes_per_s.size() - 1;
  return lane_gbytes_per_s[std::min<std::size_t>(gpu.pcie_generation_max, last)] *
         gpu.pcie_lanes_max * GB;
}

struct Port {
  double out = 0, in = 0;
};

constexpr const char* pcie_source =
    "of it a pinned copy gets what it got of x16: 25.8 and 25.7 of 31.5 on DGX A100,\n"
    "55.1 and 55.3 of 63.0 on 8 x H800 (V bandwidthTest, nvbandwidth)";

Port pcie_port(double theory) {
  if (theory <= 32 * GB) return {theory * 25.8 / 31.5, theory * 25.7 / 31.5};
  return {theory * 55.1 / 63.0, theory * 55.3 / 63.0};
}

/// Published figures of NVLinks, by what CUDA calls the GPU. The rate is a copy engine's.
struct NvLinkFigures {
  unsigned major, minor;
  double link_gbytes_per_s;
  double read_incast;
  TimeNs fixed_ns;
  const char* source;
};
constexpr NvLinkFigures nvlink_figures[] = {
    {7, 0, 25 * 273.0 / 300, 0.82, 2800, "25 GB/s each V; the share and times of NVLink 3"},
    {8, 0, 273.0 / 12, 0.82, 2800, "273 GB/s over 12: V p2pBandwidthLatencyTest on 8 x A100"},
    {9, 0, 393.0 / 18, 0.82, 3100, "393 GB/s over 18: V p2pBandwidthLatencyTest on H200"},
    {10, 0, 770.0 / 18, 0.86, 3100, "770 GB/s over 18: C from OCI's GB200 acceptance guide"},
    {10, 3, 770.0 / 18, 0.86, 3100, "770 GB/s over 18: C from OCI's GB200 acceptance guide"},
};

const NvLinkFigures* figures_of(const nvml::Gpu& gpu) {
  for (const NvLinkFigures& f : nvlink_figures)
    if (f.major == gpu.compute_major && f.minor == gpu.compute_minor) return &f;
  return nullptr;
}

/// Stands in where nothing is known of a GPU: the least of those whose roofline kvhaul ships, so
/// that no time is too good.
constexpr const char* unknown_roofline = "{flops: 312 TFLOPS, memory_rate: 2.04 TB/s}";
constexpr Bytes unknown_memory = 40'000 * MiB;

std::string flops_text(double flops) { return number_text(flops / 1e12) + " TFLOPS"; }

std::string mib(Bytes bytes) { return std::to_string(bytes / MiB) + " MiB"; }

std::string port_text(const Port& port) {
  return "out: " + rate_text(port.out) + ", in: " + rate_text(port.in);
}

std::string numbers_text(const std::vector<unsigned>& numbers) {
  std::string text;
  for (const unsigned number : numbers) text += (text.empty() ? "" : ", ") + std::to_string(number);
  return text;
}

template <class T>
std::string list_text(const std::vector<T>& values) {
  std::string text;
  for (const T& value : values) {
    if (!text.empty()) text += ", ";
    if constexpr (std::is_same_v<T, std::string>)
      text += value;
    else
      text += std::to_string(value);
  }
  return "[" + text + "]";
}

std::string count_text(std::size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

class Writer {
 public:
  Writer(const Machine& machine, const ModelShape& model, const NicChoice& nics)
      : m_(machine), model_(model), left_out_(nics.left_out) {
    for (const std::size_t n : nics.chosen) nics_.push_back(machine.nics[n]);
    not_known_ = machine.not_known;
    if (!machine.tree.assumed.empty()) not_known_.push_back(machine.tree.assumed);
    if (!machine.gpus.found.empty())
      not_known_.insert(not_known_.end(), nics.notes.begin(), nics.notes.end());
  }

  TopoScenario gpu_scenario() {
    smallest_ = m_.gpus.found.front();
    for (const nvml::Gpu& gpu : m_.gpus.found) {
      smallest_.memory_bytes = std::min(smallest_.memory_bytes, gpu.memory_bytes);
      if (pcie_theory(gpu) < pcie_theory(smallest_)) {
        smallest_.pcie_generation_max = gpu.pcie_generation_max;
        smallest_.pcie_lanes_max = gpu.pcie_lanes_max;
      }
      one_kind_ = one_kind_ && gpu.name == smallest_.name;
    }
    find_roofline();
    find_places();
    group_by_switch();
    title();
    add("name: this-machine\ncluster:\n  node_types:\n    machine:\n");
    add("      title: \"" + std::to_string(m_.gpus.found.size()) + " x " + smallest_.name + "\"\n");
    hosts();
    switches();
    gpus();
    nics();
    add("  nodes:\n    - {type: machine}\n");
    routes();
    serving();
    return {std::move(text_), std::move(not_known_)};
  }

  TopoScenario laptop_scenario() {
    Bytes memory = 0;
    for (const NumaHost& host : m_.tree.hosts) memory += host.memory_bytes;
    // An eighth of the memory for decode, half as much for prefill, which keeps KV less long.
    const Bytes decode = std::clamp<Bytes>(memory / 8, 256 * MiB, 4 * GiB);
    add("# No GPU was found on this computer: two emulated ones in its memory; real bytes, "
        "checksummed.\n"
        "#\n# As the scenario laptop: a prefill and a decode instance, each a buffer of host "
        "memory,\n"
        "# copies by worker threads, in real time, as fast as this computer copies memory. Prefill "
        "and\n"
        "# decode take the time that one H100 needs (roofline, docs/models.md).\n");
    add("name: this-machine\ncluster:\n  node_types:\n    machine:\n      title: this computer\n");
    comment(6, "Memory: read (" + m_.tree.source +
                   "). The rates only tell the scheduler what to expect before it\n"
                   "has learned the real ones.");
    add("      hosts: {count: 1, memory_rate: 20 GB/s, memory: " + mib(memory) + "}\n");
    add("      gpus:\n        count: 2\n        memory: " + mib(decode) +
        "\n        host_link: {rate: 10 GB/s}\n  nodes:\n    - {type: machine}\n");
    add("routes:\n  order: [pcie_p2p]\n"
        "  pcie_p2p: {fixed_cost: 5 us, post_cost: 1 us, queues: 2}\n");
    add("model: " + model_.name + "\nserving:\n  chunk_tokens: 2048\n  streaming: chunk_layer\n");
    comment(2,
            "KV: an eighth of the memory for decode, 4 GiB at most, and half of that for prefill.");
    role("prefill", {"node0/gpu0"}, decode / 2, "h100");
    role("decode", {"node0/gpu1"}, decode, "h100");
    add("emulation: {time: real, payload: real}\n");
    return {std::move(text_), std::move(not_known_)};
  }

 private:
  void add(const std::string& text) { text_ += text; }

  /// A line of the text each, so far to the right.
  void comment(std::size_t indent, const std::string& text) {
    for (std::size_t at = 0; at <= text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      add(std::string(indent, ' ') + "# " + text.substr(at, end - at) + "\n");
      at = end + 1;
    }
  }

  std::uint32_t host_of(const std::string& bus_id) const {
    return one_host_ ? 0 : m_.host(bus_id).value_or(0);
  }

  /// Where nobody tells the socket of a device, the file has one host: nearness that is not known
  /// is not made up.
  void find_places() {
    std::string who;
    const auto look = [&](const std::string& name, const std::string& bus_id) {
      if (!m_.host(bus_id)) who += (who.empty() ? "" : ", ") + name;
    };
    for (std::size_t g = 0; g < m_.gpus.found.size(); ++g)
      look("gpu" + std::to_string(g), m_.gpus.found[g].bus_id);
    for (const RdmaNic& nic : nics_) look(nic.device, nic.bus_id);
    one_host_ = m_.tree.hosts.size() == 1 || !who.empty();
    if (!who.empty())
      not_known_.push_back("nearness: on which of " + count_text(m_.tree.hosts.size(), "socket") +
                           " these hang, as often in virtual machines: " + who +
                           "; the file has one host and no link between sockets");
  }

  /// The roofline of the GPUs; in a file's words, for `timing`.
  void find_roofline() {
    const GpuModel* model = one_kind_ ? gpu_model_by_nvml_name(smallest_.name) : nullptr;
    if (model != nullptr) {
      roofline_ = model->timing.empty()
                      ? "{flops: " + flops_text(model->flops) +
                            ", memory_rate: " + rate_text(model->memory_bytes_per_s) + "}"
                      : std::string(model->timing);
      roofline_source_ = model->source;
      return;
    }
    roofline_ = unknown_roofline;
    std::string read;
    if (one_kind_ && smallest_.memory_bytes_per_s >= 1e9) {
      roofline_ =
          "{flops: 312 TFLOPS, memory_rate: " + rate_text(smallest_.memory_bytes_per_s) + "}";
      read = "; its memory rate was read";
    }
    const std::string what = one_kind_ ? smallest_.name : "GPUs of several kinds";
    roofline_unknown_ = "the roofline of this GPU (" + what +
                        ") is unknown to kvhaul: " + roofline_ + " stands in, from an A100" + read +
                        ". Give its own, dense, from its data sheet, in serving.prefill.timing and "
                        "serving.decode.timing: gpu: {flops: ... TFLOPS, memory_rate: ... TB/s}";
    not_known_.push_back(roofline_unknown_);
  }

  void title() {
    add("# What kvhaul topo found on this computer: " + std::to_string(m_.gpus.found.size()) +
        " x " + smallest_.name + ", " + count_text(nics_.size(), "RDMA NIC") + ", " +
        count_text(m_.tree.hosts.size(), "socket") + ".\n#\n");
    comment(
        0,
        "\"read\" was read from " + m_.tree.source + " (sockets, PCIe tree), " + m_.gpus_from +
            " (GPUs) and " + m_.nics_from +
            " (NICs). All other\n"
            "figures are published, or measured on other machines (V read in the source named, R\n"
            "recalled and not checked, C computed): kvhaul calibrate measures them here.");
    if (!one_kind_)
      comment(0,
              "The GPUs are of several kinds; a node type has one: the least memory, the slowest "
              "PCIe link.");
    for (const std::string& what : not_known_) comment(0, "NOT KNOWN: " + what + ".");
  }

  void hosts() {
    Bytes memory = m_.tree.hosts.front().memory_bytes;
    Bytes sum = 0;
    for (std::size_t h = 0; h < m_.tree.hosts.size(); ++h) {
      const NumaHost& host = m_.tree.hosts[h];
      memory = std::min(memory, host.memory_bytes);
      sum += host.memory_bytes;
      comment(6, "host" + std::to_string(h) + ": a socket, NUMA node" +
                     (host.nodes.size() == 1 ? " " : "s ") + numbers_text(host.nodes));
    }
    if (!m_.tree.memory_only.empty())
      comment(6, "no socket: NUMA nodes " + numbers_text(m_.tree.memory_only) +
                     ", memory without processors (GPUs' own, CXL)");
    if (one_host_) memory = sum;
    comment(6, std::string(memory == 0 ? "Count: read; memory: not told."
                           : one_host_ ? "Memory (of all): read."
                                       : "Count and memory (of the smallest): read.") +
                   " Rate: 8 x DDR5-4800 = 307 GB/s V, 0.75 of it R.");
    add("      hosts: {count: " + std::to_string(one_host_ ? 1 : m_.tree.hosts.size()) +
        ", memory_rate: 230 GB/s" + (memory == 0 ? "" : ", memory: " + mib(memory)) + "}\n");
    if (one_host_) return;
    comment(6, "V NCCL's topo.h, Intel SPR UPI");
    add("      socket: {rate: 22 GB/s}\n");
  }

  /// In a node type either all devices hang on switches or none does. A device on a root port of
  /// its own gets an entry that nothing else shares.
  void group_by_switch() {
    std::vector<std::string> devices;
    for (const nvml::Gpu& gpu : m_.gpus.found) devices.push_back(gpu.bus_id);
    for (const RdmaNic& nic : nics_) devices.push_back(nic.bus_id);
    for (const std::string& device : devices) {
      const std::string above = m_.pcie_switch(device);
      any_switch_ = any_switch_ || !above.empty();
      const std::string key = above.empty() ? "root port of " + device : "switch " + above;
      auto found = std::find(switches_.begin(), switches_.end(), key);
      if (found == switches_.end()) {
        found = switches_.insert(found, key);
        switch_hosts_.push_back(host_of(device));
      }
      switch_of_.push_back(static_cast<std::uint32_t>(found - switches_.begin()));
      host_of_.push_back(host_of(device));
    }
  }

  /// "hosts: [...]" or "pcie_switches: [...]" of the devices from `first` on.
  std::string places_text(std::size_t first, std::size_t count) const {
    const std::vector<std::uint32_t>& all = any_switch_ ? switch_of_ : host_of_;
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
    return std::string(any_switch_ ? "pcie_switches: " : "hosts: ") +
           list_text(std::vector(begin, begin + static_cast<std::ptrdiff_t>(count)));
  }

  const char* places_source() const {
    return one_host_ && m_.tree.hosts.size() > 1 ? "  # nearness is not known\n" : "  # read\n";
  }

  Bytes memory() const {
    return smallest_.memory_bytes == 0 ? unknown_memory : smallest_.memory_bytes;
  }

  void switches() {
    if (!any_switch_) return;
    double theory = 0;
    for (const std::string& name : switches_)
      if (name.starts_with("switch "))
        if (const double rate = link_rate(name.substr(7)); rate > 0)
          theory = theory == 0 ? rate : std::min(theory, rate);
    std::string names = "Read. One rate of the uplinks for all, the slowest: " + rate_text(theory) +
                        " in theory;\n" + pcie_source;
    if (theory == 0) {
      theory = pcie_theory_or_default();
      names = "Read, but not the rate of the uplink: assumed to be a GPU's.";
    }
    for (std::size_t i = 0; i < switches_.size(); ++i)
      names += "\n" + std::to_string(i) + ": " + switches_[i];
    comment(6, names);
    add("      pcie_switches:\n        count: " + std::to_string(switches_.size()) +
        "\n        hosts: " + list_text(switch_hosts_) + "\n        uplink: {" +
        port_text(pcie_port(theory)) + "}\n");
  }

  /// The rate of a device's link; 0: not told. Bridges that a hypervisor makes up say 2.5 GT/s x1.
  double link_rate(const std::string& bus_id) const {
    const double rate = m_.device(bus_id).bytes_per_s;
    return rate < 1 * GB ? 0 : rate;
  }

  /// Of the slowest GPU's link as it is in the tree; 0: not told.
  double link_in_tree() const {
    double slowest = 0;
    for (const nvml::Gpu& gpu : m_.gpus.found)
      if (const double rate = link_rate(gpu.bus_id); rate > 0)
        slowest = slowest == 0 ? rate : std::min(slowest, rate);
    return slowest;
  }

  double pcie_theory_or_default() const {
    for (const double theory : {pcie_theory(smallest_), link_in_tree()})
      if (theory > 0) return theory;
    return 31.5 * GB;
  }

  void gpus() {
    const auto& found = m_.gpus.found;
    add("      gpus:\n");
    for (std::size_t i = 0; i < found.size(); ++i)
      comment(8, "gpu" + std::to_string(i) + ": " + found[i].name + ", " + found[i].bus_id +
                     (m_.host(found[i].bus_id) ? "" : ", socket not told"));
    add("        count: " + std::to_string(found.size()) + "\n        memory: " + mib(memory()) +
        (smallest_.memory_bytes == 0 ? "  # not told: a stand-in\n"
         : smallest_.nominal         ? "  # nominal, of its model\n"
                                     : "  # read from " + m_.gpus_from + "\n"));
    add("        " + places_text(0, found.size()) + places_source());
    if (smallest_.c2c) {
      const bool gb = smallest_.name.find("GB") != std::string::npos;
      comment(8, gb ? "NVLink-C2C, read from NVML; rates C from OCI's GB200 acceptance guide"
                    : "NVLink-C2C, read from NVML; rates of GH200, arXiv 2407.07850");
      pcie_ = gb ? Port{193 * GB, 211 * GB} : Port{297 * GB, 375 * GB};
      add("        host_link: {kind: c2c, " + port_text(pcie_) + "}\n");
    } else {
      pcie_ = pcie_port(pcie_theory_or_default());
      std::string link = "the PCIe link is not told; as Gen4 x16: ";
      if (link_in_tree() > 0) link = "PCIe, as its link was when it was read: ";
      if (pcie_theory(smallest_) > 0)
        link = "PCIe Gen" + std::to_string(smallest_.pcie_generation_max) + " x" +
               std::to_string(smallest_.pcie_lanes_max) + ", read from NVML: ";
      comment(8, link + rate_text(pcie_theory_or_default()) + " in theory;\n" + pcie_source);
      add("        host_link: {" + port_text(pcie_) + "}\n");
    }
    if (found.size() < 2) return;
    const nvml::NvLinkAnswer among = nvlink_among(m_.gpus);
    nvlink_ = figures_of(smallest_);
    if (among.links == 0 || nvlink_ == nullptr || !one_kind_) {
      comment(8, "no nvlink: " + (among.links == 0 ? among.reason
                                  : one_kind_      ? "no published figure for NVLinks of this GPU"
                                                   : "GPUs of several kinds"));
      nvlink_ = nullptr;
      return;
    }
    nvlink_rate_ = among.links * nvlink_->link_gbytes_per_s * GB;
    comment(8,
            "NVLink: " + among.reason + ", read from " + m_.gpus_from + ";\n" + nvlink_->source +
                ".\nRead from several GPUs: 142 of 172 GB/s on 8 x H800, 659 of 769 on GB200 (C)");
    add("        nvlink: {rate: " + rate_text(nvlink_rate_) +
        ", read_incast: " + number_text(nvlink_->read_incast) + "}\n");
  }

  void nics() {
    for (std::size_t n = 0; n < m_.nics.size(); ++n)
      if (const RdmaNic& nic = m_.nics[n]; !left_out_[n].empty())
        comment(6, "left out: " + nic.name() + ", " +
                       (nic.gbits_per_s > 0 ? number_text(nic.gbits_per_s) + " Gb/s"
                                            : std::string("rate not told")) +
                       (nic.link_layer.empty() ? "" : " " + nic.link_layer) + ": " + left_out_[n]);
    if (nics_.empty()) return;
    const RdmaNic& kind = nics_.front();
    add("      nics:\n");
    double theory = 0;
    bool shared = false;
    for (std::size_t i = 0; i < nics_.size(); ++i) {
      const RdmaNic& nic = nics_[i];
      // Ports of one card are functions of one slot and share its link.
      const std::string slot = nic.bus_id.substr(0, nic.bus_id.find('.'));
      const auto ports = std::count_if(nics_.begin(), nics_.end(), [&](const RdmaNic& other) {
        return other.bus_id.substr(0, other.bus_id.find('.')) == slot;
      });
      shared = shared || ports > 1;
      const double rate = link_rate(nic.bus_id) / static_cast<double>(ports);
      if (rate > 0) theory = theory == 0 ? rate : std::min(theory, rate);
      std::string text = "nic" + std::to_string(i) + ": " + nic.device + " port " +
                         std::to_string(nic.port) + ", " + nic.bus_id;
      if (!nic.bond.empty())
        text += ", one NIC of " + std::to_string(nic.ports) + " ports, " +
                std::to_string(nic.ports_up) + " up (bond: " + nic.bond + ")";
      comment(8, text + (m_.host(nic.bus_id) ? "" : ", socket not told"));
    }
    add("        count: " + std::to_string(nics_.size()) + "\n");
    add("        " + places_text(m_.gpus.found.size(), nics_.size()) + places_source());
    comment(8, theory > 0 ? "read: " + rate_text(theory) + " in theory" +
                                (shared ? ", a port's part of its card's link" : "") +
                                "; the share as above"
                          : "not told; as Gen5 x16");
    const Port pcie = pcie_port(theory > 0 ? theory : 63 * GB);
    add("        pcie: {" + port_text(pcie) + "}\n");
    const bool ib = kind.link_layer != "Ethernet";
    const double wire = kind.gbits_per_s / 8 * GB;
    const double share = !ib ? 48.9 / 50 : kind.gbits_per_s <= 200 ? 24.5 / 25 : 47.0 / 50;
    comment(8, "read: " + (kind.link_layer.empty() ? "link layer not told" : kind.link_layer) +
                   ", " + number_text(kind.gbits_per_s, 4) + " Gb/s" +
                   (kind.bond.empty() ? "" : " of all ports together, a flow goes over one") +
                   ". The share of it: " +
                   (!ib                       ? "48.9 of 50 GB/s V RoCE 400, perftest"
                    : kind.gbits_per_s <= 200 ? "24.5 of 25 GB/s V HDR host write"
                                              : "47 of 50 GB/s R NDR GPUDirect"));
    add("        wire: {rate: " + rate_text(wire * share) + "}\n");
  }

  /// Bytes that an operation's cost would have moved: a stream of such pieces gets half the rate.
  static std::string half_text(TimeNs cost_ns, double bytes_per_s) {
    return number_text(static_cast<double>(cost_ns) * bytes_per_s / 1e12) + " KB";
  }

  void routes() {
    std::vector<std::string> order = {"pcie_staged"};
    // A peer copy takes NVLink where there is one: no second road beside it.
    if (m_.gpus.found.size() > 1)
      order.insert(order.begin(), nvlink_ != nullptr ? "nvlink_copy" : "pcie_p2p");
    if (m_.gpus.found.size() == 1)
      comment(0, "One GPU is both ends: KV goes down to pinned host memory and up again.");
    add("routes:\n  order: " + list_text(order) + "\n");
    if (nvlink_ != nullptr) {
      comment(2,
              "Per block in a batch: 3.1 us V nixlbench on 2 x H100, 2.8 us V 8 x A100; posting "
              "1.7 to\n"
              "2.0 us V p2pBandwidthLatencyTest. Pack kernel: measured on one H100.");
      add("  nvlink_copy:\n    fixed_cost: " + duration_text(nvlink_->fixed_ns) +
          "\n    post_cost: 2 us\n    half_bandwidth: " +
          half_text(nvlink_->fixed_ns, nvlink_rate_) +
          "\n    queues: 2\n    pack: {fixed_cost: 4.4 us, rate: 1000 GB/s}\n");
    }
    if (m_.gpus.found.size() > 1 && nvlink_ == nullptr) {
      comment(
          2,
          "4.1 us V p2pmark, one pair under one switch of PCIe 5; posting as above. Not asked "
          "here:\n"
          "whether the driver allows it (peer_to_peer: false in the node type where it does not).");
      add("  pcie_p2p: {fixed_cost: 4.1 us, post_cost: 2 us, half_bandwidth: " +
          half_text(4100, pcie_.out) + "}\n");
    }
    comment(
        2,
        "Measured on one H100, PCIe Gen5 x16: a copy of a queue takes 2.2 us + bytes / rate; 64 B\n"
        "alone 8.0 us, less those and the call; a call of cudaMemcpyAsync 1.5 to 2.5 us; a pack\n"
        "kernel's launch 4.4 us, itself above 1000 GB/s.");
    add("  pcie_staged:\n    fixed_cost: 3.8 us\n    post_cost: 2 us\n    half_bandwidth: " +
        half_text(2200, pcie_.out) + "\n    pack: {fixed_cost: 4.4 us, rate: 1000 GB/s}\n");
  }

  void role(const char* name, const std::vector<std::string>& gpus, Bytes kv,
            const std::string& timing) {
    add(std::string("  ") + name + ":\n    gpus: " + list_text(gpus) +
        "\n    kv_memory: " + mib(kv) + "\n    timing: {gpu: " + timing + ", mfu: 0.5}\n");
  }

  void serving() {
    const std::size_t count = m_.gpus.found.size();
    std::vector<std::string> sides[2];
    for (std::size_t i = 0; i < count; ++i)
      sides[i < count / 2 ? 0 : 1].push_back("node0/gpu" + std::to_string(i));
    if (count == 1) sides[0] = sides[1];
    const Bytes kv = memory() / (count == 1 ? 4 : 2);
    const double weights = 2 * model_.total_parameters;
    const unsigned instances = count == 1 ? 2 : 1;  // of one GPU
    add("model: " + model_.name + "\nserving:\n  chunk_tokens: 8192\n  streaming: chunk_layer\n");
    comment(2,
            std::string(count == 1 ? "Each side a quarter" : "Half") +
                " of the GPU's memory for KV; the weights, " + number_text(weights / GB) +
                " GB at 2 bytes, " +
                (instances * (weights + static_cast<double>(kv)) < static_cast<double>(memory())
                     ? "fit beside it."
                     : "do not fit beside it.\nkvhaul holds no weights and runs all the same; tp "
                       "spreads a model."));
    if (!roofline_source_.empty()) comment(2, "Roofline: " + roofline_source_ + ".");
    if (!roofline_unknown_.empty()) comment(2, "NOT KNOWN: " + roofline_unknown_ + ".");
    role("prefill", sides[0], kv, roofline_);
    role("decode", sides[1], kv, roofline_);
  }

  const Machine& m_;
  const ModelShape& model_;
  std::string text_;
  nvml::Gpu smallest_;  // what a node type says of all of them
  bool one_kind_ = true;
  std::vector<RdmaNic> nics_;
  std::vector<std::string> left_out_;  // by NIC of the machine
  std::vector<std::string> not_known_;
  bool one_host_ = false;
  std::string roofline_, roofline_source_, roofline_unknown_;
  bool any_switch_ = false;
  std::vector<std::string> switches_;
  std::vector<std::uint32_t> switch_hosts_;         // by switch
  std::vector<std::uint32_t> switch_of_, host_of_;  // by device: GPUs, then NICs
  Port pcie_;
  const NvLinkFigures* nvlink_ = nullptr;
  double nvlink_rate_ = 0;
};

}  // namespace

const ModelShape& model_for(const Machine& machine) {
  bool large = !machine.gpus.found.empty();
  for (const nvml::Gpu& gpu : machine.gpus.found)
    large = large && gpu.memory_bytes >= Bytes{40} * 1'000'000'000;
  const ModelShape* model = find_model(large ? "llama-3.1-8b" : "qwen2.5-7b");
  check(model != nullptr, "the built-in models lost one that topo names");
  return *model;
}

TopoScenario topo_scenario(const Machine& machine, const ModelShape& model, const NicChoice& nics) {
  Writer writer(machine, model, nics);
  return machine.gpus.found.empty() ? writer.laptop_scenario() : writer.gpu_scenario();
}

}  // namespace kvhaul
