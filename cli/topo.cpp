// kvhaul topo: what this machine has, as a scenario file; and as a table on standard error.
#include <iostream>

#include "cli/command.h"
#include "cli/terminal.h"
#include "core/unit_text.h"
#include "machine/topo_scenario.h"
#include "traces/output_file.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

std::string host_text(const Machine& machine, const std::string& bus_id) {
  const auto host = bus_id.empty() ? std::nullopt : machine.host(bus_id);
  return host ? std::to_string(*host) : "?";
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

/// "Gen5 x16", and what it is slowed down to while idle.
std::string pcie_text(const nvml::Gpu& gpu) {
  if (gpu.pcie_generation_max == 0 || gpu.pcie_lanes_max == 0) return "?";
  const auto text = [](unsigned generation, unsigned lanes) {
    return "Gen" + std::to_string(generation) + " x" + std::to_string(lanes);
  };
  const std::string most = text(gpu.pcie_generation_max, gpu.pcie_lanes_max);
  const std::string now = text(gpu.pcie_generation, gpu.pcie_lanes);
  return now == most || gpu.pcie_generation == 0 ? most : most + " (now " + now + ")";
}

/// "18 to NVSwitch", "2 to gpu1, 2 to gpu3".
std::string nvlinks_text(const nvml::Gpus& gpus, const nvml::Gpu& gpu) {
  std::vector<std::pair<std::string, unsigned>> peers;
  for (const nvml::NvLink& link : gpu.nvlinks) {
    std::string peer = link.to_switch             ? "NVSwitch"
                       : link.peer_bus_id.empty() ? "?"
                                                  : link.peer_bus_id;
    for (std::size_t i = 0; i < gpus.found.size(); ++i)
      if (gpus.found[i].bus_id == link.peer_bus_id) peer = "gpu" + std::to_string(i);
    if (peers.empty() || peers.back().first != peer) peers.emplace_back(peer, 0);
    ++peers.back().second;
  }
  std::string text;
  for (const auto& [peer, count] : peers)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " to " + peer;
  if (!gpu.nvlinks_unknown.empty()) return text + " ? (" + gpu.nvlinks_unknown + ")";
  return text.empty() ? "none" : text;
}

std::string report(const Machine& machine) {
  std::string out = "Found (hosts and PCIe tree: " + machine.tree.source + ")\n";
  TextTable hosts({"host", "NUMA node", "cores", "memory"});
  for (std::size_t h = 0; h < machine.tree.hosts.size(); ++h) {
    const NumaHost& host = machine.tree.hosts[h];
    hosts.add({"host" + std::to_string(h), std::to_string(host.number), std::to_string(host.cores),
               bytes_text(host.memory_bytes)});
  }
  out += hosts.text(2);
  const auto& gpus = machine.gpus.found;
  if (!gpus.empty()) {
    TextTable table({"GPU", "name", "bus id", "host", "switch", "PCIe", "memory", "NVLinks"});
    for (std::size_t i = 0; i < gpus.size(); ++i)
      table.add({"gpu" + std::to_string(i), gpus[i].name, gpus[i].bus_id,
                 host_text(machine, gpus[i].bus_id), or_dash(machine.pcie_switch(gpus[i].bus_id)),
                 pcie_text(gpus[i]), bytes_text(gpus[i].memory_bytes),
                 nvlinks_text(machine.gpus, gpus[i])});
    out += table.text(2);
  }
  if (!machine.nics.empty()) {
    TextTable table({"RDMA NIC", "netdev", "bus id", "host", "switch", "rate", "link", "state"});
    for (const RdmaNic& nic : machine.nics)
      table.add({nic.device + "/" + std::to_string(nic.port), or_dash(nic.netdev),
                 or_dash(nic.bus_id), host_text(machine, nic.bus_id),
                 or_dash(machine.pcie_switch(nic.bus_id)),
                 number_text(nic.gbits_per_s, 4) + " Gb/s", nic.link_layer, nic.state});
    out += table.text(2);
  }
  if (!machine.nics.empty() && !gpus.empty()) {
    std::vector<std::string> header = {"distance"};
    for (std::size_t i = 0; i < gpus.size(); ++i) header.push_back("gpu" + std::to_string(i));
    TextTable table(header);
    for (const RdmaNic& nic : machine.nics) {
      std::vector<std::string> row = {nic.device + "/" + std::to_string(nic.port)};
      for (const nvml::Gpu& gpu : gpus)
        row.push_back(distance_between(machine, nic.bus_id, gpu.bus_id));
      table.add(row);
    }
    out += table.text(2);
  }
  if (!machine.not_found.empty()) out += "Not found\n";
  for (const std::string& why : machine.not_found) out += "  " + why + "\n";
  return out;
}

}  // namespace

CommandResult run_topo(const Arguments& arguments) {
  Options options(
      "topo", "[options]",
      "Prints what this machine has (GPUs, RDMA NICs, NUMA hosts, PCIe tree, NVLinks) as\n"
      "a scenario file, and a table of what was found and what was not on standard\n"
      "error. It reads, and measures nothing.");
  options.add()                                                                                //
      ("out,o", po::value<std::string>(), "write the scenario there, not to standard output")  //
      ("force", po::bool_switch(), "write over a file that is there")                          //
      ("model", po::value<std::string>(), "its model ('kvhaul list models'); else one that fits");
  options.example("kvhaul topo -o here.yaml", "then kvhaul replay -s here.yaml -t TRACE");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  const ModelShape* model = nullptr;
  if (const auto name = options.maybe_text("model")) {
    model = find_model(*name);
    std::vector<std::string> names;
    for (const ModelShape& builtin : builtin_models()) names.push_back(builtin.name);
    if (model == nullptr) return unknown_choice("--model", *name, names);
  }
  const auto out = options.maybe_text("out");
  std::optional<OutputFile> file;
  if (out) {
    auto created = OutputFile::create(*out, {options.flag("force"), {}});
    if (!created) return created.error();
    file = std::move(*created);
  }

  const Machine machine = read_machine();
  const std::string text = topo_scenario(machine, model != nullptr ? *model : model_for(machine));
  if (file) {
    file->text(text);
    if (auto closed = file->close(); !closed) return closed.error();
  } else {
    std::cout << text << std::flush;
  }
  std::cerr << report(machine);
  return 0;
}

}  // namespace kvhaul::cli
