// Proves what limits a run: the same requests again, in virtual time, with a tenth more of one
// thing after the other (results/limit_proof.h).
#pragma once

#include <functional>
#include <string>

#include "cli/terminal.h"
#include "core/result.h"
#include "results/limit_proof.h"

namespace kvhaul::cli {

/// Told before each rerun: how many are done, of how many, and what the next one has more of.
using ProofProgress =
    std::function<void(std::size_t done, std::size_t of, const std::string& more)>;

/// Makes the reruns of a finished run from what its run.yaml says, one after the other, and writes
/// why.json into its directory. A run in real time is simulated: on the emulated backend, or on
/// SimGrid where it ran there.
///
/// Errors are bad_input: the run cannot be made again (its trace was standard input, has gone or
/// has another length), or completed no request.
Result<LimitProof> prove_limits(const std::string& directory, const ProofProgress& progress);

/// Shows it.
ProofProgress progress_of(ProgressBar& bar);

/// The reruns as a table of text, the largest gain first.
std::string limit_proof_table(const LimitProof& proof);

}  // namespace kvhaul::cli
