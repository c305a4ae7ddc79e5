// The emulated backend: places are buffers of host memory, channels are queues in this process.
// No GPU, no NIC, no privileges. It is the smallest complete backend and the one to copy from:
//
//   ../modelled/memory.h             segments, and moving the bytes
//   ../modelled/channel_queues.h     when a chunk lands, by the numbers of the cluster's links
//   ../modelled/virtual_backend.cpp  virtual time: the clock jumps to the next landing
//   queued_wire.h                    what links do that several channels want at once
//   real_backend.cpp                 real time: worker threads copy, at memory speed or at the
//                                    links' rates
#pragma once

#include <memory>

#include "core/backend.h"

namespace kvhaul::emulated {

struct Options {
  bool real_time = false;  // else virtual time
  bool payload = true;     // move real bytes; else only take time. Real time always moves bytes.
  bool throttle = false;   // real time: land no earlier than the links would let it
  unsigned workers = 0;    // real time: copying threads; 0: all processors but one, one at least
};

std::unique_ptr<Backend> make_backend(const Options& options);

/// How many threads copy for that many channels in real time.
unsigned copying_threads(std::size_t channels, unsigned workers = 0);

}  // namespace kvhaul::emulated
