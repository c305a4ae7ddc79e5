// Bytes that are written while a run goes on and read once after it: a temporary file without a
// name, which goes with its owner. What goes wrong on the way is reported when it is read.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "core/result.h"

namespace kvhaul {

class Spool {
 public:
  static Result<Spool> create();

  /// False when it could not be written, which read() will say.
  bool write(std::string_view bytes);
  /// The next bytes, at most a mebibyte; empty at the end. Nothing is written after the first read.
  Result<std::string> read();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  bool failed_ = false;
  bool reading_ = false;
};

}  // namespace kvhaul
