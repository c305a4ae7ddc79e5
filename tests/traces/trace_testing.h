// Helpers of the trace tests: traces from text, damaged or whole, and files that clean up.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/own_folder.h"
#include "traces/trace.h"

namespace kvhaul::test {

/// All of a trace; nobody but a test should want that.
struct WholeTrace {
  TraceInfo info;
  std::vector<TraceRequest> requests;
  TraceCounts counts;
  std::string error;  // empty: none
};

inline WholeTrace read_whole(TraceReader& reader) {
  WholeTrace whole;
  whole.info = reader.info();
  TraceRequest request;
  for (;;) {
    const Result<bool> more = reader.next(request);
    if (!more) whole.error = more.error().message;
    if (!more || !*more) break;
    whole.requests.push_back(request);
  }
  EXPECT_FALSE(*reader.next(request)) << "gave something after the end";
  whole.counts = reader.counts();
  return whole;
}

inline WholeTrace read_whole(Result<TraceReaderPtr> reader) {
  if (reader) return read_whole(**reader);
  WholeTrace failed;
  failed.error = reader.error().message;
  return failed;
}

/// Errors call the text "t".
inline WholeTrace read_text(std::string text, std::optional<TraceFormat> format) {
  return read_whole(read_trace(std::make_unique<std::istringstream>(std::move(text)), "t", format));
}

inline WholeTrace read_text(std::string text, const TraceReading& reading) {
  return read_whole(
      read_trace(std::make_unique<std::istringstream>(std::move(text)), "t", reading));
}

inline std::string error_of(std::string text, std::optional<TraceFormat> format) {
  return read_text(std::move(text), format).error;
}
inline std::string error_of(std::string text, const TraceReading& reading) {
  return read_text(std::move(text), reading).error;
}

/// The requests as "arrival_ns in out [ids]", one per line: easy to compare at a glance.
inline std::string text_of(const WholeTrace& whole) {
  std::ostringstream text;
  for (const TraceRequest& request : whole.requests) {
    text << request.arrival_ns << ' ' << request.input_tokens << ' ' << request.output_tokens;
    for (const std::uint64_t id : request.prefix_blocks) text << ' ' << id;
    text << '\n';
  }
  return whole.error.empty() ? text.str() : text.str() + whole.error;
}

/// A path of its own for each test, removed with whatever is there at the end.
class TempPath {
 public:
  explicit TempPath(const std::string& name) : name_(name) {}
  std::string string() const { return folder_.file(name_); }

 private:
  OwnFolder folder_;
  std::string name_;
};

inline std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::filesystem::path source_dir() {
  return std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
}
inline std::string sample(const std::string& name) {
  return (source_dir() / "traces/samples" / name).string();
}
/// Where the real traces are: $KVHAUL_TRACES, or beside the repository. Not part of it.
inline std::filesystem::path real_traces() {
  if (const char* set = std::getenv("KVHAUL_TRACES")) return set;
  return source_dir().parent_path() / "shared/traces";
}

}  // namespace kvhaul::test

/// Sets `path` to a real trace, or skips the test.
#define REAL_TRACE_OR_SKIP(path, name)                                        \
  const std::string path = (::kvhaul::test::real_traces() / (name)).string(); \
  if (!std::filesystem::exists(path))                                         \
  GTEST_SKIP() << "no real trace at " << path << " ($KVHAUL_TRACES)"
