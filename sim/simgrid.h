// The SimGrid backend: the channels of a run over SimGrid's model of the cluster's links. Virtual
// time, deterministic, moves no bytes unless asked to.
//
//   simgrid_calls.h   all that is said to SimGrid
//   simgrid_wire.h    chunks on its links
//
// What surrounds the wire (posting, queues, latency, stages, control messages) is shared with the
// emulated backend: backends/modelled.
#pragma once

#include <memory>
#include <string>

#include "core/backend.h"

namespace kvhaul::sim {

std::unique_ptr<Backend> make_simgrid_backend(bool payload = false);

}  // namespace kvhaul::sim
