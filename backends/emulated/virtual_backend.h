#pragma once

#include <memory>

#include "core/backend.h"

namespace kvhaul::emulated {

std::unique_ptr<Backend> make_virtual_backend(bool payload);

}  // namespace kvhaul::emulated
