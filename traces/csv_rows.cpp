#include <optional>

#include "traces/fields.h"
#include "traces/layout.h"

namespace kvhaul {
namespace {

enum Columns : std::size_t {
  time_column,
  input_column,
  output_column,
  prefix_column,
  batch_column,
  session_column,
};

constexpr std::string_view our_first_line = "# kvhaul trace ";

/// Of the first line of our own format: "# kvhaul trace 1, block 16 tokens".
std::optional<std::uint32_t> block_tokens_of(std::string_view line) {
  constexpr std::string_view before = "# kvhaul trace 1, block ", after = " tokens";
  if (!line.starts_with(before) || !line.ends_with(after) ||
      line.size() <= before.size() + after.size())  // the two may share a blank
    return std::nullopt;
  line.remove_prefix(before.size());
  line.remove_suffix(after.size());
  return parse_tokens(line);
}

class CsvRows final : public RowSource {
 public:
  /// The header has been read.
  CsvRows(TextFile file, const TraceLayout& layout)
      : file_(std::move(file)),
        layout_(layout),
        header_(file_.line_text()),
        header_line_(file_.line()) {}

  Result<bool> next(TraceRow& row) override {
    Result<bool> more = file_.next_row();
    row.line = file_.line();
    row.begins_again = false;
    if (const Begin begin = beginning(more); begin != Begin::none) {
      row.begins_again = true;
      if (begin == Begin::first_line) return true;
      return begin == Begin::other_blocks ? other_blocks_error() : no_line_end_error();
    }
    if (!more || !*more) return more;
    row.time = file_.field(time_column);
    row.input = file_.field(input_column);
    row.output = file_.field(output_column);
    row.session = file_.field(session_column);
    row.prefix_blocks.clear();
    const std::string_view ids = file_.field(prefix_column);
    if (!read_ids(ids, row.prefix_blocks))
      return expected_at(file_.name(), row.line,
                         "whole numbers with single spaces in " + in_quotes(layout_.prefix), ids);
    const std::string_view batch = file_.field(batch_column);
    if (file_.has(batch_column) && batch != "1")
      return expected_at(file_.name(), row.line, "a batch_size of 1", batch);
    return true;
  }

 private:
  /// How another file begins that was put behind this one.
  enum class Begin : std::uint8_t { none, first_line, other_blocks, in_a_row };
  Begin beginning(const Result<bool>& more) const {
    if ((more && !*more) || file_.line() == header_line_) return Begin::none;
    const std::string_view line = file_.line_text();
    if (line == header_) return Begin::first_line;
    if (line.ends_with(header_)) return Begin::in_a_row;
    if (more || line.find(our_first_line) == std::string_view::npos) return Begin::none;
    if (!line.starts_with(our_first_line)) return Begin::in_a_row;
    return block_tokens_of(line) == layout_.block_tokens ? Begin::first_line : Begin::other_blocks;
  }
  /// The file before it had no newline at its end.
  Error no_line_end_error() const {
    return expected_not(file_.name(), file_.line(), "a row",
                        "one with another file's first line behind it: 'kvhaul trace merge' takes "
                        "the two files themselves");
  }
  Error other_blocks_error() const {
    return expected_at(
        file_.name(), file_.line(),
        "blocks of " + std::to_string(layout_.block_tokens) + " tokens, as in the first line",
        file_.line_text());
  }

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
  TraceLayout layout_;
  std::string header_;
  std::uint64_t header_line_;
};

/// The first line of our own format.
Result<std::uint32_t> read_preamble(TextFile& file) {
  std::string_view line;
  const Result<bool> more = file.next_line(line);
  if (!more) return more.error();
  if (const auto block_tokens = block_tokens_of(line)) return *block_tokens;
  return expected_at(file.name(), 1, "'# kvhaul trace 1, block N tokens'", line);
}

}  // namespace

Result<OpenedRows> open_csv_rows(TextInput input, TraceLayout layout) {
  const bool ours = layout.name == trace_format_name(TraceFormat::kvhaul);
  input.newline_required = ours;
  TextFile file(std::move(input));
  OpenedRows opened;
  if (ours) {
    const Result<std::uint32_t> block_tokens = read_preamble(file);
    if (!block_tokens) return block_tokens.error();
    layout.block_tokens = *block_tokens;
  }
  opened.block_tokens = layout.block_tokens;
  const TextFile::Column columns[] = {
      {layout.time, layout.time_required && !layout.time.empty()},
      {layout.input},
      {layout.output},
      {layout.prefix, layout.prefix_required},
      {layout.batch_size, false},
      {layout.session, layout.session_required},
  };
  const Result<void> header = file.read_header(columns);
  if (!header) return header.error();
  opened.has_arrivals = file.has(time_column);
  opened.has_sessions = file.has(session_column);
  opened.rows = std::make_unique<CsvRows>(std::move(file), layout);
  return opened;
}

}  // namespace kvhaul
