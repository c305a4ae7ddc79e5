#include "traces/fields.h"
#include "traces/layout.h"

namespace kvhaul {
namespace {

enum Columns : std::size_t { time_column, input_column, output_column, extra_column };

class CsvRows final : public RowSource {
 public:
  CsvRows(TextFile file, const TraceLayout& layout) : file_(std::move(file)), layout_(layout) {}

  Result<bool> next(TraceRow& row) override {
    Result<bool> more = file_.next_row();
    row.line = file_.line();
    if (!more || !*more) return more;
    row.time = file_.field(time_column);
    row.input = file_.field(input_column);
    row.output = file_.field(output_column);
    row.prefix_blocks.clear();
    const std::string_view extra = file_.field(extra_column);
    if (!layout_.prefix.empty() && !read_ids(extra, row.prefix_blocks))
      return expected_at(file_.name(), row.line,
                         "whole numbers with single spaces in 'prefix_blocks'", extra);
    if (!layout_.batch_size.empty() && file_.has(extra_column) && extra != "1")
      return expected_at(file_.name(), row.line, "a batch_size of 1", extra);
    return true;
  }

 private:
  static bool read_ids(std::string_view text, std::vector<std::uint64_t>& ids) {
    while (!text.empty()) {
      const std::size_t space = text.find(' ');
      const std::optional<std::uint64_t> id = parse_whole(text.substr(0, space));
      if (!id) return false;
      ids.push_back(*id);
      if (space == std::string_view::npos) break;
      text.remove_prefix(space + 1);
    }
    return true;
  }

  TextFile file_;
  const TraceLayout& layout_;
};

/// The first line of our own format: "# kvhaul trace 1, block 16 tokens".
Result<std::uint32_t> read_preamble(TextFile& file) {
  std::string_view line;
  const Result<bool> more = file.next_line(line);
  if (!more) return more.error();
  std::string_view tokens = line;
  constexpr std::string_view before = "# kvhaul trace 1, block ", after = " tokens";
  if (line.starts_with(before) && line.ends_with(after) &&
      line.size() > before.size() + after.size()) {  // the two may share a blank
    tokens.remove_prefix(before.size());
    tokens.remove_suffix(after.size());
    if (const auto block_tokens = parse_tokens(tokens)) return *block_tokens;
  }
  return expected_at(file.name(), 1, "'# kvhaul trace 1, block N tokens'", line);
}

}  // namespace

Result<OpenedRows> open_csv_rows(TextInput input, TraceFormat format) {
  const TraceLayout& layout = trace_layout(format);
  const bool ours = format == TraceFormat::kvhaul;
  input.newline_required = ours;
  TextFile file(std::move(input));
  OpenedRows opened;
  if (ours) {
    const Result<std::uint32_t> block_tokens = read_preamble(file);
    if (!block_tokens) return block_tokens.error();
    opened.block_tokens = *block_tokens;
  }
  const TextFile::Column columns[] = {
      {layout.time, layout.time_required},
      {layout.input},
      {layout.output},
      {layout.prefix.empty() ? layout.batch_size : layout.prefix, false},
  };
  const bool has_extra = !columns[extra_column].name.empty();
  const Result<void> header = file.read_header(std::span(columns).first(has_extra ? 4 : 3));
  if (!header) return header.error();
  opened.has_arrivals = file.has(time_column);
  opened.rows = std::make_unique<CsvRows>(std::move(file), layout);
  return opened;
}

}  // namespace kvhaul
