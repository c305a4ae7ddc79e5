#pragma once

#include <memory>

#include "backends/emulated/emulated.h"

namespace kvhaul::emulated {

std::unique_ptr<Backend> make_real_backend(const Options& options);

}  // namespace kvhaul::emulated
