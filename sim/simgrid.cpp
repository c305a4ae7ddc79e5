#include "sim/simgrid.h"

#include "backends/modelled/virtual_backend.h"
#include "sim/simgrid_wire.h"

namespace kvhaul::sim {

std::unique_ptr<Backend> make_simgrid_backend(bool payload) {
  return modelled::make_virtual_backend(
      "SimGrid " + SimgridPlatform::version(), payload,
      [](const Cluster& cluster,
         std::span<const ChannelRequest> requests) -> Result<std::unique_ptr<modelled::Wire>> {
        try {
          return std::unique_ptr<modelled::Wire>(std::make_unique<SimgridWire>(cluster, requests));
        } catch (const std::exception& error) {
          return Error::failed(std::string("SimGrid: ") + error.what());
        }
      });
}

}  // namespace kvhaul::sim
