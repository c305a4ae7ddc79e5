// The processes that make one replay together: how they are started, which nodes each drives, and
// that all of them were asked for the same.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "core/cluster.h"
#include "core/exchange.h"
#include "serving/replay_config.h"

namespace kvhaul::cli {

struct ProcessOptions {
  std::string rendezvous;  // empty: one process, or those of an MPI job
  std::string secret_file;
  std::uint32_t rank = 0;
  std::uint32_t ranks = 1;
  std::string listen;  // with a file: where process 0 listens; empty: at every interface's address
  TimeNs join_within_ns = 60 * s_ns;
  TimeNs silent_after_ns = 15 * s_ns;
  std::vector<std::uint32_t> node_ranks;  // of each node of the scenario; empty: dealt evenly
};
void declare_process_options(Options& options);
Result<void> read_process_options(const Options& options, ProcessOptions& read);

/// Returns when all are there. `mpi`: join those that mpirun started, where no rendezvous is given.
/// `scenario`: its text, which must be the same for all, or empty where it could not be read.
Result<std::unique_ptr<Exchange>> join_processes(const ProcessOptions& options, bool mpi,
                                                 const std::string& scenario);

/// The process that drives each node. Nodes with instances are dealt evenly, in order, unless
/// `chosen` says otherwise. Fails (bad_input) when a process would have none, or process 0 not the
/// node that leads the run.
Result<std::vector<std::uint32_t>> deal_nodes(const ReplayConfig& config, const Cluster& cluster,
                                              std::uint32_t processes,
                                              const std::vector<std::uint32_t>& chosen);

/// Fails (bad_input) in all of them when a thing is not the same in all of them. Names are words
/// for an error: "scenario", "trace".
Result<void> compare_processes(Exchange& exchange,
                               const std::vector<std::pair<std::string, std::string>>& things);

/// Of a file, for compare_processes(); of what cannot be read twice nothing.
Result<std::string> digest_of_file(const std::string& path);
std::string digest_of(std::string_view text);

}  // namespace kvhaul::cli
