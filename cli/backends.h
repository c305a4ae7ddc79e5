// The backends that this build can make, by name.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/backend.h"
#include "core/result.h"

namespace kvhaul::cli {

struct BackendOptions {
  bool real_time = false;
  bool payload = false;
  bool throttle = false;
};

struct BackendEntry {
  std::string_view name;
  std::string_view summary;
  bool available = false;
  std::string_view missing;  // why not
  bool virtual_only = false;
  std::unique_ptr<Backend> (*make)(const BackendOptions& options) = nullptr;
};
std::span<const BackendEntry> backends();

/// The entry of that name; bad_input for an unknown one.
Result<const BackendEntry*> find_backend(const std::string& name);

/// Fails with bad_input for an unknown name, with missing for one that this build lacks.
Result<std::unique_ptr<Backend>> make_backend(const std::string& name,
                                              const BackendOptions& options);

}  // namespace kvhaul::cli
