// All of MPI that kvhaul uses.
#include <cstdlib>
#include <mpi.h>
#include <numeric>

#include "cli/sweep_ranks.h"

namespace kvhaul::cli {

Result<SweepRanks> SweepRanks::join() {
  SweepRanks ranks;
  // Ordinary starts do not pay for MPI_Init().
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return ranks;
  // A rank starts its replays with fork() and exec() and touches nothing in between.
  setenv("OMPI_MCA_mpi_warn_on_fork", "0", 0);
  if (MPI_Init(nullptr, nullptr) != MPI_SUCCESS)
    return Error::missing("kvhaul sweep: MPI cannot be started here");
  int rank = 0, count = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &count);
  ranks.rank_ = static_cast<std::size_t>(rank);
  ranks.count_ = static_cast<std::size_t>(count);
  ranks.joined_ = true;
  return ranks;
}

SweepRanks::~SweepRanks() {
  if (joined_) MPI_Finalize();
}

std::vector<std::string> SweepRanks::exchange(const std::string& mine) const {
  if (!joined_) return {mine};
  const int bytes = static_cast<int>(mine.size());
  std::vector<int> sizes(count_), begins(count_, 0);
  MPI_Allgather(&bytes, 1, MPI_INT, sizes.data(), 1, MPI_INT, MPI_COMM_WORLD);
  std::partial_sum(sizes.begin(), sizes.end() - 1, begins.begin() + 1);
  std::string all(static_cast<std::size_t>(begins.back() + sizes.back()), '\0');
  MPI_Allgatherv(mine.data(), bytes, MPI_CHAR, all.data(), sizes.data(), begins.data(), MPI_CHAR,
                 MPI_COMM_WORLD);
  std::vector<std::string> texts;
  for (std::size_t rank = 0; rank < count_; ++rank)
    texts.push_back(
        all.substr(static_cast<std::size_t>(begins[rank]), static_cast<std::size_t>(sizes[rank])));
  return texts;
}

}  // namespace kvhaul::cli
