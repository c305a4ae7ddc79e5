// Writes our own trace format (docs/traces.md): exact nanoseconds, so that reading gives back the
// same requests.
#pragma once

#include <string>

#include "core/result.h"
#include "traces/output_file.h"
#include "traces/trace.h"

namespace kvhaul {

class TraceWriter {
 public:
  /// Fails where that file may not be written (traces/output_file.h).
  static Result<TraceWriter> create(const std::string& path, const TraceInfo& info,
                                    const OutputRules& rules = {});

  Result<void> write(const TraceRequest& request);
  /// Only after this has succeeded is there a file of that name, and whole.
  Result<void> close() { return file_.close(); }

 private:
  TraceWriter(OutputFile file, const TraceInfo& info)
      : file_(std::move(file)),
        has_arrivals_(info.has_arrivals),
        has_sessions_(info.has_sessions) {}

  OutputFile file_;
  bool has_arrivals_, has_sessions_;
  std::string row_;
};

/// The rest of `reader` into a file. Where that fails nothing is left of it, and what stood there
/// before stands there still.
Result<void> write_trace(TraceReader& reader, const std::string& path,
                         const OutputRules& rules = {});

}  // namespace kvhaul
