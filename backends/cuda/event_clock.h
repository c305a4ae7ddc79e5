// When an event of a device happened, on the clock of the run.
//
// CUDA tells the time between two events of one device as a float of milliseconds: good to 4 ns
// over a tenth of a second, to 8 us over 100 s; and a GPU's clock runs apart from the host's by
// some parts in a million. So the reference moves along: about every 50 ms the newest event that
// has been asked for becomes the reference. Where a GPU's clock has lagged behind, the reference is
// set forward by the least delay between an event and its being seen in that time, because a
// polling loop sees some event nearly at once.
#pragma once

#include <algorithm>
#include <cuda_runtime_api.h>
#include <utility>

#include "backends/cuda/handles.h"
#include "backends/cuda/status.h"
#include "core/units.h"

namespace kvhaul::cuda {

class EventClock {
 public:
  /// Records the first reference on an idle stream and waits for it. `now` tells the run's time.
  template <class Now>
  Result<void> start(int device, Now now) {
    Stream stream;
    FirstError error(device);
    error.then("cudaStreamCreateWithFlags", [&] { return make_stream(stream); })
        .then("cudaEventCreate", [&] { return make_event(reference_); })
        .then("cudaEventRecord", [&] { return cudaEventRecord(reference_.get(), stream.get()); })
        .then("cudaEventSynchronize", [&] { return cudaEventSynchronize(reference_.get()); });
    reference_ns_ = now();
    return error.result();
  }

  /// When `event`, which has been seen to have happened at `seen_ns`, happened. May keep the event
  /// and give another one for it.
  TimeNs time_of(Event& event, TimeNs seen_ns) {
    const TimeNs at = peek(event.get(), seen_ns);
    least_delay_ns_ = std::min(least_delay_ns_, seen_ns - at);
    if (at - reference_ns_ > renew_after_ns) {
      std::swap(reference_, event);
      reference_ns_ = at + least_delay_ns_;
      least_delay_ns_ = never_ns;
    }
    return at;
  }

  /// The same for an event that stays with its owner.
  TimeNs peek(cudaEvent_t event, TimeNs seen_ns) const {
    float ms = 0;
    if (cudaEventElapsedTime(&ms, reference_.get(), event) != cudaSuccess) return seen_ns;
    return std::min(seen_ns, reference_ns_ + static_cast<TimeNs>(static_cast<double>(ms) * 1e6));
  }

 private:
  static constexpr TimeNs renew_after_ns = 50 * ms_ns;

  Event reference_;
  TimeNs reference_ns_ = 0;
  TimeNs least_delay_ns_ = never_ns;
};

}  // namespace kvhaul::cuda
