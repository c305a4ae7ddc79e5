// The exchange of a run that mpirun or srun started, over MPI.
//
// mpi_exchange_mpi.cpp is built where MPI is found, mpi_exchange_none.cpp elsewhere; nothing else
// knows of MPI.
#pragma once

#include <memory>

#include "core/exchange.h"

namespace kvhaul {

/// Whether this process is a rank of an MPI job.
bool started_by_mpi();

/// Joins the others when mpirun started this process, and leaves MPI alone otherwise: ordinary
/// starts do not pay for it. Fails with missing when this build has no MPI and there are others.
/// A message that does not come within `answer_within_ns` is an error. `what` stands in errors.
///
/// With `silent_after_ns` (else never_ns) a thread says once a second that this process lives,
/// whatever the main thread does, and one of which nothing is heard for so long has stopped: an
/// error, and the end of the MPI job.
Result<std::unique_ptr<Exchange>> join_mpi(const char* what, TimeNs answer_within_ns,
                                           TimeNs silent_after_ns);

}  // namespace kvhaul
