// Machines that other tools wrote to files: what `kvhaul topo` makes of them in place of this one.
// Nothing of this machine is read. What a file does not tell is in Machine::not_known.
//
// Errors: bad_input, with the file and, of text, the line; missing where the program was built
// without the library that reads the format.
#pragma once

#include <string>

#include "machine/gpu_models.h"
#include "machine/machine.h"

namespace kvhaul {

/// What the user says of a machine where its file does not.
struct SavedMachineHints {
  const GpuModel* gpu = nullptr;  // null: nothing
  double nic_gbits_per_s = 0;     // 0: nothing
};

/// XML of `lstopo --of xml`, of any version that the installed hwloc reads.
Result<Machine> machine_from_hwloc(const std::string& file, const SavedMachineHints& hints);
/// XML that NCCL reads and writes (NCCL_TOPO_FILE, NCCL_TOPO_DUMP_FILE).
Result<Machine> machine_from_nccl(const std::string& file, const SavedMachineHints& hints);
/// The text of `nvidia-smi topo -m`.
Result<Machine> machine_from_nvidia_smi(const std::string& file, const SavedMachineHints& hints);

// For those three.

/// The text of a regular file of at most 16 MiB.
Result<std::string> read_saved_file(const std::string& file);
/// Fills in what follows from a GPU's model and from hints, and names what stays unknown.
/// bad_input where the file has no GPU.
Result<Machine> complete_saved_machine(Machine machine, const SavedMachineHints& hints);

}  // namespace kvhaul
