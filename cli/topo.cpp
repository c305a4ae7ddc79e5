// kvhaul topo: what this machine has, as a scenario file; and as a table on standard error.
#include <iostream>
#include <sstream>

#include "cli/command.h"
#include "cli/json_text.h"
#include "cli/terminal.h"
#include "core/unit_text.h"
#include "machine/saved_machine.h"
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

std::string numbers_text(const std::vector<unsigned>& numbers) {
  std::string text;
  for (const unsigned number : numbers) text += (text.empty() ? "" : ", ") + std::to_string(number);
  return text;
}

std::string report(const Machine& machine, const NicChoice& choice, const TopoScenario& scenario) {
  std::string out = "Found (sockets and PCIe tree: " + machine.tree.source + ")\n";
  TextTable hosts({"host", "NUMA nodes", "cores", "memory"});
  for (std::size_t h = 0; h < machine.tree.hosts.size(); ++h) {
    const NumaHost& host = machine.tree.hosts[h];
    hosts.add({"host" + std::to_string(h), numbers_text(host.nodes),
               host.cores == 0 ? "?" : std::to_string(host.cores),
               host.memory_bytes == 0 ? "?" : bytes_text(host.memory_bytes)});
  }
  out += hosts.text(2);
  if (!machine.tree.memory_only.empty())
    out += "  no sockets, memory without processors (GPUs' own, CXL): NUMA nodes " +
           numbers_text(machine.tree.memory_only) + "\n";
  const auto& gpus = machine.gpus.found;
  if (!gpus.empty()) {
    TextTable table({"GPU", "name", "bus id", "host", "switch", "PCIe", "memory", "NVLinks"});
    for (std::size_t i = 0; i < gpus.size(); ++i)
      table.add({"gpu" + std::to_string(i), gpus[i].name, gpus[i].bus_id,
                 host_text(machine, gpus[i].bus_id), or_dash(machine.pcie_switch(gpus[i].bus_id)),
                 pcie_text(gpus[i]),
                 gpus[i].memory_bytes == 0 ? "?" : bytes_text(gpus[i].memory_bytes),
                 nvlinks_text(machine.gpus, gpus[i])});
    out += table.text(2);
  }
  if (!machine.nics.empty()) {
    TextTable table({"RDMA NIC", "netdev", "bus id", "host", "switch", "ports", "rate", "link",
                     "state", "in the file"});
    std::vector<std::string> rails(machine.nics.size());
    for (std::size_t i = 0; i < choice.chosen.size(); ++i)
      rails[choice.chosen[i]] = "nic" + std::to_string(i);
    for (std::size_t n = 0; n < machine.nics.size(); ++n) {
      const RdmaNic& nic = machine.nics[n];
      table.add({nic.name(), or_dash(nic.netdev), or_dash(nic.bus_id),
                 host_text(machine, nic.bus_id), or_dash(machine.pcie_switch(nic.bus_id)),
                 std::to_string(nic.ports) +
                     (nic.ports_up < nic.ports ? ", " + std::to_string(nic.ports_up) + " up" : ""),
                 nic.gbits_per_s > 0 ? number_text(nic.gbits_per_s, 4) + " Gb/s" : "?",
                 nic.link_layer.empty() ? "?" : nic.link_layer, nic.state.empty() ? "?" : nic.state,
                 choice.left_out[n].empty() ? gpus.empty() ? "no: there is no GPU" : rails[n]
                                            : "left out: " + choice.left_out[n]});
    }
    out += table.text(2);
  }
  if (!machine.nics.empty() && !gpus.empty()) {
    std::vector<std::string> header = {"distance"};
    for (std::size_t i = 0; i < gpus.size(); ++i) header.push_back("gpu" + std::to_string(i));
    TextTable table(header);
    for (const RdmaNic& nic : machine.nics) {
      std::vector<std::string> row = {nic.device + "/" + std::to_string(nic.port)};
      for (const nvml::Gpu& gpu : gpus)
        row.emplace_back(nearness_name(nearness(machine, nic.bus_id, gpu.bus_id)));
      table.add(row);
    }
    out += table.text(2);
  }
  if (!machine.not_found.empty()) out += "Not found\n";
  for (const std::string& why : machine.not_found) out += "  " + why + "\n";
  if (!scenario.not_known.empty()) out += "Not known\n";
  for (const std::string& what : scenario.not_known) out += "  " + what + "\n";
  return out;
}

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json host_json(const Machine& machine, const std::string& bus_id) {
  const auto host = bus_id.empty() ? std::nullopt : machine.host(bus_id);
  return host ? Json(*host) : Json();
}

/// A number that may not be told, which is 0 then.
template <class T>
Json number_or_null(T number) {
  return number == 0 ? Json() : Json(number);
}

Json gpu_json(const Machine& machine, const nvml::Gpu& gpu) {
  Json links = Json::array();
  for (const nvml::NvLink& link : gpu.nvlinks)
    links.push_back(
        {{"to_switch", link.to_switch}, {"peer_bus_id", text_or_null(link.peer_bus_id)}});
  return {{"name", gpu.name},
          {"bus_id", gpu.bus_id},
          {"host", host_json(machine, gpu.bus_id)},
          {"pcie_switch", text_or_null(machine.pcie_switch(gpu.bus_id))},
          {"pcie_generation_max", number_or_null(gpu.pcie_generation_max)},
          {"pcie_lanes_max", number_or_null(gpu.pcie_lanes_max)},
          {"memory_bytes", number_or_null(gpu.memory_bytes)},
          {"nvlinks", std::move(links)},
          {"nvlinks_unknown", text_or_null(gpu.nvlinks_unknown)}};
}

Json nic_json(const Machine& machine, const RdmaNic& nic, const std::string& left_out) {
  Json json = {{"name", nic.name()},
               {"netdev", text_or_null(nic.netdev)},
               {"bus_id", text_or_null(nic.bus_id)},
               {"host", host_json(machine, nic.bus_id)},
               {"pcie_switch", text_or_null(machine.pcie_switch(nic.bus_id))},
               {"ports", nic.ports},
               {"ports_up", nic.ports_up},
               {"rate_gbits_per_s", number_or_null(nic.gbits_per_s)},
               {"link_layer", text_or_null(nic.link_layer)},
               {"state", text_or_null(nic.state)},
               {"left_out", text_or_null(left_out)},
               {"nearness", Json::array()}};  // to each GPU
  for (const nvml::Gpu& gpu : machine.gpus.found)
    json["nearness"].push_back(nearness_name(nearness(machine, nic.bus_id, gpu.bus_id)));
  return json;
}

Json machine_json(const Machine& machine, const NicChoice& choice, const TopoScenario& scenario) {
  Json json = {
      {"schema", 1}, {"hosts", Json::array()}, {"gpus", Json::array()}, {"nics", Json::array()}};
  for (const NumaHost& host : machine.tree.hosts)
    json["hosts"].push_back({{"numa_nodes", host.nodes},
                             {"cores", number_or_null(host.cores)},
                             {"memory_bytes", number_or_null(host.memory_bytes)}});
  for (const nvml::Gpu& gpu : machine.gpus.found) json["gpus"].push_back(gpu_json(machine, gpu));
  for (std::size_t n = 0; n < machine.nics.size(); ++n)
    json["nics"].push_back(nic_json(machine, machine.nics[n], choice.left_out[n]));
  json["not_found"] = machine.not_found;
  json["not_known"] = scenario.not_known;
  return json;
}

std::string gpu_names() {
  std::string names;
  for (const GpuModel& model : gpu_models())
    names += (names.empty() ? "" : ", ") + std::string(model.name);
  return names;
}

/// What stands between commas.
std::vector<std::string> names_in(const std::string& list) {
  std::vector<std::string> names;
  std::istringstream in(list);
  for (std::string name; std::getline(in, name, ',');) names.push_back(name);
  return names;
}

/// This machine, or a saved one.
Result<Machine> read_asked_machine(const Options& options) {
  SavedMachineHints hints;
  if (const auto name = options.maybe_text("gpu")) {
    hints.gpu = gpu_model_by_name(*name);
    std::vector<std::string> names;
    for (const GpuModel& model : gpu_models()) names.emplace_back(model.name);
    if (hints.gpu == nullptr) return unknown_choice("--gpu", *name, names);
  }
  if (const auto rate = options.maybe_text("nic-rate")) {
    const auto bytes_per_s = parse_rate(*rate);
    if (!bytes_per_s) return Error::bad_input("--nic-rate: " + bytes_per_s.error().message);
    hints.nic_gbits_per_s = *bytes_per_s * 8 / 1e9;
  }
  const auto hwloc = options.maybe_text("hwloc");
  const auto nccl = options.maybe_text("nccl");
  const auto nvidia_smi = options.maybe_text("nvidia-smi");
  if (hwloc.has_value() + nccl.has_value() + nvidia_smi.has_value() > 1)
    return Error::bad_input("kvhaul topo: expected one of --hwloc, --nccl and --nvidia-smi");
  if (hwloc) return machine_from_hwloc(*hwloc, hints);
  if (nccl) return machine_from_nccl(*nccl, hints);
  if (nvidia_smi) return machine_from_nvidia_smi(*nvidia_smi, hints);
  if (hints.gpu != nullptr || hints.nic_gbits_per_s > 0)
    return Error::bad_input(
        "kvhaul topo: --gpu and --nic-rate are for saved machines (--hwloc, --nccl, --nvidia-smi); "
        "of this one both are read");
  return read_machine();
}

}  // namespace

CommandResult run_topo(const Arguments& arguments) {
  Options options(
      "topo", "[options]",
      "Prints what this machine, or one saved to a file, has (GPUs, RDMA NICs, sockets,\n"
      "PCIe tree, NVLinks) as a scenario file, and on standard error a table of what was\n"
      "found, what was not, and what is not known. It reads, and measures nothing.");
  options.add()                                                                                //
      ("out,o", po::value<std::string>(), "write the scenario there, not to standard output")  //
      ("force", po::bool_switch(), "write over a file that is there")                          //
      ("json", po::bool_switch(),
       "print what was found, and the scenario without --out, as JSON (docs/json.md)")  //
      ("nics", po::value<std::string>(),
       "these RDMA NICs and no others, such as mlx5_0,mlx5_3; else those nearest to the GPUs")  //
      ("hwloc", po::value<std::string>(),
       "a machine that 'lstopo --of xml' saved, in place of this one")                        //
      ("nccl", po::value<std::string>(), "one in NCCL's topology XML (NCCL_TOPO_DUMP_FILE)")  //
      ("nvidia-smi", po::value<std::string>(), "one as the text of 'nvidia-smi topo -m'")     //
      ("gpu", po::value<std::string>(),
       ("what its GPUs are, where the file does not say: " + gpu_names()).c_str())  //
      ("nic-rate", po::value<std::string>(),
       "the rate of its NICs, where the file does not say, such as '400 Gb/s'")  //
      ("model", po::value<std::string>(), "its model ('kvhaul list models'); else one that fits");
  options.example("kvhaul topo --nvidia-smi topo.txt --gpu h100 --nic-rate '400 Gb/s'",
                  "a machine elsewhere");
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
    OutputRules rules{options.flag("force"), {}};
    for (const char* saved : {"hwloc", "nccl", "nvidia-smi"})
      if (const auto input = options.maybe_text(saved)) rules.inputs.push_back(*input);
    auto created = OutputFile::create(*out, rules);
    if (!created) return created.error();
    file = std::move(*created);
  }

  auto read = read_asked_machine(options);
  if (!read) return read.error();
  const Machine& machine = *read;
  const auto choice = choose_nics(machine, names_in(options.maybe_text("nics").value_or("")));
  if (!choice) return choice.error();
  const TopoScenario scenario =
      topo_scenario(machine, model != nullptr ? *model : model_for(machine), *choice);
  if (file) {
    file->text(scenario.text);
    if (auto closed = file->close(); !closed) return closed.error();
  }
  if (options.flag("json")) {
    Json json = machine_json(machine, *choice, scenario);
    if (out)
      json["out"] = *out;
    else
      json["scenario"] = scenario.text;
    std::cout << json_text(json);
    return 0;
  }
  if (!out) {
    std::cout << scenario.text << std::flush;
  }
  std::cerr << report(machine, *choice, scenario);
  return 0;
}

}  // namespace kvhaul::cli
