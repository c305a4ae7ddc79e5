// Without MPI a sweep is one process.
#include <cstdlib>
#include <string_view>

#include "cli/sweep_ranks.h"

namespace kvhaul::cli {

Result<SweepRanks> SweepRanks::join() {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (size != nullptr && std::string_view(size) != "1")
    return Error::missing(
        "kvhaul sweep: this build has no MPI; start it without mpirun, or build it where CMake "
        "finds Open MPI (libopenmpi-dev)");
  return SweepRanks();
}

SweepRanks::~SweepRanks() = default;

std::vector<std::string> SweepRanks::exchange(const std::string& mine) const { return {mine}; }

}  // namespace kvhaul::cli
