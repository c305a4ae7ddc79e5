// Ctrl-C and kill, while there is something half-made on the disk.
#pragma once

#include <string>

namespace kvhaul::cli {

/// While one lives, SIGINT and SIGTERM end the program at once with "kvhaul: MESSAGE" on standard
/// error and the exit code of the signal (130, 143). Nothing is written to its end: what the
/// message names must be known as unfinished by what it lacks. One at a time.
class InterruptNotice {
 public:
  explicit InterruptNotice(const std::string& message);
  ~InterruptNotice();
  InterruptNotice(const InterruptNotice&) = delete;
  InterruptNotice& operator=(const InterruptNotice&) = delete;
};

}  // namespace kvhaul::cli
