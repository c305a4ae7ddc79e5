// A file being written. What goes wrong on the way (a full disk) is remembered and reported once,
// by close().
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "core/result.h"
#include "core/units.h"

namespace kvhaul {

class OutputFile {
 public:
  static Result<OutputFile> create(const std::string& path);

  OutputFile& text(std::string_view text);
  OutputFile& number(std::uint64_t value);
  /// A time as milliseconds with all its nanoseconds: "12.345678".
  OutputFile& ms(TimeNs time_ns);
  OutputFile& seconds(TimeNs time_ns);
  /// Six significant digits, no exponent.
  OutputFile& real(double value);

  const std::string& path() const { return path_; }
  Result<void> close();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void fraction(TimeNs time_ns, TimeNs unit_ns, int digits);
  void flush();

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::string buffer_;
  bool failed_ = false;
  int error_ = 0;
};

}  // namespace kvhaul
