#include "backends/emulated/emulated.h"

#include "backends/emulated/real_backend.h"
#include "backends/emulated/virtual_backend.h"

namespace kvhaul::emulated {

std::unique_ptr<Backend> make_backend(const Options& options) {
  return options.real_time ? make_real_backend(options) : make_virtual_backend(options.payload);
}

}  // namespace kvhaul::emulated
