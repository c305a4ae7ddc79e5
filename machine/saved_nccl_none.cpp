#include "machine/saved_machine.h"

namespace kvhaul {

Result<Machine> machine_from_nccl(const std::string& file, const SavedMachineHints&) {
  return Error::missing(file + ": this program was built without pugixml (Debian: libpugixml-dev)");
}

}  // namespace kvhaul
