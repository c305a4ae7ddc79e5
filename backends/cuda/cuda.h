// The CUDA backend: real GPU memory, moved over PCIe and NVLink in real time.
//
//   backend.cpp     the contract (core/backend.h) over all below
//   copy_lane.h     a queue of copies: between GPUs, or between a GPU and pinned host memory
//   staged_lane.h   GPU to pinned ring (../ring.h) to GPU, both halves overlapped
//   kernel_lane.h   a kernel that stays and loads and stores the other GPU's memory
//   handoff_lane.h  no copy: the block table is handed over
//   handed_over.h   such a table: which parts of a segment live elsewhere
//   job.h           what a lane is given: chunks (../tickets.h) that go together
//   kernels.h       the kernels: pieces copied, patterns, checksums, load and store
//   payload.h       patterns and checksums of a GPU's memory
//   event_clock.h   when an event happened, on the clock of the run; timer_clock.h: a GPU's timer
//   peer_memory.h   GPU memory that another process holds, by CUDA IPC, and what it reads in place
//   peer_messages.h what the two processes say to each other
//   gpu_memory.cpp  GPU memory for a backend that moves it through NICs
//   device.h        which GPUs there are, and which may reach each other's memory
//   pinned.h        host memory that GPUs can reach, on the NUMA node of a GPU
//   status.h        an error of the CUDA runtime as a value that names call and device
//   driver.h        what only the driver's library can do
//   busy.h          something to compute
//
// No header of CUDA is included here: a program that is built without CUDA may include this.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/device_memory.h"
#include "core/backend.h"

namespace kvhaul::cuda {

struct Options {
  /// The CUDA device of each GPU place, in the order of the cluster's places. Empty: place i is on
  /// device i. A device may stand there twice: two places in one GPU's memory.
  std::vector<int> devices;
  /// Places, by name, whose memory another process holds (hold_memory()), and the path of the
  /// socket that it listens on. Checksums of such a place are computed by that process, of what it
  /// reads.
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

/// GPU memory for a backend that moves it through NICs: the device of each GPU place, as in
/// Options. A device is opened when something of it is first asked for.
std::unique_ptr<DeviceMemorySource> make_memory_source(const std::vector<int>& devices);

}  // namespace kvhaul::cuda
