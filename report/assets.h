// The texts that become part of every report; made at build time by embed.cmake.
#pragma once

#include <string_view>

namespace kvhaul::report {

extern const std::string_view style;       // CSS
extern const std::string_view script;      // ours
extern const std::string_view d3;          // the chart library; empty where the build had none
extern const std::string_view d3_licence;  // its terms; empty likewise

}  // namespace kvhaul::report
