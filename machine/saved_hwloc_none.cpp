#include "machine/saved_machine.h"

namespace kvhaul {

Result<Machine> machine_from_hwloc(const std::string& file, const SavedMachineHints&) {
  return Error::missing(file + ": this program was built without hwloc (Debian: libhwloc-dev)");
}

}  // namespace kvhaul
