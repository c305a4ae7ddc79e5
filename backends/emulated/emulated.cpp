#include "backends/emulated/emulated.h"

#include "backends/emulated/queued_wire.h"
#include "backends/emulated/real_backend.h"
#include "backends/modelled/virtual_backend.h"

namespace kvhaul::emulated {

std::unique_ptr<Backend> make_backend(const Options& options) {
  if (options.real_time) return make_real_backend(options);
  return modelled::make_virtual_backend(
      "emulated", options.payload,
      [](const Cluster& cluster, std::span<const ChannelRequest> requests) {
        return Result<std::unique_ptr<modelled::Wire>>(
            std::make_unique<QueuedWire>(cluster, requests));
      });
}

}  // namespace kvhaul::emulated
