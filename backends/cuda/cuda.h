// The CUDA backend: real GPU memory, moved over PCIe and NVLink in real time.
//
//   device.h        which GPUs there are, and which may reach each other's memory
//   status.h        an error of the CUDA runtime as a value that names call and device
//   pinned.h        host memory that GPUs can reach, on the NUMA node of a GPU
//   kernels.h       the kernels: pieces copied, patterns, checksums, load and store
//   event_clock.h   when an event happened, on the clock of the run
//   copy_lane.h     one queue of copies: between GPUs, or between a GPU and pinned host memory
//   staged_lane.h   GPU to pinned ring to GPU, both halves overlapped
//   kernel_lane.h   a kernel that stays and loads and stores the other GPU's memory
//   peer_memory.h   GPU memory that another process holds, by CUDA IPC
//   backend.cpp     the contract (core/backend.h) over all these
//
// No header of CUDA is included here: a program that is built without CUDA may include this.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"

namespace kvhaul::cuda {

struct Options {
  /// The CUDA device of each GPU place, in the order of the cluster's places. Empty: place i is on
  /// device i. A device may stand there twice: two places in one GPU's memory.
  std::vector<int> devices;
  /// Places, by name, whose memory another process holds (PeerMemoryServer), and the path of the
  /// socket that it listens on.
  std::map<std::string, std::string> held_by = {};
  TimeNs patience_ns = 10 * s_ns;  // for a holder to listen
  /// Bytes of pinned host memory of a staged channel; no chunk may be larger than half of it.
  Bytes ring_bytes = 64 * MiB;
  /// occupy() keeps GPUs busy. Takes half a GiB of each.
  bool busy = false;
};

/// Why no CUDA device can be used here; empty when one can.
std::string missing();
/// 0 where none can be used.
int device_count();

std::unique_ptr<Backend> make_backend(const Options& options);

}  // namespace kvhaul::cuda
