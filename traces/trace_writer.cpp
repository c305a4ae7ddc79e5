#include "traces/trace_writer.h"

namespace kvhaul {

Result<TraceWriter> TraceWriter::create(const std::string& path, const TraceInfo& info,
                                        const OutputRules& rules) {
  auto file = OutputFile::create(path, rules);
  if (!file) return file.error();
  file->text("# kvhaul trace 1, block ").number(info.block_tokens).text(" tokens\n");
  file->text(info.has_arrivals ? "arrival_s," : "");
  file->text("input_tokens,output_tokens,prefix_blocks");
  file->text(info.has_sessions ? ",session\n" : "\n");
  return TraceWriter(std::move(*file), info);
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
  if (has_sessions_) row_.append(",").append(std::to_string(request.session));
  row_ += '\n';
  file_.text(row_);
  return file_.failed() ? file_.flush() : Result<void>();
}

Result<void> write_trace(TraceReader& reader, const std::string& path, const OutputRules& rules) {
  Result<TraceWriter> writer = TraceWriter::create(path, reader.info(), rules);
  if (!writer) return writer.error();
  TraceRequest request;
  for (;;) {
    const Result<bool> more = reader.next(request);
    if (!more) return more.error();
    if (!*more) return writer->close();
    if (const Result<void> wrote = writer->write(request); !wrote) return wrote.error();
  }
}

}  // namespace kvhaul
