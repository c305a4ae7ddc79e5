// The processes that share a sweep: one, or those that mpirun started.
//
// sweep_ranks_mpi.cpp is built where MPI is found, sweep_ranks_none.cpp elsewhere; nothing else
// knows of MPI.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "core/result.h"

namespace kvhaul::cli {

class SweepRanks {
 public:
  /// Joins the others when mpirun started this process, and leaves MPI alone otherwise. Fails with
  /// missing when this build has no MPI and there are others.
  static Result<SweepRanks> join();
  /// Waits for the others.
  ~SweepRanks();
  SweepRanks(SweepRanks&& other) noexcept
      : rank_(other.rank_), count_(other.count_), joined_(std::exchange(other.joined_, false)) {}
  SweepRanks& operator=(SweepRanks&&) = delete;

  std::size_t rank() const { return rank_; }
  std::size_t count() const { return count_; }
  bool joined() const { return joined_; }

  /// What every rank has, by rank, on every rank. All of them must call it.
  std::vector<std::string> exchange(const std::string& mine) const;

 private:
  SweepRanks() = default;
  std::size_t rank_ = 0, count_ = 1;
  bool joined_ = false;
};

}  // namespace kvhaul::cli
