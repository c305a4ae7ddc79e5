// Writes our own trace format (docs/traces.md): exact nanoseconds, so that reading gives back the
// same requests.
#pragma once

#include <fstream>
#include <string>

#include "core/result.h"
#include "traces/trace.h"

namespace kvhaul {

class TraceWriter {
 public:
  /// Replaces the file. Fails where it cannot be written.
  static Result<TraceWriter> create(const std::string& path, const TraceInfo& info);

  Result<void> write(const TraceRequest& request);
  /// Writes what is buffered. Only after this has succeeded is the file known to be whole.
  Result<void> close();

 private:
  TraceWriter(const std::string& path, std::ofstream file, bool has_arrivals)
      : path_(path), file_(std::move(file)), has_arrivals_(has_arrivals) {}
  Result<void> written();

  std::string path_;
  std::ofstream file_;
  bool has_arrivals_;
  std::string row_;
};

/// The rest of `reader` into a file.
Result<void> write_trace(TraceReader& reader, const std::string& path);

}  // namespace kvhaul
