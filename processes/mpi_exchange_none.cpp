// Without MPI a run is one process, or is met over TCP.
#include <cstdlib>
#include <string>
#include <string_view>

#include "processes/mpi_exchange.h"

namespace kvhaul {

bool started_by_mpi() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr;
}

Result<std::unique_ptr<Exchange>> join_mpi(const char* what, TimeNs, TimeNs) {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (started_by_mpi() && (size == nullptr || std::string_view(size) != "1"))
    return Error::missing(std::string(what) +
                          ": this build has no MPI; start it without mpirun, or build it where "
                          "CMake finds Open MPI (libopenmpi-dev)");
  return std::unique_ptr<Exchange>(std::make_unique<Alone>());
}

}  // namespace kvhaul
