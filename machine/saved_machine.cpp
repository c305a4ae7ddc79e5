#include "machine/saved_machine.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/unit_text.h"

namespace kvhaul {
namespace {

/// The most that a port of an adapter behind such a PCIe link is made for.
double most_gbits_per_s(double link_bytes_per_s) {
  constexpr std::array rates = {800.0, 400.0, 200.0, 100.0, 50.0, 25.0, 10.0};
  for (const double rate : rates)
    if (rate <= link_bytes_per_s * 8 / 1e9) return rate;
  return 0;
}

void complete_gpus(Machine& machine, const SavedMachineHints& hints) {
  bool names = false, memory = false;
  for (nvml::Gpu& gpu : machine.gpus.found) {
    if (gpu.name.empty() && hints.gpu != nullptr) gpu.name = hints.gpu->nvml_name;
    const GpuModel* model = gpu_model_by_nvml_name(gpu.name);
    if (model != nullptr) {
      if (gpu.memory_bytes == 0) {
        gpu.memory_bytes = static_cast<Bytes>(model->memory_gb * 1e9);
        gpu.nominal = true;
      }
      if (gpu.compute_major == 0) {
        gpu.compute_major = model->compute_major;
        gpu.compute_minor = model->compute_minor;
      }
    }
    names = names || gpu.name.empty();
    memory = memory || gpu.memory_bytes == 0;
    if (gpu.name.empty()) gpu.name = "unknown GPU";
  }
  if (names) {
    std::string known;
    for (const GpuModel& model : gpu_models())
      known += (known.empty() ? "" : ", ") + std::string(model.name);
    machine.not_known.push_back("what the GPUs are: the file does not say; --gpu does (" + known +
                                ")");
  }
  if (memory)
    machine.not_known.push_back(
        "the memory of the GPUs: 40000 MiB stand in at cluster.node_types.machine.gpus.memory");
}

void complete_nics(Machine& machine, const SavedMachineHints& hints) {
  std::string why;
  for (RdmaNic& nic : machine.nics) {
    if (nic.gbits_per_s > 0) continue;
    if (hints.nic_gbits_per_s > 0) {
      nic.gbits_per_s = hints.nic_gbits_per_s;
      continue;
    }
    nic.gbits_per_s = most_gbits_per_s(machine.device(nic.bus_id).bytes_per_s);
    why = "the most that its PCIe link carries stands in";
    if (nic.gbits_per_s == 0) {
      nic.gbits_per_s = 200;
      why = "200 Gb/s stand in";
    }
  }
  if (!why.empty())
    machine.not_known.push_back("the rate of RDMA NICs: " + why + "; --nic-rate says it");
  if (std::any_of(machine.nics.begin(), machine.nics.end(),
                  [](const RdmaNic& nic) { return nic.state.empty(); }))
    machine.not_known.push_back("which ports are up: all are taken to be");
}

}  // namespace

Result<std::string> read_saved_file(const std::string& file) {
  constexpr std::size_t most = 16 << 20;
  std::error_code status;
  const auto kind = std::filesystem::status(file, status);
  if (!std::filesystem::exists(kind)) return Error::bad_input(file + ": there is no such file");
  if (!std::filesystem::is_regular_file(kind))
    return Error::bad_input(file + ": expected a file, found a folder or a device");
  if (std::filesystem::file_size(file, status) > most)
    return Error::bad_input(file + ": expected at most 16 MiB");
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return Error::bad_input(file + ": cannot be read, or is empty");
  return text.str();
}

Result<Machine> complete_saved_machine(Machine machine, const SavedMachineHints& hints) {
  const std::string& file = machine.tree.source;
  if (machine.gpus.found.empty()) return Error::bad_input(file + ": names no GPU");
  if (machine.tree.hosts.empty()) {
    machine.tree.hosts.push_back({{0}, 0, 0});
    machine.not_known.push_back("the sockets: the machine is taken for one");
  }
  complete_gpus(machine, hints);
  complete_nics(machine, hints);
  if (machine.nics.empty()) machine.not_found.push_back("no RDMA NIC in " + file);
  if (machine.gpus.found.size() > 1)
    if (const auto nvlink = nvlink_among(machine.gpus); nvlink.links == 0)
      machine.not_found.push_back("no NVLink between all GPUs: " + nvlink.reason);
  keep_printable(machine);
  return machine;
}

}  // namespace kvhaul
