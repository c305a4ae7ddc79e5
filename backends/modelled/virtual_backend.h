// A backend in virtual time: nothing ever waits, wait() moves the clock to the next landing. A unit
// test steps through a run by calling wait() and progress() itself.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "backends/modelled/wire.h"
#include "core/backend.h"

namespace kvhaul::modelled {

/// Called by open(). Fails with what the wire lacks.
using MakeWire =
    std::function<Result<std::unique_ptr<Wire>>(const Cluster&, std::span<const ChannelRequest>)>;

/// `name` is the first word of the description; with `payload` real bytes are moved when they land.
std::unique_ptr<Backend> make_virtual_backend(std::string name, bool payload, MakeWire make_wire);

}  // namespace kvhaul::modelled
