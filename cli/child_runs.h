// This program again, as children, so many at a time. A child that crashes takes nothing with it.
#pragma once

#include <functional>
#include <string>

#include "cli/command.h"
#include "core/result.h"

namespace kvhaul::cli {

struct ChildEnd {
  int code = 0;        // of its exit; not looked at when a signal ended it
  int signal = 0;      // that ended it, or 0
  std::string errors;  // the last line on its standard error, without "kvhaul: "
};

/// Starts `count` children in the order of their numbers, at most `jobs` at a time, and tells when
/// each has ended, in whatever order that is. They end when this process does, and know nothing of
/// the MPI job that it may be part of. Fails when no child can be started at all.
Result<void> run_children(std::size_t count, std::size_t jobs,
                          const std::function<Arguments(std::size_t)>& arguments_of,
                          const std::function<void(std::size_t, const ChildEnd&)>& ended);

}  // namespace kvhaul::cli
