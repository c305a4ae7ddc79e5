#include "traces/trace_writer.h"

#include <cerrno>
#include <filesystem>
#include <system_error>

namespace kvhaul {

Result<TraceWriter> TraceWriter::create(const std::string& path, const TraceInfo& info) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  if (!file)
    return Error::bad_input("cannot write '" + path +
                            "': " + std::generic_category().message(errno));
  file << "# kvhaul trace 1, block " + std::to_string(info.block_tokens) + " tokens\n"
       << (info.has_arrivals ? "arrival_s," : "") << "input_tokens,output_tokens,prefix_blocks\n";
  return TraceWriter(path, std::move(file), info.has_arrivals);
}

Result<void> TraceWriter::write(const TraceRequest& request) {
  row_.clear();
  if (has_arrivals_) {
    const std::string ns = std::to_string(request.arrival_ns % s_ns);
    row_.append(std::to_string(request.arrival_ns / s_ns)).append(".");
    row_.append(9 - ns.size(), '0').append(ns).append(",");
  }
  row_.append(std::to_string(request.input_tokens)).append(",");
  row_.append(std::to_string(request.output_tokens)).append(",");
  for (const std::uint64_t id : request.prefix_blocks) row_.append(std::to_string(id)).append(" ");
  if (!request.prefix_blocks.empty()) row_.pop_back();
  row_ += '\n';
  file_ << row_;
  return written();
}

Result<void> TraceWriter::close() {
  file_.close();
  return written();
}

Result<void> TraceWriter::written() {
  if (file_) return {};
  return Error::failed("cannot write '" + path_ + "': " + std::generic_category().message(errno));
}

Result<void> write_trace(TraceReader& reader, const std::string& path) {
  Result<TraceWriter> writer = TraceWriter::create(path, reader.info());
  if (!writer) return writer.error();
  TraceRequest request;
  for (;;) {
    const Result<bool> more = reader.next(request);
    if (!more) {
      // What was written so far would pass for a whole trace.
      std::error_code status;
      if (std::filesystem::is_regular_file(path, status)) std::filesystem::remove(path, status);
      return more.error();
    }
    if (!*more) return writer->close();
    if (const Result<void> wrote = writer->write(request); !wrote) return wrote.error();
  }
}

}  // namespace kvhaul
