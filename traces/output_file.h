// A file being written. What goes wrong on the way (a full disk) is remembered and reported once,
// by close().
//
// A file that a user named never loses what stood there before, and never reads as whole before it
// is: it is written into the same folder without a name (under a temporary one where the file
// system knows no files without), synced, and given its name by close() alone. A writer that fails
// or is killed leaves the old file, or none.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/units.h"

namespace kvhaul {

/// What a command may write over.
struct OutputRules {
  bool force = false;               // a file that is there already
  std::vector<std::string> inputs;  // files that the command reads: never, by whatever name
};

class OutputFile {
 public:
  /// A file of a run's folder, in which a mark says that the run is not whole: written in place,
  /// whatever stood there.
  static Result<OutputFile> create(const std::string& path);
  /// A file that a user named. Fails (bad_input) where one is there already without `force`, where
  /// it is one of the inputs (by device and inode), and where it cannot be created. Symbolic links
  /// are followed. Pipes, devices and open descriptors (/dev/stdout) are written as they are.
  static Result<OutputFile> create(const std::string& path, const OutputRules& rules);

  OutputFile(OutputFile&&) noexcept;
  OutputFile& operator=(OutputFile&&) noexcept;
  ~OutputFile();  // without close(): what was written goes, if it was to get its name there

  OutputFile& text(std::string_view text);
  OutputFile& number(std::uint64_t value);
  /// A time as milliseconds with all its nanoseconds: "12.345678".
  OutputFile& ms(TimeNs time_ns);
  OutputFile& seconds(TimeNs time_ns);
  /// Six significant digits, no exponent.
  OutputFile& real(double value);

  const std::string& path() const { return path_; }
  /// False for pipes, devices and open descriptors.
  bool is_file() const;
  /// Where the file will stand: the path without symbolic links.
  const std::string& place() const;
  /// Something could not be written: flush() and close() say what.
  bool failed() const { return error_ != 0; }
  /// Writes what is buffered. Fails as close() would, at once and from then on.
  Result<void> flush();
  /// Only after this has succeeded is the file known to be whole, and has its name.
  Result<void> close();

 private:
  class Target;
  explicit OutputFile(std::string path);
  void fraction(TimeNs time_ns, TimeNs unit_ns, int digits);
  Error written_error() const;

  std::string path_;
  std::unique_ptr<Target> target_;
  std::string buffer_;
  int error_ = 0;  // errno of the first failure
};

}  // namespace kvhaul
